"""FieldExpiries: which hashes of a database hold fields with an expiry, and when one is due next.

The fields' expiries are in the hash itself (a Table); this is the list of keys that active expiry
has to look at. It is exact: a key is listed if and only if its value is a Table with at least one
volatile entry. The time noted with it is never later than the soonest of its fields, and may be
earlier, because nobody looks for the next field when the soonest one goes or stays for good.

Keys lie in shards by their own hash, each a Table with an expiry, so that finding what is due
walks a shard and not everything. The shards are made when the first field gets an expiry.
"""

from __future__ import annotations

from isthmus.node.engine.table import Table
from isthmus.wire.scalars import i64

SHARDS = 256


class FieldExpiries:
    """The keys of one database whose hashes have volatile fields."""

    def __init__(self) -> None:
        self.shards: list[Table] = []
        self.count = 0

    def shard_of(self, key: bytes) -> Table:
        """The shard key belongs to."""
        if not self.shards:
            self.shards = [Table() for _ in range(SHARDS)]
        # Not the low bits: those choose the bucket within the shard.
        shard: Table = self.shards[(hash(key) >> 32) & (SHARDS - 1)]
        return shard

    def note(self, key: bytes, due: i64) -> None:
        """A field of the hash at key expires at `due` (Unix ms)."""
        shard = self.shard_of(key)
        known: i64 = shard.expiry(key)
        if known == -2:
            shard.add(key)
            self.count += 1
        if known < 0 or due < known:
            shard.set_expiry(key, due)

    def set_due(self, key: bytes, due: i64) -> None:
        """The soonest field of a listed key is due at `due`: a walk over the hash has found out."""
        self.shard_of(key).set_expiry(key, due)

    def forget(self, key: bytes) -> None:
        """The hash at key has no volatile field any more, or is gone."""
        if self.count and self.shard_of(key).discard(key):
            self.count -= 1
