"""Active expiry: finding keys whose time has come though nobody asks for them.

Each database knows which slots hold keys with an expiry, and each table the soonest of them, so a
cycle touches only tables that have something due. Work stops at a deadline; what is left is found
by the next cycle. Look-ups expire lazily besides (keyspace.py), so this bounds memory, not truth.
"""

from __future__ import annotations

from isthmus.node.engine.keyspace import Database, Keyspace
from isthmus.node.engine.table import Table
from isthmus.wire.scalars import i64

BUCKETS_PER_SLICE = 64


class ExpiryCycle:
    """Removes due keys of a keyspace within a budget of time."""

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.time_cap_reached = 0
        self.nanos = 0

    def step(self, budget_ns: i64) -> bool:
        """Remove due keys for about budget_ns. True if the time ran out before the work did."""
        started: i64 = self.keyspace.clock.mono_ns()
        unfinished = False
        for db in self.keyspace.databases:
            if db.volatile_slots and self.sweep(db, started + budget_ns):
                unfinished = True
                self.time_cap_reached += 1
                break
        self.nanos += self.keyspace.clock.mono_ns() - started
        return unfinished

    def sweep(self, db: Database, deadline: i64) -> bool:
        now: i64 = db.clock.now_ms
        for slot in list(db.volatile_slots):
            table: Table | None = db.slots[slot] if db.slots else None
            if table is None or table.volatile_count == 0:
                db.volatile_slots.discard(slot)
                continue
            while table.volatile_count and table.expire_hint <= now:
                for key in table.expired_keys(now, BUCKETS_PER_SLICE):
                    db.expire(key)
                if db.clock.mono_ns() > deadline:
                    return True
        return False
