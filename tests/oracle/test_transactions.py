"""Transactions beside a real server: two clients, one interleaved stream, replies compared.

Which of the two clients speaks is part of what is drawn, so WATCH is broken by the other one, by
the client itself, by flushing and by what only looks like a change. Expiry is left to
tests/commands/test_transactions.py: there the clock can be moved.
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

LINES = (
    "MULTI|MULTI|MULTI|EXEC|EXEC|EXEC|EXEC|DISCARD|WATCH a|WATCH a b|WATCH missing|WATCH list"
    "|UNWATCH|SET a 1|SET a 1|SET b x|GET a|GET b|GET missing|INCR a|INCR b|DEL a|DEL missing"
    "|APPEND a 7|LPUSH list x|LPOP list"
    "|RPUSH a x|FLUSHDB|FLUSHALL|SELECT 1|SELECT 0|SELECT 99|EXISTS a b"
    "|RENAME a b|RENAME missing b|PERSIST a|EXPIRE a 1000|MSET a 2 b 3|SETNX a 5|SETRANGE a 0 z"
    "|NOSUCH|GET|EXEC x|MULTI x|DISCARD x|WATCH|CLIENT NOPE|PING|ECHO hi|RESET|DBSIZE|TYPE list"
    "|HELLO 3|HELLO 2|CLIENT REPLY NOPE|AUTH x|SWAPDB 0 1|COPY a b|MOVE a 1|PING a b c"
).split("|")
STEPS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(LINES)), min_size=8, max_size=50
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
def peers(redis_server: Server) -> Iterator[tuple[Peer, Peer]]:
    made = Peer(redis_server), Peer(redis_server)
    yield made
    made[0]("RESET")
    made[0]("FLUSHALL")
    for each in made:
        each.socket.close()


def comparable(reply: Any) -> Any:
    if isinstance(reply, Exception):
        return str(reply)
    if isinstance(reply, list):
        return [comparable(each) for each in reply]
    # HELLO tells the version, the number of the client and the like.
    return "a map" if isinstance(reply, dict) else reply


def hello(line: str, reply: Any) -> Any:
    return "hello" if line.startswith("HELLO") and not isinstance(reply, Exception) else reply


def masked(reply: Any) -> Any:
    """HELLO 2 inside EXEC is a list that begins with `server`."""
    if isinstance(reply, list):
        return "a map" if reply[:1] == [b"server"] else [masked(each) for each in reply]
    return reply


def compare(peers: tuple[Peer, Peer], steps: list[tuple[bool, str]]) -> None:
    for each in peers:
        each("RESET")
    peers[0]("FLUSHALL")
    store = Store()
    clients = store.client, store.node.new_client()
    for second, line in [*steps, (False, "EXEC"), (True, "EXEC")]:
        theirs = peers[second](*line.split())
        ours = store(*line.split(), client=clients[second])
        mine, real = masked(comparable(ours)), masked(comparable(theirs))
        assert hello(line, mine) == hello(line, real), (second, line, steps)
    store.check_replay()


@settings(
    max_examples=200, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(steps=STEPS)
def test_two_clients_agree(peers: tuple[Peer, Peer], steps: list[tuple[bool, str]]) -> None:
    compare(peers, steps)


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_each_command_between_watch_and_exec(peers: tuple[Peer, Peer], line: str) -> None:
    """By the other client, by the client itself, and inside the transaction."""
    start = [(False, "SET a 0"), (False, "RPUSH list x"), (False, "WATCH a b list missing")]
    ends = [(False, "SELECT 0"), (False, "MULTI"), (False, "PING"), (False, "EXEC")]
    for second in (True, False):
        compare(peers, [*start, (second, line), *ends])
    compare(peers, [*start, (False, "MULTI"), (False, line), (False, "PING"), (False, "EXEC")])
