"""Sorted set commands: replies, options, errors, encodings, effects.

Every text of an error and every reply here is what redis-server answers (see also
tests/oracle/test_zsets.py, which asks one).
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support.store import Store

NOT_FLOAT = "ERR value is not a valid float"
NOT_INTEGER = "ERR value is not an integer or out of range"
SYNTAX = "ERR syntax error"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
MIN_MAX = "ERR min or max is not a float"
LEX = "ERR min or max not valid string range item"


def pairs(reply: Any) -> list[tuple[bytes, float]]:
    """Members and scores of a reply, flat (RESP2) or nested (RESP3)."""
    if reply and isinstance(reply[0], list):
        return [(member, float(score)) for member, score in reply]
    return [(m, float(s)) for m, s in zip(reply[::2], reply[1::2], strict=True)]


def effects(store: Store) -> list[list[bytes]]:
    return [effect.argv for effect in store.recorder.effects_seen]


def events(store: Store) -> list[bytes]:
    return [effect.event for effect in store.recorder.effects_seen]


def abc(store: Store, key: str = "z") -> None:
    store("ZADD", key, 1, "a", 2, "b", 3, "c", 4, "d", 5, "e")


# --- adding --------------------------------------------------------------------------------------


def test_add_and_read(either: Store) -> None:
    assert either("ZADD", "z", 2, "b", 1, "a", 2, "b") == 2
    assert either("ZADD", "z", 3, "b") == 0
    assert either("ZCARD", "z") == 2
    assert float(either("ZSCORE", "z", "b")) == 3.0
    assert either("ZSCORE", "z", "x") is None
    assert either("ZSCORE", "none", "x") is None
    assert [s if s is None else float(s) for s in either("ZMSCORE", "z", "a", "x", "b")] == [
        1.0, None, 3.0,
    ]  # fmt: skip
    assert either("ZMSCORE", "none", "a", "b") == [None, None]


@pytest.mark.parametrize(
    ("options", "old", "new", "plain", "changed", "after"),
    [
        ("", 1, 2, 0, 1, 2), ("NX", 1, 2, 0, 0, 1), ("XX", 1, 2, 0, 1, 2), ("GT", 1, 2, 0, 1, 2),
        ("GT", 2, 1, 0, 0, 2), ("LT", 1, 2, 0, 0, 1), ("LT", 2, 1, 0, 1, 1), ("GT", 2, 2, 0, 0, 2),
        ("NX", None, 2, 1, 1, 2), ("XX", None, 2, 0, 0, None), ("GT", None, 2, 1, 1, 2),
        ("XX GT", None, 2, 0, 0, None), ("XX GT", 1, 2, 0, 1, 2), ("XX LT", 1, 2, 0, 0, 1),
    ],
)  # fmt: skip
def test_conditions(
    store: Store, options: str, old: Any, new: Any, plain: int, changed: int, after: Any
) -> None:
    words = options.split()
    for key, word, expected in (("p", [], plain), ("c", ["CH"], changed)):
        if old is not None:
            store("ZADD", key, old, "m")
        assert store("ZADD", key, *words, *word, new, "m") == expected
        assert store("ZSCORE", key, "m") == (None if after is None else b"%d" % after)
    if old is not None:
        store("ZADD", "i", old, "m")
    reply = store("ZADD", "i", *words, "INCR", new, "m")
    total = new + (old or 0)
    held = ("NX" in words and old is not None) or ("XX" in words and old is None) or (
        "LT" in words and old is not None
    )  # fmt: skip
    assert reply == (None if held else b"%d" % total)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ZADD z NX XX 1 a", "ERR XX and NX options at the same time are not compatible"),
        ("ZADD z GT LT 1 a", "ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z NX GT 1 a", "ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z INCR 1 a 2 b", "ERR INCR option supports a single increment-element pair"),
        ("ZADD z NX 1", SYNTAX), ("ZADD z NX XX", SYNTAX), ("ZADD z 1 a 2", SYNTAX),
        ("ZADD z 1 a x b", NOT_FLOAT), ("ZADD z nan a", NOT_FLOAT), ("ZADD z 1e400 a", NOT_FLOAT),
        ("ZADD z 1_0 a", NOT_FLOAT), ("ZADD str 1 a", WRONGTYPE), ("ZADD str x a", NOT_FLOAT),
        ("ZINCRBY z NX a", SYNTAX), ("ZINCRBY z x a", NOT_FLOAT), ("ZADD str XX 1 a", WRONGTYPE),
    ],
)  # fmt: skip
def test_add_errors(store: Store, line: str, error: str) -> None:
    store.run("SET str v")
    assert store.error(*line.split()) == error
    assert store.run("ZCARD z") == 0


def test_increments(either: Store) -> None:
    assert float(either("ZINCRBY", "z", "1.5", "a")) == 1.5
    assert float(either("ZADD", "z", "INCR", "-2", "a")) == -0.5
    assert either("ZADD", "z", "NX", "INCR", "1", "a") is None
    assert either("ZADD", "none", "XX", "INCR", "1", "a") is None
    assert math.isinf(float(either("ZINCRBY", "z", "inf", "a")))
    assert either.error("ZINCRBY", "z", "-inf", "a") == (
        "ERR resulting score is not a number (NaN)"
    )
    assert math.isinf(float(either("ZSCORE", "z", "a")))


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        ("0.1", b"0.1"), ("3.0", b"3"), ("1e20", b"1e+20"), ("1e21", b"1e+21"),
        ("inf", b"inf"), ("-Infinity", b"-inf"), ("1e-7", b"1e-7"), ("0x10", b"16"),
        ("-0", b"0"), ("0.1234567890123456789", b"0.12345678901234568"), ("+5", b"5"),
        ("9007199254740993", b"9007199254740992"),
    ],
)  # fmt: skip
def test_scores_are_spelt_as_redis_does(store: Store, score: str, shown: bytes) -> None:
    store("ZADD", "z", score, "m")
    assert store("ZSCORE", "z", "m") == shown


def test_remove(store: Store) -> None:
    abc(store)
    assert store.run("ZREM z a x a b") == 2
    assert store.run("ZREM z c d e") == 3
    assert store.run("EXISTS z") == 0
    assert store.run("ZREM z a") == 0


# --- ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 -1", "abcde"), ("0 0", "a"), ("-2 -1", "de"), ("3 99", "de"), ("-99 1", "ab"),
        ("2 1", ""), ("5 9", ""), ("-1 -2", ""), ("0 -1 REV", "edcba"), ("0 1 REV", "ed"),
        ("-1 -1 REV", "a"), ("1 3 REV", "dcb"),
        ("-9223372036854775808 9223372036854775807", "abcde"),
        ("9223372036854775807 -9223372036854775808", ""),
        ("2 4 BYSCORE", "bcd"), ("(2 (4 BYSCORE", "c"), ("-inf +inf BYSCORE", "abcde"),
        ("4 2 BYSCORE", ""), ("4 2 BYSCORE REV", "dcb"), ("inf (3 BYSCORE REV LIMIT 1 1", "d"),
        ("-inf inf BYSCORE LIMIT 1 2", "bc"), ("-inf inf BYSCORE LIMIT 1 -1", "bcde"),
        ("-inf inf BYSCORE LIMIT -1 2", ""), ("-inf inf BYSCORE LIMIT 5 2", ""),
        ("-inf inf BYSCORE LIMIT 0 0", ""), ("inf -inf BYSCORE REV LIMIT 1 2", "dc"),
        ("inf -inf BYSCORE REV LIMIT 4 -5", "a"), ("0 -1 LIMIT 0 -1", "abcde"),
        ("-inf inf BYSCORE LIMIT 9223372036854775807 9223372036854775807", ""),
        ("-inf inf BYSCORE LIMIT -9223372036854775808 -9223372036854775808", ""),
        ("1.5 3.5 BYSCORE", "bc"), ("(1e400 inf BYSCORE", ""),
    ],
)  # fmt: skip
def test_zrange(store: Store, line: str, expected: str) -> None:
    abc(store)
    members = [bytes([byte]) for byte in expected.encode()]
    assert store.run("ZRANGE z " + line) == members
    assert store.run("ZRANGE none " + line) == []
    with_scores = store.run("ZRANGE z " + line + " WITHSCORES")
    assert pairs(with_scores) == [(m, float(ord(m) - ord("a") + 1)) for m in members]
    assert store.run("ZRANGESTORE to z " + line) == len(members)
    assert store.run("ZRANGE to 0 -1") == sorted(members)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("- +", "aa ab b c"), ("[ab [b", "ab b"), ("(ab (c", "b"), ("[ab +", "ab b c"),
        ("- (b", "aa ab"), ("+ -", ""), ("[c [a", ""), ("[b [b", "b"), ("(b [b", ""),
        ("- -", ""), ("+ +", ""), ("[ +", "aa ab b c"), ("- + LIMIT 1 2", "ab b"),
        ("- + LIMIT -1 2", ""), ("( (", ""),
    ],
)  # fmt: skip
def test_by_lex(store: Store, line: str, expected: str) -> None:
    store.run("ZADD z 0 c 0 b 0 aa 0 ab")
    members = expected.encode().split()
    low, high, *rest = line.split()
    assert store.run("ZRANGEBYLEX z " + line) == members
    assert store("ZRANGE", "z", low, high, "BYLEX", *rest) == members
    if not rest:
        assert store("ZREVRANGEBYLEX", "z", high, low) == members[::-1]
        assert store("ZLEXCOUNT", "z", low, high) == len(members)
        assert store("ZREMRANGEBYLEX", "z", low, high) == len(members)
        assert store("ZCARD", "z") == 4 - len(members)


def test_older_forms(store: Store) -> None:
    abc(store)
    assert store.run("ZREVRANGE z 0 1") == [b"e", b"d"]
    assert store.run("ZRANGEBYSCORE z (1 3") == [b"b", b"c"]
    assert store.run("ZREVRANGEBYSCORE z 3 (1 LIMIT 0 1") == [b"c"]
    assert store.run("ZCOUNT z (1 3") == 2
    assert store.run("ZCOUNT none 1 3") == 0
    assert store.run("ZREMRANGEBYSCORE z (1 3") == 2
    assert store.run("ZREMRANGEBYRANK z -1 -1") == 1
    assert store.run("ZRANGE z 0 -1") == [b"a", b"d"]
    assert store.run("ZREMRANGEBYRANK z 0 -1") == 2
    assert store.run("EXISTS z") == 0


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ZRANGE z 0 x", NOT_INTEGER), ("ZRANGE z 0 9223372036854775808", NOT_INTEGER),
        ("ZRANGE z a b BYSCORE", MIN_MAX), ("ZRANGE z nan 1 BYSCORE", MIN_MAX),
        ("ZRANGE z a b BYLEX", LEX), ("ZRANGE z 0 1 FOO", SYNTAX), ("ZRANGE z 0 1 REV REV", SYNTAX),
        ("ZRANGE z 0 1 BYSCORE BYLEX", SYNTAX), ("ZRANGE z 0 1 LIMIT 0", SYNTAX),
        ("ZRANGE z 0 1 LIMIT 0 x", NOT_INTEGER), ("ZRANGEBYSCORE z 0 1 REV", SYNTAX),
        ("ZRANGE z 0 1 LIMIT 0 1", "ERR syntax error, LIMIT is only supported in combination "
         "with either BYSCORE or BYLEX"),
        ("ZRANGE z - + BYLEX WITHSCORES", "ERR syntax error, WITHSCORES not supported in "
         "combination with BYLEX"),
        ("ZRANGESTORE d z 0 1 WITHSCORES", SYNTAX), ("ZRANGE str 0 1", WRONGTYPE),
        ("ZRANGE str 0 x", NOT_INTEGER), ("ZREVRANGE z 0 1 BYSCORE", SYNTAX),
        ("ZCOUNT z 1 x", MIN_MAX), ("ZLEXCOUNT z 1 [x", LEX),
        ("ZREMRANGEBYRANK z 0 x", NOT_INTEGER),
        ("ZRANK z a FOO", SYNTAX), ("ZRANK z a WITHSCORE x",
         "ERR wrong number of arguments for 'zrank' command"), ("ZRANK str a", WRONGTYPE),
    ],
)  # fmt: skip
def test_range_errors(store: Store, line: str, error: str) -> None:
    store.run("SET str v")
    abc(store)
    assert store.error(*line.split()) == error


def test_rank(either: Store) -> None:
    abc(either)
    assert either.run("ZRANK z c") == 2
    assert either.run("ZREVRANK z e") == 0
    assert either.run("ZRANK z x") is None
    assert either.run("ZRANK none x WITHSCORE") is None
    place, score = either.run("ZREVRANK z a WITHSCORE")
    assert (place, float(score)) == (4, 1.0)


def test_rangestore_replaces(store: Store) -> None:
    abc(store)
    store.run("SET to v EX 100")
    assert store.run("ZRANGESTORE to z 1 2") == 2
    assert pairs(store.run("ZRANGE to 0 -1 WITHSCORES")) == [(b"b", 2.0), (b"c", 3.0)]
    assert store.run("ZRANGESTORE z z 0 0") == 1
    assert store.run("ZRANGESTORE to none 0 -1") == 0
    assert store.run("EXISTS to") == 0


# --- pops and draws ------------------------------------------------------------------------------


def test_resp3_shapes() -> None:
    store = Store(protocol=3)
    abc(store)
    assert store.raw("ZRANGE", "z", 0, 0, "WITHSCORES") == b"*1\r\n*2\r\n$1\r\na\r\n,1\r\n"
    assert store.raw("ZPOPMIN", "z") == b"*2\r\n$1\r\na\r\n,1\r\n"
    assert store.raw("ZPOPMAX", "z", 1) == b"*1\r\n*2\r\n$1\r\ne\r\n,5\r\n"
    assert store.raw("ZSCAN", "z", 0, "MATCH", "b") == (
        b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"
    )
    assert store.raw("ZMPOP", 1, "z", "MIN") == b"*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nb\r\n,2\r\n"
    assert store.raw("ZRANDMEMBER", "z", -1, "WITHSCORES").startswith(b"*1\r\n*2\r\n$1\r\n")
    assert store.raw("ZRANK", "none", "a", "WITHSCORE") == b"_\r\n"
    store.check_replay()


def test_resp2_shapes(store: Store) -> None:
    abc(store)
    assert store.raw("ZPOPMIN", "z", 1) == b"*2\r\n$1\r\na\r\n$1\r\n1\r\n"
    assert store.raw("ZMPOP", 1, "z", "MAX") == (
        b"*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\ne\r\n$1\r\n5\r\n"
    )
    assert store.raw("ZMPOP", 1, "none", "MAX") == b"*-1\r\n"
    assert store.raw("ZRANK", "none", "a", "WITHSCORE") == b"*-1\r\n"
    assert store.raw("ZPOPMIN", "none") == b"*0\r\n"


def test_pops(store: Store) -> None:
    abc(store)
    assert store.run("ZPOPMIN z 0") == []
    assert pairs(store.run("ZPOPMIN z 2")) == [(b"a", 1.0), (b"b", 2.0)]
    assert pairs(store.run("ZPOPMAX z 9223372036854775807")) == [
        (b"e", 5.0), (b"d", 4.0), (b"c", 3.0),
    ]  # fmt: skip
    assert store.run("EXISTS z") == 0
    abc(store)
    assert store.run("ZMPOP 2 none z MAX COUNT 2") == [b"z", [[b"e", b"5"], [b"d", b"4"]]]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ZPOPMIN z -1", "ERR value is out of range, must be positive"),
        ("ZPOPMIN z x", "ERR value is out of range, must be positive"), ("ZPOPMIN z 1 2", SYNTAX),
        ("ZPOPMIN str", WRONGTYPE), ("ZMPOP 0 z MIN", "ERR numkeys should be greater than 0"),
        ("ZMPOP 9223372036854775807 z MIN", SYNTAX), ("ZMPOP 1 z FOO", SYNTAX),
        ("ZMPOP 2 z MIN", SYNTAX), ("ZMPOP 1 z MIN COUNT 0", "ERR count should be greater than 0"),
        ("ZMPOP 1 z MIN COUNT 1 COUNT 1", SYNTAX), ("ZMPOP 1 z MIN COUNT", SYNTAX),
        ("ZRANDMEMBER z x", NOT_INTEGER), ("ZRANDMEMBER z 1 FOO", SYNTAX),
        ("ZRANDMEMBER z -9223372036854775808", "ERR value is out of range, value must between "
         "-9223372036854775807 and 9223372036854775807"),
        ("ZRANDMEMBER z 9223372036854775807 WITHSCORES", "ERR value is out of range"),
        ("ZSCAN z x", "ERR invalid cursor"), ("ZSCAN z 0 COUNT 0", SYNTAX),
        ("ZSCAN z 0 FOO", SYNTAX), ("ZSCAN str 0", WRONGTYPE),
    ],
)  # fmt: skip
def test_pop_and_draw_errors(store: Store, line: str, error: str) -> None:
    store.run("SET str v")
    abc(store)
    assert store.error(*line.split()) == error


def test_draws(store: Store) -> None:
    abc(store)
    assert store.run("ZRANDMEMBER z") in [b"a", b"b", b"c", b"d", b"e"]
    assert store.run("ZRANDMEMBER none") is None
    assert store.run("ZRANDMEMBER none 3") == []
    assert store.run("ZRANDMEMBER z 0") == []
    assert sorted(store.run("ZRANDMEMBER z 9223372036854775807")) == [b"a", b"b", b"c", b"d", b"e"]
    assert len(set(store.run("ZRANDMEMBER z 2"))) == 2
    repeats = pairs(store.run("ZRANDMEMBER z -50 WITHSCORES"))
    assert len(repeats) == 50
    assert all(score == ord(member) - ord("a") + 1 for member, score in repeats)
    assert "at most" in store.error("ZRANDMEMBER", "z", "-9223372036854775807")


@pytest.mark.parametrize("size", [20, 500])
def test_scan_finds_everything(store: Store, size: int) -> None:
    for i in range(size):
        store("ZADD", "z", i / 4, f"m{i}")
    cursor, found = b"0", {}
    while True:
        cursor, page = store("ZSCAN", "z", cursor, "COUNT", 50)
        found.update(pairs(page))
        if cursor == b"0":
            break
    assert found == {b"m%d" % i: i / 4 for i in range(size)}
    assert store.run("ZSCAN none 0 FOO") == [b"0", []]


# --- algebra -------------------------------------------------------------------------------------


def test_algebra(either: Store) -> None:
    either.run("ZADD x 1 a 2 b 3 c")
    either.run("ZADD y 10 b 20 c 30 d")
    either.run("SADD s a c")
    run = either.run
    assert run("ZUNION 2 x y") == [b"a", b"b", b"c", b"d"]
    assert pairs(run("ZUNION 2 x y WITHSCORES")) == [
        (b"a", 1.0), (b"b", 12.0), (b"c", 23.0), (b"d", 30.0),
    ]  # fmt: skip
    assert pairs(run("ZINTER 3 x y s WITHSCORES")) == [(b"c", 24.0)]
    assert pairs(run("ZINTER 2 x y WEIGHTS 2 0.5 AGGREGATE MAX WITHSCORES")) == [
        (b"b", 5.0), (b"c", 10.0),
    ]  # fmt: skip
    assert pairs(run("ZUNION 2 x y AGGREGATE MIN WITHSCORES"))[1] == (b"b", 2.0)
    assert pairs(run("ZDIFF 2 x s WITHSCORES")) == [(b"b", 2.0)]
    assert run("ZDIFF 2 x x") == []
    assert run("ZINTER 2 x none") == []
    assert run("ZINTERCARD 2 x y") == 2
    assert run("ZINTERCARD 2 x y LIMIT 1") == 1
    assert run("ZINTERCARD 2 x y LIMIT 0") == 2


def test_algebra_stores(store: Store) -> None:
    store.run("ZADD x 1 a 2 b")
    store.run("SET to v EX 100")
    assert store.run("ZUNIONSTORE to 2 x none WEIGHTS 3 1") == 2
    assert pairs(store.run("ZRANGE to 0 -1 WITHSCORES")) == [(b"a", 3.0), (b"b", 6.0)]
    assert store.run("ZUNIONSTORE x 2 x x") == 2
    assert store.run("ZSCORE x b") == b"4"
    assert store.run("ZDIFFSTORE to 1 x") == 2
    assert store.run("ZINTERSTORE to 2 x none") == 0
    assert store.run("EXISTS to") == 0
    assert events(store)[-1] == b"del"


def test_what_is_no_number_becomes_zero(store: Store) -> None:
    store.run("ZADD p inf a")
    store.run("ZADD n -inf a")
    assert store.run("ZUNION 2 p n WITHSCORES") == [b"a", b"0"]
    assert store.run("ZINTER 2 p n WITHSCORES") == [b"a", b"0"]
    assert store.run("ZUNION 1 p WEIGHTS 0 WITHSCORES") == [b"a", b"0"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ZUNION 0 x", "ERR at least 1 input key is needed for 'zunion' command"),
        ("ZUNIONSTORE d 0 x", "ERR at least 1 input key is needed for 'zunionstore' command"),
        ("ZUNION x x", NOT_INTEGER), ("ZUNION 2 x", SYNTAX),
        ("ZUNION 9223372036854775807 x", SYNTAX), ("ZUNION 2 x str", WRONGTYPE),
        ("ZUNION 1 x WEIGHTS nan", "ERR weight value is not a float"),
        ("ZUNION 1 x WEIGHTS", SYNTAX), ("ZUNION 2 x x WEIGHTS 1", SYNTAX),
        ("ZUNION 1 x AGGREGATE FOO", SYNTAX), ("ZUNION 1 str FOO", WRONGTYPE),
        ("ZDIFF 1 x WEIGHTS 1", SYNTAX), ("ZUNIONSTORE d 1 x WITHSCORES", SYNTAX),
        ("ZINTERCARD 1 x LIMIT -1", "ERR LIMIT can't be negative"),
        ("ZINTERCARD 1 x LIMIT a", "ERR LIMIT can't be negative"),
        ("ZINTERCARD 1 x WITHSCORES", SYNTAX), ("ZINTER 1 x LIMIT 1", SYNTAX),
    ],
)  # fmt: skip
def test_algebra_errors(store: Store, line: str, error: str) -> None:
    store.run("SET str v")
    store.run("ZADD x 1 a")
    assert store.error(*line.split()) == error


# --- encodings and effects -----------------------------------------------------------------------


def test_encodings(store: Store) -> None:
    def encoding(key: str) -> bytes:
        encoded: bytes = store.node.keyspace.databases[0].lookup(key.encode()).encoding()
        return encoded

    for i in range(128):
        store("ZADD", "z", i, f"m{i}")
    assert encoding("z") == b"listpack"
    store.run("ZADD z 1 m0")
    assert encoding("z") == b"listpack"
    store.run("ZADD z 1 more")
    assert encoding("z") == b"skiplist"
    store.run("ZREM z more m0")
    assert encoding("z") == b"skiplist"
    store("ZADD", "w", 1, "x" * 64)
    assert encoding("w") == b"listpack"
    store("ZADD", "w", 1, "x" * 65)
    assert encoding("w") == b"skiplist"
    store.run("ZRANGESTORE few z 0 9")
    store.run("ZUNIONSTORE many 1 z")
    assert (encoding("few"), encoding("many")) == (b"listpack", b"listpack")
    store.run("ZUNIONSTORE many 2 z w")
    assert encoding("many") == b"skiplist"


def test_effects_are_resolved(store: Store) -> None:
    store.run("ZADD z NX 0.1 a 1 b")
    store.run("ZADD z GT 0 a 5 b")
    store.run("ZINCRBY z 0.2 a")
    store.run("ZADD z 5 b")
    store.run("ZPOPMAX z")
    store.run("ZREMRANGEBYRANK z 0 -1")
    assert effects(store) == [
        [b"ZADD", b"z", b"0.1", b"a", b"1", b"b"],
        [b"ZADD", b"z", b"5", b"b"],
        [b"ZADD", b"z", b"0.30000000000000004", b"a"],
        [b"ZREM", b"z", b"b"],
        [b"DEL", b"z"],
    ]
    assert events(store) == [b"zadd", b"zadd", b"zincr", b"zpopmax", b"zremrangebyrank"]


def test_copies_share_nothing(store: Store) -> None:
    abc(store)
    value = store.node.keyspace.databases[0].lookup(b"z")
    copied = value.copy()
    assert copied.plain() == value.plain()
    copied.upsert(b"a", 9.0)
    copied.check()
    assert store.run("ZSCORE z a") == b"1"


def test_a_large_set_is_freed_in_slices(store: Store) -> None:
    store("ZADD", "z", *(word for i in range(3000) for word in (i, f"m{i}")))
    store.run("ZRANK z m2999")
    assert store.run("ZREMRANGEBYSCORE z -inf inf") == 3000
    slices = 0
    while store.node.keyspace.free_slice(100):
        slices += 1
    assert 5 <= slices <= 100
