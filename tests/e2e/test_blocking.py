"""Clients that wait, over real sockets: who is served, pipelines behind a wait, time, leaving."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.e2e.test_standalone import port as port  # the fixture of a node alone
from tests.support.peer import Peer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


Connect = Callable[[], Peer]


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    """Opens connections, and closes them in the end."""
    made: list[Peer] = []

    def connect() -> Peer:
        made.append(Peer(port))
        return made[-1]

    yield connect
    for peer in made:
        peer.close()


@pytest.fixture
def client(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port) as made:
        yield made
        made.flushall()


def await_blocked(client: redis.Redis, count: int) -> None:
    """Return once that many clients wait; the server is asked, nothing is guessed."""
    for _ in range(100_000):
        if client.info("clients")["blocked_clients"] == count:
            return
    raise AssertionError(f"there are not {count} waiting clients")


def test_a_push_serves_the_first_who_came(connect: Connect, client: redis.Redis) -> None:
    first, second = connect(), connect()
    first.send("BLPOP", "l", 0)
    await_blocked(client, 1)
    second.send("BRPOP", "l", 0)
    await_blocked(client, 2)
    assert client.rpush("l", "x") == 1
    assert first.receive() == [b"l", b"x"]
    await_blocked(client, 1)
    assert client.rpush("l", "y", "z") == 2
    assert second.receive() == [b"l", b"z"]
    assert client.lrange("l", 0, -1) == [b"y"]


def test_requests_behind_a_wait_are_answered_later(connect: Connect, client: redis.Redis) -> None:
    peer = connect()
    peer.send("BZPOPMIN", "z", 0)
    peer.send("SET", "behind", 1)
    peer.send("BLPOP", "l", 0)
    peer.send("PING")
    await_blocked(client, 1)
    assert client.get("behind") is None
    client.zadd("z", {"m": 1.5})
    assert peer.receive() == [b"z", b"m", b"1.5"]
    assert peer.receive() == b"OK"
    await_blocked(client, 1)
    client.rpush("l", "x")
    assert [peer.receive(), peer.receive()] == [[b"l", b"x"], b"PONG"]


def test_what_was_moved_serves_the_next(connect: Connect, client: redis.Redis) -> None:
    peer, other = connect(), connect()
    peer.send("BLMOVE", "a", "b", "LEFT", "LEFT", 0)
    await_blocked(client, 1)
    other.send("BLPOP", "b", 0)
    await_blocked(client, 2)
    other_reply = client.pipeline(transaction=True).rpush("a", "1").rpush("a", "2").execute()
    assert other_reply == [1, 2]
    assert peer.receive() == b"1"
    assert other.receive() == [b"b", b"1"]


def test_time_runs_out(connect: Connect, client: redis.Redis) -> None:
    peer = connect()
    assert peer("BLPOP", "l", "0.01") is None
    assert peer("BLMPOP", "0.001", 1, "l", "LEFT") is None
    assert peer("PING") == b"PONG"


def test_who_goes_away_gets_nothing(connect: Connect, client: redis.Redis) -> None:
    peer = connect()
    peer.send("BLPOP", "l", 0)
    await_blocked(client, 1)
    peer.close()
    await_blocked(client, 0)
    assert client.rpush("l", "x") == 1
    assert client.lrange("l", 0, -1) == [b"x"]


def test_a_hash_field_expires_though_nobody_asks(client: redis.Redis) -> None:
    client.hset("h", mapping={"a": "1", "b": "2"})
    assert client.hpexpire("h", 20, "a") == [1]
    for _ in range(100_000):
        if client.hlen("h") == 1:
            break
    assert client.hgetall("h") == {b"b": b"2"}
    assert client.info("stats")["expired_subkeys"] == 1
