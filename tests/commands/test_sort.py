"""SORT: results and what is stored, keys, refusals in a cluster and by permissions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from isthmus.node.commands.sort import slot_of_pattern
from isthmus.wire.slots import key_slot
from tests.support.store import RedisReplyError, Store

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


def test_numbers_and_words(either: Store) -> None:
    either("RPUSH", "l", 3, 10, 1, 2)
    assert either("SORT", "l") == [b"1", b"2", b"3", b"10"]
    assert either("SORT", "l", "DESC", "LIMIT", 1, 2) == [b"3", b"2"]
    assert either("SORT", "l", "ALPHA") == [b"1", b"10", b"2", b"3"]
    assert either("SORT_RO", "l", "BY", "nosort", "DESC") == [b"2", b"1", b"10", b"3"]
    assert either("SORT", "none") == []


def test_patterns(either: Store) -> None:
    either("RPUSH", "l", 1, 2, 3)
    either("MSET", "w_1", 30, "w_2", 10, "w_3", 20)
    either("HSET", "h_2", "f", "two")
    assert either("SORT", "l", "BY", "w_*") == [b"2", b"3", b"1"]
    assert either("SORT", "l", "BY", "w_*", "GET", "#", "GET", "h_*->f", "GET", "w_*") == [
        b"2", b"two", b"10", b"3", None, b"20", b"1", None, b"30",
    ]  # fmt: skip


def test_a_field_that_has_expired_is_not_found(store: Store) -> None:
    store("RPUSH", "l", 1)
    store("HSET", "h_1", "f", "v", "g", "w")
    store("HPEXPIRE", "h_1", 100, "FIELDS", 1, "f")
    store.advance(101)
    assert store("SORT", "l", "GET", "h_*->f", "GET", "h_*->g") == [None, b"w"]


def test_stored(store: Store) -> None:
    store("ZADD", "z", 1, "b", 2, "a")
    before = len(store.recorder.effects_seen)
    assert store("SORT", "z", "ALPHA", "STORE", "d") == 2
    assert store("LRANGE", "d", 0, -1) == [b"a", b"b"]
    assert store("SORT", "z", "ALPHA", "GET", "x_*", "STORE", "d") == 2
    assert store("LRANGE", "d", 0, -1) == [b"", b""]
    assert store("SORT", "none", "STORE", "d") == 0
    assert store("EXISTS", "d") == 0
    seen = [(e.argv[0], e.event) for e in store.recorder.effects_seen[before:]]
    assert seen == [
        (b"RPUSH", b"sortstore"), (b"DEL", b""), (b"RPUSH", b"sortstore"), (b"DEL", b"del"),
    ]  # fmt: skip


def test_a_long_result_is_recorded_in_pieces(store: Store) -> None:
    store("RPUSH", "l", *range(5000))
    store("SET", "d", "x", "EX", 100)
    assert store("SORT", "l", "DESC", "STORE", "d") == 5000
    assert store("TTL", "d") == -1
    assert store("LINDEX", "d", 0) == b"4999"
    assert store("OBJECT", "ENCODING", "d") == b"quicklist"


def test_a_stored_set_is_in_order(store: Store) -> None:
    store("SADD", "s", *"hgfedcba")
    assert store("SORT", "s", "BY", "nosort", "STORE", "d") == 8
    assert store("LRANGE", "d", 0, -1) == [bytes((c,)) for c in b"abcdefgh"]
    assert store("SORT", "s", "BY", "nosort", "LIMIT", 0, 3, "STORE", "s") == 3
    assert store("TYPE", "s") == b"list"


@pytest.mark.parametrize(("line", "text"), [
    ("SORT string", WRONGTYPE),
    ("SORT_RO string", WRONGTYPE),
    ("SORT words", "ERR One or more scores can't be converted into double"),
    ("SORT words STORE string", "ERR One or more scores can't be converted into double"),
    ("SORT words BY string*x GET", "ERR syntax error"),
    ("SORT words LIMIT 1", "ERR syntax error"),
    ("SORT words LIMIT 1 x", "ERR value is not an integer or out of range"),
    ("SORT words LIMIT 9223372036854775808 1", "ERR value is not an integer or out of range"),
    ("SORT_RO words STORE d", "ERR syntax error"),
    ("SORT string what", "ERR syntax error"),
])  # fmt: skip
def test_errors(store: Store, line: str, text: str) -> None:
    store("SET", "string", "x")
    store("RPUSH", "words", "a", "1")
    assert store.run(line) == RedisReplyError(text)
    assert store("GET", "string") == b"x"


@pytest.mark.parametrize("limit", [
    ("-1", "-1"), ("0", "9223372036854775807"), ("9223372036854775807", "9223372036854775807"),
    ("-9223372036854775808", "2"), ("1", "-9223372036854775808"), ("2", "0"), ("5", "1"),
])  # fmt: skip
def test_limits_without_sense(store: Store, limit: tuple[str, str]) -> None:
    store("RPUSH", "l", 3, 1, 2)
    first, count = int(limit[0]), int(limit[1])
    expected = [b"1", b"2", b"3"][max(first, 0) :]
    if count >= 0:
        expected = expected[:count]
    assert store("SORT", "l", "LIMIT", *limit) == expected


def test_where_its_keys_are(store: Store) -> None:
    line = "COMMAND GETKEYS SORT k BY x_* LIMIT STORE STORE GET STORE STORE a STORE b"
    assert store.run(line) == [b"k", b"b"]
    assert store.run("COMMAND GETKEYS SORT k GET STORE") == [b"k"]
    assert store.run("COMMAND GETKEYS SORT_RO k STORE x") == [b"k"]
    (info,) = store.run("COMMAND INFO SORT")
    assert info[3:6] == [1, 1, 1]
    assert b"movablekeys" in info[2]


def test_slots_of_patterns() -> None:
    assert slot_of_pattern(b"{a}b*->*") == key_slot(b"a")
    assert slot_of_pattern(b"x{a}") == key_slot(b"a")
    assert slot_of_pattern(b"plain") == key_slot(b"plain")
    for text in (b"a*{a}", b"{a*}", b"\\{a}", b"[{a}", b"?{a}"):
        assert slot_of_pattern(text) == -1


def test_in_a_cluster(store: Store) -> None:
    store("RPUSH", "{l}", 2, 1)
    store("MSET", "w{l}1", 5, "w{l}2", 4)
    store.node.ctx.cluster = SimpleNamespace()
    text = "ERR %s option of SORT denied in Cluster mode when keys formed by the pattern may be in "
    text += "different slots."
    assert store("SORT", "{l}", "GET", "#", "BY", "w{l}*") == [b"2", b"1"]
    assert store("SORT", "{l}", "BY", "nosort") == [b"2", b"1"]
    assert store.error("SORT", "{l}", "BY", "w*{l}") == text % "BY"
    assert store.error("SORT", "{l}", "GET", "w_*") == text % "GET"
    assert store.error("SORT_RO", "{l}", "get", "w") == text % "GET"


def test_permissions(store: Store) -> None:
    store("RPUSH", "l", 2, 1)
    store("ACL", "SETUSER", "half", "on", "nopass", "+@all", "~l", "%W~d")
    store("ACL", "SETUSER", "full", "on", "nopass", "+@all", "~l", "%R~*")
    store("AUTH", "half", "x")
    text = "ERR %s option of SORT denied due to insufficient ACL permissions."
    assert store.error("SORT", "l", "BY", "w_*") == text % "BY"
    assert store.error("SORT", "l", "GET", "#") == text % "GET"
    assert store("SORT", "l", "BY", "nosort", "STORE", "d") == 2
    store("AUTH", "full", "x")
    assert store("SORT", "l", "BY", "w_*", "GET", "#") == [b"1", b"2"]
