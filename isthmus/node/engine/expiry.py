"""Active expiry: finding keys and hash fields whose time has come though nobody asks for them.

Each database knows which slots hold keys with an expiry, and each table the soonest of them, so a
pass touches only tables that have something due; the hashes with volatile fields are listed apart
(field_expiry.py). Work stops at a deadline, even the looking at 16,384 tables, and the next cycle
goes on from there; the soonest expiry that a pass saw, or that was set since, says when the next
begins. Look-ups expire lazily besides (keyspace.py), so this bounds memory, not truth. Fields go
first and may take half of the time, so that neither keys nor fields wait for ever behind the other.

At a replica the primary says what expires, but for the keys of its own clients, if they may write:
those are listed (`own_volatile`), and a few of them looked at each time.
"""

from __future__ import annotations

from itertools import islice

from isthmus.node.engine.field_expiry import FieldExpiries
from isthmus.node.engine.keyspace import NEVER, Database, Keyspace
from isthmus.node.engine.table import Table
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

BUCKETS_PER_SLICE = 64
SLOTS_PER_CLOCK = 64
# When a hash of a hidden slot is looked at again.
HIDDEN_LATER_MS = 1000
# How many keys of its own a replica looks at in a step.
OWN_KEYS_PER_STEP = 256


class ExpiryCycle:
    """Removes due keys and fields of a keyspace within a budget of time."""

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.time_cap_reached = 0
        self.nanos = 0
        # The shard of field expiries that the next cycle begins with.
        self.first_shard = 0

    def step(self, budget_ns: i64) -> bool:
        """Remove what is due for about budget_ns. True if the time ran out before the work did."""
        keyspace = self.keyspace
        if not keyspace.active_expiry or keyspace.frozen:
            return False
        if keyspace.follows:
            if keyspace.own_volatile:
                self.sweep_own()
            return False
        if keyspace.keeps_expired:
            return False
        keyspace.own_volatile.clear()
        started: i64 = self.keyspace.clock.mono_ns()
        unfinished = False
        for db in self.keyspace.databases:
            if db.field_expiries.count and self.sweep_fields(db, started + budget_ns // 2):
                unfinished = True
                break
        for db in self.keyspace.databases:
            if db.volatile_slots and self.sweep(db, started + budget_ns):
                unfinished = True
                break
        if unfinished:
            self.time_cap_reached += 1
        self.nanos += self.keyspace.clock.mono_ns() - started
        return unfinished

    def sweep(self, db: Database, deadline: i64) -> bool:
        """Remove due keys. True if the deadline came first."""
        now: i64 = db.clock.expiry_ms()
        if not db.due_slots:
            if db.due_hint > now:
                return False
            db.due_slots = list(db.volatile_slots)
            db.due_hint = db.due_after = NEVER
        slots = db.due_slots
        looked: i64 = 0
        while slots:
            table: Table | None = db.slots[slots[-1]] if db.slots else None
            if table is None or table.volatile_count == 0:
                db.volatile_slots.discard(slots[-1])
            elif db.hides(slots[-1]):
                # The keys wait for the day on which the slot is shown.
                pass
            elif table.expire_hint > now:
                db.due_after = min(db.due_after, table.expire_hint)
            else:
                for key in table.expired_keys(now, BUCKETS_PER_SLICE):
                    db.expire(key)
                if db.clock.mono_ns() > deadline:
                    return True
                continue
            slots.pop()
            looked += 1
            if slots and looked % SLOTS_PER_CLOCK == 0 and db.clock.mono_ns() > deadline:
                return True
        # Keys that were given an expiry meanwhile have lowered the hint themselves.
        db.due_hint = min(db.due_hint, db.due_after)
        return False

    def sweep_own(self) -> None:
        """At a replica: look at some of the keys that its own clients let expire, in turn."""
        own = self.keyspace.own_volatile
        now: i64 = self.keyspace.clock.expiry_ms()
        for db, key in list(islice(own, OWN_KEYS_PER_STEP)):
            del own[db, key]
            expiry: i64 = db.expiry(key)
            if expiry > now:
                own[db, key] = None
            elif expiry >= 0:
                db.remove_expired(key)

    def sweep_fields(self, db: Database, deadline: i64) -> bool:
        """Remove due fields of hashes. True if the deadline came first."""
        now: i64 = db.clock.expiry_ms()
        listed: FieldExpiries = db.field_expiries
        shards = listed.shards
        count: i64 = len(shards)
        at: i64 = 0
        while at < count:
            # The next cycle begins elsewhere, so that no shard waits for ever behind a big one.
            self.first_shard = (self.first_shard + 1) % count
            shard: Table = shards[self.first_shard]
            at += 1
            while shard.volatile_count and shard.expire_hint <= now:
                late = False
                for key in shard.expired_keys(now, BUCKETS_PER_SLICE):
                    if late:
                        # The walk has passed it: noted again, it is due in the next one.
                        listed.set_due(key, now)
                    else:
                        late = self.sweep_hash(db, key, now, deadline)
                if late or db.clock.mono_ns() > deadline:
                    return True
        return False

    def sweep_hash(self, db: Database, key: bytes, now: i64, deadline: i64) -> bool:
        """Remove due fields of the hash at key. True if the deadline came first."""
        if db.hidden is not None and db.hides(key_slot(key)):
            db.field_expiries.set_due(key, now + HIDDEN_LATER_MS)
            return False
        if not db.exists(key):
            # Its own time had come, and it is off the list with that.
            return False
        slot: Table | None = db.table_of(key)
        assert slot is not None
        value: Table = slot.get(key)
        late = False
        while value.volatile_count and value.expire_hint <= now and not late:
            db.expire_fields(key, value, value.expired_keys(now, BUCKETS_PER_SLICE))
            late = db.clock.mono_ns() > deadline
        if value.volatile_count:
            db.field_expiries.set_due(key, value.expire_hint)
        return late
