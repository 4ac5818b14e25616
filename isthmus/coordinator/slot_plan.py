"""Which slots go where, so that shards have equally many: pure and deterministic.

`plan` takes what each shard has and which shards are to have slots at all, and gives the transfers
that bring their numbers within one of each other, with as few slots moved as can be: who has more
than its share gives, who has less gets, and the shares that are larger by one go to those that have
most. It is computed anew after each step, from what is so then; what is on its way counts as if it
were there (`after`). So a plan never undoes what another began.

Slots are taken from the end of what a shard has, in as few ranges as possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

SLOTS: Final = 16384

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Slots that are to go from one shard to another."""

    source: int
    target: int
    slots: Ranges

    @property
    def count(self) -> int:
        """How many slots."""
        return count(self.slots)


def count(ranges: Iterable[tuple[int, int]]) -> int:
    """How many slots are in ranges."""
    return sum(last - first + 1 for first, last in ranges)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint ranges in order, neighbours made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def without(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> Ranges:
    """The slots of `ranges` that are not in `taken`."""
    gone = sorted(taken)
    left = []
    for first, last in sorted(ranges):
        at = first
        for low, high in gone:
            if high < at or low > last:
                continue
            if low > at:
                left.append((at, low - 1))
            at = high + 1
        if at <= last:
            left.append((at, last))
    return tuple(left)


def holds(ranges: Iterable[tuple[int, int]], slots: Ranges) -> bool:
    """Whether all of `slots` are in `ranges`."""
    return not without(slots, ranges)


def after(
    held: Mapping[int, Iterable[tuple[int, int]]], transfers: Iterable[Transfer]
) -> dict[int, list[tuple[int, int]]]:
    """What shards will have when transfers are done."""
    found = {number: list(ranges) for number, ranges in held.items()}
    for transfer in transfers:
        found[transfer.source] = list(without(found[transfer.source], transfer.slots))
        found[transfer.target] = joined([*found[transfer.target], *transfer.slots])
    return found


def shares(sizes: Mapping[int, int], keep: Iterable[int]) -> dict[int, int]:
    """How many slots each shard should have; those that are not in `keep`: none."""
    kept = sorted(keep, key=lambda number: (-sizes[number], number))
    found = dict.fromkeys(sizes, 0)
    if not kept:
        return found
    size, larger = divmod(sum(sizes.values()), len(kept))
    for place, number in enumerate(kept):
        found[number] = size + (place < larger)
    return found


def plan(held: Mapping[int, Iterable[tuple[int, int]]], keep: Iterable[int]) -> list[Transfer]:
    """The transfers that make shards equal; none if they are."""
    left = {number: list(ranges) for number, ranges in held.items()}
    sizes = {number: count(ranges) for number, ranges in left.items()}
    wanted = shares(sizes, keep)
    missing = [[number, wanted[number] - sizes[number]] for number in sorted(sizes)]
    missing = [pair for pair in missing if pair[1] > 0]
    transfers = []
    for source in sorted(sizes):
        surplus = sizes[source] - wanted[source]
        while surplus > 0:
            target, room = missing[0]
            taken = _tail(left[source], min(surplus, room))
            left[source] = list(without(left[source], taken))
            transfers.append(Transfer(source, target, taken))
            surplus -= count(taken)
            missing[0][1] -= count(taken)
            if missing[0][1] == 0:
                missing.pop(0)
    return transfers


def _tail(ranges: list[tuple[int, int]], wanted: int) -> Ranges:
    """So many slots from the end."""
    taken: list[tuple[int, int]] = []
    for first, last in reversed(ranges):
        if wanted == 0:
            break
        start = max(first, last - wanted + 1)
        taken.append((start, last))
        wanted -= last - start + 1
    return tuple(reversed(taken))


def piece(transfer: Transfer, slots_max: int) -> Transfer:
    """The first part of a transfer, of so many slots at most."""
    return Transfer(transfer.source, transfer.target, _tail(list(transfer.slots), slots_max))
