"""PendingList: entries that were delivered and not yet acknowledged, by id (Tier C twin).

A consumer group keeps one for all its consumers: id -> when it was delivered last (Unix ms), how
often, and the number of the consumer who has it. Each consumer keeps a *bare* one besides, of ids
alone: its part of the group's list, so that its own history is found without walking the others'.

The compiled form (pending_list.pyx) keeps 40 bytes for each, 16 in a bare list, in sorted blocks;
this twin keeps a sorted list and a dictionary. It may not: know streams, names, or the clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from isthmus.node.engine.heap import add as heap_add
from isthmus.wire.scalars import i64

_OBJECT_BYTES = 80


class PendingList:
    """A map from ids to (delivery time, deliveries, owner) in the order of ids."""

    __slots__ = ("_bare", "_ids", "_records", "nbytes")

    def __init__(self, bare: bool) -> None:
        self._bare = bare
        self._ids: list[bytes] = []
        self._records: dict[bytes, tuple[int, int, int]] = {}
        # Bytes allocated, about: what the compiled form would spend.
        self.nbytes = 0
        self._account(_OBJECT_BYTES)

    def __del__(self) -> None:
        heap_add(-self.nbytes)

    def _account(self, count: int) -> None:
        self.nbytes += count
        heap_add(count)

    def _count(self, records: int) -> None:
        self._account((16 if self._bare else 40) * records)

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, id: bytes, time_ms: i64, count: i64, owner: i64) -> bool:
        """Set what is known of id; True if it is new. A bare list forgets all but the id."""
        fresh = id not in self._records
        if fresh:
            self._ids.insert(bisect_left(self._ids, id), id)
            self._count(1)
        self._records[id] = (0, 0, 0) if self._bare else (time_ms, count, owner)
        return fresh

    def get(self, id: bytes) -> tuple[int, int, int] | None:
        """(delivery time, deliveries, owner) of id, or None."""
        return self._records.get(id)

    def remove(self, id: bytes) -> bool:
        """Take id out; False if it was not there."""
        if self._records.pop(id, None) is None:
            return False
        del self._ids[bisect_left(self._ids, id)]
        self._count(-1)
        return True

    def page(self, start: bytes, end: bytes, count: i64) -> list[bytes]:
        """The ids from start to end, both included, at most `count` (0: all)."""
        low, high = bisect_left(self._ids, start), bisect_right(self._ids, end)
        return self._ids[low : min(high, low + count) if count else high]

    def last(self) -> bytes | None:
        """The largest id, or None."""
        return self._ids[-1] if self._ids else None

    def clear_slice(self, blocks_max: i64) -> i64:
        """Free at most so many blocks; returns how many ids are left."""
        gone = self._ids[: 128 * blocks_max]
        del self._ids[: 128 * blocks_max]
        for id in gone:
            del self._records[id]
        self._count(-len(gone))
        return len(self._ids)

    def take_copy(self, other: PendingList) -> None:
        """Become equal to other, which has the same form; this one is empty."""
        self._count(len(other))
        self._ids = other._ids.copy()
        self._records = other._records.copy()

    def check(self) -> None:
        """Assert the invariants of the book-keeping."""
        assert self._ids == sorted(self._records), "order"
