"""The bus between nodes (io): what is published on one node reaches the subscribers of all.

Each node keeps a *lane* to every other node of its view: a connection to that node's data link
(wire/frames.py), opened with the same hello as a proxy's, over which only RELAY frames go, each
with some `PUBLISH channel text` or `SPUBLISH channel text`. Nothing is answered. The receiver hands
them to its own subscribers and to nobody else, so there are no loops. A message of PUBLISH goes
down every lane, one of SPUBLISH down those to the nodes of this node's shard.

What nodes have to say to each other (`tell`: leases, so far) goes down the same lanes in talk
frames, ahead of what was published, however much of that waits; an answer comes down the other's
own lane. What is said while a node cannot be reached is lost; so is the oldest if `TOLD_MAX` wait.

As with Redis' bus a message is sent at most once. While a node cannot be reached, or is slower than
its messages (`LANE_BYTES_MAX` wait), what it would get is dropped and counted. So publishing never
waits, and a dead node costs no memory. Messages down one lane arrive in the order of publishing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from isthmus.node.cluster.view import ClusterView, NodeInfo
from isthmus.wire.frames import (
    HELLO,
    FrameError,
    FrameReader,
    hello_frame,
    relay_frame,
    talk_frame,
)
from isthmus.wire.link_hello import greeting, read_greeting
from isthmus.wire.logs import log
from isthmus.wire.parser import QueryBufferExceeded

LANE_BYTES_MAX = 8 << 20
TOLD_MAX = 64
FRAME_BYTES_MAX = 256 << 10
FRAME_MESSAGES_MAX = 1024
CONNECT_SECONDS_MAX = 2.0
# A node that takes no byte for so long is as good as gone.
SEND_SECONDS_MAX = 5.0
RETRY_SECONDS = 0.1
RETRY_SECONDS_MAX = 2.0
RECEIVE_BYTES = 4096
HELLO_BYTES_MAX = 16384

Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]


class Lane:
    """The way to one other node: a bounded queue, and the task that empties it."""

    def __init__(self, bus: Bus, peer: NodeInfo) -> None:
        self.bus = bus
        self.peer = peer
        self.up = False
        self.since_ms = 0
        self.queue: deque[bytes] = deque()
        self.queued_bytes = 0
        self.told: deque[bytes] = deque(maxlen=TOLD_MAX)
        self.scope = trio.CancelScope()
        self._work = trio.Event()

    def offer(self, request: bytes) -> bool:
        """Queue a message. False if it is dropped: the node is away, or too much waits for it."""
        full = self.queue and self.queued_bytes + len(request) > LANE_BYTES_MAX
        if not self.up or full:
            return False
        self.queue.append(request)
        self.queued_bytes += len(request)
        self._work.set()
        return True

    def tell(self, message: bytes) -> None:
        """Send a message ahead of all that was published; lost if the node is away."""
        if self.up:
            self.told.append(message)
            self._work.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = RETRY_SECONDS
        with self.scope:
            while True:
                try:
                    with trio.fail_after(CONNECT_SECONDS_MAX):
                        stream = await self.bus.connect(self.peer.host, self.peer.link_port)
                    async with stream:
                        await self._greet(stream)
                        pause = RETRY_SECONDS
                        await self._carry(stream)
                except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
                    self._down(repr(error))
                except (FrameError, QueryBufferExceeded) as error:
                    self._down(str(error))
                await trio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS_MAX)

    def _down(self, why: str) -> None:
        if self.up:
            log("bus_lane_lost", level="WARN", node=self.peer.id, why=why)
        self.up = False
        self.bus.dropped += len(self.queue)
        self.queue.clear()
        self.queued_bytes = 0
        self.told.clear()

    async def _greet(self, stream: trio.abc.Stream) -> None:
        """Exchange hellos; FrameError if somebody else listens there, or refuses us."""
        bus = self.bus
        frames = FrameReader()
        frames.query_buffer_bytes_max = HELLO_BYTES_MAX
        with trio.fail_after(CONNECT_SECONDS_MAX):
            payload = greeting(bus.view.my_id, bus.password())
            await stream.send_all(hello_frame(0, bus.view.epoch, payload))
            while not frames.next():
                data = await stream.receive_some(RECEIVE_BYTES)
                if not data:
                    raise FrameError("closed before its hello")
                frames.feed(bytes(data))
        if frames.flags != HELLO:
            raise FrameError("refused: " + frames.payload()[:256].decode("utf-8", "replace"))
        identity, _ = read_greeting(frames.payload())
        if identity != self.peer.id:
            raise FrameError(f"node {identity} listens there")
        self.up = True
        self.since_ms = int(time.time() * 1000)

    async def _carry(self, stream: trio.abc.Stream) -> None:
        """Send what is queued, until the connection ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, stream, nursery.cancel_scope)
            try:
                await self._empty(stream)
            except (trio.BrokenResourceError, trio.TooSlowError) as error:
                self._down(repr(error))
                nursery.cancel_scope.cancel()
        self._down("closed by the other node")

    async def _watch(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        """Nothing is answered, so all that can come is the end."""
        try:
            while await stream.receive_some(RECEIVE_BYTES):
                pass
        except trio.BrokenResourceError:
            pass  # a reset is an end as well
        scope.cancel()

    async def _empty(self, stream: trio.abc.Stream) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self.told or self.queue:
                frame = self._talk() if self.told else self._frame()
                with trio.fail_after(SEND_SECONDS_MAX):
                    await stream.send_all(frame)

    def _talk(self) -> bytes:
        frames = [talk_frame(self.bus.view.epoch, message) for message in self.told]
        self.told.clear()
        return b"".join(frames)

    def _frame(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self.queue and size < FRAME_BYTES_MAX and len(taken) < FRAME_MESSAGES_MAX:
            request = self.queue.popleft()
            taken.append(request)
            size += len(request)
        self.queued_bytes -= size
        return relay_frame(self.bus.view.epoch, len(taken), b"".join(taken))


class Bus:
    """The lanes of one node, kept as the view has the nodes."""

    def __init__(
        self, view: ClusterView, password: Callable[[], bytes], connect: Connect | None = None
    ) -> None:
        self.view = view
        self.password = password
        self.connect: Connect = connect or trio.open_tcp_stream
        self.lanes: dict[str, Lane] = {}
        # Messages handed to lanes, and those that were lost.
        self.sent = 0
        self.dropped = 0
        self._changed = trio.Event()

    def forward(self, channel: bytes, text: bytes, shard: bool) -> None:
        """Send a message that was published here to the other nodes it concerns."""
        if not self.lanes:
            return
        word = b"SPUBLISH" if shard else b"PUBLISH"
        head = b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n" % (
            len(word), word, len(channel), channel, len(text),
        )  # fmt: skip
        request = b"".join((head, text, b"\r\n"))
        mine = self.view.me
        for lane in self.lanes.values():
            if not shard or (mine is not None and lane.peer.shard == mine.shard):
                if lane.offer(request):
                    self.sent += 1
                    self.view.published_sent += 1
                else:
                    self.dropped += 1

    def tell(self, node_id: str, message: bytes) -> None:
        """Say something to another node, if it can be reached now."""
        lane = self.lanes.get(node_id)
        if lane is not None:
            lane.tell(message)

    def tell_all(self, message: bytes) -> None:
        """Say something to every node that can be reached now."""
        for lane in self.lanes.values():
            lane.tell(message)

    def links(self) -> list[tuple[str, int, int]]:
        """The lanes that are up: (node id, since when in Unix ms, bytes that wait)."""
        return [
            (name, lane.since_ms, lane.queued_bytes) for name, lane in self.lanes.items() if lane.up
        ]

    def topology_changed(self) -> None:
        """The view has other nodes, or other addresses, than before."""
        self._changed.set()

    async def run(self) -> None:
        """Keep a lane to every other node until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                self._reconcile(nursery)
                await self._changed.wait()

    def _reconcile(self, nursery: trio.Nursery) -> None:
        wanted = {
            node.id: node
            for node in self.view.nodes
            if node.id != self.view.my_id and node.link_port
        }
        for name, lane in list(self.lanes.items()):
            peer = wanted.get(name)
            if peer is None or (peer.host, peer.link_port) != (lane.peer.host, lane.peer.link_port):
                lane.scope.cancel()
                self.dropped += len(lane.queue)
                del self.lanes[name]
            else:
                lane.peer = peer
        for name, peer in wanted.items():
            if name not in self.lanes:
                lane = self.lanes[name] = Lane(self, peer)
                nursery.start_soon(lane.run)
