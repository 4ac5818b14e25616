"""SlotCounts: how many keys each hash slot has, so that a key can be drawn with a fair chance.

A draw takes a rank in [0, keys of the database) and `find` tells the slot it falls into, in at most
256 steps: the slots are summed up in groups of 128. Keys of slots that are `hide`d (keyspace.py)
are counted apart, in `hidden`, and never found. Twin of slot_counts.pyx.
"""

from __future__ import annotations

from typing import Any

_SLOTS = 16384
_GROUP_SHIFT = 7


class SlotCounts:
    """Keys by slot; takes its memory when the first key comes."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._groups: list[int] = []
        self._mask = bytes(_SLOTS)
        self.hidden = 0

    def add(self, slot: int, change: int) -> None:
        """`slot` has `change` keys more."""
        if not self._counts:
            self._counts = [0] * _SLOTS
            self._groups = [0] * (_SLOTS >> _GROUP_SHIFT)
        self._counts[slot] += change
        if self._mask[slot]:
            self.hidden += change
        else:
            self._groups[slot >> _GROUP_SHIFT] += change

    def hide(self, mask: Any) -> None:
        """From now on the slots are hidden where `mask` has no zero."""
        self._mask = bytes(mask)
        self.hidden = 0
        if self._counts:
            self._groups = [0] * (_SLOTS >> _GROUP_SHIFT)
            for slot, count in enumerate(self._counts):
                if self._mask[slot]:
                    self.hidden += count
                else:
                    self._groups[slot >> _GROUP_SHIFT] += count

    def of(self, slot: int) -> int:
        """The keys of a slot, hidden or not."""
        return self._counts[slot] if self._counts else 0

    def find(self, rank: int) -> int:
        """The slot of the key with that rank, counted in the order of slots; -1 if too high."""
        for group, count in enumerate(self._groups):
            if rank < count:
                slot = group << _GROUP_SHIFT
                while self._mask[slot] or rank >= self._counts[slot]:
                    if not self._mask[slot]:
                        rank -= self._counts[slot]
                    slot += 1
                return slot
            rank -= count
        return -1

    def reset(self) -> None:
        """No slot has a key."""
        self._counts = []
        self._groups = []
        self.hidden = 0
