"""RESTORE: one value in its serialized form, and the effect that puts it at a key.

A payload is what DUMP answers, a value as an RDB file has it and a frame behind it:

    type byte | value (rdb_decode.py) | u16 RDB version | u64 CRC-64 of all before it

Nothing may stand between the value and the frame. The checksum tells of accidents, not of malice,
so the value is looked at as strictly as one of a file; a collection without elements is refused.

Effect: RESTORE key ms payload REPLACE [ABSTTL] [IDLETIME seconds | FREQ counter], where ms is the
expiry in Unix ms, or 0 and no ABSTTL. A replayed one goes by Redis' default thresholds.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.access import hinted
from isthmus.node.engine.config import Config
from isthmus.node.engine.effect import replays
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.node.values.keys import load
from isthmus.node.values.rdb_decode import DEFAULT_LIMITS, Limits, read_value
from isthmus.wire.crc64 import crc64
from isthmus.wire.rdb_reader import RdbError, RdbReader
from isthmus.wire.scalars import i64, parse_int

VERSION_MAX = 12
FRAME_BYTES = 10
BAD_FRAME = b"ERR DUMP payload version or checksum are wrong"
BAD_VALUE = b"ERR Bad data format"


def limits_of(config: Config) -> Limits:
    """The thresholds of small encodings as they are configured."""
    limits = Limits()
    limits.hash_entries = config.integer("hash-max-listpack-entries")
    limits.hash_bytes = config.integer("hash-max-listpack-value")
    limits.set_ints = config.integer("set-max-intset-entries")
    limits.set_entries = config.integer("set-max-listpack-entries")
    limits.set_bytes = config.integer("set-max-listpack-value")
    limits.zset_entries = config.integer("zset-max-listpack-entries")
    limits.zset_bytes = config.integer("zset-max-listpack-value")
    limits.list_size = config.integer("list-max-listpack-size")
    return limits


def resealed(payload: bytes) -> bytes:
    """The payload with the checksum of its bytes, for a server that was told to skip comparing."""
    body = payload[:-8]
    return body + crc64(body).to_bytes(8, "little") if len(payload) >= FRAME_BYTES else payload


def decode(payload: bytes, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The value in a payload; RedisError says what is wrong in the words of Redis."""
    body = len(payload) - FRAME_BYTES
    if body < 0 or int.from_bytes(payload[body : body + 2], "little") > VERSION_MAX:
        raise RedisError(BAD_FRAME)
    view = memoryview(payload)
    if crc64(view[: body + 2]) != int.from_bytes(payload[body + 2 :], "little"):
        raise RedisError(BAD_FRAME)
    reader = RdbReader(view[:body])
    try:
        value = read_value(reader, reader.byte(), limits)
    except RdbError as error:
        raise RedisError(BAD_VALUE) from error
    if reader.position != body:
        raise RedisError(BAD_VALUE)
    return value


def restore(
    db: Database, key: bytes, value: Any, payload: bytes, expire: i64, idle_s: i64, freq: i64
) -> None:
    """RESTORE: put a decoded value at key, in place of what is there; -1 for what is not given."""
    db.note_end(key)
    db.drop(key)
    load(db, key, value, expire, hinted(idle_s, freq), 0)
    if db.changed(key):
        argv = [b"RESTORE", key, b"%d" % max(expire, 0), payload, b"REPLACE"]
        if expire >= 0:
            argv.append(b"ABSTTL")
        if idle_s >= 0:
            argv += (b"IDLETIME", b"%d" % idle_s)
        if freq >= 0:
            argv += (b"FREQ", b"%d" % freq)
        db.record(argv, b"restore", b"g")


@replays(b"RESTORE")
def replay_restore(db: Database, argv: list[bytes]) -> None:
    """RESTORE key ms payload REPLACE [ABSTTL] [IDLETIME seconds | FREQ counter]"""
    hint = {argv[-2]: parse_int(argv[-1])} if argv[-2] in (b"IDLETIME", b"FREQ") else {}
    expire = parse_int(argv[2])
    restore(
        db, argv[1], decode(argv[3]), argv[3], expire if expire else -1,
        hint.get(b"IDLETIME", -1), hint.get(b"FREQ", -1),
    )  # fmt: skip
