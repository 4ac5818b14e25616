"""String commands: replies, options, errors; compared with what redis-server answers."""

from __future__ import annotations

import pytest

from tests.support.store import Store


def test_set_and_get(either: Store) -> None:
    assert either("GET", "k") is None
    assert either("SET", "k", "v") == b"OK"
    assert either("GET", "k") == b"v"
    assert either("STRLEN", "k") == 1


@pytest.mark.parametrize(
    "line",
    [
        "SET k v NX XX",
        "SET k v EX",
        "SET k v EX 1 PX 1",
        "SET k v KEEPTTL EX 1",
        "SET k v FOO",
        "GETEX k EX",
        "GETEX k FOO",
    ],
)
def test_set_syntax_errors(store: Store, line: str) -> None:
    assert store.error(*line.split()) == "ERR syntax error"


@pytest.mark.parametrize("value", ["0", "-1", "9223372036854775807"])
def test_set_invalid_expire(store: Store, value: str) -> None:
    assert store.error("SET", "k", "v", "EX", value) == "ERR invalid expire time in 'set' command"
    assert store.error("SETEX", "k", value, "v") == "ERR invalid expire time in 'setex' command"


def test_set_conditions_and_get(store: Store) -> None:
    assert store.run("SET k a XX") is None
    assert store.run("SET k a NX") == b"OK"
    assert store.run("SET k b NX") is None
    assert store.run("SET k b XX GET") == b"a"
    assert store.run("SET k c NX GET") == b"b"
    assert store.run("GET k") == b"b"


def test_expiry_is_absolute_and_hides_the_key(store: Store) -> None:
    store.run("SET k v PX 100")
    store.advance(99)
    assert store.run("GET k") == b"v"
    store.advance(1)
    assert store.run("GET k") is None
    assert store.node.keyspace.expired_keys == 1


def test_keepttl_keeps(store: Store) -> None:
    store.run("SET k v PX 100")
    store.run("SET k w KEEPTTL")
    store.advance(100)
    assert store.run("GET k") is None


@pytest.mark.parametrize(
    "bad", ["1_000", " 1", "+7", "007", "", "9223372036854775808", "1.0", "0x10"]
)
def test_increment_refuses_what_redis_refuses(store: Store, bad: str) -> None:
    assert store.error("INCRBY", "k", bad) == "ERR value is not an integer or out of range"


def test_increment_overflow(store: Store) -> None:
    store("SET", "k", 2**63 - 1)
    assert store.error("INCR", "k") == "ERR increment or decrement would overflow"
    store("SET", "k", -(2**63))
    assert store.error("DECR", "k") == "ERR increment or decrement would overflow"
    assert store.error("DECRBY", "k", -(2**63)) == "ERR decrement would overflow"
    assert store("INCRBY", "k", 2**63 - 1) == -1


def test_increment_by_float(store: Store) -> None:
    store.run("SET k 10.50")
    assert store.run("INCRBYFLOAT k 0.1") == b"10.6"
    assert store.run("INCRBYFLOAT k -5") == b"5.6"
    store.run("SET k 5.0e3")
    assert store.run("INCRBYFLOAT k 2.0e2") == b"5200"
    assert store.error("INCRBYFLOAT", "k", "inf") == "ERR increment would produce NaN or Infinity"


def test_append_and_setrange(store: Store) -> None:
    assert store.run("APPEND k Hello") == 5
    assert store.run("APPEND k World") == 10
    assert store.run("SETRANGE k 12 x") == 13
    assert store.run("GET k") == b"HelloWorld\0\0x"
    assert store.run("GETRANGE k -3 -1") == b"\0\0x"
    assert store.run("GETRANGE k 5 2") == b""
    assert store.run("SETRANGE k 0 J") == 13
    assert store.error("SETRANGE", "k", -1, "x") == "ERR offset is out of range"
    assert "exceeds maximum" in store.error("SETRANGE", "k", 536870912, "x")


def test_mset_msetnx_mget(store: Store) -> None:
    assert store.run("MSET a 1 b 2") == b"OK"
    assert store.run("MSETNX b 3 c 4") == 0
    assert store.run("MGET a b c") == [b"1", b"2", None]
    assert store.error("MSET", "a", 1, "b") == "ERR wrong number of arguments for 'mset' command"


def test_getdel_getex_getset(store: Store) -> None:
    store.run("SET k v")
    assert store.run("GETEX k PX 50") == b"v"
    assert store.run("GETEX k PERSIST") == b"v"
    store.advance(60)
    assert store.run("GETSET k w") == b"v"
    assert store.run("GETDEL k") == b"w"
    assert store.run("GETDEL k") is None


def test_lcs(store: Store) -> None:
    store.run("MSET a ohmytext b mynewtext")
    assert store.run("LCS a b") == b"mytext"
    assert store.run("LCS a b LEN") == 6
    assert store.run("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN") == [
        b"matches", [[[4, 7], [5, 8], 4]], b"len", 6,
    ]  # fmt: skip


def test_unknown_command_and_arity(store: Store) -> None:
    assert store.error("NOPE", "a", "b") == (
        "ERR unknown command 'NOPE', with args beginning with: 'a' 'b' "
    )
    assert store.error("GET") == "ERR wrong number of arguments for 'get' command"
