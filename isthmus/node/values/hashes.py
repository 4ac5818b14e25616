"""Hashes: the hash value and its effect functions.

A hash is a Table of fields; values up to 1 KiB lie packed beside their field. `outgrown` is what
Redis calls the encoding "hashtable": it is set once a hash has had more fields, or a longer field
or value, than a listpack may have, and never taken back. Nothing is stored differently then; only
OBJECT ENCODING, the paging of HSCAN and the order of replies look at it. The thresholds are
configuration, which effects may not read: commands call `fit` behind an effect that left `grown`
set; a replayed effect goes by Redis' default thresholds.

A field may have an expiry: that of its entry in the Table. `overdue` tells readers whether a look
at the clock is needed at all; a hash without such fields pays one comparison for it. As in Redis, a
field whose time has come stays until somebody asks for it (`without_expired`) or active expiry
finds it: HLEN and HDEL count it, HSET overwrites it, HEXPIRE revives it, and walks over the whole
hash (`live_items`) pass it by. The database lists hashes with such fields (engine/field_expiry.py);
every function here that takes the last one away takes the hash off that list. `timed` is what
Redis calls listpackex: the hash has had such a field.

Effects, each with its key: HSET key field value... (takes the expiry away), HDEL key field... (the
fields that were there), HINCRBY key field delta (delta and not sum, because a counter in a geo
database merges deltas; keeps the expiry), HPEXPIREAT key ms FIELDS n field..., HPERSIST key FIELDS
n field.... HINCRBYFLOAT is an HSET of the sum, and an HPEXPIREAT behind it if there was an expiry.
A hash that becomes empty is deleted with its last field, wherever the effect is applied. Replayers
pass over a hash that has expired meanwhile.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.ordered_table import OrderedTable
from isthmus.node.engine.table import Table
from isthmus.node.values.keys import drop_empty
from isthmus.wire.digits import parse_int
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import INT64_MAX, i64

LISTPACK_ENTRIES_MAX = 512
LISTPACK_VALUE_BYTES_MAX = 64
# Conditions of HEXPIRE, and what it and HPERSIST say about a field.
NX, XX, GT, LT = 1, 2, 3, 4
NO_FIELD = -2
NO_EXPIRY = -1
NOT_MET = 0
DONE = 1
DELETED = 2


class HashValue(OrderedTable):
    """The value of a key that holds a hash."""

    kind = b"hash"

    def __init__(self) -> None:
        super().__init__()
        self.outgrown = False
        self.grown = False
        self.timed = False
        self.longest = 0

    def write(self, field: bytes, value: bytes) -> bool:
        """Set field to value. True if the field is new."""
        new = self.put(field, value)
        self.measure(field, value, new)
        return new

    def write_keep(self, field: bytes, value: bytes) -> bool:
        """Set field to value and leave its expiry. True if the field is new."""
        new = self.put_keep(field, value)
        self.measure(field, value, new)
        return new

    def measure(self, field: bytes, value: bytes, new: bool) -> None:
        """Note what was written, for the encoding."""
        if not self.outgrown:
            if len(field) > self.longest:
                self.longest = len(field)
                self.grown = True
            if len(value) > self.longest:
                self.longest = len(value)
                self.grown = True
            if new:
                self.grown = True

    def fit(self, entries_max: i64, value_bytes_max: i64) -> None:
        """Look again at whether this hash would still be a listpack."""
        self.grown = False
        if self.count > entries_max or self.longest > value_bytes_max:
            self.outgrown = True

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        if self.outgrown:
            return b"hashtable"
        return b"listpackex" if self.timed else b"listpack"

    def overdue(self, now: i64) -> bool:
        """True if there may be fields whose time has come; False if there are none."""
        return self.volatile_count > 0 and self.expire_hint <= now

    def keys(self) -> list[bytes]:
        """All fields, as a new list; in the order of a listpack while this would be one."""
        return Table.keys(self) if self.outgrown else self.ordered(False, False, -1)

    def items(self) -> list[tuple[bytes, Any]]:
        """All (field, value), as a new list, in the order of keys()."""
        if self.outgrown:
            return Table.items(self)
        flat = self.ordered(True, False, -1)
        return list(zip(flat[::2], flat[1::2], strict=True))

    def write_fields(self, reply: ReplyWriter, fields: bool, values: bool) -> None:
        """Write all fields and/or values as bulk strings, without a header."""
        if self.outgrown:
            self.write_all(reply, fields, values)
        else:
            self.write_ordered(reply, fields, values, False)

    def live_items(self, now: i64) -> list[Any]:
        """Field, value, field, value...: those whose time has not come."""
        if not self.outgrown:
            return self.ordered(True, False, now)
        found: list[Any] = []
        cursor = self.scan(0, found, True, now)
        while cursor:
            cursor = self.scan(cursor, found, True, now)
        return found

    def live_copy(self, now: i64) -> HashValue:
        """A new hash of the fields whose time has not come."""
        made = HashValue()
        items = self.live_items(now)
        for at in range(0, len(items), 2):
            made.put(items[at], items[at + 1])
        made.outgrown = self.outgrown
        return made

    def expiries(self) -> dict[bytes, int]:
        """Field -> Unix ms, of the fields that have an expiry."""
        if self.volatile_count == 0:
            return {}
        return {field: when for field in self.keys() if (when := self.expiry(field)) >= 0}

    def plain(self) -> Any:
        """Field -> value, and the expiries if there are any."""
        return (dict(self.items()), self.expiries()) if self.volatile_count else dict(self.items())

    def copy(self) -> HashValue:
        """An equal hash that shares nothing with this one."""
        made = HashValue()
        for field, value in self.items():
            made.put(field, value)
        # Of those that are due together the last one set comes first.
        for field, when in reversed(self.expiries().items()):
            made.set_expiry(field, when)
        made.outgrown = self.outgrown
        made.timed = self.timed
        made.longest = self.longest
        return made


def create(db: Database, key: bytes) -> HashValue:
    """An empty hash at key, which the caller fills by an effect before anything else happens."""
    value = HashValue()
    db.store(key, value, -1)
    return value


def find_or_create(db: Database, key: bytes) -> HashValue:
    """The hash at key, for replayers."""
    value: HashValue | None = db.lookup(key)
    return create(db, key) if value is None else value


def set_fields(db: Database, value: HashValue, argv: list[bytes]) -> i64:
    """HSET key field value..., as `argv`, whose first word is ignored; returns how many are new."""
    key = argv[1]
    created: i64 = 0
    at: i64 = 2
    volatile = value.volatile_count
    while at + 1 < len(argv):
        if value.write(argv[at], argv[at + 1]):
            created += 1
        at += 2
    if volatile and value.volatile_count == 0:
        db.field_expiries.forget(key)
    if db.changed(key):
        db.record([b"HSET", *argv[1:]], b"hset", b"h")
    return created


def set_total(db: Database, key: bytes, value: HashValue, field: bytes, text: bytes) -> None:
    """HSET key field text for HINCRBYFLOAT, which leaves the expiry."""
    when = value.expiry(field) if value.volatile_count else -1
    value.write_keep(field, text)
    if db.changed(key):
        db.record([b"HSET", key, field, text], b"hincrbyfloat", b"h")
        if when >= 0:
            db.record([b"HPEXPIREAT", key, b"%d" % when, b"FIELDS", b"1", field], b"", b"")


@replays(b"HSET")
def replay_hset(db: Database, argv: list[bytes]) -> None:
    """HSET key field value..."""
    value = find_or_create(db, argv[1])
    set_fields(db, value, argv)
    value.fit(LISTPACK_ENTRIES_MAX, LISTPACK_VALUE_BYTES_MAX)


def increment(
    db: Database, key: bytes, value: HashValue, field: bytes, total: i64, delta: i64
) -> None:
    """HINCRBY key field delta; `total` is the sum, computed by the caller."""
    value.write_keep(field, b"%d" % total)
    if db.changed(key):
        db.record([b"HINCRBY", key, field, b"%d" % delta], b"hincrby", b"h")


@replays(b"HINCRBY")
def replay_hincrby(db: Database, argv: list[bytes]) -> None:
    """HINCRBY key field delta."""
    value = find_or_create(db, argv[1])
    old = value.get(argv[2])
    delta = parse_int(argv[3])
    increment(db, argv[1], value, argv[2], (0 if old is None else parse_int(old)) + delta, delta)
    value.fit(LISTPACK_ENTRIES_MAX, LISTPACK_VALUE_BYTES_MAX)


def remove_fields(db: Database, value: HashValue, argv: list[bytes]) -> i64:
    """HDEL key field..., as `argv`, whose first word is ignored; returns how many were there."""
    key = argv[1]
    gone = [field for field in argv[2:] if value.discard(field)]
    if gone:
        removed(db, key, value, gone)
    return len(gone)


def removed(db: Database, key: bytes, value: HashValue, gone: list[bytes]) -> None:
    """HDEL key field... of fields that have just been taken out of value."""
    if db.changed(key):
        db.record([b"HDEL", key, *gone], b"hdel", b"h")
    if value.count == 0:
        drop_empty(db, key)
    elif value.volatile_count == 0:
        # Nothing to do unless the last field with an expiry was among them.
        db.field_expiries.forget(key)


@replays(b"HDEL")
def replay_hdel(db: Database, argv: list[bytes]) -> None:
    """HDEL key field..."""
    value: HashValue | None = db.lookup(argv[1])
    if value is not None:
        remove_fields(db, value, argv)


# --- fields that expire --------------------------------------------------------------------------


def without_expired(
    db: Database, key: bytes, value: HashValue, fields: list[bytes]
) -> HashValue | None:
    """Delete those of the fields whose time has come; None if the hash went with the last.

    At a replica they stay: the answer is a copy without them.
    """
    now: i64 = db.clock.expiry_ms()
    gone = [field for field in fields if value.expired(field, now)]
    if gone and db.keyspace.keeps_expired:
        value = value.copy()
        for field in gone:
            value.discard(field)
    elif gone:
        db.expire_fields(key, value, gone)
    return value if value.count else None


def without_any_expired(db: Database, key: bytes, value: HashValue) -> HashValue | None:
    """Delete all fields whose time has come; None if the hash went with the last.

    At a replica they stay: the answer is a copy without them.
    """
    now: i64 = db.clock.expiry_ms()
    if db.keyspace.keeps_expired:
        value = value.live_copy(now)
        return value if value.count else None
    # The first walk may end one that was begun elsewhere; what that has passed is seen by the next.
    while value.count and value.overdue(now):
        db.expire_fields(key, value, value.expired_keys(now, INT64_MAX))
    return value if value.count else None


def may_expire(known: i64, when: i64, condition: i64) -> i64:
    """DONE if a field whose expiry is `known` may get `when`, else NO_FIELD or NOT_MET."""
    if known == NO_FIELD:
        return NO_FIELD
    if known == NO_EXPIRY:
        return NOT_MET if condition in (XX, GT) else DONE
    if condition == NX:
        return NOT_MET
    if (condition == GT and known >= when) or (condition == LT and known <= when):
        return NOT_MET
    return DONE


def expire_fields_at(
    db: Database,
    key: bytes,
    value: HashValue,
    when: i64,
    condition: i64,
    passed: bool,
    fields: list[bytes],
) -> list[int]:
    """HPEXPIREAT key when FIELDS n field...; `passed`: HDEL instead. A code for each field."""
    codes: list[int] = []
    done: list[bytes] = []
    # As in Redis, whether a field gets an expiry or not.
    value.timed = True
    for field in fields:
        code = may_expire(value.expiry(field), when, condition)
        if code == DONE:
            done.append(field)
            if passed:
                code = DELETED
                value.discard(field)
            else:
                value.set_expiry(field, when)
        codes.append(code)
    if not done:
        return codes
    if passed:
        db.keyspace.expired_fields += len(done)
        removed(db, key, value, done)
        return codes
    db.field_expiries.note(key, when)
    if db.changed(key):
        argv = [b"HPEXPIREAT", key, b"%d" % when, b"FIELDS", b"%d" % len(done), *done]
        db.record(argv, b"hexpire", b"h")
    return codes


@replays(b"HPEXPIREAT")
def replay_hpexpireat(db: Database, argv: list[bytes]) -> None:
    """HPEXPIREAT key ms FIELDS n field..."""
    value: HashValue | None = db.lookup(argv[1])
    if value is not None:
        expire_fields_at(db, argv[1], value, parse_int(argv[2]), 0, False, argv[5:])


def persist_fields(
    db: Database, key: bytes, value: HashValue, fields: list[bytes], now: i64
) -> list[int]:
    """HPERSIST key FIELDS n field... of those not due at `now`; a code for each field."""
    codes: list[int] = []
    done: list[bytes] = []
    for field in fields:
        code = value.expiry(field)
        if 0 <= code <= now:
            code = NO_FIELD
        elif code >= 0:
            value.set_expiry(field, -1)
            done.append(field)
            code = DONE
        codes.append(code)
    if done:
        if value.volatile_count == 0:
            db.field_expiries.forget(key)
        if db.changed(key):
            argv = [b"HPERSIST", key, b"FIELDS", b"%d" % len(done), *done]
            db.record(argv, b"hpersist", b"h")
    return codes


@replays(b"HPERSIST")
def replay_hpersist(db: Database, argv: list[bytes]) -> None:
    """HPERSIST key FIELDS n field..."""
    value: HashValue | None = db.lookup(argv[1])
    if value is not None:
        persist_fields(db, argv[1], value, argv[4:], -1)
