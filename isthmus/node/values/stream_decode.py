"""Streams as RDB has them: blocks, what is known of the stream, groups, consumers, who has what.

    blocks:     count, (key: string of 16 bytes, listpack: string)...
    stream:     length, last id; from format 2 on: first id, largest deleted id, entries ever added
    groups:     count, (name, last id; from format 2 on: entries read, 2^64 - 1 for unknown;
                        pending: count, (16 bytes id, i64 Unix ms, deliveries)...;
                        consumers: count, (name, i64 seen, from format 3 on: i64 active;
                                           pending: count, 16 bytes id ...)...)...

An id is two numbers that are written as lengths, but for those of 16 bytes, big-endian. Refused:
blocks out of order, a length that is not that of the blocks, an id in a block beyond the last id, a
name or a pending id twice, a pending entry of a consumer that the group does not have, one with two
owners, one with none. The first id is what the blocks say, whatever is written. Redis 5 and 6,
which wrote format 1, did not count: entries added and read are estimated as Redis does.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.node.values.stream_ids import ZERO_ID, make_id, wrap64
from isthmus.node.values.stream_load import load_block
from isthmus.node.values.streams import Consumer, Group, StreamValue
from isthmus.wire.rdb_reader import RdbReader
from isthmus.wire.scalars import i64

NO_OWNER = -1
BLOCK_BYTES_MIN = 26


def read_id(reader: RdbReader) -> bytes:
    """An id in two numbers."""
    ms = reader.number()
    return make_id(ms, reader.number())


def stream_parts(reader: RdbReader, value: StreamValue, version: i64) -> Iterator[bool]:
    """Read a stream of format 1, 2 or 3 into an empty one, and say so after each part of it;
    RdbError if it cannot have come about."""
    for _ in range(reader.count(BLOCK_BYTES_MIN, "stream")):
        at = reader.position
        key = reader.string()
        try:
            load_block(value, key, reader.string())
        except ValueError as error:
            if hasattr(error, "offset"):
                raise
            raise reader.error(str(error), at) from None
        yield True
    read_state(reader, value, version)
    for _ in range(reader.count(5, "stream's list of groups")):
        name = reader.string()
        if name in value.groups:
            raise reader.error(f"the group {name[:40]!r} twice in a stream")
        value.groups[name] = group = read_group(reader, value, version)
        yield from read_group_parts(reader, group, version)


def read_state(reader: RdbReader, value: StreamValue, version: i64) -> None:
    """What is known of the stream besides its entries."""
    at = reader.position
    length = reader.number()
    last = read_id(reader)
    top, added = ZERO_ID, length
    if version >= 2:
        read_id(reader)
        top = read_id(reader)
        added = wrap64(reader.number())
    if length != len(value):
        raise reader.error(f"a stream of {len(value)} entries says that they are {length}", at)
    if value.block_count and value.last_id > last:
        raise reader.error("a stream has entries beyond its last id", at)
    if top > last:
        raise reader.error("a stream's largest deleted id is beyond its last id", at)
    if added < length:
        raise reader.error(f"a stream of {length} entries, {added} of which were added", at)
    value.set_state(last, top, added)


def read_group(reader: RdbReader, value: StreamValue, version: i64) -> Group:
    """A group behind its name: what it has read."""
    last = read_id(reader)
    read = wrap64(reader.number()) if version >= 2 else value.distance(last)
    if read < -1:
        raise reader.error(f"a group has read {read} entries")
    return Group(last, read)


def read_group_parts(reader: RdbReader, group: Group, version: i64) -> Iterator[bool]:
    """What is pending in a group, and its consumers."""
    for _ in range(reader.count(25, "group's list of pending entries")):
        id = reader.raw(16)
        time_ms = reader.i64()
        if not group.pending.put(id, time_ms, wrap64(reader.number()), NO_OWNER):
            raise reader.error("an entry is pending twice in a group")
        yield True
    owned = 0
    for _ in range(reader.count(10, "group's list of consumers")):
        name = reader.string()
        if name in group.consumers:
            raise reader.error(f"the consumer {name[:40]!r} twice in a group")
        consumer = group.add_consumer(name, reader.i64())
        consumer.active_ms = reader.i64() if version >= 3 else consumer.seen_ms
        count = reader.count(16, "consumer's list of pending entries")
        owned += count
        for _ in range(count):
            take_pending(reader, group, consumer, reader.raw(16))
            yield True
    if owned != len(group.pending):
        raise reader.error(f"{len(group.pending) - owned} pending entries have no consumer")


def take_pending(reader: RdbReader, group: Group, consumer: Consumer, id: bytes) -> None:
    """The consumer is the one who has an entry that is pending in its group."""
    found = group.pending.get(id)
    if found is None:
        raise reader.error("a consumer has an entry that is not pending in its group")
    if found[2] != NO_OWNER:
        raise reader.error("a pending entry has two owners")
    group.pending.put(id, found[0], found[1], consumer.number)
    consumer.pending.put(id, 0, 0, 0)
