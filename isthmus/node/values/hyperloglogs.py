"""HyperLogLogs: the effect functions of strings that count distinct elements.

The bytes are worked on by values/hll.py, in a `bytearray`. Effects:

- PFADD key element...: the registers it raises follow from the elements. It makes a missing key.
- PFDEBUG TODENSE key: when a string became dense because of its length. That limit is
  configuration, which effects may not read, so a replayed PFADD knows none and this follows it.
- PFCOUNT key: the cached count was renewed; it is part of the bytes.
- A merge is SET key bytes KEEPTTL, because its sources may have expired when it is replayed.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.effect import replays
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.node.values import hll
from isthmus.wire.scalars import i64

CORRUPT = b"INVALIDOBJ Corrupted HLL object detected"


def mutable(db: Database, key: bytes, value: Any) -> bytearray:
    """The string at key, which is `value`, as a bytearray in its place; nothing is recorded."""
    if type(value) is not bytearray:
        value = bytearray(value)
        db.store_keep(key, value)
    return value  # type: ignore[no-any-return]


def add_elements(db: Database, key: bytes, value: Any, argv: list[bytes], limit: i64) -> bool:
    """PFADD key element... (argv[2:]); `value` is the string there now or None.

    False if nothing has changed. RedisError if the string is corrupt; it is left as it was then.
    """
    changed = value is None
    data = hll.empty() if value is None else mutable(db, key, value)
    before: bytes | None = None
    size = len(data)
    was_sparse = hll.sparse(data)
    if was_sparse and not changed:
        before = bytes(data)
    for at in range(2, len(argv)):
        state: i64 = hll.add(data, argv[at], limit)
        if state < 0:
            if before is not None:
                data[:] = before
            raise RedisError(CORRUPT)
        if state:
            changed = True
    if not changed:
        return False
    hll.set_cached(data, -1)
    if value is None:
        db.store(key, data, -1)
    elif len(data) != size:
        db.grew(key, len(data) - size)
    if db.changed(key):
        db.record([b"PFADD", *argv[1:]], b"pfadd", b"$")
        if was_sparse and not hll.sparse(data) and limit != hll.NO_LIMIT:
            db.record([b"PFDEBUG", b"TODENSE", key], b"", b"")
    return True


@replays(b"PFADD")
def replay_pfadd(db: Database, argv: list[bytes]) -> None:
    """PFADD key element..."""
    add_elements(db, argv[1], db.lookup(argv[1]), argv, hll.NO_LIMIT)


def make_dense(db: Database, key: bytes, data: bytearray) -> None:
    """PFDEBUG TODENSE key; RedisError if the string is corrupt."""
    size = len(data)
    if not hll.to_dense(data):
        raise RedisError(CORRUPT)
    db.grew(key, len(data) - size)
    if db.changed(key):
        db.record([b"PFDEBUG", b"TODENSE", key], b"", b"")


@replays(b"PFDEBUG")
def replay_pfdebug(db: Database, argv: list[bytes]) -> None:
    """PFDEBUG TODENSE key."""
    value = db.lookup(argv[2])
    if value is not None and hll.sparse(value):
        make_dense(db, argv[2], mutable(db, argv[2], value))


def count(db: Database, key: bytes, value: Any) -> i64:
    """The count of the string at key; PFCOUNT key if it had to be worked out."""
    total: i64 = hll.cached(value)
    if total >= 0:
        return total
    total = hll.count(value)
    if total < 0:
        raise RedisError(CORRUPT)
    hll.set_cached(mutable(db, key, value), total)
    if db.changed(key):
        db.record([b"PFCOUNT", key], b"", b"")
    return total


@replays(b"PFCOUNT")
def replay_pfcount(db: Database, argv: list[bytes]) -> None:
    """PFCOUNT key."""
    value = db.lookup(argv[1])
    if value is not None:
        count(db, argv[1], value)


def store_merged(db: Database, key: bytes, data: bytearray) -> None:
    """SET key data KEEPTTL, the result of a merge."""
    db.store_keep(key, data)
    if db.changed(key):
        db.record([b"SET", key, bytes(data), b"KEEPTTL"], b"pfadd", b"$")
