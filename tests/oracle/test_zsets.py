"""Sorted set commands against a real server: one stream of commands, replies compared.

The oracle may be older than 7.4: scores are compared as numbers (7.0 spells them with 17 digits),
WITHSCORE of ZRANK is left out, and draws are compared by their shape. All scores are equal where
ranges by member are asked for, because their answer is undefined otherwise.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.servers import Server
from tests.support.store import RedisReplyError, Store, encode

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

KEYS = ["z", "y", "x", "lex", "set", "str", "none"]
MEMBERS = ["a", "b", "ab", "c", "d", "", "\xff", "1", "-1", "m" * 70]
SCORES = [
    "0", "1", "2", "3", "-1", "0.1", "1.5", "1e3", "1e20", "1e21", "inf", "-inf", "+inf",
    "Infinity", "5e-324", "1.7e308", "0.30000000000000004", "3.0", "0x10", "9007199254740993",
]  # fmt: skip
BAD_SCORES = ["nan", "-nan", "", "abc", "1_0", " 1", "1 ", "1e400", "-1e400", "0x", "(1", "1.2.3"]
INTEGERS = [
    "0", "1", "-1", "2", "-2", "3", "5", "-5", "100", "-100", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "1_0", " 1", "0x10", "",
    "1.0", "9" * 40, "2147483648",
]  # fmt: skip
BOUNDS = ["-inf", "inf", "(inf", "(-inf", "(1", "(2", "(", "((1", "1e400", "(1e400", "[1", "( 1"]
LEX_BOUNDS = ["-", "+", "[a", "(a", "[b", "(c", "[", "(", "[\xff", "a", "", "--", "+a", "[ab", "(d"]

key = st.sampled_from(KEYS)
scored = st.sampled_from([name for name in KEYS if name != "lex"])
member = st.sampled_from(MEMBERS)
score = st.one_of(
    *[st.sampled_from(SCORES)] * 6,
    st.sampled_from(BAD_SCORES),
    st.floats(allow_nan=False).map(repr),
)
number = st.one_of(st.sampled_from(INTEGERS), st.sampled_from(["0", "1", "2", "-1"]))
bound = st.one_of(st.sampled_from(SCORES), st.sampled_from(BOUNDS), st.sampled_from(BAD_SCORES))
lex = st.sampled_from(LEX_BOUNDS)
options = st.lists(st.sampled_from(["NX", "XX", "GT", "LT", "CH", "INCR", "ch"]), max_size=3)
one_pair = st.tuples(score, member).map(list)
pairs = st.lists(one_pair, min_size=1, max_size=4).map(lambda some: sum(some, []))
members = st.lists(member, min_size=1, max_size=3)
limit = st.one_of(st.just([]), st.tuples(number, number).map(lambda two: ["LIMIT", *two]))
with_scores = st.sampled_from([[], ["WITHSCORES"], ["withscores"]])
junk = st.sampled_from([[]] * 8 + [["FOO"], ["LIMIT", "1"], ["REV"], ["BYLEX"], ["WITHSCORES"]])
reverse = st.sampled_from([[], ["REV"]])
weights = st.one_of(
    st.just([]), st.lists(score, min_size=1, max_size=3).map(lambda some: ["WEIGHTS", *some])
)
aggregate = st.sampled_from([[], ["AGGREGATE", "MIN"], ["AGGREGATE", "max"], ["AGGREGATE", "FOO"]])
keys = st.lists(key, min_size=1, max_size=3).map(lambda some: [str(len(some)), *some])
odd_keys = st.tuples(number, st.lists(key, min_size=1, max_size=2)).map(lambda t: [t[0], *t[1]])
sources = st.one_of(keys, keys, keys, odd_keys)


def line(word: str, *parts: Any) -> Any:
    """A strategy for argument lists: texts as they are, strategies drawn, lists spliced in."""
    drawn = st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts))
    return drawn.map(
        lambda args: [word, *(w for a in args for w in (a if isinstance(a, list) else [a]))]
    )


# Without what would be a reply of 2^31 or more elements, or a refusal where Redis has no bound.
COUNTS = st.sampled_from(
    ["0", "1", "-1", "3", "-5", "100", "9223372036854775807", "-9223372036854775808", "x", ""]
)
COMMANDS = st.one_of(
    line("ZADD", scored, pairs), line("ZADD", scored, options, pairs),
    line("ZADD", scored, options, one_pair), line("ZADD", key, options, member),
    line("ZADD", "lex", "0", member, "0", member), line("ZINCRBY", scored, score, member),
    line("ZREM", key, members), line("ZSCORE", key, member), line("ZMSCORE", key, members),
    line("ZCARD", key), line("ZCOUNT", key, bound, bound), line("ZLEXCOUNT", "lex", lex, lex),
    line("ZRANK", key, member), line("ZREVRANK", key, member),
    line("ZRANGE", key, number, number, reverse, with_scores, junk),
    line("ZRANGE", key, number, number, limit),
    line("ZRANGE", key, bound, bound, "BYSCORE", reverse, limit, with_scores, junk),
    line("ZRANGE", "lex", lex, lex, "BYLEX", reverse, limit, junk),
    line("ZRANGESTORE", scored, key, number, number, reverse, junk),
    line("ZRANGESTORE", scored, scored, bound, bound, "BYSCORE", reverse, limit),
    line("ZREVRANGE", key, number, number, with_scores),
    line("ZRANGEBYSCORE", key, bound, bound, with_scores, limit, junk),
    line("ZREVRANGEBYSCORE", key, bound, bound, limit, with_scores),
    line("ZRANGEBYLEX", "lex", lex, lex, limit), line("ZREVRANGEBYLEX", "lex", lex, lex, limit),
    line("ZREMRANGEBYRANK", key, number, number), line("ZREMRANGEBYSCORE", key, bound, bound),
    line("ZREMRANGEBYLEX", "lex", lex, lex),
    line("ZPOPMIN", key), line("ZPOPMAX", key, number), line("ZPOPMIN", key, number, junk),
    line("ZMPOP", sources, st.sampled_from(["MIN", "max", "FOO"]), junk),
    line("ZMPOP", sources, "MIN", "COUNT", number),
    line("ZRANDMEMBER", key), line("ZRANDMEMBER", key, COUNTS, with_scores),
    line("ZRANDMEMBER", key, COUNTS, member),
    line("ZSCAN", key, st.sampled_from(["0", "abc", "9" * 21])),
    line("ZSCAN", key, "0", "MATCH", st.sampled_from(["*", "[ab]*", "?"]), junk),
    line("ZSCAN", key, "0", "COUNT", number),
    line("ZUNION", sources, weights, aggregate, with_scores),
    line("ZINTER", sources, aggregate, weights, with_scores), line("ZDIFF", sources, with_scores),
    line("ZDIFF", sources, weights), line("ZUNIONSTORE", scored, sources, weights, aggregate),
    line("ZINTERSTORE", scored, sources, weights, aggregate, junk),
    line("ZDIFFSTORE", scored, sources, junk), line("ZINTERCARD", sources, junk),
    line("ZINTERCARD", sources, "LIMIT", number),
    line("OBJECT", "ENCODING", st.sampled_from(["z", "y"])),
)  # fmt: skip
SCORE_REPLIES = re.compile(rb"-?[0-9.]+(?:e[+-]?[0-9]+)?")


class Peer:
    """One connection to the real server, in one protocol."""

    def __init__(self, server: Server, protocol: int) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=10)
        self.reader = hiredis.Reader(replyError=RedisReplyError)
        self("HELLO", str(protocol))

    def __call__(self, *args: str) -> Any:
        self.socket.sendall(hiredis.pack_command(tuple(encode(arg) for arg in args)))
        while (reply := self.reader.gets()) is False:
            self.reader.feed(self.socket.recv(65536))
        return reply


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def peer(request: pytest.FixtureRequest, redis_server: Server) -> Iterator[tuple[Peer, int]]:
    made = Peer(redis_server, request.param)
    yield made, request.param
    made("FLUSHALL")
    made.socket.close()


def comparable(args: list[str], reply: Any) -> Any:
    """A form of the reply that is equal for equally good answers."""
    if isinstance(reply, Exception):
        return str(reply)
    if args[0] == "ZRANDMEMBER":
        return shape(args, reply)
    if args[0] == "ZSCAN":
        pairs = reply[1]
        return reply[0], sorted(as_numbers(pairs[i : i + 2]) for i in range(0, len(pairs), 2))
    return as_numbers(reply)


def as_numbers(reply: Any) -> Any:
    """Scores that are spelt differently are equal if they are the same double."""
    if isinstance(reply, list):
        return [as_numbers(item) for item in reply]
    if isinstance(reply, bytes) and SCORE_REPLIES.fullmatch(reply) and reply.strip(b"-."):
        return float(reply)
    return reply


def shape(args: list[str], reply: Any) -> Any:
    """What a random draw must have in common with another one."""
    if not isinstance(reply, list):
        return type(reply)
    repeats = args[2].startswith("-")
    items = [item[0] if isinstance(item, list) else item for item in reply]
    return len(reply), None if repeats else sorted(items, key=str)[:: len(items) + 1]


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(commands=st.lists(COMMANDS, min_size=10, max_size=60))
def test_replies_agree(peer: tuple[Peer, int], commands: list[list[str]]) -> None:
    server, protocol = peer
    server("FLUSHALL")
    store = Store(protocol=protocol)
    for start in (
        ["ZADD", "z", "1", "a", "2", "b", "3", "c", "3", "d"], ["ZADD", "y", "0.1", "b", "5", "e"],
        ["ZADD", "lex", "0", "a", "0", "b", "0", "ab", "0", "c"], ["SADD", "set", "a", "c", "q"],
        ["SET", "str", "v"],
    ):  # fmt: skip
        assert store(*start) == server(*start)
    for args in commands:
        if args[:2] == ["OBJECT", "ENCODING"] and "object" not in known(store):
            continue
        theirs, ours = server(*args), store(*args)
        assert comparable(args, ours) == comparable(args, theirs), args
    for name in ("z", "y", "x", "lex"):
        value = store.node.keyspace.databases[0].lookup(name.encode())
        if value is not None and value.kind == b"zset":
            value.check()
            assert comparable(["ZRANGE"], store("ZRANGE", name, "0", "-1", "WITHSCORES")) == (
                comparable(["ZRANGE"], server("ZRANGE", name, "0", "-1", "WITHSCORES"))
            )
    store.check_replay()


def known(store: Store) -> set[str]:
    """The names of the commands that this build has."""
    return {name.decode().lower() for name in store.node.commands}
