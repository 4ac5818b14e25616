"""Effects as commands of an AOF, and the seals behind them."""

from __future__ import annotations

from isthmus.node.engine.effect_log import Effect
from isthmus.node.persist.aof_format import NO_DB, SEAL, Seal, encode_batch, timestamp
from isthmus.node.persist.aof_scan import AofScanner
from isthmus.wire.crc64 import crc64


def effect(db: int, line: str) -> Effect:
    return Effect(db, line.encode().split(b" "), b"", b"", 0)


def lines(data: bytes) -> list[str]:
    return [b" ".join(argv).decode() for _, argv in AofScanner(data)]


def test_select_when_the_database_changes() -> None:
    data, db = encode_batch([effect(0, "SET a 1")], NO_DB)
    more, db = encode_batch([effect(0, "SET b 2")], db)
    last, db = encode_batch([effect(3, "SET c 3")], db)
    assert db == 3
    assert lines(data + more + last) == ["SELECT 0", "SET a 1", "SET b 2", "SELECT 3", "SET c 3"]


def test_several_changes_are_a_transaction() -> None:
    data, db = encode_batch([effect(1, "SET a 1"), effect(1, "DEL b")], 1)
    assert lines(data) == ["MULTI", "SET a 1", "DEL b", "EXEC"] and db == 1
    data, db = encode_batch([effect(1, "SET a 1"), effect(2, "DEL b"), effect(1, "DEL c")], 0)
    assert lines(data) == [
        *("SELECT 1", "MULTI", "SET a 1", "SELECT 2", "DEL b", "SELECT 1", "DEL c", "EXEC"),
    ]
    assert db == 1


def test_events_without_a_change_are_passed_over() -> None:
    note = Effect(5, [b"", b"key"], b"new", b"n", 0)
    assert encode_batch([note], NO_DB) == (b"", NO_DB)
    assert encode_batch([note, note], 4) == (b"", 4)
    assert encode_batch([], 4) == (b"", 4)
    data, db = encode_batch([note, effect(0, "DEL a"), note], 0)
    assert (lines(data), db) == (["DEL a"], 0)


def test_timestamps() -> None:
    assert timestamp(1_700_000_000) == b"#TS:1700000000\r\n"


def test_a_seal_sums_up_the_file() -> None:
    seal = Seal()
    assert seal.line() == b"", "nothing to seal"
    seal.add(b"*1\r\n$4\r\nPING\r\n")
    first = seal.line()
    assert first == b"#CRC:%016x:14\r\n" % crc64(b"*1\r\n$4\r\nPING\r\n")
    assert seal.line() == b"" and seal.size == 14 + len(first) == seal.sealed
    seal.add(b"x")
    found = SEAL.fullmatch(seal.line().rstrip())
    assert found is not None
    assert int(found[1], 16) == crc64(b"*1\r\n$4\r\nPING\r\n" + first + b"x")
    assert len(b"#CRC:%016x:%d\r\n" % (1 << 63, 1 << 62)) < 128
