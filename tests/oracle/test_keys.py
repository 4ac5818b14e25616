"""Generic, expiry, connection and configuration commands beside a real server, replies compared.

The store's clock is set to the server's before each stream, and times to live are whole and far
away, so seconds agree. Both are asked in RESP2 and in RESP3.
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

KEYS = ["a", "b", "{t}c", "list", "hash", "set"]
NUMBERS = [
    "0", "1", "-1", "1000", "5000", "007", "", " 1", "1.0", "x", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "9223372036854775", "9223372036854776",
]  # fmt: skip
INDEXES = ["0", "1", "2", "15", "16", "-1", "x", "9999999999", "99999999999999999999"]
CONDITIONS = ["NX", "XX", "GT", "lt", "foo"]

key, number, index = st.sampled_from(KEYS), st.sampled_from(NUMBERS), st.sampled_from(INDEXES)
keys = st.lists(key, min_size=1, max_size=3)
# Sets of words became listpacks in 7.2: here they hold integers.
members = st.sampled_from(["0", "1", "-1", "1000", "5000"])
far = st.sampled_from(["1000", "5000", "5000000000", "x", "-1", "0"])
# A page of one key is another key on each server: only counts that take all, or none.
whole = st.sampled_from([text for text in NUMBERS if text != "1"])
conditions = st.lists(st.sampled_from(CONDITIONS), max_size=2)
copies = st.lists(st.sampled_from(["REPLACE", "DB", "0", "1", "x", "99"]), max_size=3)


def line(word: str, *parts: Any) -> Any:
    """A strategy for argument lists: texts as they are, strategies drawn, lists spliced in."""
    drawn = st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts))
    return drawn.map(
        lambda args: [word, *(w for a in args for w in (a if isinstance(a, list) else [a]))]
    )


COMMANDS = st.one_of(
    line("SET", key, number), line("RPUSH", "list", number), line("HSET", "hash", "f", number),
    line("SADD", "set", members), line("APPEND", key, "x"), line("SETEX", key, "1000", "v"),
    line("DEL", keys), line("UNLINK", keys), line("EXISTS", keys), line("TOUCH", keys),
    line("TYPE", key), line("RENAME", key, key), line("RENAMENX", key, key),
    line("COPY", key, key, copies), line("MOVE", key, index), line("DBSIZE"),
    line("OBJECT", "ENCODING", key), line("OBJECT", "FREQ", key), line("OBJECT", "x", key),
    line("EXPIRE", key, number, conditions), line("PEXPIRE", key, far, conditions),
    line("EXPIREAT", key, far, conditions), line("PEXPIREAT", key, number, conditions),
    line("TTL", key), line("EXPIRETIME", key), line("PERSIST", key), line("KEYS", "*"),
    line("KEYS", st.sampled_from(["[ab]", "?*t", "", "{t}*"])), line("SCAN", "0", "COUNT", "1000"),
    line("SCAN", st.sampled_from(["x", "0x1", "1.0"])), line("SCAN", "0", "COUNT", whole),
    line("SCAN", "0", "TYPE", st.sampled_from(["string", "LIST", "nope"]), "COUNT", "1000"),
    line("SCAN", "0", "MATCH", "*[ab]", "COUNT", "1000"), line("SCAN", "0", key, number),
    line("SELECT", index), line("SWAPDB", index, index), line("FLUSHDB"),
    line("FLUSHALL", st.sampled_from(["ASYNC", "sync", "x"])), line("PING"), line("PING", key),
    line("ECHO", number), line("HELLO", st.sampled_from(["1", "x"])), line("AUTH", key),
    line("AUTH", key, number), line("CLIENT", "SETNAME", number), line("CLIENT", "GETNAME"),
    line("CLIENT", "KILL", "ID", number), line("CLIENT", "NO-EVICT", key), line("MULTI"),
    line("EXEC"), line("DISCARD"), line("WATCH", keys), line("UNWATCH"), line("LPOP", "list"),
    line("CONFIG", "GET", st.sampled_from(["maxmemory", "nope", "hash-max-listpack-*"])),
    line("CONFIG", "SET", st.sampled_from(["maxclients", "nope", "databases", "hz"]), "x"),
    line("COMMAND", "GETKEYS", st.sampled_from(["get", "del", "copy"]), keys), line("RESET"),
)  # fmt: skip


class Peer:
    """One connection to the real server."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=10)
        self.reader = hiredis.Reader(replyError=RedisReplyError)

    def __call__(self, *args: str) -> Any:
        self.socket.sendall(hiredis.pack_command(tuple(encode(arg) for arg in args)))
        while (reply := self.reader.gets()) is False:
            self.reader.feed(self.socket.recv(65536))
        return reply


@pytest.fixture(scope="module")
def peer(redis_server: Server) -> Iterator[Peer]:
    made = Peer(redis_server)
    yield made
    made("RESET")
    made("FLUSHALL")
    made.socket.close()


def comparable(args: list[str], reply: Any) -> Any:
    """A form of the reply that is equal for equally good answers."""
    if isinstance(reply, Exception):
        return str(reply)
    if args[0] == "KEYS" and isinstance(reply, list):
        return sorted(reply)
    if args[0] == "SCAN" and isinstance(reply, list):
        return reply[0], sorted(reply[1])
    if args[:2] == ["OBJECT", "ENCODING"] and reply == b"quicklist":
        # Short lists became listpacks in 7.2.
        return b"listpack"
    if args[:2] == ["CONFIG", "GET"] and isinstance(reply, list):
        return dict(zip(reply[::2], reply[1::2], strict=True))
    return reply


def unordered(reply: Any) -> Any:
    """EXEC's replies with the inner arrays sorted, errors as texts."""
    if not isinstance(reply, list):
        return reply
    return [
        str(one) if isinstance(one, Exception)
        else sorted(map(str, flat(one))) if isinstance(one, (list, dict)) else one
        for one in reply
    ]  # fmt: skip


def flat(value: Any) -> list[Any]:
    """All scalars of a nested reply."""
    if isinstance(value, dict):
        return [x for pair in value.items() for x in flat(list(pair))]
    return [x for item in value for x in flat(item)] if isinstance(value, list) else [value]


def run_both(peer: Peer, protocol: int, stream: list[list[str]]) -> None:
    for word in ("RESET", "FLUSHALL"):
        peer(word)
    peer("HELLO", str(protocol))
    store = Store(protocol=protocol)
    seconds, microseconds = peer("TIME")
    store.clock.now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    for args in stream:
        ours, theirs = store(*args), peer(*args)
        if args[0] == "RESET":
            peer("HELLO", str(protocol))
            store("HELLO", protocol)
        if args[0] == "EXEC":
            assert unordered(ours) == unordered(theirs), (args, stream)
        else:
            assert comparable(args, ours) == comparable(args, theirs), (args, stream)
    store.check_replay()


@pytest.mark.parametrize("protocol", [2, 3])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stream=st.lists(COMMANDS, min_size=5, max_size=25))
def test_same_replies(peer: Peer, protocol: int, stream: list[list[str]]) -> None:
    run_both(peer, protocol, stream)
