"""SlotCounts: how many keys each hash slot has, so that a key can be drawn with a fair chance.

A draw takes a rank in [0, keys of the database) and `find` tells the slot it falls into, in at most
256 steps: the slots are summed up in groups of 128. Twin of slot_counts.pyx.
"""

from __future__ import annotations

_SLOTS = 16384
_GROUP_SHIFT = 7


class SlotCounts:
    """Keys by slot; takes its memory when the first key comes."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._groups: list[int] = []

    def add(self, slot: int, change: int) -> None:
        """`slot` has `change` keys more."""
        if not self._counts:
            self._counts = [0] * _SLOTS
            self._groups = [0] * (_SLOTS >> _GROUP_SHIFT)
        self._counts[slot] += change
        self._groups[slot >> _GROUP_SHIFT] += change

    def find(self, rank: int) -> int:
        """The slot of the key with that rank, counted in the order of slots; -1 if too high."""
        for group, count in enumerate(self._groups):
            if rank < count:
                slot = group << _GROUP_SHIFT
                while rank >= self._counts[slot]:
                    rank -= self._counts[slot]
                    slot += 1
                return slot
            rank -= count
        return -1

    def reset(self) -> None:
        """No slot has a key."""
        self._counts = []
        self._groups = []
