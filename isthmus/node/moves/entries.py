"""A snapshot of slots as commands that make its keys (pure).

What a move brings has to become effects of the node that takes it, so that its replicas and its
append only file have it too. A small value becomes one RESTORE of the very bytes that it is in the
snapshot; a string is a SET; of a value of more than `WHOLE_BYTES` or `WHOLE_ELEMENTS` the elements
are read one by one and make commands of a bounded size (the canonical ones, persist/pieces.py has
the same for values in memory), so that no command takes long and none has to be held whole. The
key's expiry comes behind its last element. A stream is read whole, which is quick, for it lies in
blocks, and then written in pieces.

The snapshot is one of our own kind and version (persist/cut.py); what is not in the table of
values/rdb_encode.py is an RdbError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from isthmus.node.persist.pieces import STRING_BYTES, commands, grouped, spelt_score
from isthmus.node.persist.snapshot_format import AUX, END, FUNCTION, MAGIC, RESIZE, SELECT
from isthmus.node.persist.snapshot_format import SLOT_INFO as SLOT_HINT
from isthmus.node.values.rdb_decode import PACKED, PLAIN, read_value
from isthmus.node.values.rdb_encode import (
    EXPIRY_MS,
    HASH,
    HASH_LISTPACK,
    HASH_LISTPACK_TIMED,
    HASH_TIMED,
    LIST_QUICKLIST,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    STREAM,
    STRING,
    VERSION,
    ZSET,
    ZSET_LISTPACK,
)
from isthmus.wire.crc64 import crc64
from isthmus.wire.rdb_reader import RdbReader

Argv = list[bytes]
WHOLE_BYTES = 64 << 10
WHOLE_ELEMENTS = 512
FREQUENCY, IDLE = 0xF9, 0xF8
# Types whose value is one string.
PACKED_TYPES = (HASH_LISTPACK, SET_LISTPACK, ZSET_LISTPACK, SET_INTSET)
LONG_TYPES = (HASH, HASH_TIMED, SET, ZSET, LIST_QUICKLIST)


def entries(reader: RdbReader) -> Iterator[Argv]:
    """The commands, from the head of the snapshot to its end; raises RdbError.

    Between two of them a caller may do something else for as long as it likes.
    """
    if reader.raw(min(len(MAGIC), reader.left)) != MAGIC:
        raise reader.error("no snapshot of this version", 0)
    expire = -1
    while True:
        code = reader.byte()
        if code == EXPIRY_MS:
            expire = max(reader.i64(), 0)
        elif code == END:
            return
        elif code < SLOT_HINT:
            key = reader.string()
            yield from entry(reader, code, key, expire)
            expire = -1
        elif code == FUNCTION:
            yield [b"FUNCTION", b"LOAD", reader.string()]
        else:
            pass_over(reader, code)


def pass_over(reader: RdbReader, code: int) -> None:
    """What is no key and makes no command."""
    if code == AUX:
        reader.skip_string()
        reader.skip_string()
    elif code in (SELECT, IDLE):
        if reader.number() and code == SELECT:
            raise reader.error("keys of a second database")
    elif code == FREQUENCY:
        reader.skip(1)
    elif code in (RESIZE, SLOT_HINT):
        for _ in range(2 if code == RESIZE else 3):
            reader.number()
    else:
        raise reader.error(f"an unknown mark {code}")


def entry(reader: RdbReader, kind: int, key: bytes, expire: int) -> Iterator[Argv]:
    """The commands for one key, whose value is next."""
    start = reader.position
    if kind == STRING:
        value = reader.string()
        if len(value) <= STRING_BYTES:
            yield [b"SET", key, value, *([b"PXAT", b"%d" % expire] if expire >= 0 else ())]
        else:
            yield from commands(key, value, expire)
        return
    if kind in LONG_TYPES and not is_small(reader, kind):
        yield from elementwise(reader, kind, key, expire)
        return
    value_read: Any = None
    if kind in PACKED_TYPES:
        reader.skip_string()
    elif kind == HASH_LISTPACK_TIMED:
        reader.skip(8)
        reader.skip_string()
    elif kind == STREAM:
        value_read = read_value(reader, kind)
    elif kind not in LONG_TYPES:
        raise reader.error(f"unknown type {kind} of a value", start)
    if reader.position - start <= WHOLE_BYTES:
        body = bytes((kind,)) + bytes(reader.view(start, reader.position))
        yield whole(key, body, expire)
        return
    if value_read is None:
        value_read = read_value(RdbReader(reader.view(start, reader.position)), kind)
    yield from commands(key, value_read, expire)


def whole(key: bytes, body: bytes, expire: int) -> Argv:
    """RESTORE of a type byte and what follows it."""
    data = body + struct.pack("<H", VERSION)
    payload = data + struct.pack("<Q", crc64(data))
    argv = [b"RESTORE", key, b"%d" % max(expire, 0), payload, b"REPLACE"]
    if expire >= 0:
        argv.append(b"ABSTTL")
    return argv


def is_small(reader: RdbReader, kind: int) -> bool:
    """True if a value of single elements is small, and then it has been passed."""
    probe = RdbReader(reader.view(reader.position, reader.size))
    if kind == HASH_TIMED:
        probe.skip(8)
    count = probe.number()
    if count > WHOLE_ELEMENTS:
        return False
    for _ in range(count):
        if kind in (HASH_TIMED, LIST_QUICKLIST):
            probe.number()
        probe.skip_string()
        if kind in (HASH, HASH_TIMED):
            probe.skip_string()
        elif kind == ZSET:
            probe.skip(8)
        if probe.position > WHOLE_BYTES:
            return False
    reader.skip(probe.position)
    return True


def elementwise(reader: RdbReader, kind: int, key: bytes, expire: int) -> Iterator[Argv]:
    """The commands for a big value, which is read as they are asked for."""
    if kind == HASH:
        yield from grouped([b"HSET", key], hash_items(reader))
    elif kind == HASH_TIMED:
        yield from timed_hash(reader, key)
    elif kind == SET:
        yield from grouped([b"SADD", key], ([reader.string()] for _ in range(reader.number())))
    elif kind == ZSET:
        yield from grouped([b"ZADD", key], zset_items(reader))
    else:
        yield from grouped([b"RPUSH", key], list_items(reader))
    if expire >= 0:
        yield [b"PEXPIREAT", key, b"%d" % expire]


def hash_items(reader: RdbReader) -> Iterable[Argv]:
    """Fields and values."""
    for _ in range(reader.number()):
        field = reader.string()
        yield [field, reader.string()]


def zset_items(reader: RdbReader) -> Iterable[Argv]:
    """Scores and members."""
    for _ in range(reader.number()):
        member = reader.string()
        yield [spelt_score(reader.double()), member]


def list_items(reader: RdbReader) -> Iterable[Argv]:
    """Elements, node by node."""
    for _ in range(reader.number()):
        form = reader.number()
        if form == PACKED:
            yield from ([item] for item in reader.listpack())
        elif form == PLAIN:
            yield [reader.string()]
        else:
            raise reader.error(f"a node of a list in the form {form}")


def timed_hash(reader: RdbReader, key: bytes) -> Iterator[Argv]:
    """Fields and values, and behind each some of them when these expire."""
    soonest = reader.i64()
    left = reader.number()
    while left:
        size = min(left, WHOLE_ELEMENTS)
        left -= size
        argv = [b"HSET", key]
        expiries: dict[int, list[bytes]] = {}
        for _ in range(size):
            later = reader.number()
            field = reader.string()
            argv += [field, reader.string()]
            if later:
                expiries.setdefault(soonest + later - 1, []).append(field)
        yield argv
        for when, fields in expiries.items():
            yield [b"HPEXPIREAT", key, b"%d" % when, b"FIELDS", b"%d" % len(fields), *fields]
