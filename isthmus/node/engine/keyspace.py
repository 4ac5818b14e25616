"""Keyspace: sixteen databases, each split by hash slot into tables.

One small table per slot keeps every resize small, lets SCAN walk slots, and makes a slot move the
swap of a table. Plain strings are `bytes` (or `bytearray` once APPEND or SETRANGE made them
mutable: Redis' "raw" encoding); the other types are value objects with a `kind`.

The one door. Data changes only in the effect functions of node/values, which call the raw methods
here (store, store_keep, drop, set_expire, forget_all) and then `changed(key)`, which counts the
change and bumps the key's version for WATCH; when it answers True somebody records, and the
function hands over the canonical command with `record`. A tidy test holds every other caller off
the raw methods.

Lookups expire: a key whose time has come is deleted through the same door before it is reported
missing, so replicas and AOF see the deletion. While an AOF is loaded nothing expires (clock.py).

In a cluster a node may hold keys of slots that are not its shard's: what it is being sent of a slot
that comes, or still has of one that went (node/moves). Their slots are *hidden* (`hide`): nobody
counts, lists or draws their keys, and nothing expires in them, for when it does is for the owner of
the slot to say.

While a consistent cut is being taken (persist/cut.py) each database that had keys has a `cut`. It
is asked before anything changes that the cut has not passed: `visit(key)` before another expiry,
`leaving(key)` before a value is replaced or removed, both by the raw methods; and `before(key)` by
execute.py and effect.py, before a command that may change the value where it lies.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine import heap
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.effect_log import LOCAL, NOTE_EVENTS, NOTE_NEW, EffectLog
from isthmus.node.engine.field_expiry import FieldExpiries
from isthmus.node.engine.rng import Rng
from isthmus.node.engine.slot_counts import SlotCounts
from isthmus.node.engine.table import Table
from isthmus.wire.scalars import i64
from isthmus.wire.slots import SLOTS, key_slot

NO_EXPIRY = -1
# Later than any expiry, Unix ms.
NEVER = (1 << 63) - 1
# Who must hear of a changed key: transactions, waiting clients, client-side caches.
WATCHED = 1
WAITED = 2
TRACKED = 4
BIG_VALUE_ENTRIES = 64
FREE_ENTRIES_PER_SLICE = 512
RANDOM_KEY_TRIES_MAX = 100
# The list of tables, and the counts of keys, by slot.
SLOTS_BYTES = SLOTS * 12 + 1024


class Database:
    """One numbered database. `size` counts keys, expired ones not yet removed included."""

    def __init__(self, keyspace: Keyspace, index: int) -> None:
        self.index = index
        self.slots: list[Table | None] = []
        self.size = 0
        self.counts = SlotCounts()
        self.keyspace = keyspace
        self.clock = keyspace.clock
        self.log = keyspace.log
        self.watched: dict[bytes, list[int]] = {}
        # key -> the clients that wait for it, first come first (engine/blocking.py).
        self.waiting: dict[bytes, dict[Any, None]] = {}
        self.volatile_slots: set[int] = set()
        # No key is due sooner, but for those in slots that active expiry has still to look at.
        self.due_hint = NEVER
        self.due_after = NEVER
        self.due_slots: list[int] = []
        self.field_expiries = FieldExpiries()
        self.last_key: bytes | None = None
        self.last_table: Table | None = None
        self.last_slot = 0
        self.total = 0
        # What a cut in progress wants of this database (persist/cut.py), or None.
        self.cut: Any = None
        # One byte a slot, not zero where it is hidden; None: none is.
        self.hidden: bytes | None = None

    # -- slots of others ----------------------------------------------------------------------

    def hide(self, mask: bytes) -> None:
        """From now on the slots are hidden where `mask` has no zero."""
        self.hidden = mask
        self.counts.hide(mask)
        # In those that are not any more, keys may be due.
        self.look_for_due()

    def hides(self, slot: i64) -> bool:
        """True if the slot is hidden."""
        hidden: bytes | None = self.hidden
        return hidden is not None and hidden[slot] != 0

    def visible(self) -> i64:
        """How many keys clients may know of."""
        return self.size - self.counts.hidden

    # -- reading ------------------------------------------------------------------------------

    def table_of(self, key: bytes) -> Table | None:
        """The table of key's slot, or None while the slot is empty."""
        # A command looks its key up and then stores it: the same object, so the slot is known.
        if key is self.last_key:
            return self.last_table
        self.last_slot = key_slot(key)
        self.last_key = key
        self.last_table = self.slots[self.last_slot] if self.slots else None
        return self.last_table

    def table_for(self, key: bytes) -> Table:
        """The table of key's slot, made if need be."""
        table = self.table_of(key)
        if table is None:
            if not self.slots:
                self.slots = [None] * SLOTS
                heap.add(SLOTS_BYTES)
                self.keyspace.ahead_bytes -= SLOTS_BYTES
            table = Table()
            self.slots[self.last_slot] = table
            self.last_table = table
        return table

    def lookup(self, key: bytes) -> Any:
        """The value at key, or None; deletes the key if its time has come."""
        table = self.table_of(key)
        if table is None:
            return None
        value = table.fetch(key, self.clock.expiry_ms())
        if value is None:
            return self.missing(table, key)
        return value

    def missing(self, table: Table, key: bytes) -> Any:
        if table.volatile_count and table.expired(key, self.clock.expiry_ms()):
            self.expire(key)
        return None

    def exists(self, key: bytes) -> bool:
        """True if key holds a value that has not expired; leaves its access clock alone."""
        table = self.table_of(key)
        if table is None or not table.contains(key):
            return False
        if table.volatile_count and table.expired(key, self.clock.expiry_ms()):
            self.expire(key)
            return False
        return True

    def peek(self, key: bytes) -> Any:
        """The value at key without touching its access clock, or None."""
        table = self.table_of(key)
        return table.get(key) if table is not None and self.exists(key) else None

    def expiry(self, key: bytes) -> i64:
        """Unix ms; -1 without expiry, -2 if the key is missing."""
        table = self.table_of(key)
        return -2 if table is None else table.expiry(key)

    # -- raw writing (node/values only) -------------------------------------------------------

    def store(self, key: bytes, value: Any, expire: i64 = -1) -> bool:
        """Set key's value and expiry (-1: none). True if the key is new."""
        if self.cut is not None:
            self.cut.leaving(key)
        table = self.table_for(key)
        if expire >= 0:
            self.note_due(expire)
            if self.keyspace.follows:
                self.note_own(key)
        if type(value) is not bytes:
            self.list_fields(key, value)
        elif self.field_expiries.count:
            self.field_expiries.forget(key)
        if self.log.noting:
            self.note_end(key)
        if table.put(key, value, expire):
            self.count(1)
            if self.log.noting:
                self.note_new(key)
            return True
        return False

    def count(self, change: i64) -> None:
        """The slot looked up last has `change` keys more."""
        self.size += change
        self.counts.add(self.last_slot, change)

    def grew(self, key: bytes, count: i64) -> None:
        """The mutable string at key took `count` bytes more where it lies."""
        table = self.table_of(key)
        assert table is not None
        table.account(count)

    def list_fields(self, key: bytes, value: Any) -> None:
        """Bring the list of hashes with volatile fields up to date for a value put at key."""
        if self.field_expiries.count:
            self.field_expiries.forget(key)
        if isinstance(value, Table):
            entries: Table = value
            if entries.volatile_count:
                self.field_expiries.note(key, entries.expire_hint)

    def note_end(self, key: bytes) -> None:
        """Who listens to events hears that what is about to be overwritten had expired."""
        table = self.table_of(key)
        if (
            self.log.noting
            and table is not None
            and table.volatile_count
            and self.log.origin == LOCAL
            and table.expired(key, self.clock.expiry_ms())
        ):
            self.expire(key)

    def store_again(self, key: bytes, value: Any) -> None:
        """Put a value at a key that was dropped for it: to who listens to events it is not new."""
        noting, self.log.noting = self.log.noting, 0
        self.store(key, value, -1)
        self.log.noting = noting

    def store_keep(self, key: bytes, value: Any) -> bool:
        """Set key's value, leave its expiry. True if the key is new."""
        if self.cut is not None:
            self.cut.leaving(key)
        if self.field_expiries.count:
            self.field_expiries.forget(key)
        if self.table_for(key).put_keep(key, value):
            self.count(1)
            if self.log.noting:
                self.note_new(key)
            return True
        return False

    def increment(self, key: bytes, delta: i64) -> i64:
        """Add delta to the integer at key; `total` is the sum. The answer is Table.increment's."""
        if self.cut is not None:
            self.cut.visit(key)
        table = self.table_for(key)
        if table.volatile_count and table.expired(key, self.clock.expiry_ms()):
            # What a client writes begins anew, also where what expires stays for readers.
            if self.log.origin == LOCAL:
                self.remove_expired(key)
            else:
                self.expire(key)
        status = table.increment(key, delta)
        self.total = table.total
        if status == 4:
            self.count(1)
            if self.log.noting:
                self.note_new(key)
        return status

    def drop(self, key: bytes) -> bool:
        """Remove key; a big value is freed in slices later. False if it was missing."""
        if self.cut is not None:
            self.cut.leaving(key)
        table = self.table_of(key)
        if table is None:
            return False
        value = table.pop(key)
        if value is None:
            return False
        self.count(-1)
        if type(value) is not bytes:
            if self.field_expiries.count:
                self.field_expiries.forget(key)
            self.keyspace.discard(value)
        return True

    def set_expire(self, key: bytes, expire: i64) -> bool:
        """Set key's expiry in Unix ms (-1: none). False if the key is missing."""
        if self.cut is not None:
            self.cut.visit(key)
        table = self.table_of(key)
        if table is None or not table.set_expiry(key, expire):
            return False
        if expire >= 0:
            self.note_due(expire)
            if self.keyspace.follows:
                self.note_own(key)
        return True

    def note_own(self, key: bytes) -> None:
        """At a replica: key expires, and no primary will say so if a client of its own did that."""
        if self.log.origin == LOCAL:
            self.keyspace.own_volatile[self, key] = None

    def note_due(self, expire: i64) -> None:
        """A key of the slot looked up last expires then."""
        self.volatile_slots.add(self.last_slot)
        if expire < self.due_hint:
            self.due_hint = expire

    def look_for_due(self) -> None:
        """Keys may be due at any time: what was known of it is of other keys."""
        self.due_hint = 0
        self.due_slots = []

    def forget_place(self) -> None:
        """Drop the memory of the last look-up: the tables are about to change, or have."""
        self.last_key = None
        self.last_table = None

    def forget_all(self) -> None:
        """Remove every key at once; the memory is freed in slices."""
        self.alert(self)
        own = self.keyspace.own_volatile
        if own:
            self.keyspace.own_volatile = {each: None for each in own if each[0] is not self}
        if self.cut is not None:
            # The cut goes on with the tables by itself, and discards them when it has passed them.
            self.cut.detach(self.slots, self.size, self.field_expiries)
            self.cut = None
        elif self.size:
            self.keyspace.discard_slots(self.slots, self.size, self.field_expiries)
        if self.slots:
            heap.add(-SLOTS_BYTES)
            self.keyspace.ahead_bytes += SLOTS_BYTES
        self.keyspace.garbage_keys += self.size
        self.slots = []
        self.size = 0
        self.counts.reset()
        self.volatile_slots = set()
        self.look_for_due()
        self.field_expiries = FieldExpiries()
        self.forget_place()

    def adopt(self, other: Database) -> None:
        """Take the keys of `other`, of a keyspace that nobody else uses, in place of the own."""
        self.alert(other)
        self.forget_all()
        if other.slots:
            self.keyspace.ahead_bytes -= SLOTS_BYTES
            other.keyspace.ahead_bytes += SLOTS_BYTES
        self.slots, other.slots = other.slots, []
        self.size, other.size = other.size, 0
        self.counts = other.counts
        if self.hidden is not None:
            self.counts.hide(self.hidden)
        self.volatile_slots = other.volatile_slots
        self.field_expiries = other.field_expiries
        self.look_for_due()
        self.forget_place()
        other.forget_place()

    # -- the door -----------------------------------------------------------------------------

    def changed(self, key: bytes) -> bool:
        """Count a change of key and bump its version. True if the effect must be recorded."""
        self.log.dirty += 1
        if self.log.interest:
            self.touch(key)
        return self.log.recording

    def vanished(self, key: bytes) -> bool:
        """`changed` for what is no client's doing."""
        if not self.log.interest & TRACKED:
            return self.changed(key)
        self.keyspace.tracker.by_nobody = True
        recorded = self.changed(key)
        self.keyspace.tracker.by_nobody = False
        return recorded

    def touch(self, key: bytes) -> None:
        """Tell whoever asked to hear of changes of key."""
        entry = self.watched.get(key)
        if entry is not None:
            entry[0] += 1
        if key in self.waiting:
            self.ready(key)
        if self.log.interest & TRACKED:
            self.keyspace.tracker.changed(self, key)

    def ready(self, key: bytes) -> None:
        """Clients that wait for key are served after this command."""
        self.keyspace.ready[self, key] = None
        self.log.pending = True

    def alert(self, other: Database) -> None:
        """Every key of this database, or of `other`, is about to go or to be another's."""
        for key, entry in self.watched.items():
            if self.exists(key) or other.exists(key):
                entry[0] += 1
        for key in self.waiting:
            self.ready(key)

    def record(self, argv: list[bytes], event: bytes, event_class: bytes) -> None:
        """Hand the canonical command of a change over to the effect log."""
        self.log.append(self.index, argv, event, event_class)

    def note(self, key: bytes, event: bytes, event_class: bytes) -> None:
        """An event of key that is no change of data, or a second one of the same change."""
        if self.log.noting & NOTE_EVENTS:
            self.log.note(self.index, key, event, event_class)

    def note_new(self, key: bytes) -> None:
        if self.log.noting & NOTE_NEW:
            self.log.note(self.index, key, b"new", b"n")

    def expire(self, key: bytes) -> None:
        """Delete a key whose time has come. At a replica it stays until the primary says so."""
        if not self.keyspace.keeps_expired:
            self.remove_expired(key)

    def remove_expired(self, key: bytes) -> None:
        """Delete a key whose time has come."""
        self.keyspace.expired_keys += 1
        if self.drop(key) and self.vanished(key):
            self.record([b"DEL", key], b"expired", b"x")

    def expire_fields(self, key: bytes, value: Table, fields: list[bytes]) -> None:
        """Delete fields of the hash at key whose time has come, and the hash with the last."""
        if self.cut is not None:
            self.cut.before(key)
        gone = [field for field in fields if value.discard(field)]
        if not gone:
            return
        self.keyspace.expired_fields += len(gone)
        if self.changed(key):
            self.record([b"HDEL", key, *gone], b"hexpired", b"h")
        if value.count == 0:
            # It goes with its last field, wherever that is applied.
            self.drop(key)
            self.note(key, b"del", b"g")
        elif value.volatile_count == 0:
            self.field_expiries.forget(key)

    def evict(self, key: bytes) -> None:
        """Delete a key to make room."""
        self.keyspace.evicted_keys += 1
        if not self.drop(key):
            return
        table: Table | None = self.slots[self.last_slot]
        if table is not None and table.count == 0:
            # Where keys are few, the tables of their slots are much of what they take.
            self.slots[self.last_slot] = None
            self.forget_place()
        if self.vanished(key):
            self.record([b"DEL", key], b"evicted", b"e")

    def holds(self, key: bytes, volatile: object) -> bool:
        """True if key is here, expired or not, and (if asked) has an expiry."""
        expires = self.expiry(key)
        return expires >= 0 or (expires == -1 and not volatile)

    def random_slot(self, rng: Rng) -> i64:
        """A slot that is not hidden, drawn by its number of keys; -1 if there is none."""
        keys = self.visible()
        return self.counts.find(rng.below(keys)) if keys else -1

    # -- WATCH --------------------------------------------------------------------------------

    def watch(self, key: bytes) -> int:
        """Start counting versions of key for one more watcher; returns the version now."""
        self.exists(key)
        entry = self.watched.setdefault(key, [0, 0])
        entry[1] += 1
        self.log.interest |= WATCHED
        return entry[0]

    def unwatch(self, key: bytes) -> None:
        """One watcher less; the version is forgotten with the last."""
        entry = self.watched[key]
        entry[1] -= 1
        if entry[1] == 0:
            del self.watched[key]
            if not any(db.watched for db in self.keyspace.databases):
                self.log.interest &= ~WATCHED

    def version(self, key: bytes) -> int:
        """The version of a watched key, after expiring it if its time has come."""
        self.exists(key)
        return self.watched[key][0]


class FlushedTables:
    """The tables of a database that was flushed; freed in slices like any large value."""

    def __init__(self, tables: list[Table | None], keys: int) -> None:
        self.tables = tables
        self.keys = keys

    def __len__(self) -> int:
        return self.keys

    def clear_slice(self, limit: int) -> int:
        """Free about `limit` entries; returns how many are left."""
        tables = self.tables
        while tables and limit > 0:
            table = tables[-1]
            left = 0
            if table is not None and table.count:
                before = table.count
                left = table.clear_slice(limit)
                self.keys -= before - left
                limit -= before - left
            limit -= 1
            if left == 0:
                tables.pop()
        return self.keys


class Keyspace:
    """All databases of a node, their effect log, and values waiting to be freed."""

    def __init__(self, clock: Clock, rng: Rng, databases: int = 16) -> None:
        self.clock = clock
        self.rng = rng
        self.log = EffectLog()
        self.garbage: list[Any] = []
        self.garbage_keys = 0
        self.freed_values = 0
        # What the values that wait to be freed take, about: it is not counted against a limit.
        self.garbage_bytes = 0
        # What databases that are empty take with their first key.
        self.ahead_bytes = SLOTS_BYTES * databases
        self.evicted_keys = 0
        self.expired_keys = 0
        self.expired_fields = 0
        self.active_expiry = True
        # True at a replica that clients only read, and while clients are paused: keys and fields
        # whose time has come read as missing, and stay where they are until the primary's stream
        # removes them, or the pause is over.
        self.keeps_expired = False
        # True at any replica: nothing is looked for that may have expired.
        self.follows = False
        # (database, key) that clients of a replica that can be written to have let expire.
        self.own_volatile: dict[tuple[Database, bytes], None] = {}
        # True while the data is about to be another node's to lead: nothing is looked for either.
        self.frozen = False
        # list-max-listpack-size, for what OBJECT ENCODING answers (values/lists.py).
        self.list_limit = -2
        # (database, key) for which clients wait and which has changed, in order.
        self.ready: dict[tuple[Database, bytes], None] = {}
        # Hears of every changed key while log.interest has TRACKED (engine/tracking.py).
        self.tracker: Any = None
        # Where effects of function libraries are applied (node/scripting); None where there are no
        # scripts.
        self.libraries: Any = None
        self.databases = [Database(self, index) for index in range(databases)]
        # The cut in progress (persist/cut.py), or None.
        self.cut: Any = None

    def discard(self, value: Any) -> None:
        """Take a value that left the keyspace; a big one waits to be freed in slices."""
        if type(value) is not bytearray and len(value) > BIG_VALUE_ENTRIES:
            if self.cut is not None and self.cut.keeps(value):
                return
            self.garbage.append(value)
            self.garbage_bytes += value.nbytes

    def discard_slots(self, slots: list[Table | None], size: i64, listed: FieldExpiries) -> None:
        """Take the tables of a flushed database that had `size` keys, and its list of hashes."""
        self.garbage.append(FlushedTables([*slots, *listed.shards], size + listed.count))
        # Looking at every table would take milliseconds: its share of all keys must do.
        total = size + sum(db.size for db in self.databases if db.slots is not slots)
        self.garbage_bytes += heap.used() * size // total

    def free_slice(self, limit: int) -> bool:
        """Free at most about `limit` entries of discarded values. True while some are left."""
        held = heap.used()
        while self.garbage and limit > 0:
            value = self.garbage[-1]
            before = len(value)
            left = value.clear_slice(limit)
            limit -= before - left + 1
            if left == 0:
                self.garbage.pop()
            # A flushed database is as many values as it had keys.
            if isinstance(value, FlushedTables):
                self.freed_values += before - left
            elif left == 0:
                self.freed_values += 1
        freed = held - heap.used()
        self.garbage_bytes = max(0, self.garbage_bytes - freed) if self.garbage else 0
        return bool(self.garbage)

    def free_for(self, budget_ns: i64) -> bool:
        """Free discarded values for about so long. True while some are left."""
        if not self.garbage:
            return False
        deadline = self.clock.mono_ns() + budget_ns
        while self.free_slice(FREE_ENTRIES_PER_SLICE):
            if self.clock.mono_ns() > deadline:
                return True
        return False

    def forget_everything(self) -> None:
        """Remove every key of every database; nobody is told, since other data follows."""
        for db in self.databases:
            db.forget_all()

    def random_key(self, db: Database) -> bytes | None:
        """A key of db drawn at random, or None; expired keys met on the way are deleted.

        Where they stay there may be no other: as in Redis one is named after some tries.
        """
        tries = 0
        while db.visible():
            table = db.slots[db.random_slot(self.rng)]
            assert table is not None
            key: bytes | None = table.random_key(self.rng)
            tries += 1
            if key is not None and (
                db.exists(key) or (self.keeps_expired and tries > RANDOM_KEY_TRIES_MAX)
            ):
                return key
        return None
