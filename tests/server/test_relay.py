"""What other nodes relay over the data link: delivered once, never answered, never believed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import hiredis
import pytest

from isthmus.node.server.link_session import LinkSession
from isthmus.node.server.session import NodeTicker
from isthmus.wire.frames import hello_frame, relay_frame
from isthmus.wire.link_hello import greeting
from isthmus.wire.pump import Pump
from tests.support.store import Store

HELLO_BYTES = 16 + 48


class World:
    """A node with one link to it, and a subscriber without a socket."""

    def __init__(self) -> None:
        self.store = Store()
        node = self.store.node
        self.pump = Pump(node.ctx.reply, NodeTicker(node))
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.link = LinkSession(node, node.new_client())
        self.pump.add(self.link, near.detach())
        self.far.sendall(hello_frame(0, 0, greeting("a" * 40)))
        self.turn()
        assert len(self.far.recv(4096)) == HELLO_BYTES
        self.far.setblocking(False)

    def turn(self) -> None:
        while self.pump.poll(0):
            pass

    def answered(self) -> bytes | None:
        """What came back; None if nothing did, an empty text if the link was closed."""
        self.turn()
        try:
            return self.far.recv(4096)
        except BlockingIOError:
            return None


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.pump.close(made.link)
    made.far.close()


def packed(*words: bytes) -> bytes:
    data: bytes = hiredis.pack_command(words)
    return data


def test_messages_reach_subscribers_and_nobody_answers(world: World) -> None:
    store = world.store
    store("SUBSCRIBE", "a")
    sharded = store.node.new_client()
    store("SSUBSCRIBE", "a", client=sharded)
    sharded.outbox.clear()
    # The last one served is the subscriber: what comes now is no part of its reply.
    payload = packed(b"PUBLISH", b"a", b"1") + packed(b"SPUBLISH", b"a", b"2")
    world.far.sendall(relay_frame(0, 2, payload))
    assert world.answered() is None
    assert bytes(store.client.outbox) == b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n"
    assert bytes(sharded.outbox) == b"*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\n2\r\n"
    assert not store.node.ctx.own_pushes
    assert store.node.pubsub.relayed == 2


def test_what_is_relayed_is_not_relayed_again(world: World) -> None:
    forwarded: list[bytes] = []
    world.store.node.pubsub.forward = lambda channel, text, shard: forwarded.append(text)
    world.far.sendall(relay_frame(0, 1, packed(b"PUBLISH", b"a", b"1")))
    assert world.answered() is None
    assert not forwarded
    world.store("PUBLISH", "a", "2")
    assert forwarded == [b"2"]


@pytest.mark.parametrize("frame", [
    relay_frame(0, 2, packed(b"PUBLISH", b"a", b"1")),
    relay_frame(0, 1, packed(b"PUBLISH", b"a", b"1") * 2),
    relay_frame(0, 1, packed(b"PUBLISH", b"a")),
    relay_frame(0, 1, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$5\r\n1\r\n"),
    relay_frame(0, 1, b"*x\r\n"),
])  # fmt: skip
def test_a_frame_that_is_not_what_it_says_closes_the_link(world: World, frame: bytes) -> None:
    world.far.sendall(frame)
    assert world.answered() == b""
    assert world.store("PING") in ("PONG", b"PONG")
