"""Whole snapshots: records, their order and their end, what is refused, progress, damage."""

from __future__ import annotations

import itertools
import struct
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.engine.clock import Clock
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.rng import Rng
from isthmus.node.persist.snapshot_read import (
    PIECE_BYTES,
    KeyspaceLoader,
    Report,
    read_snapshot,
)
from isthmus.wire.crc64 import crc64, extend
from isthmus.wire.rdb_reader import RdbError, RdbReader
from tests.persist.samples import EARLY, GOOD
from tests.persist.test_restore import sound
from tests.support.blobs import file, length, listpack, string, strings
from tests.support.pace import examples
from tests.support.peer import Peer
from tests.support.servers import redis8
from tests.support.store import START_MS, Store, contents

EXPIRE_MS, EXPIRE_S, SELECT, IDLE, FREQ = b"\xfc", b"\xfd", b"\xfe", b"\xf8", b"\xf9"


class Collected:
    """Takes everything, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def aux(self, name: bytes, value: bytes) -> None:
        self.seen.append(("aux", name, value))

    def select(self, db: int) -> None:
        self.seen.append(("select", db))

    def resize(self, keys: int, volatile: int) -> None:
        self.seen.append(("resize", keys, volatile))

    def entry(self, key: bytes, value: Any, expire_ms: int, idle_s: int, freq: int) -> None:
        self.seen.append((key, value, expire_ms, idle_s, freq))

    def function(self, code: bytes) -> None:
        self.seen.append(("function", code))


def walk(data: bytes, keep_expired: bool = False) -> tuple[list[Any], Report]:
    into, report = Collected(), Report()
    reader = RdbReader(data)
    for _ in read_snapshot(reader, into, now_ms=START_MS, keep_expired=keep_expired, report=report):
        pass
    assert reader.position == len(data)
    return into.seen, report


def load(data: bytes) -> Keyspace:
    keyspace = Keyspace(Clock(START_MS), Rng(1))
    for _ in read_snapshot(RdbReader(data), KeyspaceLoader(keyspace), now_ms=START_MS):
        pass
    return keyspace


def key(name: bytes, value: bytes = b"v") -> bytes:
    return b"\0" + strings(name, value)


def ms(when: int) -> bytes:
    return EXPIRE_MS + struct.pack("<q", when)


def test_crc() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA
    assert extend(crc64(b"1234"), memoryview(b"56789")) == crc64(b"123456789")


def test_records_in_order() -> None:
    module = b"\x81" + b"\x11" * 8
    seen, report = walk(file(
        b"\xfa" + strings(b"redis-ver", b"7.4.1") + b"\xfa" + string(b"redis-bits") + b"\xc0\x40"
        + b"\xf7" + module + b"\2\1\2\5\1\7\3abcd\4abcdefgh\5" + string(b"text") + b"\0"
        + b"\xf5" + string(b"#!lua name=x\n") + SELECT + b"\0" + b"\xfb\3\1"
        + b"\xf4\1\2\3" + key(b"a") + ms(START_MS + 5) + key(b"b")
        + EXPIRE_S + struct.pack("<i", 2_000_000_000) + IDLE + length(700) + key(b"c")
        + FREQ + b"\x63" + key(b"d") + SELECT + b"\x0f" + key(b"a"), 12,
    ))  # fmt: skip
    assert seen == [
        ("aux", b"redis-ver", b"7.4.1"),
        ("aux", b"redis-bits", b"64"),
        ("function", b"#!lua name=x\n"),
        ("select", 0),
        ("resize", 3, 1),
        (b"a", b"v", -1, -1, -1),
        (b"b", b"v", START_MS + 5, -1, -1),
        (b"c", b"v", 2_000_000_000_000, 700, -1),
        (b"d", b"v", -1, -1, 99),
        ("select", 15),
        (b"a", b"v", -1, -1, -1),
    ]
    assert (report.version, report.keys, report.expired, report.empty) == (12, 5, 0, 0)
    assert [len(name) for name in report.modules] == [9]


def test_keys_whose_time_had_come() -> None:
    data = file(ms(START_MS - 1) + key(b"a") + ms(START_MS) + key(b"b") + ms(-5) + key(b"c"))
    seen, report = walk(data)
    assert [entry[0] for entry in seen] == [b"b"]
    assert report.expired == 2
    seen, report = walk(data, True)
    assert [entry[2] for entry in seen] == [START_MS - 1, START_MS, 0]


def test_keys_without_elements_are_passed_over() -> None:
    empty = b"\1" + string(b"a") + b"\0" + b"\x10" + string(b"b") + string(listpack([]))
    seen, report = walk(file(empty + key(b"c")))
    assert [entry[0] for entry in seen] == [b"c"]
    assert report.empty == 2


@pytest.mark.parametrize("version", range(1, 13))
def test_versions(version: int) -> None:
    assert walk(file(key(b"a"), version))[1].version == version


def test_a_checksum_of_zero_is_none() -> None:
    assert len(walk(file(key(b"a"))[:-8] + b"\0" * 8)[0]) == 1


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "no RDB: it does not begin with REDIS and a version"),
        (b"REDIS00", 0, "no RDB: it does not begin with REDIS and a version"),
        (b"RADIS0011\xff", 0, "no RDB: it does not begin with REDIS and a version"),
        (file(b"", 13), 5, "RDB version 13; versions 1 to 12 can be read"),
        (file(b"", 0), 5, "RDB version 0; versions 1 to 12 can be read"),
        (file(key(b"a"))[:-9], 14, "1 bytes where 0 are left"),
        (file(key(b"a"))[:-1], 15, "8 bytes where 7 are left"),
        (file(key(b"a"))[:-1] + b"?", 15, "the checksum is 3f"),
        (file(ms(5)), 18, "an expiry or a mark of use and no key behind it"),
        (file(b"\xf6" + strings(b"n")), 9, "functions in the format of a Redis that was not final"),
        (file(b"\x1a" + strings(b"k", b"v")), 12, "unknown type 26 of a value"),
        (file(b"\7" + string(b"k") + b"\x81" + b"\x12" * 8), 12, "a value of the module type"),
        (file(b"\xf7" + length(5) + b"\1"), 12, "data of the module"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(RdbError) as caught:
        walk(data)
    assert caught.value.reason.startswith(reason)
    assert caught.value.offset == offset


def test_a_keyspace_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(RdbError, match=r"offset 9: keys of database 16, and there are only 16"):
        load(file(SELECT + b"\x10" + key(b"a")))
    with pytest.raises(RdbError, match="the key b'a' twice in database 0"):
        load(file(key(b"a") + key(b"b") + key(b"a")))


def test_what_follows_is_left_alone() -> None:
    data = file(key(b"a"))
    reader = RdbReader(data + b"*1\r\n$4\r\nPING\r\n")
    list(read_snapshot(reader, Collected(), now_ms=0))
    assert reader.position == len(data)


def test_progress_and_loading_many() -> None:
    records = b"".join(key(b"key %d" % i, b"x" * 600) for i in range(3000))
    data = file(SELECT + b"\0" + b"\xfb" + length(3000) + b"\0" + records)
    keyspace = Keyspace(Clock(START_MS), Rng(1))
    reader = RdbReader(data)
    steps = list(read_snapshot(reader, KeyspaceLoader(keyspace), now_ms=START_MS))
    assert steps == sorted(steps)
    assert steps[-1] == len(data)
    assert len(steps) == len(data) // PIECE_BYTES + 1
    assert keyspace.databases[0].size == 3000
    for table in keyspace.databases[0].slots:
        if table is not None:
            table.check()


MANY = 9000
LARGE = {
    "hash": [("HSET", "k", *(f"{i}" for i in range(2 * MANY)))],
    "timed": [
        ("HSET", "k", *(f"{i}" for i in range(2 * MANY))),
        ("HPEXPIREAT", "k", START_MS + 9000, "FIELDS", 3000, *range(0, 6000, 2)),
        ("HPEXPIREAT", "k", START_MS + 8000, "FIELDS", MANY - 3000, *range(6000, 2 * MANY, 2)),
    ],
    "set": [("SADD", "k", *(f"m{i}" for i in range(MANY)))],
    "zset": [("ZADD", "k", *(text for i in range(MANY) for text in (i / 7, f"m{i}")))],
    "list": [("RPUSH", "k", *(sha512(b"%d" % i).digest() for i in range(MANY)))],
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_value_comes_in_steps(name: str) -> None:
    store = Store()
    for argv in LARGE[name]:
        store(*argv)
    payload = store("DUMP", "k")
    record = payload[:1] + string(b"k") + payload[1:-10]
    data = file(key(b"before") + ms(START_MS + 5000) + record + record_of_other(record) + key(b"z"))
    other = Store()
    reader = RdbReader(data)
    pieces = read_snapshot(reader, KeyspaceLoader(other.node.keyspace), now_ms=START_MS)
    steps = list(pieces)
    assert len(steps) > 4
    assert max(b - a for a, b in itertools.pairwise(steps)) < PIECE_BYTES + 10_000
    assert other("DBSIZE") == 4
    assert other("PEXPIRETIME", "k") == START_MS + 5000
    assert other("PEXPIRETIME", "o") == -1
    value = contents(store.node.keyspace)[0, b"k"][0]
    found = contents(other.node.keyspace)
    for again in (b"k", b"o"):
        assert found[0, again][0] == value
        assert other("OBJECT", "ENCODING", again) == store("OBJECT", "ENCODING", "k")
    for cut in range(40, len(data) - 10, len(data) // 50):
        with pytest.raises(RdbError):
            load(data[:cut])


def test_a_large_stream_comes_in_steps() -> None:
    store = Store()
    store("XGROUP", "CREATE", "k", "g", "0", "MKSTREAM")
    for i in range(1, MANY):
        store("XADD", "k", f"{i}-1", "f", "v")
    store("XREADGROUP", "GROUP", "g", "one", "COUNT", 5000, "STREAMS", "k", ">")
    store("XREADGROUP", "GROUP", "g", "two", "STREAMS", "k", ">")
    payload = store("DUMP", "k")
    record = payload[:1] + string(b"k") + payload[1:-10]
    data = file(record + record_of_other(record) + key(b"z"))
    other = Store()
    reader = RdbReader(data)
    steps = list(read_snapshot(reader, KeyspaceLoader(other.node.keyspace), now_ms=START_MS))
    assert len(steps) > 8
    assert other("DUMP", "k") == other("DUMP", "o") == payload
    assert other("GET", "z") == b"v"


def record_of_other(record: bytes) -> bytes:
    """The same value at another key."""
    return record[:1] + string(b"o") + record[3:]


def test_a_large_list_of_old_files_comes_in_steps() -> None:
    items = [b"%d" % i for i in range(MANY)]
    data = file(b"\x01" + string(b"k") + length(MANY) + strings(*items) + key(b"z"))
    store = Store()
    steps = list(
        read_snapshot(RdbReader(data), KeyspaceLoader(store.node.keyspace), now_ms=START_MS)
    )
    assert len(steps) == 3
    assert store("LRANGE", "k", 0, -1) == items
    assert store("GET", "z") == b"v"


def test_a_field_twice_in_a_large_value_is_refused() -> None:
    fields = [b"%d" % i for i in range(2 * MANY)]
    data = file(b"\x04" + string(b"k") + length(MANY + 1) + strings(*fields, b"0", b"x"))
    with pytest.raises(RdbError, match="already"):
        load(data)


def test_a_lying_hint_costs_nothing() -> None:
    data = file(b"\xfb\x81" + b"\x7f" * 8 + b"\x81" + b"\x7f" * 8 + key(b"a"))
    assert load(data).databases[0].size == 1


def test_marks_of_use() -> None:
    data = file(IDLE + length(700) + key(b"a") + FREQ + b"\x63" + key(b"b"))
    store = Store(maxmemory_policy="allkeys-lfu")
    list(read_snapshot(RdbReader(data), KeyspaceLoader(store.node.keyspace), now_ms=START_MS))
    assert store("OBJECT", "FREQ", "b") == 99
    store = Store()
    list(read_snapshot(RdbReader(data), KeyspaceLoader(store.node.keyspace), now_ms=START_MS))
    assert store("OBJECT", "IDLETIME", "a") == 700
    assert store("OBJECT", "IDLETIME", "b") == 0


def everything() -> bytes:
    """A file with a key of every encoding; no value is longer than a few hundred bytes."""
    short = {n: d for n, d in {**GOOD, **EARLY}.items() if len(d) < 900}
    keys = b"".join(d[:1] + string(n.encode()) + d[1:-10] for n, d in short.items())
    return file(
        b"\xfa" + strings(b"a", b"b") + SELECT + b"\0" + b"\xfb\x10\1" + keys
        + ms(1 << 42) + IDLE + b"\5" + key(b"volatile"), 12
    )  # fmt: skip


def damaged(data: bytes) -> Keyspace | None:
    """What is loaded of a file once its checksum fits again; None if it is refused."""
    body = data[:-8]
    try:
        return load(body + crc64(body).to_bytes(8, "little"))
    except RdbError as error:
        assert 0 <= error.offset <= len(data)
        return None


@pytest.mark.slow
def test_every_byte_of_a_file_changed() -> None:
    data = everything()
    assert damaged(data) is not None
    for at in range(0, len(data) - 8, 17 * (30 // examples(30))):
        for change in (0x01, 0x80, 0xFF):
            keyspace = damaged(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
            if keyspace is not None:
                contents(keyspace)
                for table in keyspace.databases[0].slots:
                    for _, value in [] if table is None else table.items():
                        sound(value)


def test_a_file_cut_anywhere_is_refused() -> None:
    data = everything()
    for cut in range(0, len(data), 101):
        with pytest.raises(RdbError):
            load(data[:cut])


def test_every_changed_byte_is_seen_without_a_fitting_checksum() -> None:
    data = everything()
    for at in range(9, len(data), 103):
        with pytest.raises(RdbError):
            load(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
def test_a_real_server_s_marks_functions_and_facts(policy: str, tmp_path: Path) -> None:
    code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
    with redis8(tmp_path, ["--maxmemory-policy", policy]) as server:
        peer = Peer(server.port)
        peer("FUNCTION", "LOAD", code)
        peer("RESTORE", "idle", 0, GOOD["hash"], "IDLETIME", 5000)
        peer("RESTORE", "freq", 0, GOOD["set"], "FREQ", 200)
        peer("SAVE")
        peer.close()
    store = Store(maxmemory_policy=policy)
    loader = KeyspaceLoader(store.node.keyspace)
    data = (tmp_path / "dump.rdb").read_bytes()
    list(read_snapshot(RdbReader(data), loader, now_ms=START_MS))
    assert loader.functions == [code.encode()]
    assert loader.facts[b"redis-bits"] == b"64"
    if policy == "allkeys-lru":
        assert 4990 <= store("OBJECT", "IDLETIME", "idle") <= 5020
    else:
        assert store("OBJECT", "FREQ", "freq") == 200
