"""Commands on keys of any type: delete, rename, copy, move, look at, list."""

from __future__ import annotations

import pytest

from isthmus.node.engine.access import set_clock
from tests.support.store import START_MS, Store


def fill(store: Store) -> None:
    """One key of each type."""
    store.run("SET str v")
    store.run("RPUSH list a b c")
    store.run("HSET hash f v")
    store.run("SADD set 1 2")
    store.run("ZADD zset 1 m")


KINDS = ("str", "list", "hash", "set", "zset")


def test_del_unlink_exists_touch(store: Store) -> None:
    store.run("MSET a 1 b 2 c 3")
    assert store.run("EXISTS a a b nope") == 3
    assert store.run("TOUCH a nope b") == 2
    assert store.run("DEL a a nope") == 1
    assert store.run("UNLINK b c") == 2
    assert store.run("DBSIZE") == 0
    assert store.error("DEL") == "ERR wrong number of arguments for 'del' command"


def test_an_expired_key_is_not_counted(store: Store) -> None:
    for name in "abcd":
        store("SET", name, "v", "PX", 10)
    store.advance(10)
    assert store.run("DEL a") == 0
    assert store.run("EXISTS b") == 0
    assert store.run("TOUCH c") == 0
    assert store.run("RENAMENX d e") == store("RENAME", "nope", "x")
    assert store.run("DBSIZE") == 0


def test_hits_and_misses(store: Store) -> None:
    store.run("SET a 1")
    store.run("EXISTS a b")
    store.run("TYPE a")
    store.run("TTL b")
    store.run("TOUCH a b")
    assert (store.node.ctx.hits, store.node.ctx.misses) == (3, 3)


def test_type(store: Store) -> None:
    fill(store)
    names = [store.run(f"TYPE {key}") for key in KINDS]
    assert names == [b"string", b"list", b"hash", b"set", b"zset"]
    store.run("APPEND str x")
    assert store.run("TYPE str") == b"string"
    assert store.raw("TYPE", "nope") == b"+none\r\n"


def test_rename_takes_value_and_expiry_along(store: Store) -> None:
    fill(store)
    for key in KINDS:
        store.run(f"PEXPIRE {key} 5000")
        store.run("SET new old")
        kind = store.run(f"TYPE {key}")
        assert store.run(f"RENAME {key} new") == b"OK"
        assert store.run(f"EXISTS {key}") == 0
        assert (store.run("TYPE new"), store.run("PTTL new")) == (kind, 5000)
        assert store.run(f"RENAMENX new {key}") == 1
    assert store.run("DBSIZE") == len(KINDS)
    assert store.run("RENAME str str") == b"OK"
    assert store.run("RENAMENX str str") == 0
    assert store.run("RENAMENX str list") == 0
    assert store.error("RENAME", "nope", "str") == "ERR no such key"
    assert store.error("RENAMENX", "nope", "nope") == "ERR no such key"


def test_rename_of_a_big_value_frees_nothing(store: Store) -> None:
    store("SADD", "big", *range(200))
    store.run("RENAME big other")
    store.run("MOVE other 1")
    store.run("SELECT 1")
    assert store.node.keyspace.garbage == []
    assert store.run("SCARD other") == 200
    store.run("DEL other")
    assert len(store.node.keyspace.garbage) == 1


def test_copy_is_independent(store: Store) -> None:
    fill(store)
    store.run("APPEND str x")
    for key in KINDS:
        store.run(f"PEXPIRE {key} 5000")
        assert store.run(f"COPY {key} {key}2") == 1
        assert store.run(f"PTTL {key}2") == 5000
    store.run("APPEND str y")
    store.run("RPUSH list d")
    store.run("HSET hash g v")
    store.run("SADD set 3")
    store.run("ZADD zset 2 n")
    assert store.run("GET str2") == b"vx"
    assert store.run("LLEN list2") == 3
    assert store.run("HLEN hash2") == 1
    assert store.run("SCARD set2") == 2
    assert store.run("ZCARD zset2") == 1


def test_copy_options(store: Store) -> None:
    store.run("MSET a 1 b 2")
    assert store.run("COPY a b") == 0
    assert store.run("COPY a b REPLACE") == 1
    assert store.run("COPY a a DB 3") == 1
    assert store.run("COPY a a DB 3") == 0
    assert store.run("COPY a a replace db 3") == 1
    assert store.run("COPY nope x") == 0
    same = "ERR source and destination objects are the same"
    assert store.error("COPY", "a", "a") == same
    assert store.error("COPY", "a", "a", "DB", "0") == same
    assert store.error("COPY", "a", "b", "DB", "16") == "ERR DB index is out of range"
    assert store.error("COPY", "a", "b", "DB") == "ERR syntax error"
    assert store.error("COPY", "a", "b", "x") == "ERR syntax error"


def test_move(store: Store) -> None:
    store.run("SET k v PX 5000")
    assert store.run("MOVE k 1") == 1
    assert store.run("MOVE k 1") == 0
    store.run("SET k w")
    assert store.run("MOVE k 1") == 0
    assert store.error("MOVE", "k", "0") == "ERR source and destination objects are the same"
    assert store.error("MOVE", "k", "99") == "ERR DB index is out of range"
    assert store.error("MOVE", "k", "x") == "ERR value is not an integer or out of range"
    store.run("SELECT 1")
    assert (store.run("GET k"), store.run("PTTL k")) == (b"v", 5000)


def test_watchers_see_both_keys(store: Store) -> None:
    other = store.node.new_client()
    for line, key in (
        ("RENAME a b", "a"),
        ("RENAME a b", "b"),
        ("COPY a b", "b"),
        ("MOVE a 1", "a"),
    ):
        store.run("FLUSHALL")
        store.run("SET a 1")
        store("WATCH", key, client=other)
        store.run(line)
        store("MULTI", client=other)
        assert store("EXEC", client=other) is None, line


def test_randomkey(store: Store) -> None:
    assert store.run("RANDOMKEY") is None
    store.run("MSET a 1 b 2")
    assert {store.run("RANDOMKEY") for _ in range(30)} == {b"a", b"b"}
    store.run("PEXPIRE a 1")
    store.advance(1)
    assert {store.run("RANDOMKEY") for _ in range(10)} == {b"b"}


def test_keys(store: Store) -> None:
    store.run("MSET one 1 two 2 three 3 four 4")
    store.run("PEXPIRE two 1")
    store.advance(1)
    assert sorted(store.run("KEYS *")) == [b"four", b"one", b"three"]
    assert sorted(store.run("KEYS *o*")) == [b"four", b"one"]
    assert store.run("KEYS [x]*") == []


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        ("1", b"int"), ("-9223372036854775808", b"int"), ("9223372036854775808", b"embstr"),
        ("007", b"embstr"), ("", b"embstr"), ("x" * 44, b"embstr"), ("x" * 45, b"raw"),
    ],
)  # fmt: skip
def test_string_encodings(store: Store, value: str, encoding: bytes) -> None:
    store("SET", "k", value)
    assert store.run("OBJECT ENCODING k") == encoding
    store.run("APPEND k 1")
    assert store.run("OBJECT ENCODING k") == b"raw"


def test_object(store: Store) -> None:
    fill(store)
    assert store.run("OBJECT ENCODING set") == b"intset"
    assert store.run("OBJECT ENCODING hash") == b"listpack"
    assert store.run("OBJECT REFCOUNT list") == 1
    assert store.error("OBJECT", "FREQ", "str").startswith("ERR An LFU maxmemory policy is not")
    for word in ("ENCODING", "REFCOUNT", "IDLETIME", "FREQ"):
        assert store("OBJECT", word, "nope") is None
    assert store.run("OBJECT HELP")[0].startswith(b"OBJECT <subcommand>")
    assert store.error("OBJECT", "x", "k") == "ERR unknown subcommand 'x'. Try OBJECT HELP."


def test_idle_time(store: Store) -> None:
    set_clock(START_MS // 1000)
    store.run("SET k v")
    store.advance(7000)
    assert store.run("EXISTS k") == 1, "does not touch"
    assert store.run("OBJECT IDLETIME k") == 7
    set_clock(START_MS // 1000 + 7)
    store.run("TOUCH k")
    assert store.run("OBJECT IDLETIME k") == 0
    set_clock(0)
