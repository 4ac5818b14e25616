"""Set commands: replies in both protocols, errors, hostile arguments; as redis-server answers."""

from __future__ import annotations

import pytest

from isthmus.node.values import draws
from tests.support.store import Store

NOT_INTEGER = "ERR value is not an integer or out of range"
NOT_POSITIVE = "ERR value is out of range, must be positive"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
BAD_INTEGERS = [
    "", "abc", " 1", "1_0", "007", "+7", "0x10", "1.0", "-9223372036854775809",
    "9223372036854775808", "9" * 5000,
]  # fmt: skip


def test_add_and_remove(either: Store) -> None:
    assert either.run("SADD s a b a") == 2
    assert either.run("SADD s a c") == 1
    assert either.run("SCARD s") == 3
    assert either.run("SCARD none") == 0
    assert either.run("SISMEMBER s a") == 1
    assert either.run("SISMEMBER s z") == either.run("SISMEMBER none z") == 0
    assert either.run("SMISMEMBER s a z a") == [1, 0, 1]
    assert either.run("SMISMEMBER none a z") == [0, 0]
    assert either.run("SREM s a z a") == 1
    assert either.run("SREM s z") == either.run("SREM none z") == 0
    assert either.run("SREM s b c") == 2
    assert either.node.keyspace.databases[0].size == 0


def test_members_of_any_bytes(store: Store) -> None:
    members = [bytes(range(256)) * 300, b"", b"\r\n", b"\0", b"-0", b"0"]
    assert store("SADD", "s", *members) == 6
    assert sorted(store("SMEMBERS", "s")) == sorted(members)
    assert store("SMISMEMBER", "s", *members, b"00") == [1, 1, 1, 1, 1, 1, 0]


def test_shapes() -> None:
    old, new = Store(protocol=2), Store(protocol=3)
    one = b"1\r\n$1\r\na\r\n"
    for store, aggregate in ((old, b"*"), (new, b"~")):
        store.run("SADD s a")
        for line in ("SMEMBERS s", "SINTER s s", "SUNION s none", "SDIFF s none", "SPOP s 1"):
            assert store.raw(*line.split()) == aggregate + one, line
        for line in ("SMEMBERS s", "SINTER s", "SUNION s", "SDIFF s s", "SPOP s 1", "SPOP s 0"):
            assert store.raw(*line.split()) == aggregate + b"0\r\n", line
        store.run("SADD s a")
        for line in ("SRANDMEMBER s 1", "SRANDMEMBER s -1", "SRANDMEMBER s 5"):
            assert store.raw(*line.split()) == b"*" + one, line
        assert store.raw("SRANDMEMBER", "none", "5") == b"*0\r\n"
        assert store.raw("SRANDMEMBER", "s") == b"$1\r\na\r\n"
        assert store.raw("SPOP", "s") == b"$1\r\na\r\n"
    assert old.raw("SPOP", "s") == old.raw("SRANDMEMBER", "s") == b"$-1\r\n"
    assert new.raw("SPOP", "s") == new.raw("SRANDMEMBER", "s") == b"_\r\n"


def test_pop_takes_every_member_once(either: Store) -> None:
    either("SADD", "s", *range(300))
    popped = [either.run("SPOP s") for _ in range(50)]
    popped += either.run("SPOP s 30")
    popped += either.run("SPOP s 219")
    assert either.run("SCARD s") == 1
    popped += either.run("SPOP s 9223372036854775807")
    assert sorted(popped, key=int) == [b"%d" % n for n in range(300)]
    assert either.run("SPOP s") is None


@pytest.mark.parametrize("bad", [*BAD_INTEGERS, "-1", "-9223372036854775808"])
def test_pop_count_must_be_positive(store: Store, bad: str) -> None:
    assert store.error("SPOP", "s", bad) == NOT_POSITIVE
    store.run("SET s v")
    assert store.error("SPOP", "s", bad) == NOT_POSITIVE
    assert store.error("SPOP", "s", "0", "0") == "ERR syntax error"


def test_random_members(either: Store) -> None:
    members = {b"%d" % n for n in range(20)}
    either("SADD", "s", *members)
    assert either.run("SRANDMEMBER s") in members
    for count in (1, 5, 10, 19, 20):
        drawn = either.run(f"SRANDMEMBER s {count}")
        assert len(drawn) == len(set(drawn)) == count
        assert members.issuperset(drawn)
    assert set(either.run("SRANDMEMBER s 9223372036854775807")) == members
    assert len(either.run("SRANDMEMBER s -50")) == 50
    assert either.run("SRANDMEMBER s 0") == []
    assert either.run("SCARD s") == 20


@pytest.mark.parametrize("bad", BAD_INTEGERS)
def test_random_count_is_strict(store: Store, bad: str) -> None:
    assert store.error("SRANDMEMBER", "s", bad) == NOT_INTEGER
    assert store.error("SRANDMEMBER", "s", "1", bad) == "ERR syntax error"


def test_repeats_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store("SADD", "s", "m" * 1000)
    span = "value must between -9223372036854775807 and 9223372036854775807"
    lowest = "-9223372036854775808"
    assert store.error("SRANDMEMBER", "s", lowest) == f"ERR value is out of range, {span}"
    text = "ERR value is out of range, at most 89478485 elements may be drawn with repeats"
    for count in ("-9223372036854775807", "-2147483648", "-89478486"):
        assert store.error("SRANDMEMBER", "s", count) == text
    monkeypatch.setattr(draws, "REPLY_BYTES_MAX", 2000)
    assert store.error("SRANDMEMBER", "s", "-1000").startswith("ERR the reply would be larger")
    assert len(store.run("SRANDMEMBER s -1")) == 1


def test_move(either: Store) -> None:
    either.run("SADD a x y")
    assert either.run("SMOVE a b x") == 1
    assert either.run("SMOVE a b x") == 0
    assert either.run("SMOVE a a y") == 1
    assert either.run("SMOVE a a z") == 0
    either.run("SADD b y")
    assert either.run("SMOVE a b y") == 1
    assert either.run("SCARD a") == 0
    assert set(either.run("SMEMBERS b")) == {b"x", b"y"}
    either.run("SET str v")
    assert either.run("SMOVE none str x") == 0
    assert either.error("SMOVE", "b", "str", "x") == WRONGTYPE
    assert either.error("SMOVE", "str", "none", "x") == WRONGTYPE


def test_algebra(either: Store) -> None:
    either.run("SADD a 1 2 3 4")
    either.run("SADD b 3 4 5")
    assert set(either.run("SINTER a b")) == {b"3", b"4"}
    assert set(either.run("SUNION a none b")) == {b"1", b"2", b"3", b"4", b"5"}
    assert set(either.run("SDIFF a b none")) == {b"1", b"2"}
    assert set(either.run("SDIFF none a")) == set(either.run("SINTER a none b")) == set()
    assert set(either.run("SDIFF a a")) == set()
    assert either.run("SINTERSTORE to a b") == 2
    assert set(either.run("SMEMBERS to")) == {b"3", b"4"}
    assert either.run("SUNIONSTORE to to a") == 4
    assert either.run("SDIFFSTORE to to b") == 2
    assert set(either.run("SMEMBERS to")) == {b"1", b"2"}
    assert either.run("SDIFFSTORE to to to") == 0
    assert either.run("SCARD to") == 0


def test_a_stored_result_replaces_what_was_there(store: Store) -> None:
    store.run("SADD a 1")
    store.run("SET to v PX 1000")
    assert store.run("SUNIONSTORE to a") == 1
    assert store.node.keyspace.databases[0].expiry(b"to") == -1
    store.run("SET to v")
    assert store.run("SINTERSTORE to a none") == 0
    assert store.run("GET to") is None


def test_intersection_count(either: Store) -> None:
    either.run("SADD a 1 2 3 4")
    either.run("SADD b 2 3 4 5")
    assert either.run("SINTERCARD 2 a b") == 3
    assert either.run("SINTERCARD 2 a b LIMIT 2") == 2
    assert either.run("SINTERCARD 2 a b limit 0") == 3
    assert either.run("SINTERCARD 1 a LIMIT 9 LIMIT 1") == 1
    assert either.run("SINTERCARD 2 a none") == 0
    assert either.error("SINTERCARD", "2", "a", "b", "LIMIT") == "ERR syntax error"
    assert either.error("SINTERCARD", "1", "a", "b") == "ERR syntax error"


@pytest.mark.parametrize("bad", [*BAD_INTEGERS, "0", "-1", "-9223372036854775808"])
def test_intersection_count_arguments(store: Store, bad: str) -> None:
    assert store.error("SINTERCARD", bad, "a") == "ERR numkeys should be greater than 0"
    if bad != "0":
        reply = store.error("SINTERCARD", "1", "a", "LIMIT", bad)
        assert reply == "ERR LIMIT can't be negative"


@pytest.mark.parametrize("count", ["2", "2147483648", "9223372036854775807"])
def test_intersection_of_more_keys_than_arguments(store: Store, count: str) -> None:
    text = "ERR Number of keys can't be greater than number of args"
    assert store.error("SINTERCARD", count, "a") == text


def test_scan(either: Store) -> None:
    either("SADD", "s", *range(200))
    cursor, found = either.run("SSCAN s 0 COUNT 1")
    assert cursor == b"0" and len(found) == 200, "an intset comes whole"
    either.run("SADD s text")
    cursor, seen, pages = b"0", [], 0
    while True:
        cursor, found = either("SSCAN", "s", cursor)
        seen += found
        pages += 1
        if cursor == b"0":
            break
    assert set(seen) == {b"text", *(b"%d" % n for n in range(200))}
    assert pages > 5
    assert either("SSCAN", "s", 0, "COUNT", 2**62, "MATCH", "t[e]x?") == [b"0", [b"text"]]
    text = "ERR NOVALUES option can only be used in HSCAN"
    assert either.error("SSCAN", "s", "0", "NOVALUES") == text


def test_scan_finds_what_stays_while_the_set_changes(store: Store) -> None:
    store("SADD", "s", *(f"stay{n}" for n in range(300)))
    cursor, seen = store("SSCAN", "s", 0)
    for turn in range(2000):
        if turn % 3 == 0 and turn < 60:
            store("SADD", "s", *(f"pass{turn}.{n}" for n in range(50)))
        elif turn % 3 == 1 and turn < 60:
            store("SREM", "s", *(f"pass{turn - 1}.{n}" for n in range(50)))
        if cursor == b"0":
            break
        cursor, found = store("SSCAN", "s", cursor)
        seen += found
    assert cursor == b"0"
    assert {b"stay%d" % n for n in range(300)} <= set(seen)


@pytest.mark.parametrize(
    "line",
    [
        "SADD k m", "SREM k m", "SMEMBERS k", "SISMEMBER k m", "SMISMEMBER k m", "SCARD k",
        "SPOP k", "SPOP k 0", "SRANDMEMBER k", "SRANDMEMBER k 0", "SMOVE k to m",
        "SSCAN k 0 COUNT 0", "SINTER k", "SINTER none k", "SINTERSTORE to none k",
        "SINTERCARD 2 none k", "SUNION none k", "SUNIONSTORE to k", "SDIFF none k",
        "SDIFFSTORE to none k",
    ],
)  # fmt: skip
def test_wrong_type(store: Store, line: str) -> None:
    store.run("SET k v")
    store.run("SADD to m")
    assert store.error(*line.split()) == WRONGTYPE
    assert store.run("SMEMBERS to") == [b"m"]
