"""Values as RDB (version 12, that of Redis 7.4): in a snapshot, and as the payload of DUMP.

Each value is written in the encoding that Redis would store and save it in, which OBJECT ENCODING
tells; so a payload is byte for byte Redis' own but for how strings are packed.

    type  what                body 0     string              string 18    list                nodes;
    each: 2, listpack (or 1, an element that is too large for one) 11    set of numbers      4 bytes
    width, 4 bytes count, the numbers, sorted, in one string 20/2  set                 listpack /
    members, each a string 17/5  sorted set          listpack member score ... / member, double; the
    largest score first 16/4  hash                listpack field value ... / field, value 25/24
    hash, fields expire least expiry (8 bytes, Unix ms); listpack field value expiry (0: none) ...
                              / expiry minus the least plus 1 (0: none), field, value
    21    stream              blocks: first id (16 bytes), listpack; length; ids; groups

Ids of streams are two numbers, or 16 bytes big-endian where they are keys. What is big is written
in slices (`BodyWriter`), between which the value may not change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from isthmus.node.engine.table_rdb import save_entries, save_mark
from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import ListValue
from isthmus.node.values.sets import SetValue
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, next_id
from isthmus.node.values.streams import Group, StreamValue
from isthmus.node.values.zsets import ZSetValue
from isthmus.wire.crc64 import crc64
from isthmus.wire.digits import parse_int
from isthmus.wire.rdb_writer import RdbWriter
from isthmus.wire.scalars import format_float, i64

VERSION = 12
EXPIRY_MS = 0xFC
NODE_BYTES_MAX = 8192
PLAIN, PACKED = 1, 2
# Scores up to here are kept as whole numbers in a listpack, if they are whole.
WHOLE_SCORE_MAX = 4503599627370496.0
STRING_SLICE_BYTES = 64 * 1024
ALL = 1 << 62
U64 = (1 << 64) - 1

(
    STRING, SET, HASH, ZSET, SET_INTSET, HASH_LISTPACK, ZSET_LISTPACK, LIST_QUICKLIST, SET_LISTPACK,
    STREAM, HASH_TIMED, HASH_LISTPACK_TIMED,
) = (0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 24, 25)  # fmt: skip


def type_of(value: Any) -> int:
    """The type byte."""
    if isinstance(value, (bytes, bytearray)):
        return STRING
    if isinstance(value, HashValue):
        if value.timed and value.volatile_count:
            return HASH_TIMED if value.outgrown else HASH_LISTPACK_TIMED
        return HASH if value.outgrown else HASH_LISTPACK
    if isinstance(value, ZSetValue):
        return ZSET if value.outgrown else ZSET_LISTPACK
    if isinstance(value, SetValue):
        return (SET_INTSET, SET_LISTPACK, SET)[value.shape]
    return LIST_QUICKLIST if isinstance(value, ListValue) else STREAM


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
    if value.timed and value.volatile_count:
        yield from timed_hash_body(out, value, limit)
    elif value.outgrown:
        out.length(value.count)
        yield from table_body(out, value, limit, True)
    else:
        write_listpack(out, value.ordered(True, False, -1))


def timed_hash_body(out: RdbWriter, value: HashValue, limit: int) -> Iterator[bool]:
    """A hash of which fields expire."""
    expiries = value.expiries()
    soonest = min(expiries.values())
    out.number(soonest)
    if not value.outgrown:
        out.begin_listpack()
        items = value.ordered(True, False, -1)
        for at in range(0, len(items), 2):
            out.lp_text(items[at])
            out.lp_text(items[at + 1])
            out.lp_number(expiries.get(items[at], 0))
        out.end_listpack()
        return
    out.length(value.count)
    written = 0
    for field, content in value.items():
        when = expiries.get(field)
        out.length(0 if when is None else when - soonest + 1)
        out.string(field)
        out.string(content)
        written += 1
        if written % limit == 0:
            yield True


def table_body(out: RdbWriter, value: Any, limit: int, with_values: bool) -> Iterator[bool]:
    """The entries of a table."""
    bucket: i64 = 0
    while bucket >= 0:
        bucket = save_entries(value, out, bucket, min(limit, 1 << 31), with_values)
        if bucket >= 0:
            yield True


def write_listpack(out: RdbWriter, elements: list[bytes]) -> None:
    """Texts as one listpack."""
    out.begin_listpack()
    for element in elements:
        out.lp_text(element)
    out.end_listpack()


def set_body(out: RdbWriter, value: SetValue, limit: int) -> Iterator[bool]:
    """Members."""
    if value.shape == 0:
        numbers = [parse_int(member) for member in value.keys()]
        widest = max(max(numbers), -1 - min(numbers))
        width = 2 if widest < 1 << 15 else 4 if widest < 1 << 31 else 8
        letter = {2: "h", 4: "i", 8: "q"}[width]
        out.string(struct.pack(f"<II{len(numbers)}{letter}", width, len(numbers), *numbers))
    elif value.shape == 1:
        write_listpack(out, value.keys())
    else:
        out.length(value.count)
        yield from table_body(out, value, limit, False)


def zset_body(out: RdbWriter, value: ZSetValue, limit: int) -> Iterator[bool]:
    """Members and scores."""
    if not value.outgrown:
        out.begin_listpack()
        for member, score in value.slice(0, value.count):
            out.lp_text(member)
            write_score(out, score)
        out.end_listpack()
        return
    out.length(value.count)
    left: i64 = value.count
    while left > 0:
        size = min(left, limit)
        left -= size
        # The largest first: a sorted set is filled fastest at its front.
        for member, score in reversed(value.slice(left, size)):
            out.string(member)
            out.double(score)
        if left:
            yield True


def write_score(out: RdbWriter, score: float) -> None:
    """A score in a listpack."""
    if -WHOLE_SCORE_MAX < score < WHOLE_SCORE_MAX and score == int(score):
        out.lp_number(int(score))
    else:
        out.lp_text(format_float(score))


def list_body(out: RdbWriter, value: ListValue, limit: int) -> Iterator[bool]:
    """Nodes: how many there are stands before them, so they are counted first."""
    if not value.outgrown:
        out.length(1)
        out.length(PACKED)
        write_listpack(out, list(value))
        return
    count = len(value)
    size = min(limit, 65536)
    nodes = 0
    room = 0
    for start in range(0, count, size):
        for element in value.slice(start, size):
            need = len(element) + 11
            if need > NODE_BYTES_MAX:
                nodes += 1
                room = 0
            elif need > room:
                nodes += 1
                room = NODE_BYTES_MAX - need
            else:
                room -= need
        if start + size < count:
            yield True
    out.length(nodes)
    room = 0
    begun = False
    for start in range(0, count, size):
        for element in value.slice(start, size):
            need = len(element) + 11
            if need > NODE_BYTES_MAX or need > room:
                if begun:
                    out.end_listpack()
                begun = need <= NODE_BYTES_MAX
                out.length(PACKED if begun else PLAIN)
                if not begun:
                    out.string(element)
                    room = 0
                    continue
                out.begin_listpack()
                room = NODE_BYTES_MAX
            out.lp_text(element)
            room -= need
        if start + size < count:
            yield True
    if begun:
        out.end_listpack()


# -- streams --------------------------------------------------------------------------------------


def write_id(out: RdbWriter, id: bytes) -> None:
    """An id as two numbers."""
    out.length(int.from_bytes(id[:8], "big"))
    out.length(int.from_bytes(id[8:], "big"))


def stream_body(out: RdbWriter, value: StreamValue, limit: int) -> Iterator[bool]:
    """Blocks, what is known of entries that are gone, groups."""
    blocks = value.listpacks()
    out.length(len(blocks))
    for at, (key, listpack) in enumerate(blocks):
        out.string(key)
        out.string(listpack)
        if at * 64 % limit == 0 and limit != ALL:
            yield True
    out.length(len(value))
    write_id(out, value.last_id)
    write_id(out, value.first_id if len(value) else ZERO_ID)
    write_id(out, value.top_deleted)
    out.length(value.entries_added)
    out.length(len(value.groups))
    for name, group in value.groups.items():
        out.string(name)
        yield from group_body(out, group, limit)


def group_body(out: RdbWriter, group: Group, limit: int) -> Iterator[bool]:
    """A group: what it has read, what is pending, its consumers."""
    write_id(out, group.last_id)
    out.length(group.entries_read & U64)
    out.length(len(group.pending))
    size = min(limit, 4096)
    for ids in pages(group.pending, size):
        for id in ids:
            found = group.record(id)
            out.raw(id)
            out.number(found[0])
            # It wraps, as in Redis.
            out.length(found[1] & U64)
        yield True
    out.length(len(group.consumers))
    for name, consumer in group.consumers.items():
        out.string(name)
        out.number(consumer.seen_ms)
        out.number(consumer.active_ms)
        out.length(len(consumer.pending))
        for ids in pages(consumer.pending, size):
            for id in ids:
                out.raw(id)
            yield True


def pages(pending: Any, size: int) -> Iterator[list[bytes]]:
    """The ids of a pending list, `size` at a time."""
    start: bytes | None = ZERO_ID
    while start is not None:
        ids = pending.page(start, MAX_ID, size)
        if not ids:
            return
        yield ids
        start = next_id(ids[-1])
