"""Publish and subscribe across the nodes of a real cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import hiredis
import pytest
import redis

from isthmus.wire.slots import key_slot
from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PATIENCE_SECONDS = 20.0


class Listener:
    """A connection that reads what it is sent."""

    def __init__(self, port: int, *subscribe: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=0.2)
        self.reader = hiredis.Reader()
        self.socket.sendall(hiredis.pack_command(subscribe))
        self.answer = self.next(PATIENCE_SECONDS)

    def next(self, seconds: float) -> object:
        """The next message; None if there is none in time."""
        deadline = time.monotonic() + seconds
        while (reply := self.reader.gets()) is False:
            try:
                self.reader.feed(self.socket.recv(65536))
            except TimeoutError:
                if time.monotonic() > deadline:
                    return None
        return reply


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    with e2e.running(tmp_path_factory.mktemp("pubsub")) as found:
        yield found


def test_every_node_hears_what_any_publishes(cluster: e2e.Cluster) -> None:
    ports = [cluster.ports.node + at for at in range(3)]
    listeners = [Listener(port, "SUBSCRIBE", "news", "lanes") for port in ports]
    for listener in listeners:
        assert listener.next(1) is not None
    clients = [redis.Redis(port=port, socket_timeout=10) for port in ports]
    # The lanes are made in the background: wait until each carries something.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        for at, client in enumerate(clients):
            client.publish("lanes", str(at))
        seen = [set[bytes]() for _ in listeners]
        for heard, listener in zip(seen, listeners, strict=True):
            while (message := listener.next(0.2)) is not None:
                heard.add(message[2])  # type: ignore[index]
        if all(len(heard) == 3 for heard in seen):
            break
        assert time.monotonic() < deadline, seen
    for at, client in enumerate(clients):
        for number in range(200):
            assert client.publish("news", f"{at}:{number}") == 1
    wanted = [[f"{at}:{number}".encode() for number in range(200)] for at in range(3)]
    for listener in listeners:
        texts = [listener.next(10)[2] for _ in range(600)]  # type: ignore[index]
        by_sender = [[t for t in texts if t.startswith(b"%d:" % at)] for at in range(3)]
        assert by_sender == wanted, "all of it, once, in the order of each sender"
        assert listener.next(0) is None
    for each in (*listeners, *clients):
        each.close() if isinstance(each, redis.Redis) else each.socket.close()


def test_shard_channels_live_where_their_slot_does(cluster: e2e.Cluster) -> None:
    owner = key_slot(b"channel") * 3 // 16384
    ports = [cluster.ports.node + at for at in range(3)]
    for at, port in enumerate(ports):
        listener = Listener(port, "SSUBSCRIBE", "channel")
        if at == owner:
            assert listener.answer == [b"ssubscribe", b"channel", 1]
            with redis.Redis(port=port, socket_timeout=10) as client:
                assert client.execute_command("SPUBLISH", "channel", "x") == 1
            assert listener.next(5) == [b"smessage", b"channel", b"x"]
        else:
            moved = f"MOVED {key_slot(b'channel')} 127.0.0.1:{ports[owner]}"
            assert str(listener.answer) == moved
        listener.socket.close()
    crossing = Listener(ports[0], "SSUBSCRIBE", "a", "b")
    assert str(crossing.answer).startswith("CROSSSLOT")
    crossing.socket.close()
