"""Effect functions of consumer groups; the vocabulary of effects is in streams.py.

What a group has pending and what its consumers have changes here only, both lists together. Entries
need not exist to be pending. Nothing here tells WATCH, but for a stream that is made with its first
group; clients that wait to read from a group are told when it is destroyed.
"""

from __future__ import annotations

from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id
from isthmus.node.values.streams import (
    Consumer,
    Group,
    StreamValue,
    create,
    noted,
    record_ids,
    whole_id,
)
from isthmus.wire.scalars import i64, parse_int


def group_at(db: Database, key: bytes, name: bytes) -> Group | None:
    """The group that an effect is about, if it is still there."""
    value: StreamValue | None = db.lookup(key)
    return None if value is None else value.groups.get(name)


def create_group(
    db: Database, key: bytes, value: StreamValue | None, name: bytes, last: bytes, read: i64
) -> None:
    """XGROUP CREATE key name last MKSTREAM ENTRIESREAD read; the name is free."""
    fresh = value is None
    if value is None:
        value = create(db, key)
    value.groups[name] = Group(last, read)
    # WATCH sees that a key came to be, but not that a stream got a group.
    if db.changed(key) if fresh else noted(db):
        argv = [b"XGROUP", b"CREATE", key, name, format_id(last)]
        if fresh:
            argv.append(b"MKSTREAM")
        db.record([*argv, b"ENTRIESREAD", b"%d" % read], b"xgroup-create", b"t")


def set_group(
    db: Database, key: bytes, name: bytes, group: Group, last: bytes, read: i64, event: bytes
) -> None:
    """XGROUP SETID key name last ENTRIESREAD read"""
    group.last_id = last
    group.entries_read = read
    if noted(db):
        argv = [b"XGROUP", b"SETID", key, name, format_id(last), b"ENTRIESREAD", b"%d" % read]
        db.record(argv, event, b"t" if event else b"")


def advance(
    db: Database, key: bytes, name: bytes, value: StreamValue, group: Group, ids: list[bytes]
) -> None:
    """XGROUP SETID to the last of `ids`, which the group has delivered, counting them."""
    for id in ids:
        value.delivered(group, id)
    set_group(db, key, name, group, group.last_id, group.entries_read, b"")


def destroy_group(db: Database, key: bytes, value: StreamValue, name: bytes) -> None:
    """XGROUP DESTROY key name; whoever waits to read from the group is told."""
    del value.groups[name]
    if noted(db):
        db.record([b"XGROUP", b"DESTROY", key, name], b"xgroup-destroy", b"t")
    if key in db.waiting:
        db.ready(key)


def create_consumer(db: Database, key: bytes, name: bytes, group: Group, who: bytes) -> Consumer:
    """XGROUP CREATECONSUMER key name who; there is none of this name."""
    # When it was seen is no data, so the clock may be asked even while replaying.
    made = group.add_consumer(who, db.clock.now_ms)
    if noted(db):
        argv = [b"XGROUP", b"CREATECONSUMER", key, name, who]
        db.record(argv, b"xgroup-createconsumer", b"t")
    return made


def delete_consumer(db: Database, key: bytes, name: bytes, group: Group, who: bytes) -> i64:
    """XGROUP DELCONSUMER key name who; returns how many entries it had pending."""
    consumer = group.consumers.pop(who, None)
    if consumer is None:
        return 0
    del group.owners[consumer.number]
    for id in consumer.pending.page(ZERO_ID, MAX_ID, 0):
        group.pending.remove(id)
    if noted(db):
        argv = [b"XGROUP", b"DELCONSUMER", key, name, who]
        db.record(argv, b"xgroup-delconsumer", b"t")
    return len(consumer.pending)


@replays(b"XGROUP")
def replay_xgroup(db: Database, argv: list[bytes]) -> None:
    """XGROUP subcommand key group..."""
    verb, key, name = argv[1], argv[2], argv[3]
    value: StreamValue | None = db.lookup(key)
    if verb == b"CREATE":
        if value is not None or b"MKSTREAM" in argv[5:]:
            create_group(db, key, value, name, whole_id(argv[4]), parse_int(argv[-1]))
        return
    group = None if value is None else value.groups.get(name)
    if value is None or group is None:
        return
    if verb == b"SETID":
        set_group(db, key, name, group, whole_id(argv[4]), parse_int(argv[6]), b"")
    elif verb == b"DESTROY":
        destroy_group(db, key, value, name)
    elif verb == b"CREATECONSUMER":
        if argv[4] not in group.consumers:
            create_consumer(db, key, name, group, argv[4])
    else:
        delete_consumer(db, key, name, group, argv[4])


def acknowledge(db: Database, key: bytes, name: bytes, group: Group, ids: list[bytes]) -> i64:
    """XACK key name id...; returns how many were pending."""
    gone = [id for id in ids if group.forget(id)]
    if gone and noted(db):
        record_ids(db, [b"XACK", key, name], gone, b"", b"")
    return len(gone)


@replays(b"XACK")
def replay_xack(db: Database, argv: list[bytes]) -> None:
    """XACK key group id..."""
    group = group_at(db, argv[1], argv[2])
    if group is not None:
        acknowledge(db, argv[1], argv[2], group, [whole_id(text) for text in argv[3:]])


def claim(
    db: Database,
    key: bytes,
    name: bytes,
    group: Group,
    consumer: Consumer,
    ids: list[bytes],
    time_ms: i64,
    count: i64,
) -> None:
    """XCLAIM: consumer has `ids`, delivered at time_ms for the count-th time.

    As in Redis, a delivery is told to replicas and is by itself no change to save (`dirty`).
    """
    for id in ids:
        group.give(id, consumer, time_ms, count)
    if ids and db.log.recording:
        tail = [b"TIME", b"%d" % time_ms, b"RETRYCOUNT", b"%d" % count, b"FORCE", b"JUSTID"]
        tail += [b"LASTID", format_id(group.last_id)]
        for start in range(0, len(ids), 4096):
            some = map(format_id, ids[start : start + 4096])
            db.record([b"XCLAIM", key, name, consumer.name, b"0", *some, *tail], b"", b"")


@replays(b"XCLAIM")
def replay_xclaim(db: Database, argv: list[bytes]) -> None:
    """XCLAIM key group consumer 0 id... TIME ms RETRYCOUNT n FORCE JUSTID LASTID id"""
    group = group_at(db, argv[1], argv[2])
    if group is None:
        return
    consumer = group.consumers.get(argv[3])
    if consumer is None:
        consumer = create_consumer(db, argv[1], argv[2], group, argv[3])
    last = whole_id(argv[-1])
    if group.last_id < last:
        group.last_id = last
    time_ms = parse_int(argv[-7])
    consumer.active_ms = max(consumer.active_ms, time_ms)
    ids = [whole_id(text) for text in argv[5:-8]]
    claim(db, argv[1], argv[2], group, consumer, ids, time_ms, parse_int(argv[-5]))
