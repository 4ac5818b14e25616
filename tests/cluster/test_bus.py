"""The bus: lanes follow the view, messages arrive in order, what cannot be sent is counted."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock

from isthmus.node.cluster import bus as module
from isthmus.node.cluster.bus import Bus
from isthmus.node.cluster.view import ClusterView
from isthmus.wire.frames import ERROR, HELLO, RELAY, FrameReader, hello_frame
from isthmus.wire.link_hello import greeting, read_greeting
from isthmus.wire.parser import RequestParser
from tests.cluster.test_view import topology
from tests.cluster.world import until

Stream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


class Listener:
    """The other nodes: who connected to which, and what they were sent."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.view = ClusterView("")
        self.streams: dict[int, Stream] = {}
        self.heard: dict[int, list[list[bytes]]] = {}
        self.silent: set[int] = set()
        self.refusing: set[int] = set()
        self.deaf: set[int] = set()
        self.passwords: list[bytes] = []

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        if port in self.silent:
            raise OSError("connection refused")
        mine, its = trio.testing.memory_stream_pair()
        self.streams[port] = its
        self.nursery.start_soon(self.serve, port, its)
        return mine

    async def serve(self, port: int, stream: Stream) -> None:
        frames, requests = FrameReader(), RequestParser()
        requests.authenticated = True
        while data := await stream.receive_some():
            frames.feed(bytes(data))
            while frames.next():
                if frames.flags & HELLO:
                    self.passwords.append(read_greeting(frames.payload())[1])
                    if port in self.refusing:
                        await stream.send_all(hello_frame(ERROR, 0, b"wrong password"))
                        await stream.aclose()
                        return
                    name = next(node.id for node in self.view.nodes if node.link_port == port)
                    await stream.send_all(hello_frame(0, 0, greeting(name)))
                    continue
                assert frames.flags == RELAY
                frames.open_requests(requests)
                heard = self.heard.setdefault(port, [])
                heard += [requests.next() or [] for _ in range(frames.count)]
                assert not requests.pending
            frames.settle()
            if port in self.deaf:
                await trio.sleep_forever()


class World:
    """One node's bus, and what it talks to."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.listener = Listener(nursery)
        self.view = ClusterView("a" * 40)
        self.bus = Bus(self.view, lambda: b"secret", self.listener.connect)
        nursery.start_soon(self.bus.run)

    def apply(self, **changes: Any) -> None:
        frame = {**topology(self.view.epoch + 1), **changes}
        assert self.view.apply(frame) and self.listener.view.apply(frame)
        self.bus.topology_changed()

    def all_up(self) -> bool:
        lanes = self.bus.lanes.values()
        return bool(lanes) and all(lane.up for lane in lanes)


@pytest.fixture
async def world(autojump_clock: MockClock, nursery: trio.Nursery) -> World:
    it = World(nursery)
    it.apply()
    await until(it.all_up)
    return it


async def test_every_other_node_hears_in_order(world: World, nursery: trio.Nursery) -> None:
    for number in range(3000):
        world.bus.forward(b"news", b"%d" % number, False)
    ports = [node.link_port for node in world.view.nodes if node.id != world.view.my_id]
    assert ports
    await until(lambda: all(len(world.listener.heard.get(port, [])) == 3000 for port in ports))
    for port in ports:
        assert world.listener.heard[port] == [
            [b"PUBLISH", b"news", b"%d" % number] for number in range(3000)
        ]
    assert world.bus.sent == 3000 * len(ports) and world.bus.dropped == 0
    assert set(world.listener.passwords) == {b"secret"}
    nursery.cancel_scope.cancel()


async def test_shard_messages_stay_in_the_shard(world: World, nursery: trio.Nursery) -> None:
    world.bus.forward(b"news", b"x", True)
    await trio.testing.wait_all_tasks_blocked()
    me = world.view.me
    assert me is not None
    inside = {node.link_port for node in world.view.nodes if node.shard == me.shard}
    assert set(world.listener.heard) == inside - {me.link_port}
    nursery.cancel_scope.cancel()


async def test_a_node_that_is_away_costs_nothing(world: World, nursery: trio.Nursery) -> None:
    port, stream = next(iter(world.listener.streams.items()))
    world.listener.silent.add(port)
    await stream.send_stream.aclose()
    lane = next(lane for lane in world.bus.lanes.values() if lane.peer.link_port == port)
    await until(lambda: not lane.up)
    world.bus.forward(b"news", b"x", False)
    assert world.bus.dropped == 1 and not lane.queue
    world.listener.silent.clear()
    await until(lambda: lane.up)
    world.bus.forward(b"news", b"y", False)
    await until(lambda: world.listener.heard.get(port) == [[b"PUBLISH", b"news", b"y"]])
    nursery.cancel_scope.cancel()


async def test_what_waits_for_a_slow_node_is_bounded(
    world: World, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANE_BYTES_MAX", 1000)
    lane = next(iter(world.bus.lanes.values()))
    for _ in range(100):
        world.bus.forward(b"news", b"x" * 100, False)
    assert lane.queued_bytes <= 1000
    assert world.bus.dropped > 0
    assert world.bus.sent + world.bus.dropped == 100 * len(world.bus.lanes)
    world.bus.forward(b"news", b"x", False)
    nursery.cancel_scope.cancel()


async def test_nodes_that_leave_lose_their_lane(world: World, nursery: trio.Nursery) -> None:
    frame = topology(world.view.epoch + 1)
    world.apply(
        nodes=[node for node in frame["nodes"] if node["id"] == world.view.my_id], shards=[]
    )
    await until(lambda: not world.bus.lanes)
    world.bus.forward(b"news", b"x", False)
    assert world.bus.sent == 0 == world.bus.dropped
    nursery.cancel_scope.cancel()


async def test_a_refusal_is_not_an_end(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    frame = topology(1)
    ports = {int(node["link_address"].rpartition(":")[2]) for node in frame["nodes"]}
    world.listener.refusing |= ports
    world.apply()
    await trio.sleep(10)
    assert not any(lane.up for lane in world.bus.lanes.values())
    world.listener.refusing.clear()
    await until(world.all_up)
    nursery.cancel_scope.cancel()
