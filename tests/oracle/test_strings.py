"""String commands against a real server: one stream of commands, every reply equal.

Both sides are asked in RESP2 and in RESP3. Times to live are absolute and in the past or in the far
future, because the two clocks are not the same. Sequences that once disagreed are kept by name.
"""

from __future__ import annotations

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

INTEGERS = [
    "0", "1", "-1", "5", "-7", "10", "100", "007", "+1", "-0", "1_0", " 1", "1 ", "0x10", "", "abc",
    "1.0", "-9223372036854775808", "-9223372036854775809", "9223372036854775807",
    "9223372036854775808", "9" * 40,
]  # fmt: skip
# Offsets near the limit of a string are tried in tests/hostile; here they would cost half a GiB.
OFFSETS = [n for n in INTEGERS if n not in ("100",)] + ["3", "20"]
# Redis takes what strtold does: hexadecimal floats, and more than a double holds; we do not. And
# it adds in 64 bits of mantissa where we add exactly, so sums of very unlike numbers are left out.
FLOATS = [
    "1.5", "-0.25", "1e3", "3.0", "3.0e3", "inf", "-inf", "+inf", "nan", "", " 1", "1 ", "1_0",
    "0.1", "0.2", "1e15", "123456789012", "-0.0", "5e-1", ".5", "5.", "1e", "infinity", "7e-5",
]  # fmt: skip
VALUES = [
    "",
    "v",
    "hello",
    "ohmytext",
    "mynewtext",
    "10",
    "-3",
    "1.5",
    "9223372036854775807",
    "x" * 45,
]
TIMES = ["4102444800", "4102444800000", "1", "0", "-1", "x", "", "9223372036854775807", "1.5"]
KEYS = ["a", "b", "c", "hash"]
OPTIONS = [
    "NX", "XX", "GET", "KEEPTTL", "PERSIST", "EX", "PX", "EXAT", "PXAT", "nx", "Exat", "LEN", "IDX",
    "MINMATCHLEN", "WITHMATCHLEN", "bogus", "", "1", "2", "4102444800", "4102444800000",
]  # fmt: skip

key, value = st.sampled_from(KEYS), st.sampled_from(VALUES)
integer, offset = st.sampled_from(INTEGERS), st.sampled_from(OFFSETS)
decimal, when = st.sampled_from(FLOATS), st.sampled_from(TIMES)
option = st.sampled_from(OPTIONS)
unit = st.sampled_from(["EXAT", "PXAT", "exat"])
options = st.lists(option, max_size=4)
pairs = st.lists(st.one_of(key, value), min_size=1, max_size=6)


def line(word: str, *parts: Any) -> Any:
    """A strategy for argument lists: texts as they are, strategies drawn, lists spliced in."""
    drawn = st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts))
    return drawn.map(
        lambda args: [word, *(w for a in args for w in (a if isinstance(a, list) else [a]))]
    )


COMMANDS = st.one_of(
    line("SET", key, value), line("SET", key, integer), line("SET", key, decimal),
    line("SET", key, value, options), line("SET", key, value, unit, when),
    line("SET", key, value, unit, when, options), line("SETNX", key, value),
    line("GET", key), line("GETSET", key, value), line("GETDEL", key), line("GETEX", key),
    line("GETEX", key, unit, when), line("GETEX", key, options), line("GETEX", key, "PERSIST"),
    line("SETEX", key, st.sampled_from(["0", "-1", "x", "9223372036854775807"]), value),
    line("PSETEX", key, st.sampled_from(["0", "-1", "x", "9223372036854775807"]), value),
    line("SETEX", key, "100000", value), line("PSETEX", key, "100000000", value),
    line("INCR", key), line("DECR", key), line("INCRBY", key, integer),
    line("DECRBY", key, integer),
    line("INCRBYFLOAT", key, decimal), line("APPEND", key, value), line("STRLEN", key),
    line("SETRANGE", key, offset, value), line("GETRANGE", key, integer, integer),
    line("SUBSTR", key, integer, integer), line("MGET", st.lists(key, min_size=1, max_size=4)),
    line("MSET", pairs), line("MSETNX", pairs), line("LCS", key, key, options),
    line("LCS", key, key, "IDX", "MINMATCHLEN", integer, "WITHMATCHLEN"),
    line("EXPIRETIME", key), line("PEXPIRETIME", key), line("EXISTS", key), line("TYPE", key),
    line("OBJECT", "ENCODING", key), line("DEL", key), line("PERSIST", key),
)  # fmt: skip


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
    if isinstance(reply, Exception):
        return str(reply)
    # These two count from now, and the clocks differ.
    if args[0] in ("EXPIRETIME", "PEXPIRETIME"):
        far = 4_000_000_000 if args[0] == "EXPIRETIME" else 4_000_000_000_000
        return "soon" if 0 < reply < far else reply
    # Redis keeps the result of INCRBYFLOAT as text, even if it is an integer.
    return b"embstr" if reply == b"int" else reply


def compare(peer: tuple[Peer, int], commands: list[list[str]]) -> None:
    server, protocol = peer
    server("FLUSHALL")
    store = Store(protocol=protocol)
    for args in [["HSET", "hash", "x", "1"], *commands]:
        if args[0] == "INCRBYFLOAT" and len(str(store("GET", args[1]))) > 18:
            continue
        theirs, ours = server(*args), store(*args)
        assert comparable(args, ours) == comparable(args, theirs), args
    store.check_replay()


@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(commands=st.lists(COMMANDS, min_size=10, max_size=60))
def test_replies_agree(peer: tuple[Peer, int], commands: list[list[str]]) -> None:
    compare(peer, commands)


@pytest.mark.parametrize("line", [
    "SET a v EX 100 EX x", "SET a v EX 100 EX 200", "SET a v EX 100 PX 200", "SET a v NX NX",
    "SET a v KEEPTTL KEEPTTL", "SET a v KEEPTTL EX 5", "SET a v EX 5 KEEPTTL", "SET a v NX GET",
    "GETEX a PERSIST PERSIST", "GETEX a EX 5 EX 7", "GETEX a EX 5 PERSIST", "GETEX a PERSIST EX 5",
    "GETEX a EX", "LCS hash hash bogus", "LCS a hash IDX MINMATCHLEN x", "LCS a b LEN IDX",
    "SETRANGE a 536870912 x", "SETRANGE a 9223372036854775807 x", "APPEND hash x", "GETSET hash x",
])  # fmt: skip
def test_found(peer: tuple[Peer, int], line: str) -> None:
    """Options that come twice, and errors in Redis' order: each of these once differed."""
    compare(peer, [["SET", "a", "v"], line.split(), ["GET", "a"], ["EXPIRETIME", "a"]])


def test_found_getex_with_an_empty_option(peer: tuple[Peer, int]) -> None:
    compare(peer, [["GETEX", "c", ""], ["GETEX", "c", "EX", "5", ""]])
