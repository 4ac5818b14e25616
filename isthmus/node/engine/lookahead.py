"""Lookahead: fetching what the next requests will touch while there is still time.

A request that finds its key costs three cache misses one after the other: the slot's table, the
bucket, the record. In a pipeline the next requests are known already, so the compiled form walks
these steps for a whole batch, each step for all keys before the next one: the misses of
different keys overlap. Nothing is decided here: a wrong guess (the first argument is no key) or
data that changes before its request runs costs time, never truth.

`BATCH` is how many requests or keys are looked ahead for at most. Twin of lookahead.pyx; there are
no cache lines to fetch in Python, so this one does nothing.
"""

from __future__ import annotations

from isthmus.node.engine.keyspace import Database
from isthmus.wire.scalars import i64

BATCH = 16


class Lookahead:
    """Remembers the slots of the batch it has staged."""

    def stage(self, db: Database, batch: list[list[bytes]]) -> i64:
        """Fetch what the first argument of each request leads to."""
        return 0

    def prime(self, db: Database, argv: list[bytes], place: i64) -> i64:
        """Request number `place` of the staged batch is about to run in db: its slot is known."""
        return 0

    def warm(self, db: Database, argv: list[bytes], first: i64, step: i64) -> i64:
        """Fetch what the keys argv[first::step] of one request lead to."""
        return 0
