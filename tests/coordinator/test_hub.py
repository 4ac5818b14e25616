"""Connections of the coordinator against peers that misbehave."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from isthmus.coordinator import rpc
from isthmus.coordinator.model import PERSISTENCE, Closed, Message, SetPersistence
from isthmus.coordinator.server import Coordinator, Settings
from isthmus.coordinator.store.base import Batch, StoreError
from isthmus.coordinator.store.memory import Shelf
from isthmus.wire.link import Link, LinkClosed, RpcClient, RpcError
from isthmus.wire.policy import Policy
from tests.cluster.world import FakeNode, World, until


class Listener:
    def __init__(self) -> None:
        self.heard: list[Message] = []

    def handle(self, message: Message) -> None:
        self.heard.append(message)


def frame(message: dict[str, Any]) -> bytes:
    body = msgpack.packb(message)
    return len(body).to_bytes(4, "big") + bytes(body)


def hub() -> tuple[rpc.Hub, Listener]:
    listener = Listener()
    return rpc.Hub(listener.handle, lambda: {"epoch": 5}), listener


async def test_status_is_for_anybody_and_the_model_does_not_hear_of_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it, listener = hub()
    mine, its = trio.testing.memory_stream_pair()
    nursery.start_soon(it.serve, its)
    async with RpcClient.over(mine, "cli") as client:
        assert client.peer == "coordinator"
        assert await client.call("status") == {"epoch": 5}
        assert not listener.heard
    await until(lambda: it.connections == 0)
    assert listener.heard == [Closed(1)]


async def test_the_policy_is_set_by_a_call(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it, listener = hub()
    mine, its = trio.testing.memory_stream_pair()
    nursery.start_soon(it.serve, its)
    async with RpcClient.over(mine, "cli") as client:
        assert await client.call("set_persistence", policy="rdb:90m") == {"epoch": 5}
        assert listener.heard == [SetPersistence(Policy("rdb", period_s=5400))]
        for params in ({"policy": "rdb:1s"}, {"policy": 5}, {}, {"policy": "off\n"}):
            with pytest.raises(RpcError, match=r"a policy is|not between"):
                await client.call("set_persistence", **params)
        with pytest.raises(RpcError, match="the methods are status, explain"):
            await client.call("set_everything")
        assert len(listener.heard) == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("epoch", [0, 7])
def test_a_store_of_a_time_without_policies(epoch: int) -> None:
    shelf = Shelf()
    store = shelf.open()
    store.create("c" * 40, "local")
    store.commit(Batch(epoch))
    first = Coordinator(Settings(persistence=Policy("rdb", period_s=3600)), store, lambda: 1)
    assert first.status()["persistence"] == "rdb:1h"
    # Whoever holds the topology of that epoch must see that this is another.
    assert first.state.epoch == (epoch + 1 if epoch else 0)
    store.close()
    # It is asked once only: the store's counts from then on.
    again = shelf.open()
    assert Coordinator(Settings(), again, lambda: 1).status()["persistence"] == "rdb:1h"
    again.commit(Batch(epoch + 1, {PERSISTENCE: {"policy": "tape:daily"}}))
    with pytest.raises(StoreError, match="persistence policy cannot be understood"):
        Coordinator(Settings(), again, lambda: 1)


async def test_a_peer_that_says_nothing_is_let_go(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it, _ = hub()
    _mine, its = trio.testing.memory_stream_pair()
    began = trio.current_time()
    await it.serve(its)
    assert trio.current_time() - began <= rpc.FIRST_FRAME_SECONDS_MAX + rpc.FLUSH_SECONDS_MAX


async def test_nonsense_ends_the_connection_and_nothing_else(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0\0\0\1\xc1", b"\0\0\0\0"):
        it, listener = hub()
        mine, its = trio.testing.memory_stream_pair()
        nursery.start_soon(it.serve, its)
        await mine.send_all(data)
        await until(lambda: len(listener.heard) == 1)  # noqa: B023
        assert it.connections == 0


async def test_an_unknown_frame_is_answered_before_the_end(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it, _ = hub()
    mine, its = trio.testing.memory_stream_pair()
    nursery.start_soon(it.serve, its)
    link = Link(mine)
    await link.greet("stranger")
    await link.send({"type": "make-me-king"})
    assert (await link.receive())["code"] == "BAD_MESSAGE"
    await mine.aclose()


async def test_a_peer_that_does_not_read_is_closed_not_queued_for(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it, _ = hub()
    mine, its = trio.testing.lockstep_stream_pair()  # send waits for the other's receive
    nursery.start_soon(it.serve, its)
    link = Link(mine)

    async def greet() -> None:
        with pytest.raises(LinkClosed):  # the hub leaves while this send still waits
            await link.send({"hello": "node", "version": 1})

    nursery.start_soon(greet)
    await link.receive()
    for _ in range(rpc.QUEUE_FRAMES_MAX + 2):
        it.send(1, {"type": "topology"})
    await until(lambda: it.connections == 0)
    assert it.slow_peers_closed >= 1


async def test_a_flood_of_registrations_is_bounded(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 1)
    coordinator = await world.start()
    member = FakeNode(world, "a", "x", 1).start()
    await until(lambda: member.view.state_ok)
    link = Link(await world.connect(""))
    await link.greet("node")
    body = {"type": "register", **member.describe()}
    data = b"".join(frame({**body, "id": f"{n:040x}"}) for n in range(20))
    await link._stream.send_all(data)  # in one piece, so that all is there before any answer
    frames = [await link.receive() for _ in range(3)]
    assert [f["type"] for f in frames[:2]] == ["registered", "topology"]
    assert len(coordinator.state.members) == 2, "one connection speaks for one id"
    nursery.cancel_scope.cancel()
