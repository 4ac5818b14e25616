"""Bitmaps: bits, fields, ranges, what is recorded, and offsets beyond reason."""

from __future__ import annotations

import pytest

from tests.support.store import RedisReplyError, Store

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
OFFSET = "ERR bit offset is not an integer or out of range"


def effects(store: Store) -> list[tuple[list[bytes], bytes, bytes]]:
    seen = [(e.argv, e.event, e.event_class) for e in store.recorder.effects_seen]
    store.recorder.effects_seen.clear()
    return seen


def test_setbit_and_getbit(store: Store) -> None:
    assert store("SETBIT", "k", 7, 1) == 0
    assert store("GET", "k") == b"\x01"
    assert store("SETBIT", "k", 7, 0) == 1
    assert store("SETBIT", "k", 20, 0) == 0
    assert store("GET", "k") == bytes(3)
    assert store("GETBIT", "k", 1 << 31) == 0
    assert store("GETBIT", "none", 3) == 0
    assert store("TYPE", "k") == b"string"
    assert store("OBJECT", "ENCODING", "k") == b"raw"


def test_setbit_keeps_the_expiry(store: Store) -> None:
    store("SET", "k", "abc", "EX", 100)
    store("SETBIT", "k", 1, 0)
    assert store("TTL", "k") == 100
    assert store("GET", "k") == b"!bc"


def test_what_is_recorded() -> None:
    store = Store()
    store("SETBIT", "k", 9, 1)
    assert effects(store) == [([b"SETBIT", b"k", b"9", b"1"], b"setbit", b"$")]
    store("SETBIT", "k", 9, 1)
    store("BITFIELD", "k", "SET", "u8", 0, 0, "GET", "u8", 0)
    assert effects(store) == []
    store("BITFIELD", "k", "INCRBY", "u4", 12, 3, "SET", "i8", 24, -1)
    assert effects(store) == [
        ([b"SETRANGE", b"k", b"1", b"C"], b"", b""),
        ([b"SETRANGE", b"k", b"3", b"\xff"], b"setbit", b"$"),
    ]
    store("BITOP", "NOT", "k", "k")
    assert effects(store) == [([b"SET", b"k", b"\xff\xbc\xff\x00"], b"set", b"$")]
    store("BITOP", "AND", "k", "none", "none")
    assert effects(store) == [([b"DEL", b"k"], b"del", b"g")]


def test_a_field_that_fails_can_still_make_room(store: Store) -> None:
    assert store("BITFIELD", "k", "OVERFLOW", "FAIL", "SET", "u8", 16, 256) == [None]
    assert store("GET", "k") == bytes(3)


@pytest.mark.parametrize("offset", [
    "-1", "4294967296", "9223372036854775807", "9223372036854775808", "x", "", " 1", "1_0", "0x10",
    "#1", "9" * 5000,
])  # fmt: skip
def test_offsets_out_of_range(store: Store, offset: str) -> None:
    assert store.error("SETBIT", "k", offset, 1) == OFFSET
    assert store.error("GETBIT", "k", offset) == OFFSET
    if offset != "#1":
        assert store.error("BITFIELD", "k", "GET", "u8", offset) == OFFSET
        assert store.error("BITFIELD", "k", "SET", "u8", "#" + offset, 1) == OFFSET
    assert store("EXISTS", "k") == 0


def test_the_limit_is_proto_max_bulk_len() -> None:
    store = Store(proto_max_bulk_len="1048576")
    assert store.error("SETBIT", "k", 8 << 20, 1) == OFFSET
    assert store("SETBIT", "k", (8 << 20) - 1, 1) == 0
    assert store("STRLEN", "k") == 1 << 20
    assert store("BITPOS", "k", 1) == (8 << 20) - 1
    assert store("BITCOUNT", "k") == 1


def test_no_memory_is_an_error_and_changes_nothing(store: Store) -> None:
    store("SET", "k", "old")
    store("CONFIG", "SET", "proto-max-bulk-len", str(1 << 62))
    text = "ERR insufficient memory for a string of this length"
    assert store.error("SETBIT", "k", 1 << 62, 1) == text
    assert store.error("BITFIELD", "k", "SET", "u8", 1 << 62, 1) == text
    assert store.error("SETRANGE", "k", 1 << 61, "x") == text
    store("APPEND", "k", "er")
    assert store.error("SETRANGE", "k", 1 << 61, "x") == text
    assert store("GET", "k") == b"older"


def test_wrong_type(store: Store) -> None:
    store("SADD", "s", "x")
    for line in (
        "SETBIT s 0 1", "GETBIT s 0", "BITCOUNT s", "BITCOUNT s 0 1", "BITPOS s 1", "BITOP OR d s",
        "BITFIELD s GET u8 0", "BITFIELD s SET u8 0 1", "BITFIELD_RO s GET u8 0",
    ):  # fmt: skip
        assert str(store.run(line)) == WRONGTYPE, line
    assert store("BITOP", "OR", "s", "none") == 0
    assert store("EXISTS", "s") == 0


@pytest.mark.parametrize(("line", "text"), [
    ("SETBIT k 0 2", "ERR bit is not an integer or out of range"),
    ("BITCOUNT k 0", "ERR syntax error"),
    ("BITCOUNT none x 1", "ERR value is not an integer or out of range"),
    ("BITCOUNT none 0 1 BITS", "ERR syntax error"),
    ("BITPOS k 2", "ERR The bit argument must be 1 or 0."),
    ("BITPOS none 1 0 1 x", "ERR syntax error"),
    ("BITPOS none 1 0 1 BIT x", "ERR syntax error"),
    ("BITOP NAND d k", "ERR syntax error"),
    ("BITOP NOT d k k", "ERR BITOP NOT must be called with a single source key."),
    ("BITFIELD k GET u64 0", "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 "
     "is not supported but i64 is."),
    ("BITFIELD k OVERFLOW x", "ERR Invalid OVERFLOW type specified"),
    ("BITFIELD k SET u8 0", "ERR syntax error"),
    ("BITFIELD_RO k SET u8 0 1", "ERR BITFIELD_RO only supports the GET subcommand"),
])  # fmt: skip
def test_errors(store: Store, line: str, text: str) -> None:
    assert store.run(line) == RedisReplyError(text)


def test_ranges(either: Store) -> None:
    either("SET", "k", "foobar")
    assert either("BITCOUNT", "k") == 26
    assert either("BITCOUNT", "k", 1, 1) == 6
    assert either("BITCOUNT", "k", 5, 30, "BIT") == 17
    assert either("BITCOUNT", "k", -2, -5) == 0
    either("SET", "k", b"\xff\xff")
    assert either("BITPOS", "k", 0) == 16
    assert either("BITPOS", "k", 0, 0, -1) == -1
    assert either("BITPOS", "k", 1, 7, 15, "BIT") == 7
    assert either("BITPOS", "none", 0, 5) == 0
    assert either("BITPOS", "none", 1) == -1


def test_fields(either: Store) -> None:
    assert either("BITFIELD", "k", "INCRBY", "i5", 100, 1, "GET", "u4", 0) == [1, 0]
    asked = ("u2", 100, 1, "OVERFLOW", "SAT", "INCRBY", "u2", 102, 1)
    assert [either("BITFIELD", "c", "INCRBY", *asked) for _ in range(4)] == [
        [1, 1], [2, 2], [3, 3], [0, 3],
    ]  # fmt: skip
    assert either("BITFIELD", "c", "OVERFLOW", "FAIL", "INCRBY", "u2", 102, 1) == [None]
    assert either("BITFIELD", "c") == []
    assert either("BITFIELD_RO", "none", "GET", "i64", "#3") == [0]
