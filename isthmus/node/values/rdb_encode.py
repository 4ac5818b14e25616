"""Values as RDB (version 12, that of Redis 7.4): in a snapshot, and as the payload of DUMP.

Each value is written in the encoding that Redis would store and save it in, which OBJECT ENCODING
tells; so the payload of a small value is byte for byte Redis' own. Groups and consumers of streams
are written by name, as they lie in Redis' trees.

    type   what         body
    0      string       string
    18     list         nodes; each: 2, listpack | 1, one element too large for that
    11     set          intset, for whole numbers
    20/2   set          listpack | count, each member
    17/5   sorted set   listpack: member score ... | count, each: member, double; highest first
    16/4   hash         listpack: field value ... | count, each: field, value
    25/24  hash whose   soonest expiry (8 bytes, Unix ms), then
           fields       listpack: field value expiry (0: none) ...
           expire       | count, each: expiry - soonest + 1 (0: none), field, value
    21     stream       count of blocks, each: first id (16 bytes), listpack; entries; last, first
                        and largest deleted id; entries ever added; count of groups, each:
                            name; last id; entries read; count pending, each: id (16 bytes), time of
                            delivery, deliveries; count of consumers, each: name; seen, active
                            (8 bytes each); count pending, each: id

Listpacks and intsets stand in one string (wire/listpack.py, engine/table_rdb.py). They are for what
is small: should the configuration make them large, they are written in the other form, since one
string can be neither sliced nor loaded with little memory. For a listpackex without any expiry the
soonest is 0. Of a large hash the soonest may be too early; readers only take differences from it.

Ids of streams are two numbers, or 16 bytes big-endian where they are keys. What is big is written
in slices (`BodyWriter`), between which the value may not change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from isthmus.node.engine.table import Table
from isthmus.node.engine.table_rdb import (
    save_entries,
    save_intset,
    save_listpack,
    save_mark,
    save_timed,
    soonest_expiry,
)
from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import ListValue
from isthmus.node.values.pending_list import PendingList
from isthmus.node.values.rdb_walk import (
    ListNodes,
    save_blocks,
    save_list_listpack,
    save_pending,
    save_scores,
    save_zset_listpack,
)
from isthmus.node.values.sets import HASHTABLE, INTSET, SetValue
from isthmus.node.values.stream_ids import ZERO_ID
from isthmus.node.values.streams import Group, StreamValue
from isthmus.node.values.zsets import ZSetValue
from isthmus.wire.crc64 import crc64
from isthmus.wire.rdb_writer import RdbWriter
from isthmus.wire.scalars import i64

VERSION = 12
EXPIRY_MS = 0xFC
NODE_PACKED = 2
# What is larger is not written as one listpack or intset.
PACKED_ENTRIES_MAX = 8192
PACKED_BYTES_MAX = 1 << 20
# Of a larger hash only about the soonest expiry of a field is looked up.
SOONEST_ENTRIES_MAX = 16384
STRING_SLICE_BYTES = 64 * 1024
ALL = 1 << 62
BUCKETS_MAX = 1 << 31
# How many entries of a stream, or ids of a pending list, a block has, about.
BLOCK_ENTRIES = 100
U64 = (1 << 64) - 1

(
    STRING, SET, HASH, ZSET, SET_INTSET, HASH_LISTPACK, ZSET_LISTPACK, LIST_QUICKLIST, SET_LISTPACK,
    STREAM, HASH_TIMED, HASH_LISTPACK_TIMED,
) = (0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 24, 25)  # fmt: skip


def fits(count: i64, longest: i64) -> bool:
    """True if so many elements, the longest of so many bytes, may be one string."""
    return count <= PACKED_ENTRIES_MAX and count * longest <= PACKED_BYTES_MAX


def type_of(value: Any) -> i64:
    """The type byte."""
    if isinstance(value, (bytes, bytearray)):
        return STRING
    if isinstance(value, HashValue):
        return hash_type(value)
    if isinstance(value, ZSetValue):
        zset: ZSetValue = value
        return ZSET if zset.outgrown or not fits(zset.count, zset.widest) else ZSET_LISTPACK
    if isinstance(value, SetValue):
        members: SetValue = value
        if members.shape == HASHTABLE or not fits(members.count, members.longest):
            return SET
        return SET_INTSET if members.shape == INTSET else SET_LISTPACK
    return LIST_QUICKLIST if isinstance(value, ListValue) else STREAM


def hash_type(value: HashValue) -> i64:
    """The type byte of a hash."""
    if value.outgrown or not fits(value.count, 2 * value.longest):
        return HASH_TIMED if value.volatile_count else HASH
    return HASH_LISTPACK_TIMED if value.timed else HASH_LISTPACK


def write_prefix(
    out: RdbWriter, key: bytes, value: Any, expire: i64, marks: i64, mark: i64, now_s: i64
) -> None:
    """What stands before the body of a key's value."""
    if expire >= 0:
        out.byte(EXPIRY_MS)
        out.number(expire)
    if marks:
        save_mark(out, marks, mark, now_s)
    out.byte(type_of(value))
    out.string(key)


def write_entry(
    out: RdbWriter, key: bytes, value: Any, expire: i64, marks: i64, mark: i64, now_s: i64
) -> None:
    """A key and its value."""
    write_prefix(out, key, value, expire, marks, mark, now_s)
    write_body(out, value)


def write_body(out: RdbWriter, value: Any) -> None:
    """All of a value but its type."""
    for _ in body_of(out, value, ALL):
        pass


def dump(value: Any) -> bytes:
    """The payload of DUMP: type, body, version (2 bytes), CRC-64 of all before (8 bytes)."""
    out = RdbWriter()
    out.byte(type_of(value))
    write_body(out, value)
    out.raw(struct.pack("<H", VERSION))
    data = out.take()
    return data + struct.pack("<Q", crc64(data))


class BodyWriter:
    """Writes the body of a value in slices."""

    def __init__(self, out: RdbWriter, value: Any, elements: int) -> None:
        self.slices = body_of(out, value, elements)

    def step(self) -> bool:
        """Write the next slice, of about as many elements as were asked for. True while more is
        left."""
        return next(self.slices, None) is not None


def body_of(out: RdbWriter, value: Any, limit: int) -> Iterator[bool]:
    """Write a body; True between slices of about `limit` elements."""
    if isinstance(value, (bytes, bytearray)):
        return string_body(out, value, limit)
    if isinstance(value, HashValue):
        return hash_body(out, value, limit)
    if isinstance(value, ZSetValue):
        return zset_body(out, value, limit)
    if isinstance(value, SetValue):
        return set_body(out, value, limit)
    if isinstance(value, ListValue):
        return list_body(out, value, limit)
    return stream_body(out, value, limit)


def string_body(out: RdbWriter, value: bytes | bytearray, limit: int) -> Iterator[bool]:
    """One string; a long one in slices is not packed."""
    if limit == ALL or len(value) <= STRING_SLICE_BYTES:
        out.string(bytes(value))
        return
    out.length(len(value))
    view = memoryview(value)
    for start in range(0, len(value), STRING_SLICE_BYTES):
        out.raw(bytes(view[start : start + STRING_SLICE_BYTES]))
        yield True


def hash_body(out: RdbWriter, value: HashValue, limit: int) -> Iterator[bool]:
    """Fields and values, and when they expire."""
    kind = hash_type(value)
    if kind == HASH_LISTPACK:
        save_listpack(value, out, True, False)
    elif kind == HASH_LISTPACK_TIMED:
        out.number(soonest_expiry(value) if value.volatile_count else 0)
        save_listpack(value, out, True, True)
    elif kind == HASH:
        out.length(value.count)
        yield from table_body(out, value, limit, True)
    else:
        few = value.count <= SOONEST_ENTRIES_MAX
        soonest: i64 = soonest_expiry(value) if few else value.expire_hint
        out.number(soonest)
        out.length(value.count)
        bucket: i64 = save_timed(value, out, 0, min(limit, BUCKETS_MAX), soonest)
        while bucket >= 0:
            yield True
            bucket = save_timed(value, out, bucket, min(limit, BUCKETS_MAX), soonest)


def table_body(out: RdbWriter, value: Table, limit: int, with_values: bool) -> Iterator[bool]:
    """The entries of a table."""
    bucket: i64 = save_entries(value, out, 0, min(limit, BUCKETS_MAX), with_values)
    while bucket >= 0:
        yield True
        bucket = save_entries(value, out, bucket, min(limit, BUCKETS_MAX), with_values)


def set_body(out: RdbWriter, value: SetValue, limit: int) -> Iterator[bool]:
    """Members."""
    kind = type_of(value)
    if kind == SET_INTSET:
        save_intset(value, out)
    elif kind == SET_LISTPACK:
        save_listpack(value, out, False, False)
    else:
        out.length(value.count)
        yield from table_body(out, value, limit, False)


def zset_body(out: RdbWriter, value: ZSetValue, limit: int) -> Iterator[bool]:
    """Members and scores."""
    if type_of(value) == ZSET_LISTPACK:
        save_zset_listpack(value, out)
        return
    left: i64 = value.count
    out.length(left)
    # The highest first: a skip list is filled fastest at its front.
    while left > 0:
        size = min(left, limit)
        save_scores(value, out, left - 1, size)
        left -= size
        if left:
            yield True


def list_body(out: RdbWriter, value: ListValue, limit: int) -> Iterator[bool]:
    """Nodes."""
    if not value.outgrown:
        out.length(1)
        out.length(NODE_PACKED)
        save_list_listpack(value, out)
        return
    nodes = ListNodes(value)
    # Measuring takes a tenth of the time of writing.
    while nodes.measure(min(limit * 8, BUCKETS_MAX)):
        yield True
    out.length(nodes.count)
    while nodes.write(out, min(limit, BUCKETS_MAX)):
        yield True


# -- streams --------------------------------------------------------------------------------------


def write_id(out: RdbWriter, id: bytes) -> None:
    """An id as two numbers."""
    out.length(int.from_bytes(id[:8], "big"))
    out.length(int.from_bytes(id[8:], "big"))


def stream_body(out: RdbWriter, value: StreamValue, limit: int) -> Iterator[bool]:
    """Blocks, what is known of entries that are gone, groups."""
    out.length(value.block_count)
    size = max(1, min(limit, BUCKETS_MAX) // BLOCK_ENTRIES)
    at: i64 = save_blocks(value, out, 0, size)
    while at >= 0:
        yield True
        at = save_blocks(value, out, at, size)
    out.length(len(value))
    write_id(out, value.last_id)
    write_id(out, value.first_id if len(value) else ZERO_ID)
    write_id(out, value.top_deleted)
    out.length(value.entries_added & U64)
    out.length(len(value.groups))
    for name in sorted(value.groups):
        out.string(name)
        yield from group_body(out, value.groups[name], limit)


def group_body(out: RdbWriter, group: Group, limit: int) -> Iterator[bool]:
    """A group: what it has read, what is pending, its consumers."""
    write_id(out, group.last_id)
    out.length(group.entries_read & U64)
    yield from pending_body(out, group.pending, limit)
    out.length(len(group.consumers))
    for name in sorted(group.consumers):
        consumer = group.consumers[name]
        out.string(name)
        out.number(consumer.seen_ms)
        out.number(consumer.active_ms)
        yield from pending_body(out, consumer.pending, limit)


def pending_body(out: RdbWriter, pending: PendingList, limit: int) -> Iterator[bool]:
    """What a group or a consumer has pending."""
    out.length(len(pending))
    size = max(1, min(limit, BUCKETS_MAX) // BLOCK_ENTRIES)
    at: i64 = save_pending(pending, out, 0, size)
    while at >= 0:
        yield True
        at = save_pending(pending, out, at, size)
