"""Hashes: the hash value and its effect functions.

A hash is a Table of fields; values up to 1 KiB lie packed beside their field. `outgrown` is what
Redis calls the encoding "hashtable": it is set once a hash has had more fields, or a longer field
or value, than a listpack may have, and never taken back. Nothing is stored differently then; only
OBJECT ENCODING and the paging of HSCAN look at it. The thresholds are configuration, which effects
may not read: commands call `fit` behind an effect that left `grown` set; a replayed effect goes by
Redis' default thresholds.

Effects, each with its key: HSET key field value..., HDEL key field... (the fields that were there),
HINCRBY key field delta (delta and not sum, because a counter in a geo database merges deltas).
HINCRBYFLOAT is an HSET of the sum. A hash that becomes empty is deleted by the effect DEL behind
the HDEL. Replayers pass over a hash that has expired meanwhile.
"""

from __future__ import annotations

from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.table import Table
from isthmus.node.values.keys import delete
from isthmus.wire.digits import parse_int
from isthmus.wire.scalars import i64

LISTPACK_ENTRIES_MAX = 512
LISTPACK_VALUE_BYTES_MAX = 64


class HashValue(Table):
    """The value of a key that holds a hash."""

    kind = b"hash"

    def __init__(self) -> None:
        super().__init__()
        self.outgrown = False
        self.grown = False
        self.longest = 0

    def write(self, field: bytes, value: bytes) -> bool:
        """Set field to value. True if the field is new."""
        new = self.put(field, value)
        if not self.outgrown:
            if len(field) > self.longest:
                self.longest = len(field)
                self.grown = True
            if len(value) > self.longest:
                self.longest = len(value)
                self.grown = True
            if new:
                self.grown = True
        return new

    def fit(self, entries_max: i64, value_bytes_max: i64) -> None:
        """Look again at whether this hash would still be a listpack."""
        self.grown = False
        if self.count > entries_max or self.longest > value_bytes_max:
            self.outgrown = True

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"hashtable" if self.outgrown else b"listpack"

    def plain(self) -> dict[bytes, bytes]:
        """Field -> value."""
        return dict(self.items())

    def copy(self) -> HashValue:
        """An equal hash that shares nothing with this one."""
        made = HashValue()
        for field, value in self.items():
            made.put(field, value)
        made.outgrown = self.outgrown
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
    while at + 1 < len(argv):
        if value.write(argv[at], argv[at + 1]):
            created += 1
        at += 2
    if db.changed(key):
        db.record([b"HSET", *argv[1:]], b"hset", b"h")
    return created


def set_field(
    db: Database, key: bytes, value: HashValue, field: bytes, text: bytes, event: bytes
) -> None:
    """HSET key field text; the event names the command (hset, hincrbyfloat)."""
    value.write(field, text)
    if db.changed(key):
        db.record([b"HSET", key, field, text], event, b"h")


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
    value.write(field, b"%d" % total)
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
        if db.changed(key):
            db.record([b"HDEL", key, *gone], b"hdel", b"h")
        if value.count == 0:
            delete(db, key)
    return len(gone)


@replays(b"HDEL")
def replay_hdel(db: Database, argv: list[bytes]) -> None:
    """HDEL key field..."""
    value: HashValue | None = db.lookup(argv[1])
    if value is not None:
        remove_fields(db, value, argv)
