"""A proxy without a network: its sockets are socket pairs, its nodes are scripted or real.

A `FakeNode` answers when the test says so, which makes every order of events reachable. A
`RealNode` is a Node in this process behind a LinkSession. Nothing waits: `World.turn` polls until
all is quiet.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from isthmus.node.cluster.view import ClusterView
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng
from isthmus.node.scripting.scripts import Scripts
from isthmus.node.server.link_session import LinkSession
from isthmus.node.server.session import NodeTicker
from isthmus.proxy.backend import Link
from isthmus.proxy.private import Line, PrivateLink
from isthmus.proxy.session import Session
from isthmus.proxy.state import Proxy, Settings
from isthmus.proxy.topology import read
from isthmus.wire.frames import HELLO, FrameReader, hello_frame
from isthmus.wire.link_hello import greeting, read_greeting
from isthmus.wire.parser import RequestParser
from isthmus.wire.pump import Pump, Ticker
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.slots import SLOTS

CLUSTER = "c" * 40
TURNS_MAX = 2000


def node_id(shard: int) -> str:
    return f"{shard:040x}"


def topology(shards: int, epoch: int = 1, **changed: Any) -> dict[str, Any]:
    """Equal parts of the slots to `shards` shards."""
    bounds = [SLOTS * i // max(shards, 1) for i in range(shards + 1)]
    return {
        "type": "topology", "cluster": CLUSTER, "region": "r", "epoch": epoch,
        "shards": [
            {"number": i, "id": f"s{i}", "epoch": 1, "primary": node_id(i), "replicas": [],
             "slots": [[bounds[i], bounds[i + 1] - 1]]}
            for i in range(shards)
        ],
        "nodes": [
            {"id": node_id(i), "region": "r", "zone": "a", "address": f"127.0.0.1:{8500 + i}",
             "link_address": f"127.0.0.1:{9500 + i}", "alive": True, "shard": i}
            for i in range(shards)
        ],
        **changed,
    }  # fmt: skip


def resp(*argv: bytes) -> bytes:
    """A request as clients send it."""
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in argv)


class Caller:
    """A client's end of its connection."""

    def __init__(self, world: World) -> None:
        mine, theirs = socket.socketpair()
        theirs.setblocking(False)
        mine.setblocking(False)
        self.world = world
        self.socket = mine
        self.session: Session = world.proxy.new_session()
        self.session.address = b"1.2.3.4:%d" % self.session.id
        world.pump.add(self.session, theirs.detach())
        self.closed = False

    def send(self, *data: bytes) -> None:
        """Send bytes, and let the proxy act on them."""
        try:
            self.socket.sendall(b"".join(data))
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
        self.world.turn()

    def received(self) -> bytes:
        """What has come since the last call."""
        found = b""
        try:
            while piece := self.socket.recv(1 << 20):
                found += piece
            self.closed = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.closed = True
        return found

    def ask(self, *argv: bytes) -> bytes:
        """Send one request; the reply."""
        self.send(resp(*argv))
        return self.received()


class FakeNode:
    """The node's end of a link, in the hands of the test."""

    def __init__(self, world: World, shard: int, *, identity: str = "", greet: bool = True) -> None:
        self.world = world
        self.backend = world.proxy.router.backends[node_id(shard)]
        mine, theirs = socket.socketpair()
        theirs.setblocking(False)
        mine.setblocking(False)
        self.socket = mine
        world.ends.append(mine)
        self.link = Link(self.backend, world.proxy.router, b"")
        world.pump.add(self.link, theirs.detach())
        self.link.greet(world.proxy.settings.id, world.proxy.password, world.proxy.router.epoch)
        world.turn()
        self.reader = FrameReader()
        self.waiting: list[tuple[int, int, list[list[bytes]]]] = []
        self.frames: list[tuple[int, int]] = []
        self.read()
        if greet:
            self.send(hello_frame(0, 1, greeting(identity or node_id(shard))))

    def send(self, data: bytes) -> None:
        self.socket.send(data)
        self.world.turn()

    def read(self) -> None:
        """Take the frames that have come."""
        try:
            self.reader.feed(self.socket.recv(1 << 20))
        except BlockingIOError:
            return
        while self.reader.next():
            it = self.reader
            if it.flags & HELLO:
                assert read_greeting(it.payload())[0] == self.world.proxy.settings.id
                continue
            parser = RequestParser()
            parser.authenticated = True
            it.open_requests(parser)
            requests = [parser.next() or [] for _ in range(it.count)]
            self.frames.append((it.flags, it.count))
            self.waiting.append((it.sequence, it.protocol, requests))

    def requests(self) -> list[list[bytes]]:
        """Every request that was not answered."""
        self.read()
        return [argv for _, _, requests in self.waiting for argv in requests]

    def answer(self, *replies: bytes, epoch: int = 1) -> None:
        """Answer the oldest requests."""
        self.read()
        out = b""
        left = list(replies)
        while left:
            sequence, protocol, requests = self.waiting[0]
            part, left = left[: len(requests)], left[len(requests) :]
            sizes = b"".join(struct.pack(">I", len(reply)) for reply in part)
            payload = sizes + b"".join(part)
            head = struct.pack(">IIHBBI", len(payload), epoch, len(part), protocol, 0, sequence)
            out += head + payload
            del requests[: len(part)]
            if not requests:
                del self.waiting[0]
        self.send(out)

    def lose(self) -> None:
        """Cut the link."""
        self.socket.close()
        self.world.turn()


class RealNode:
    """A Node of this process, with its own pump, at the other end of a link."""

    def __init__(self, world: World, shard: int, frame: dict[str, Any], password: str = "") -> None:
        values = {"databases": "1", "cluster-enabled": "yes", "requirepass": password}
        self.node = Node(Clock(1_700_000_000_000), Rng(shard + 1), Config(values), node_id(shard))
        self.view = ClusterView(node_id(shard))
        self.view.apply(frame)
        self.node.use_cluster(self.view)
        Scripts(self.node)
        self.pump = Pump(self.node.ctx.reply, NodeTicker(self.node))
        world.pumps.append(self.pump)
        self.node.blocking.resume = lambda client: self.pump.resume(client.peer)
        world.nodes[node_id(shard)] = self
        mine, theirs = socket.socketpair()
        for each in (mine, theirs):
            each.setblocking(False)
        self.session = LinkSession(self.node, self.node.new_client())
        self.pump.add(self.session, mine.detach())
        router = world.proxy.router
        self.link = Link(router.backends[node_id(shard)], router, world.proxy.password)
        world.pump.add(self.link, theirs.detach())
        self.link.greet(world.proxy.settings.id, world.proxy.password, router.epoch)
        world.turn()


class World:
    """A proxy, its pump, and whatever is connected to it."""

    def __init__(
        self, shards: int = 2, *, password: bytes = b"", chance: Callable[[], float] = lambda: 0.0
    ) -> None:
        settings = Settings("f" * 40, "127.0.0.1", 10000, "r", "a", 1, password)
        self.proxy = Proxy(settings, lambda: 1_700_000_000_000_000, chance)
        self.pump = Pump(ReplyWriter(), Ticker())
        self.pumps = [self.pump]
        self.callers: list[Caller] = []
        self.ends: list[socket.socket] = []
        self.frame = topology(shards)
        self.shards = shards
        self.nodes: dict[str, RealNode] = {}
        self.proxy.open_line = self.open_line
        self.proxy.router.now_ms = 1000
        self.proxy.router.apply(read(self.frame))

    def open_line(self, line: Line) -> None:
        """Connect a private link to a real node."""
        real = self.nodes.get(line.backend.id)
        if real is None:
            line.opened(None)
            return
        mine, theirs = socket.socketpair()
        for each in (mine, theirs):
            each.setblocking(False)
        real.pump.add(LinkSession(real.node, real.node.new_client()), mine.detach())
        link = PrivateLink(line.backend, line)
        link.settled = lambda: line.opened(link if link.up else None)
        self.pump.add(link, theirs.detach())
        link.greet(self.proxy.settings.id, self.proxy.password, self.proxy.router.epoch)

    def turn(self) -> None:
        """Poll all pumps until nothing happens any more."""
        for _ in range(TURNS_MAX):
            if sum(pump.poll(0) for pump in self.pumps) == 0:
                return
        raise AssertionError("the loop does not come to rest")

    def fakes(self) -> list[FakeNode]:
        """A scripted node for each shard."""
        return [FakeNode(self, i) for i in range(self.shards)]

    def reals(self, password: str = "") -> list[RealNode]:
        """A real node for each shard."""
        return [RealNode(self, i, self.frame, password) for i in range(self.shards)]

    def caller(self) -> Caller:
        """A new client."""
        made = Caller(self)
        self.callers.append(made)
        return made

    def later(self, ms: int) -> None:
        """Let time pass, and send again what is parked."""
        self.proxy.router.now_ms += ms
        self.proxy.router.retry()
        self.turn()

    def close(self) -> None:
        """Close every socket."""
        for end in [*self.ends, *(caller.socket for caller in self.callers)]:
            end.close()
        for pump in self.pumps:
            for peer in list(pump.peers.values()):
                pump.close(peer)


# What the fixture make_world is.
Make = Callable[..., World]
