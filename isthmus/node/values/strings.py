"""Strings: the effect functions of plain values.

A string is `bytes` as long as it is replaced whole (Redis' int and embstr encodings, and raw beyond
44 bytes); APPEND, SETRANGE and SETBIT turn it into a `bytearray` that grows in place (raw).
Effects: SET key value [PXAT ms | KEEPTTL], INCRBY key delta, APPEND key tail, SETRANGE key offset
patch. INCRBY keeps its delta, because a counter in a geo database merges deltas, not results.

A string can be made large by one short request (SETRANGE, SETBIT, BITFIELD). The zeros are
allocated once and not copied; where they cannot be had, the client gets an error and the key stays
as it was.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.effect import replays
from isthmus.node.engine.errors import NOT_INTEGER, OVERFLOW, WRONGTYPE, RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.wire.digits import format_int, parse_int
from isthmus.wire.scalars import INT64_MAX, INT64_MIN, i64

# What Database.increment answers when it did nothing.
NO_INTEGER = 1
NO_ROOM = 2
NOT_PACKED = 3

# One more than any integer takes.
NUMBER_BYTES_MAX = 21
NO_MEMORY = b"ERR insufficient memory for a string of this length"


def put(db: Database, key: bytes, value: bytes, expire: i64, event: bytes) -> None:
    """SET key value [PXAT expire]; expire is Unix ms, -1 for none."""
    db.store(key, value, expire)
    if db.changed(key):
        argv = [b"SET", key, value]
        if expire >= 0:
            argv += [b"PXAT", b"%d" % expire]
        db.record(argv, event, b"$")


def put_keep(db: Database, key: bytes, value: bytes, event: bytes) -> None:
    """SET key value KEEPTTL."""
    db.store_keep(key, value)
    if db.changed(key):
        db.record([b"SET", key, value, b"KEEPTTL"], event, b"$")


@replays(b"SET")
def replay_set(db: Database, argv: list[bytes]) -> None:
    """SET key value [PXAT ms | KEEPTTL]."""
    if len(argv) == 3:
        put(db, argv[1], argv[2], -1, b"set")
    elif argv[3] == b"KEEPTTL":
        put_keep(db, argv[1], argv[2], b"set")
    else:
        put(db, argv[1], argv[2], parse_int(argv[4]), b"set")


def increment(db: Database, key: bytes, delta: i64, event: bytes) -> i64:
    """INCRBY key delta: the sum; the expiry stays. RedisError if there is no integer or no room."""
    status = db.increment(key, delta)
    if status == NOT_PACKED:
        status = increment_other(db, key, delta)
    if status == NO_INTEGER:
        raise RedisError(NOT_INTEGER)
    if status == NO_ROOM:
        raise RedisError(OVERFLOW)
    total = db.total
    if db.changed(key):
        db.record([b"INCRBY", key, format_int(delta)], event, b"$")
    return total


def increment_other(db: Database, key: bytes, delta: i64) -> i64:
    """As Database.increment for a value that is not plain bytes: a number made by APPEND."""
    old = db.lookup(key)
    if type(old) is bytes:
        return NO_INTEGER
    if type(old) is not bytearray:
        raise RedisError(WRONGTYPE)
    try:
        number = parse_int(bytes(old[:NUMBER_BYTES_MAX]))
    except ValueError:
        return NO_INTEGER
    # Not by their sum, which may be no int64.
    if number > INT64_MAX - delta if delta > 0 else number < INT64_MIN - delta:
        return NO_ROOM
    # Stored as plain bytes it is counted like any other.
    db.store_keep(key, bytes(old))
    return db.increment(key, delta)


@replays(b"INCRBY")
def replay_incrby(db: Database, argv: list[bytes]) -> None:
    """INCRBY key delta."""
    increment(db, argv[1], parse_int(argv[2]), b"incrby")


def append(db: Database, key: bytes, old: Any, tail: bytes) -> None:
    """APPEND key tail; `old` is the string there now."""
    if type(old) is bytearray:
        old += tail
        db.grew(key, len(tail))
    else:
        db.store_keep(key, bytearray(old + tail))
    if db.changed(key):
        db.record([b"APPEND", key, tail], b"append", b"$")


@replays(b"APPEND")
def replay_append(db: Database, argv: list[bytes]) -> None:
    """APPEND key tail."""
    append(db, argv[1], db.lookup(argv[1]), argv[2])


def grown(db: Database, key: bytes, old: Any, length: i64) -> bytearray:
    """The string at key, `old` or None, as a bytearray of at least `length` bytes, in its place."""
    have = 0 if old is None else len(old)
    if type(old) is bytearray and have >= length:
        return old
    try:
        if type(old) is bytearray and 2 * have >= length:
            old.extend(bytes(length - have))
            db.grew(key, length - have)
            return old
        made = bytearray(length if length > have else have)
    except MemoryError:
        raise RedisError(NO_MEMORY) from None
    if have:
        made[:have] = old
    db.store_keep(key, made)
    return made


def overlay(db: Database, key: bytes, old: Any, offset: i64, patch: bytes) -> None:
    """SETRANGE key offset patch; `old` is the string there now or None; zeros fill a gap."""
    data: bytearray = grown(db, key, old, offset + len(patch))
    data[offset : offset + len(patch)] = patch
    if db.changed(key):
        db.record([b"SETRANGE", key, b"%d" % offset, patch], b"setrange", b"$")


@replays(b"SETRANGE")
def replay_setrange(db: Database, argv: list[bytes]) -> None:
    """SETRANGE key offset patch."""
    overlay(db, argv[1], db.lookup(argv[1]), parse_int(argv[2]), argv[3])
