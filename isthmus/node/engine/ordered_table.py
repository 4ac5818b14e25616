"""OrderedTable: a Table that remembers in which order its entries came.

Redis keeps small hashes and sets as lists, and answers HGETALL or SMEMBERS in the order of those:
entries in the order in which they came, whole numbers (an intset) by value, fields with an expiry
(a listpackex) by that, soonest first and of equals the latest one set. Clients must not rely on it,
and do. The order costs no memory: each record has 24 bits that tell the keyspace how a key is used
and mean nothing in a collection; here they hold the number of the place. An entry that is
overwritten keeps its place; setting or taking its expiry gives it a new one.

Places are sorted only when they are asked for, which the owner does only while the collection is
small (`ordered`, `write_ordered`); all else is Table's. When the 24 bits are used up, a table that
is not large is numbered anew; in a large one the order of old and new entries gets lost.

Twin of ordered_table.pyx.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.table import Table, _Rec
from isthmus.wire.digits import parse_int
from isthmus.wire.reply import ReplyWriter

_LAST = 0xFFFFFF
_RENUMBERED_MAX = 65536
_NEVER = 0x7FFFFFFFFFFFFFFF


class OrderedTable(Table):
    """A map from bytes in the order in which its entries came."""

    def __init__(self) -> None:
        super().__init__()
        self.place = 0

    def _next(self) -> int:
        if self.place >= _LAST:
            if self.count <= _RENUMBERED_MAX:
                self.rearrange(False)
            else:
                self.place = 0
        self.place += 1
        return self.place

    def _insert(self, key: bytes, value: Any, expire: int) -> None:
        super()._insert(key, value, expire)
        rec = self._find(key)
        assert rec is not None
        rec.clock = _LAST
        rec.clock = self._next()

    def _overwrite(self, key: bytes, rec: _Rec, value: Any) -> None:
        place = rec.clock
        super()._overwrite(key, rec, value)
        rec.clock = place

    def _set_rec_expiry(self, rec: _Rec, expire: int) -> None:
        if rec.expire >= 0 or expire >= 0:
            rec.clock = self._next()
        super()._set_rec_expiry(rec, expire)

    def fetch(self, key: bytes, now: int) -> Any:
        """The value of key; None if missing or expired by now."""
        # Table's marks the record as used; here that would be another place.
        rec = self._find(key)
        return None if rec is None or 0 <= rec.expire <= now else rec.value

    def _arranged(self, numbers: bool) -> list[tuple[bytes, _Rec]]:
        def place(entry: tuple[bytes, _Rec]) -> tuple[int, int]:
            key, rec = entry
            if not numbers:
                return (rec.expire, -rec.clock) if rec.expire >= 0 else (_NEVER, rec.clock)
            try:
                return parse_int(key), 0
            except ValueError:
                return _NEVER, rec.clock

        return sorted((entry for bucket in self._buckets for entry in bucket.items()), key=place)

    def rearrange(self, numbers: bool) -> None:
        """Number the places anew in the order there is, or (`numbers`) by the keys' values."""
        for i, (_, rec) in enumerate(self._arranged(numbers)):
            # Of those that are due together the last one comes first.
            rec.clock = self.count - i if rec.expire >= 0 else i + 1
        self.place = self.count

    def ordered(self, with_values: bool, numbers: bool, now: int) -> list[Any]:
        """Keys in order, each with its value if asked for; not those expired by now.

        With `numbers` the order is that of the keys' values; those that are no int64 come last.
        """
        out: list[Any] = []
        for key, rec in self._arranged(numbers):
            if not 0 <= rec.expire <= now:
                out.append(key)
                if with_values:
                    out.append(rec.value)
        return out

    def write_ordered(self, reply: ReplyWriter, keys: bool, values: bool, numbers: bool) -> int:
        """As write_all(), in order; returns the count."""
        for key, rec in self._arranged(numbers):
            if keys:
                reply.bulk(key)
            if values:
                reply.bulk(rec.value)
        return self.count
