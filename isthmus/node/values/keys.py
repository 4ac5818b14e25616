"""Keys: the effect functions that concern a key whatever its type.

Effects: DEL key, PEXPIREAT key ms, PERSIST key, RENAME key newkey, COPY source destination db,
MOVE key db, FLUSHDB. Flushing frees nothing at once: the tables wait to be freed in slices.
"""

from __future__ import annotations

from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.wire.scalars import i64, parse_int


def delete(db: Database, key: bytes) -> bool:
    """DEL key. False if there was nothing to delete."""
    if not db.drop(key):
        return False
    if db.changed(key):
        db.record([b"DEL", key], b"del", b"g")
    return True


@replays(b"DEL")
def replay_del(db: Database, argv: list[bytes]) -> None:
    """DEL key."""
    delete(db, argv[1])


def expire_at(db: Database, key: bytes, expire: i64) -> bool:
    """PEXPIREAT key ms (Unix ms, in the future). False if the key is missing."""
    if not db.set_expire(key, expire):
        return False
    if db.changed(key):
        db.record([b"PEXPIREAT", key, b"%d" % expire], b"expire", b"g")
    return True


@replays(b"PEXPIREAT")
def replay_pexpireat(db: Database, argv: list[bytes]) -> None:
    """PEXPIREAT key ms."""
    expire_at(db, argv[1], parse_int(argv[2]))


def persist(db: Database, key: bytes) -> bool:
    """PERSIST key. False if the key is missing."""
    if not db.set_expire(key, -1):
        return False
    if db.changed(key):
        db.record([b"PERSIST", key], b"persist", b"g")
    return True


@replays(b"PERSIST")
def replay_persist(db: Database, argv: list[bytes]) -> None:
    """PERSIST key."""
    persist(db, argv[1])


def flush(db: Database) -> None:
    """FLUSHDB."""
    db.forget_all()
    if db.changed(b""):
        db.record([b"FLUSHDB"], b"", b"")


@replays(b"FLUSHDB")
def replay_flushdb(db: Database, argv: list[bytes]) -> None:
    """FLUSHDB."""
    flush(db)
