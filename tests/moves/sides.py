"""Two primaries and a coordinator that is a function: moves of slots without a socket or a task.

`Pair` has a source A (shard 0) and a target B (shard 1). What pull.py does with tasks is done here
a step at a time by whoever calls: `connect`, `cut`, `deliver`, `take`, in any order and as little
as wanted, so that a test can put anything between them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from isthmus.node.cluster.view import ClusterView
from isthmus.node.engine.client import ClientState
from isthmus.node.moves.moves import COPYING, ORDERED, Moves
from isthmus.node.moves.sweep import Sweep
from isthmus.node.moves.take import Taker
from isthmus.node.persist.snapshot_format import end_mark
from isthmus.node.replicate.replica import (
    Introduction,
    Payload,
    PayloadEnds,
    ReplicaLink,
    Send,
    Stream,
)
from isthmus.node.replicate.replication import Replication
from isthmus.wire.crc64 import crc64
from isthmus.wire.parser import RequestParser
from isthmus.wire.rdb_reader import RdbReader
from isthmus.wire.resp import pack
from isthmus.wire.slots import SLOTS
from tests.replicate.test_primary import Connection
from tests.support.store import Store

A, B = "a" * 40, "b" * 40
NAMES = {A: 7000, B: 7001}
HALF = ((0, SLOTS // 2 - 1),)
MOVE = "m1"
# The longest time; here clocks are set by hand.
LONG_NS = 1 << 62


class Duty:
    """A primary that holds its lease; `acked` is for a test to set if `counts`."""

    def __init__(self, shard: int) -> None:
        self.state = "leading"
        self.shard = shard
        self.epoch = 5
        self.acked = 0
        self.counts = False

    def counts_replicas(self) -> bool:
        return self.counts

    def replica_gone(self, name: str) -> None: ...


class Snapshots:
    """The one job that takes cuts: here whoever asks is noted."""

    background = None

    def __init__(self, node: Any) -> None:
        self.node = node
        self.asked: list[Any] = []

    def stream(self, make: Any) -> None:
        self.asked.append(make)

    def flushed(self) -> None: ...

    def head(self, base: bool) -> bytes:
        from isthmus.node.persist.snapshot import Snapshots as Real

        return Real.head(self, base)  # type: ignore[arg-type]

    def new_cut(self, chosen: bytes | None = None) -> Any:
        from isthmus.node.engine.context import GATE_CUT
        from isthmus.node.persist.cut import Cut

        node = self.node

        def finished() -> None:
            node.ctx.gates &= ~GATE_CUT

        cut = Cut(node.keyspace, 0, finished, resume=node.blocking.resume_postponed,
                  slot_hints=True, chosen=chosen)  # fmt: skip
        cut.begin()
        node.ctx.gates |= GATE_CUT
        return cut


class Side:
    """One primary."""

    def __init__(self, name: str, shard: int) -> None:
        self.store = Store(**{"databases": "1"})
        self.store.node.run_id = name
        self.name = name
        node = self.node = self.store.node
        node.replication = Replication(node)
        node.replication.record()
        self.view = ClusterView(name, port=NAMES[name])
        node.use_cluster(self.view)
        self.duty = node.duty = Duty(shard)
        self.snapshots = Snapshots(node)
        node.persistence = SimpleNamespace(snapshots=self.snapshots)
        self.moves = node.moves = Moves(node, self.view)
        self.said: list[dict[str, Any]] = []
        self.moves.say = self.said.append
        self.resumed: list[ClientState] = []
        node.blocking.resume = self.resumed.append

    def __call__(self, *args: Any, client: Any = None) -> Any:
        return self.store(*args, client=client)

    @property
    def db(self) -> Any:
        return self.node.keyspace.databases[0]

    def keys(self) -> set[bytes]:
        return set(self("KEYS", "*"))


class Pair:
    """A source and a target."""

    def __init__(self, slots: tuple[tuple[int, int], ...] = HALF) -> None:
        self.a, self.b = Side(A, 0), Side(B, 1)
        self.slots = slots
        self.epoch = 10
        self.since = 10
        self.state = ""
        self.flipped = False
        self.link: ReplicaLink | None = None
        self.client: ClientState | None = None
        self.taken_bytes = 0
        self.payload = b""
        self.taker: Taker | None = None
        self.reader: Any = None
        self.emptying: Sweep | None = None
        self.publish()

    # -- the coordinator ----------------------------------------------------------------------

    def topology(self) -> dict[str, Any]:
        everything = [[0, SLOTS - 1]]
        mask = bytearray(SLOTS)
        for first, last in self.slots:
            mask[first : last + 1] = b"\1" * (last + 1 - first)
        moved = [list(pair) for pair in self.slots]
        kept: list[list[int]] = []
        at = 0
        while at < SLOTS:
            start = mask.find(0, at)
            if start < 0:
                break
            stop = mask.find(1, start)
            stop = SLOTS if stop < 0 else stop
            kept.append([start, stop - 1])
            at = stop
        rows = [(A, kept if self.flipped else everything), (B, moved if self.flipped else [])]
        return {
            "cluster": "c", "epoch": self.epoch, "lease_ms": 0,
            "shards": [
                {"number": number, "id": f"s{number}", "epoch": 5, "primary": name,
                 "replicas": [], "slots": slots}
                for number, (name, slots) in enumerate(rows)
            ],
            "moves": [{
                "id": MOVE, "source": 0, "target": 1, "slots": self.slots, "state": self.state,
                "epoch": self.since,
            }] if self.state else [],
            "nodes": [
                {"id": name, "zone": "", "address": f"127.0.0.1:{port}", "link_address": "",
                 "alive": True, "shard": at}
                for at, (name, port) in enumerate(NAMES.items())
            ],
        }  # fmt: skip

    def decide(self, state: str, *, flip: bool = False) -> None:
        """A commit of the coordinator, of which nobody has heard yet."""
        self.epoch += 1
        self.since = self.epoch
        self.state, self.flipped = state, self.flipped or flip

    def tell(self, side: Side) -> None:
        """A node hears of the topology."""
        if side.view.epoch < self.epoch:
            side.view.apply(self.topology())
            side.moves.topology_changed()

    def publish(self) -> None:
        self.tell(self.a)
        self.tell(self.b)

    # -- the target's task --------------------------------------------------------------------

    def connect(self) -> None:
        """Begin anew: delete what is there, and ask for everything."""
        self.hang_up()
        sweep = Sweep(self.b.node, self.slots)
        while sweep.step(LONG_NS):
            pass
        self.payload, self.taker, self.taken_bytes = b"", None, 0
        client = self.client = self.a.node.new_client()
        client.peer = Connection()
        client.authenticated = True
        self.link = ReplicaLink(Introduction(port=1, node_id=B, epoch=5, move=MOVE))
        self.say(self.link.begin())

    def hang_up(self) -> None:
        if self.client is not None:
            self.client.peer.open = False
            self.a.node.forget_client(self.client)
            self.client.peer = None
        self.client = self.link = None

    def connected(self) -> bool:
        return self.client is not None and not self.client.closing

    def say(self, data: bytes) -> None:
        """What the target sends, run at the source as requests of that connection."""
        assert self.client is not None
        parser = RequestParser()
        parser.authenticated = True
        parser.feed(data)
        while (argv := parser.next()) is not None:
            if self.client.peer is not None:
                self.client.peer.sent += self.a.store.raw(*argv, client=self.client)

    def shake_hands(self) -> None:
        """Exchange all that comes before the snapshot."""
        while self.deliver(1 << 30):
            pass

    def begin_cut(self) -> bool:
        """Let the source begin the cut that somebody waits for."""
        while self.a.snapshots.asked:
            job = self.a.snapshots.asked.pop(0)()
            if job is not None:
                self.job = job
                self.crc = 0
                self.client.peer.sent += b""  # type: ignore[union-attr]
                self.a.moves.turn()
                self.write(b"$EOF:" + job.file.mark + b"\r\n")
                self.body = job.file.head
                return True
        return False

    def write(self, data: bytes) -> None:
        if self.client is not None and self.client.peer is not None:
            self.client.peer.sent += data

    def cut(self, looks: int) -> bool:
        """Take a little of the cut; True when it has gone out whole."""
        cut = self.job.file.cut
        for _ in range(looks):
            if cut.finished:
                break
            cut.advance()
        self.body += b"".join(cut.take())
        if not cut.finished:
            return False
        data = self.body + end_mark()
        self.write(data + crc64(data).to_bytes(8, "little") + self.job.file.mark)
        given = next(iter(self.a.moves.givens.values()))
        self.a.moves.sent(given)
        return True

    def deliver(self, size: int) -> bool:
        """Carry bytes from the source to the target; False if there were none."""
        if not self.connected():
            return False
        assert self.client is not None and self.link is not None
        self.a.moves.turn()
        peer = self.client.peer
        if peer is None:
            return False
        data = peer.sent[self.taken_bytes : self.taken_bytes + size]
        self.taken_bytes += len(data)
        peer.taken = self.taken_bytes
        for event in self.link.feed(data):
            if isinstance(event, Send):
                self.say(event.data)
            elif isinstance(event, Payload):
                self.payload += event.data
            elif isinstance(event, PayloadEnds):
                self.reader = RdbReader(self.payload)
                self.taker = Taker(self.b.node, bytes(self.mask()))
                self.taker.open(self.reader)
            elif isinstance(event, Stream):
                assert self.taker is not None
                self.taker.feed(event.data)
        return bool(data)

    def mask(self) -> bytes:
        from isthmus.node.moves.masks import mask_of

        return mask_of(self.slots)

    def order(self) -> int:
        """What the target knows of an order to yield; -1 if it may apply nothing."""
        move = self.b.moves.wanted().get(MOVE)
        return -1 if move is None else move.epoch if move.state == ORDERED else 0

    def take(self, deadline_ns: int = LONG_NS) -> None:
        """Let the target apply what it has, and acknowledge."""
        order = self.order()
        if order < 0 or self.taker is None:
            return
        self.b.node.ctx.session = None  # type: ignore[assignment]
        if self.taker.entries is not None:
            self.taker.load(deadline_ns)
        if self.taker.entries is None:
            self.taker.step(deadline_ns)
        offset = self.taker.acknowledged(order)
        if offset is not None and self.connected():
            self.say(pack([b"REPLCONF", b"ACK", b"%d" % offset, b"FACK", b"%d" % order]))

    # -- all of it ----------------------------------------------------------------------------

    def copy(self) -> None:
        """From nothing to following."""
        self.decide(COPYING)
        self.publish()
        self.connect()
        self.shake_hands()
        assert self.begin_cut()
        while not self.cut(100):
            pass
        self.settle()

    def settle(self) -> None:
        """Until nothing is under way between them."""
        more = True
        while more:
            more = self.deliver(1 << 30)
            self.take()
            more = self.deliver(1 << 30) or more

    def given(self) -> Any:
        return next(iter(self.a.moves.givens.values()), None)
