"""Hash commands: replies in both protocols, errors, hostile arguments; as redis-server answers."""

from __future__ import annotations

import pytest

from isthmus.node.values import draws
from tests.support.store import Store

NOT_INTEGER = "ERR value is not an integer or out of range"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
BAD_INTEGERS = [
    "", "abc", " 1", "1_0", "007", "+7", "0x10", "1.0", "-9223372036854775809",
    "9223372036854775808", "9" * 5000,
]  # fmt: skip


def test_set_and_get(either: Store) -> None:
    assert either.run("HSET h a 1 b 2 a 3") == 2
    assert either.run("HSET h a 4 c 5") == 1
    assert either.run("HGET h a") == b"4"
    assert either.run("HGET h z") is None
    assert either.run("HGET none a") is None
    assert either.run("HMGET h c z a") == [b"5", None, b"4"]
    assert either.run("HMGET none a b") == [None, None]
    assert either.run("HLEN h") == 3
    assert either.run("HLEN none") == 0
    assert either.run("HEXISTS h a") == 1
    assert either.run("HEXISTS h z") == 0
    assert either.run("HSTRLEN h a") == 1
    assert either.run("HSTRLEN h z") == either.run("HSTRLEN none z") == 0
    assert either.run("HMSET h d 6") == b"OK"
    assert either.run("HSETNX h d 7") == 0
    assert either.run("HSETNX n d 7") == 1


def test_fields_and_values_of_any_bytes(store: Store) -> None:
    field, value = bytes(range(256)) * 300, b"\r\n\0" * 1000
    assert store("HSET", "h", field, value, b"", b"") == 2
    assert store("HGET", "h", field) == value
    assert store("HSTRLEN", "h", field) == 3000
    assert store("HGET", "h", b"") == b""
    assert store("HDEL", "h", field) == 1


def test_delete(either: Store) -> None:
    either.run("HSET h a 1 b 2")
    assert either.run("HDEL h a z a") == 1
    assert either.run("HDEL h z") == 0
    assert either.run("HDEL none z") == 0
    assert either.run("HDEL h b") == 1
    assert either.node.keyspace.databases[0].size == 0


def test_shapes_of_everything() -> None:
    old, new = Store(protocol=2), Store(protocol=3)
    for store in (old, new):
        store.run("HSET h a 1")
    assert old.raw("HGETALL", "h") == b"*2\r\n$1\r\na\r\n$1\r\n1\r\n"
    assert new.raw("HGETALL", "h") == b"%1\r\n$1\r\na\r\n$1\r\n1\r\n"
    assert old.raw("HGETALL", "none") == b"*0\r\n"
    assert new.raw("HGETALL", "none") == b"%0\r\n"
    assert new.raw("HKEYS", "h") == old.raw("HKEYS", "h") == b"*1\r\n$1\r\na\r\n"
    assert new.raw("HVALS", "h") == old.raw("HVALS", "h") == b"*1\r\n$1\r\n1\r\n"
    assert new.raw("HKEYS", "none") == new.raw("HVALS", "none") == b"*0\r\n"
    assert new.raw("HMGET", "h", "z") == b"*1\r\n_\r\n"
    for count in ("1", "-1", "5"):
        pair = b"$1\r\na\r\n$1\r\n1\r\n"
        assert old.raw("HRANDFIELD", "h", count, "WITHVALUES") == b"*2\r\n" + pair
        assert new.raw("HRANDFIELD", "h", count, "withvalues") == b"*1\r\n*2\r\n" + pair


def test_increments(either: Store) -> None:
    assert either.run("HINCRBY h n 5") == 5
    assert either.run("HINCRBY h n -7") == -2
    assert either.run("HGET h n") == b"-2"
    either.run("HSET h max 9223372036854775807 min -9223372036854775808 text x")
    overflow = "ERR increment or decrement would overflow"
    assert either.error("HINCRBY", "h", "max", "1") == overflow
    assert either.error("HINCRBY", "h", "min", "-1") == overflow
    assert either.error("HINCRBY", "h", "n", "-9223372036854775808") == overflow
    assert either.error("HINCRBY", "h", "text", "1") == "ERR hash value is not an integer"
    assert either.run("HINCRBY h max -9223372036854775808") == -1


@pytest.mark.parametrize("bad", BAD_INTEGERS)
def test_integers_are_strict(store: Store, bad: str) -> None:
    assert store.error("HINCRBY", "h", "f", bad) == NOT_INTEGER
    assert store.error("HRANDFIELD", "h", bad) == NOT_INTEGER
    store.run("HSET h f 1")
    assert store.error("HSCAN", "h", "0", "COUNT", bad) == NOT_INTEGER
    store("HSET", "h", "f", bad)
    assert store.error("HINCRBY", "h", "f", "1") == "ERR hash value is not an integer"


def test_float_increments(either: Store) -> None:
    assert either.run("HINCRBYFLOAT h f 10.5") == b"10.5"
    assert either.run("HINCRBYFLOAT h f 0.1") == b"10.6"
    assert either.run("HINCRBYFLOAT h f -10.6") == b"0"
    assert either.run("HINCRBYFLOAT h f 5.0e3") == b"5000"
    either.run("HSET h text x inf inf")
    assert either.error("HINCRBYFLOAT", "h", "text", "1") == "ERR hash value is not a float"
    assert either.error("HINCRBYFLOAT", "h", "f", "inf") == "ERR value is NaN or Infinity"
    assert (
        either.error("HINCRBYFLOAT", "h", "inf", "1")
        == "ERR increment would produce NaN or Infinity"
    )
    for bad in ("nan", "-nan", "", " 1", "1_0", "x"):
        assert either.error("HINCRBYFLOAT", "h", "f", bad) == "ERR value is not a valid float"


def test_random_fields(either: Store) -> None:
    fields = {b"%d" % n for n in range(20)}
    either("HSET", "h", *[text for n in range(20) for text in (n, n)])
    assert either.run("HRANDFIELD h") in fields
    assert either.run("HRANDFIELD none") is None
    assert either.run("HRANDFIELD none 3") == either.run("HRANDFIELD h 0") == []
    for count in (1, 5, 10, 19, 20):
        drawn = either.run(f"HRANDFIELD h {count}")
        assert len(drawn) == len(set(drawn)) == count
        assert fields.issuperset(drawn)
    assert set(either.run("HRANDFIELD h 9223372036854775807")) == fields
    assert len(either.run("HRANDFIELD h -50")) == 50


def test_random_fields_out_of_range(store: Store) -> None:
    store.run("HSET h a 1")
    span = "value must between -9223372036854775807 and 9223372036854775807"
    lowest = "-9223372036854775808"
    assert store.error("HRANDFIELD", "h", lowest) == f"ERR value is out of range, {span}"
    for count in ("-9223372036854775807", "4611686018427387904", "-4611686018427387904"):
        reply = store.error("HRANDFIELD", "h", count, "WITHVALUES")
        assert reply == "ERR value is out of range"
    assert store.error("HRANDFIELD", "h", "1", "FOO") == "ERR syntax error"
    assert store.error("HRANDFIELD", "h", "1", "WITHVALUES", "x") == "ERR syntax error"


def test_repeats_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store("HSET", "h", "a", "v" * 1000)
    text = "ERR value is out of range, at most 89478485 elements may be drawn with repeats"
    assert store.error("HRANDFIELD", "h", "-9223372036854775807") == text
    monkeypatch.setattr(draws, "REPLY_BYTES_MAX", 2000)
    reply = store.error("HRANDFIELD", "h", "-1000", "WITHVALUES")
    assert reply.startswith("ERR the reply would be larger than ")
    assert store.run("HLEN h") == 1


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1_0", "0x0", "1" * 21, "2" * 20, "1 "])
def test_scan_refuses_bad_cursors(store: Store, cursor: str) -> None:
    assert store.error("HSCAN", "h", cursor) == "ERR invalid cursor"
    assert store.error("SSCAN", "h", cursor) == "ERR invalid cursor"


def test_scan_of_a_small_hash_returns_all_of_it(either: Store) -> None:
    either.run("HSET h a 1 b 2")
    for cursor in ("0", "5", "18446744073709551615"):
        done, found = either("HSCAN", "h", cursor, "COUNT", 1)
        assert done == b"0"
        assert dict(zip(found[::2], found[1::2], strict=True)) == {b"a": b"1", b"b": b"2"}
    assert either.run("HSCAN h 0 MATCH a*") == [b"0", [b"a", b"1"]]
    assert either.run("HSCAN h 0 NOVALUES MATCH [^a]") == [b"0", [b"b"]]
    assert either.run("HSCAN none 0 FOO") == [b"0", []]


@pytest.mark.parametrize("extra", [[], ["NOVALUES"], ["MATCH", "*"], ["MATCH", "f*", "COUNT", "7"]])
def test_scan_pages_through_a_large_hash(store: Store, extra: list[str]) -> None:
    width = 1 if "NOVALUES" in extra else 2
    store("HSET", "h", *[text for n in range(1000) for text in (f"f{n}", n)])
    cursor, seen, pages = b"0", [], 0
    while True:
        cursor, found = store("HSCAN", "h", cursor, *extra)
        seen += found[::width]
        pages += 1
        if cursor == b"0":
            break
    assert set(seen) == {b"f%d" % n for n in range(1000)}
    assert pages > 10
    cursor, found = store("HSCAN", "h", 0, "COUNT", 2**62)
    assert cursor == b"0" and len(found) == 2000


@pytest.mark.parametrize(
    "line", ["HSCAN h 0 COUNT 0", "HSCAN h 0 COUNT -1", "HSCAN h 0 COUNT", "HSCAN h 0 TYPE hash"]
)
def test_scan_syntax(store: Store, line: str) -> None:
    store.run("HSET h a 1")
    assert store.error(*line.split()) == "ERR syntax error"


@pytest.mark.parametrize("name", ["hset", "hmset"])
def test_fields_come_in_pairs(store: Store, name: str) -> None:
    text = f"ERR wrong number of arguments for '{name}' command"
    assert store.error(name, "h", "a") == store.error(name, "h", "a", "b", "c") == text


@pytest.mark.parametrize(
    "line",
    [
        "HSET k f v", "HMSET k f v", "HSETNX k f v", "HGET k f", "HMGET k f", "HGETALL k",
        "HKEYS k", "HVALS k", "HLEN k", "HEXISTS k f", "HDEL k f", "HSTRLEN k f", "HINCRBY k f 1",
        "HINCRBYFLOAT k f 1", "HRANDFIELD k", "HRANDFIELD k 0", "HSCAN k 0 COUNT 0",
    ],
)  # fmt: skip
def test_wrong_type(store: Store, line: str) -> None:
    store.run("SET k v")
    assert store.error(*line.split()) == WRONGTYPE


def test_errors_leave_nothing_behind(store: Store) -> None:
    for line in ("HINCRBY h f x", "HINCRBYFLOAT h f x", "HINCRBYFLOAT h f inf", "HSET h f"):
        store.error(*line.split())
    assert store.node.keyspace.databases[0].size == 0


def test_a_hash_that_expired_is_gone(store: Store) -> None:
    store.run("HSET h a 1")
    store.node.keyspace.databases[0].set_expire(b"h", store.clock.now_ms + 10)
    store.advance(10)
    assert store.run("HSET h b 2") == 1
    assert store.run("HKEYS h") == [b"b"]
    store.node.keyspace.log.batch.clear()
