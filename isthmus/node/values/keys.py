"""Keys: the effect functions that concern a key whatever its type.

Effects: DEL key, PEXPIREAT key ms, PERSIST key, RENAME key newkey, COPY source destination DB n
REPLACE, MOVE key n, SWAPDB n m, FLUSHDB, FLUSHALL. RENAME and MOVE hand the value over as it is;
nothing is copied and nothing freed. Flushing frees nothing at once: the tables wait to be freed in
slices.
An effect that concerns two keys or databases bumps the versions of both, and is recorded once, in
the database of its first key.
"""

from __future__ import annotations

from typing import Any

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


def drop_empty(db: Database, key: bytes) -> None:
    """Delete the key of a value that a change has just emptied.

    This is no effect of its own: a list, set, hash or sorted set goes with its last element
    wherever the change is applied, here and in Redis.
    """
    db.drop(key)
    db.note(key, b"del", b"g")


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
    """FLUSHDB. Each key counts as a change."""
    db.log.dirty += db.size
    db.forget_all()
    if db.log.recording:
        db.record([b"FLUSHDB"], b"", b"")


@replays(b"FLUSHDB")
def replay_flushdb(db: Database, argv: list[bytes]) -> None:
    """FLUSHDB."""
    flush(db)


def flush_all(db: Database) -> None:
    """FLUSHALL, said to db. Each key counts as a change."""
    for each in db.keyspace.databases:
        if each.size:
            db.log.dirty += each.size
            each.forget_all()
    if db.log.recording:
        db.record([b"FLUSHALL"], b"", b"")


@replays(b"FLUSHALL")
def replay_flushall(db: Database, argv: list[bytes]) -> None:
    """FLUSHALL."""
    flush_all(db)


def load(db: Database, key: bytes, value: Any, expire: i64, mark: i64, room: i64) -> bool:
    """Put a key of a snapshot in its place (expire -1: none; mark -1: as new). False if it was
    there, which a snapshot may not say twice. `room` is how many keys its slot will have, about.

    This is the state that the effects behind it are applied to: nothing is recorded or counted.
    """
    if room:
        table = db.table_for(key)
        if table.count == 0:
            table.reserve(room)
    if not db.store(key, value, expire):
        return False
    if mark >= 0:
        db.table_for(key).mark(key, mark)
    return True


def take(db: Database, key: bytes) -> Any:
    """Remove a key that exists and return its value, which goes on living elsewhere."""
    if db.cut is not None:
        # Under another name it may be changed where it lies.
        db.cut.before(key)
    table = db.table_of(key)
    assert table is not None
    db.count(-1)
    db.field_expiries.forget(key)
    return table.pop(key)


def rename(db: Database, key: bytes, new: bytes) -> None:
    """RENAME key new: key exists and is not new; what new held is gone; the expiry moves along."""
    expire = db.expiry(key)
    value = take(db, key)
    db.drop(new)
    db.store(new, value, expire)
    db.changed(key)
    if db.changed(new):
        db.record([b"RENAME", key, new], b"rename_from", b"g")


@replays(b"RENAME")
def replay_rename(db: Database, argv: list[bytes]) -> None:
    """RENAME key newkey."""
    rename(db, argv[1], argv[2])


def copy(db: Database, key: bytes, target: Database, new: bytes) -> None:
    """COPY key new DB target REPLACE: key exists and is not new in target."""
    value = db.peek(key)
    expire = db.expiry(key)
    if type(value) is bytearray:
        value = bytearray(value)
    elif type(value) is not bytes:
        value = value.copy()
    target.drop(new)
    target.store(new, value, expire)
    if target.changed(new):
        argv = [b"COPY", key, new, b"DB", b"%d" % target.index, b"REPLACE"]
        db.record(argv, b"copy_to", b"g")


@replays(b"COPY")
def replay_copy(db: Database, argv: list[bytes]) -> None:
    """COPY source destination DB n REPLACE."""
    copy(db, argv[1], db.keyspace.databases[parse_int(argv[4])], argv[2])


def move(db: Database, key: bytes, target: Database) -> None:
    """MOVE key target: key exists here and not in target."""
    expire = db.expiry(key)
    target.store(key, take(db, key), expire)
    db.changed(key)
    if target.changed(key):
        db.record([b"MOVE", key, b"%d" % target.index], b"move_from", b"g")


@replays(b"MOVE")
def replay_move(db: Database, argv: list[bytes]) -> None:
    """MOVE key n."""
    move(db, argv[1], db.keyspace.databases[parse_int(argv[2])])


def swap(first: Database, second: Database) -> None:
    """SWAPDB first second: their keys change places; watchers of a key in either are told."""
    first.alert(second)
    second.alert(first)
    first.slots, second.slots = second.slots, first.slots
    first.size, second.size = second.size, first.size
    first.counts, second.counts = second.counts, first.counts
    first.volatile_slots, second.volatile_slots = second.volatile_slots, first.volatile_slots
    first.look_for_due()
    second.look_for_due()
    first.field_expiries, second.field_expiries = second.field_expiries, first.field_expiries
    first.cut, second.cut = second.cut, first.cut
    first.forget_place()
    second.forget_place()
    first.log.dirty += 1
    if first.log.recording:
        first.record([b"SWAPDB", b"%d" % first.index, b"%d" % second.index], b"", b"")


@replays(b"SWAPDB")
def replay_swapdb(db: Database, argv: list[bytes]) -> None:
    """SWAPDB n m."""
    databases = db.keyspace.databases
    swap(databases[parse_int(argv[1])], databases[parse_int(argv[2])])
