"""Table: the hash map under the keyspace, hashes, sets and sorted sets.

It maps bytes to nothing (a member of a set), bytes (kept packed in the compiled form), an object,
or a score; each entry may carry an expiry (Unix ms) and, in the keyspace, a 24-bit access mark
(access.py). A plain key with its value is one allocation in the compiled form, which is what makes
a string key cheaper here than in a dict: no wrapper object, no second header.

Invariants. The buckets grow and shrink one at a time (linear hashing), so no operation pays for the
whole table. `scan` walks the hash space in reversed-bit order, so an entry present from the first
call to the last is returned at least once whatever is added, removed or resized in between; entries
may be returned twice. `expire_hint` is never later than the soonest expiry in the table.

It may not read a clock or decide that an entry is gone: callers pass `now` and delete.
This file is the plain twin of table.pyx; buckets are dicts of up to about 32 entries here.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine import access, heap
from isthmus.node.engine.rng import Rng
from isthmus.wire.digits import format_int, parse_int
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

_LOAD = 32
_HASH_MASK = 0xFFFFFFFF
_NEVER = 0x7FFFFFFFFFFFFFFF
_RECORD_BYTES = 16
_STRING_OVERHEAD_BYTES = 48
_BUCKET_BYTES = 8


def _reverse32(v: int) -> int:
    return int(f"{v:032b}"[::-1], 2)


class _Rec:
    __slots__ = ("value", "expire", "clock")

    def __init__(self, value: Any, expire: int) -> None:
        self.value = value
        self.expire = expire
        self.clock = access.fresh()


class Table:
    """A map from bytes; the value of a bare member reads as True."""

    def __init__(self) -> None:
        self._buckets: list[dict[bytes, _Rec]] = [{}]
        self._mask = 1
        self.count = 0
        self.volatile_count = 0
        self.nbytes = 0
        self.expire_hint = 0
        self.total = 0
        self._walked = 0
        self._walk_soonest = 0

    def __len__(self) -> int:
        return self.count

    def __contains__(self, key: bytes) -> bool:
        return self._find(key) is not None

    # -- the buckets --------------------------------------------------------------------------

    def _index(self, hashed: int) -> int:
        i = hashed & self._mask
        return i if i < len(self._buckets) else hashed & (self._mask >> 1)

    def _bucket(self, key: bytes) -> dict[bytes, _Rec]:
        if len(self._buckets) == 1:
            return self._buckets[0]
        return self._buckets[self._index(hash(key) & _HASH_MASK)]

    def _find(self, key: bytes) -> _Rec | None:
        return self._bucket(key).get(key)

    def _grow(self) -> None:
        new = len(self._buckets)
        if new > self._mask:
            self._mask = (self._mask << 1) | 1
        source = self._buckets[new & (self._mask >> 1)]
        moved = {k: r for k, r in source.items() if hash(k) & _HASH_MASK & self._mask == new}
        for key in moved:
            del source[key]
        self._buckets.append(moved)

    def reserve(self, count: int) -> None:
        """Make buckets for so many records at once, if there is no record yet."""
        # Here they are dictionaries, which would cost more than they save.

    def _shrink(self) -> None:
        last = self._buckets.pop()
        if self._walked:
            self._walk_soonest = 0  # entries move behind the walk: it must be repeated
        self._buckets[len(self._buckets) & (self._mask >> 1)].update(last)
        if len(self._buckets) <= (self._mask >> 1) + 1 and self._mask > 1:
            self._mask >>= 1

    def _insert(self, key: bytes, value: Any, expire: int) -> None:
        if self.count >= len(self._buckets) * _LOAD:
            self._grow()
        self._bucket(key)[key] = _Rec(value, expire)
        self.count += 1
        self.account(self._cost(key, value))
        if expire >= 0:
            self._note_expiry(expire)

    def account(self, change: int) -> None:
        """Count bytes taken or given back."""
        self.nbytes += change
        heap.add(change)

    def __del__(self) -> None:
        heap.add(-self.nbytes)

    @staticmethod
    def _cost(key: bytes, value: Any) -> int:
        size = 8
        if type(value) is bytes and len(value) <= 1024:
            size = len(value)
        elif type(value) is bytes or type(value) is bytearray:
            size += len(value) + _STRING_OVERHEAD_BYTES
        return _RECORD_BYTES + _BUCKET_BYTES + len(key) + size

    def _note_expiry(self, expire: int) -> None:
        if self.volatile_count == 0 or expire < self.expire_hint:
            self.expire_hint = expire
        self._walk_soonest = min(self._walk_soonest, expire)
        self.volatile_count += 1

    def _removed(self, key: bytes, rec: _Rec) -> None:
        self.count -= 1
        self.account(-self._cost(key, rec.value))
        if rec.expire >= 0:
            self.volatile_count -= 1
        if len(self._buckets) > 1 and self.count < len(self._buckets) * _LOAD // 4:
            self._shrink()

    # -- writing ------------------------------------------------------------------------------

    def put(self, key: bytes, value: Any, expire: int = -1) -> bool:
        """Set key's value and expiry (-1: none). True if the key is new."""
        rec = self._find(key)
        if rec is None:
            self._insert(key, value, expire)
            return True
        self._overwrite(key, rec, value)
        self._set_rec_expiry(rec, expire)
        return False

    def put_keep(self, key: bytes, value: Any) -> bool:
        """Set key's value and leave its expiry. True if the key is new."""
        rec = self._find(key)
        if rec is None:
            self._insert(key, value, -1)
            return True
        self._overwrite(key, rec, value)
        return False

    def _overwrite(self, key: bytes, rec: _Rec, value: Any) -> None:
        self.account(self._cost(key, value) - self._cost(key, rec.value))
        rec.value = value
        rec.clock = access.marked(rec.clock)

    def _set_rec_expiry(self, rec: _Rec, expire: int) -> None:
        if rec.expire >= 0:
            self.volatile_count -= 1
        rec.expire = expire
        if expire >= 0:
            self._note_expiry(expire)

    def add(self, key: bytes) -> bool:
        """Add a bare member. True if it is new."""
        if self._find(key) is not None:
            return False
        self._insert(key, True, -1)
        return True

    def put_score(self, key: bytes, score: float) -> bool:
        """Set key's score. True if the key is new."""
        rec = self._find(key)
        if rec is None:
            self._insert(key, score, -1)
            return True
        rec.value = score
        return False

    def discard(self, key: bytes) -> bool:
        """Remove key. True if it was here."""
        rec = self._bucket(key).pop(key, None)
        if rec is None:
            return False
        self._removed(key, rec)
        return True

    def pop(self, key: bytes) -> Any:
        """Remove key and return its value, or None if it was not here."""
        rec = self._bucket(key).pop(key, None)
        if rec is None:
            return None
        self._removed(key, rec)
        return rec.value

    def set_expiry(self, key: bytes, expire: int) -> bool:
        """Set key's expiry in Unix ms (-1: none). False if the key is not here."""
        rec = self._find(key)
        if rec is None:
            return False
        self._set_rec_expiry(rec, expire)
        return True

    def clear_slice(self, limit: int) -> int:
        """Free about `limit` entries of a table being thrown away; returns how many are left."""
        while self._buckets and limit > 0:
            gone = self._buckets.pop()
            limit -= 1 + len(gone)
            self.count -= len(gone)
            self.account(-sum(self._cost(key, rec.value) for key, rec in gone.items()))
        if not self._buckets:
            self._buckets = [{}]
            self._mask = 1
            self._walked = 0
            self.volatile_count = 0
        return self.count

    # -- reading ------------------------------------------------------------------------------

    def fetch(self, key: bytes, now: int) -> Any:
        """The value of key and a stamp on its access clock; None if missing or expired by now."""
        rec = self._find(key)
        if rec is None or 0 <= rec.expire <= now:
            return None
        rec.clock = access.marked(rec.clock)
        return rec.value

    def get(self, key: bytes) -> Any:
        """The value of key, or None."""
        rec = self._find(key)
        return None if rec is None else rec.value

    def contains(self, key: bytes) -> bool:
        return self._find(key) is not None

    def expired(self, key: bytes, now: int) -> bool:
        """True if key is here with an expiry at or before now."""
        rec = self._find(key)
        return rec is not None and 0 <= rec.expire <= now

    def score(self, key: bytes) -> Any:
        """The score of key, or None."""
        return self.get(key)

    def expiry(self, key: bytes) -> int:
        """Unix ms; -1 without expiry, -2 if the key is not here."""
        rec = self._find(key)
        return -2 if rec is None else rec.expire

    def mark(self, key: bytes, word: int) -> None:
        """Set key's access mark."""
        rec = self._find(key)
        if rec is not None:
            rec.clock = word & 0xFFFFFF

    def access(self, key: bytes) -> int:
        """The 24-bit access clock, or -1 if the key is not here."""
        rec = self._find(key)
        return -1 if rec is None else rec.clock

    def increment(self, key: bytes, delta: i64) -> i64:
        """Add delta to the integer at key, 0 if missing; the sum is in `total`, the expiry stays.

        0: done; 4: done, key is new; nothing done: 1 not an integer, 2 overflow, 3 not plain bytes.
        The caller has seen to it that key has not expired.
        """
        rec = self._find(key)
        value = 0
        if rec is not None:
            if type(rec.value) is not bytes:
                return 3
            try:
                value = parse_int(rec.value)
            except ValueError:
                return 1
        if not -(1 << 63) <= value + delta < 1 << 63:
            return 2
        self.total = value + delta
        return 4 if self.put_keep(key, format_int(self.total)) else 0

    def write_string(self, key: bytes, now: i64, reply: ReplyWriter) -> i64:
        """Write the string at key as a bulk string and stamp its access clock.

        1 if it was written, 0 if key is missing or expired by now, -1 if it holds another type.
        """
        value = self.fetch(key, now)
        if value is None:
            return 0
        if type(value) is not bytes and type(value) is not bytearray:
            return -1
        reply.bulk(bytes(value))
        return 1

    def write_value(self, key: bytes, reply: ReplyWriter) -> bool:
        """Write key's value as a bulk string. False (nothing written) if the key is not here."""
        rec = self._find(key)
        if rec is None:
            return False
        reply.bulk(rec.value)
        return True

    def write_all(self, reply: ReplyWriter, keys: bool, values: bool) -> int:
        """Write every key and/or value as bulk strings, without a header; returns the count."""
        for bucket in self._buckets:
            for key, rec in bucket.items():
                if keys:
                    reply.bulk(key)
                if values:
                    reply.bulk(rec.value)
        return self.count

    def random_key(self, rng: Rng) -> bytes | None:
        """A key drawn uniformly, or None from an empty table."""
        if self.count == 0:
            return None
        n = rng.below(self.count)
        for bucket in self._buckets:
            if n < len(bucket):
                return list(bucket)[n]
            n -= len(bucket)
        return None

    def sample(self, rng: Rng, volatile_only: bool, limit: int, out: list[Any]) -> None:
        """Append (key, mark, expiry) of about `limit` entries from a random place on."""
        steps = min(16 * limit, len(self._buckets))
        at = rng.below(len(self._buckets))
        while limit > 0 and steps > 0:
            for key, rec in self._buckets[at].items():
                if rec.expire >= 0 or not volatile_only:
                    out.append((key, rec.clock, rec.expire))
                    limit -= 1
            steps -= 1
            at = (at + 1) % len(self._buckets)

    def scan(self, cursor: int, out: list[Any], with_values: bool, now: int) -> int:
        """Append the live entries of one bucket; returns the next cursor, 0 at the end."""
        if self.count == 0:
            return 0
        low = self._mask >> 1
        bucket = self._index(_reverse32(cursor & _HASH_MASK))
        split = bucket > low or bucket + low + 1 < len(self._buckets)
        width = (1 << 32) // (self._mask + 1 if split else low + 1)
        for key, rec in self._buckets[bucket].items():
            if not 0 <= rec.expire <= now:
                out.append(key)
                if with_values:
                    out.append(rec.value)
        cursor = (cursor & ~(width - 1)) + width
        return 0 if cursor >> 32 else cursor

    def keys(self) -> list[bytes]:
        """All keys, as a new list."""
        return [key for bucket in self._buckets for key in bucket]

    def items(self) -> list[tuple[bytes, Any]]:
        """All (key, value), as a new list; the value of a bare member is True."""
        return [(key, rec.value) for bucket in self._buckets for key, rec in bucket.items()]

    def expired_keys(self, now: int, limit: int) -> list[bytes]:
        """Keys expired by now in the next `limit` buckets; a walk past the last sets expire_hint.

        The caller removes the keys before it calls again.
        """
        out: list[bytes] = []
        if self._walked == 0:
            self._walk_soonest = _NEVER
        for bucket in self._buckets[self._walked : self._walked + limit]:
            for key, rec in bucket.items():
                if 0 <= rec.expire <= now:
                    out.append(key)
                elif 0 <= rec.expire < self._walk_soonest:
                    self._walk_soonest = rec.expire
        self._walked += limit
        if self._walked >= len(self._buckets):
            self._walked = 0
            self.expire_hint = self._walk_soonest
        return out

    def check(self) -> None:
        """Assert the invariants; O(n), for tests."""
        entries = [(i, k, r) for i, b in enumerate(self._buckets) for k, r in b.items()]
        assert all(self._bucket(k) is self._buckets[i] for i, k, _ in entries), "wrong bucket"
        assert len(entries) == self.count, "count"
        assert sum(r.expire >= 0 for _, _, r in entries) == self.volatile_count, "volatile count"
