"""Pull (io): fetches the slots that are to come to this node's shard, and runs what takes time.

One task per move. It deletes what is here of the slots (left over of an attempt before), connects
to the source's primary, spools the snapshot, takes it in slices, and then follows the stream until
the topology says that the move is over. Whatever goes wrong, it begins anew, with everything: the
source keeps no past for it.

From the moment the source may hear from us that we have everything under an order to yield, the
slots may become ours without another word. So while the topology says `yielding` nothing is begun
anew, whatever happened; and nothing at all is applied once it says that the slots are ours, for
then clients write to them.

Clients of this node come first. A slice is short, the loop serves in between, and while clients
send requests no more than about a seventh of the time is taken; and no more is taken than the
node's own replica keeps up with, so that neither the bound of `async` nor the replies of `replica`
wait for what is moved.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

import trio

from isthmus.node.engine.context import GATE_BUSY
from isthmus.node.moves.masks import mask_of
from isthmus.node.moves.moves import COPYING, ORDERED, Moves
from isthmus.node.moves.sweep import Sweep
from isthmus.node.moves.take import AHEAD_BYTES_MAX, Taker
from isthmus.node.replicate.apply import StreamError
from isthmus.node.replicate.full_load import Spool
from isthmus.node.replicate.replica import (
    Event,
    Failed,
    FullSync,
    Introduction,
    Payload,
    PayloadBegins,
    PayloadEnds,
    ReplicaLink,
    Send,
    Stream,
)
from isthmus.wire.crc64 import extend
from isthmus.wire.logs import log
from isthmus.wire.rdb_reader import RdbReader
from isthmus.wire.resp import pack

SLICE_NS = 500_000
SWEEP_NS = 500_000
REST_TIMES = 6
REST_SECONDS_MAX = 0.02
TICK_SECONDS = 0.02
ALIVE_SECONDS = 1.0
AHEAD_SECONDS = 0.005
BUSY_SECONDS = 0.005
BACKOFF_SECONDS = 0.05
BACKOFF_SECONDS_MAX = 1.0
RECEIVE_BYTES = 256 * 1024
CRC_BYTES = 1 << 20


class PullFailed(Exception):
    """An attempt ended, for a reason worth telling."""


class Pacer:
    """Gives the loop, and the machine, to others between slices: while there are any, for
    `REST_TIMES` as long as a slice took. Where processes share cores, their clients feel that."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.commands = -1

    async def rest(self, began_ns: int) -> None:
        """A slice that began then is over."""
        commands = self.node.ctx.commands
        others, self.commands = commands != self.commands, commands
        if others:
            spent = (time.monotonic_ns() - began_ns) / 1e9
            await trio.sleep(min(REST_TIMES * spent, REST_SECONDS_MAX))
        else:
            await trio.lowlevel.checkpoint()


class Pull:
    """The fetching of one move's slots."""

    def __init__(self, moves: Moves, move: Any) -> None:
        self.moves = moves
        self.move = move
        self.node = moves.node
        self.mask = mask_of(move.slots)
        self.scope = trio.CancelScope()
        self.state = "connecting"
        self.problem = ""
        self.taker: Taker | None = None
        self.spool: Spool | None = None
        self.pacer = Pacer(self.node)
        self.stream: trio.SocketStream | None = None
        self.speaking = trio.Lock()
        self.received = 0
        # The tables as they were left: other ones are there after a flush.
        self.tables: Any = None

    def report(self, epoch: int) -> dict[str, Any]:
        """How it stands, for the coordinator."""
        taker = self.taker
        return {
            "id": self.move.id, "side": "target", "epoch": epoch, "state": self.state,
            "received": self.received, "taken": 0 if taker is None else taker.keys,
            "problem": self.problem[:200],
        }  # fmt: skip

    async def run(self) -> None:
        """Fetch until cancelled."""
        pause = BACKOFF_SECONDS
        with self.scope:
            while True:
                while not self.may_begin():
                    await trio.sleep(TICK_SECONDS)
                got = self.received
                try:
                    await self.attempt()
                except* (PullFailed, OSError, StreamError, trio.BrokenResourceError) as group:
                    self.problem = "; ".join(str(error) or repr(error) for error in leaves(group))
                    log("move_interrupted", level="WARN", move=self.move.id, why=self.problem)
                self.state = "connecting"
                pause = BACKOFF_SECONDS if self.received > got else pause * 2
                pause = min(pause, BACKOFF_SECONDS_MAX)
                await trio.sleep(pause)

    def may_begin(self) -> bool:
        """True if what is here of the slots may be deleted and fetched anew."""
        move = self.moves.wanted().get(self.move.id)
        return move is not None and move.state == COPYING

    def order(self) -> int:
        """The epoch of the order to yield that this node knows; 0: there is none."""
        return int(self.move.epoch) if self.move.state == ORDERED else 0

    def check(self) -> None:
        """Raise if nothing may be applied any more."""
        move = self.moves.wanted().get(self.move.id)
        if move is None:
            raise PullFailed("the move is over")
        self.move = move
        # A client that flushed this node meant the keys that it has; what was written at the
        # source since then has to stay.
        tables = self.node.keyspace.databases[0].slots
        if tables is not self.tables and self.tables:
            raise PullFailed("all data of this node was flushed")

    async def attempt(self) -> None:
        """One connection, from beginning to end."""
        source = self.moves.view.shard(self.move.source)
        if source is None:
            raise PullFailed("the shard that has the slots is not there")
        await self.empty()
        self.state = "connecting"
        timeout = self.node.config.integer("repl-timeout")
        try:
            with trio.fail_after(timeout):
                self.stream = await trio.open_tcp_stream(source.primary.host, source.primary.port)
        except trio.TooSlowError as error:
            raise PullFailed("no answer") from error
        config = self.node.config
        link = ReplicaLink(Introduction(
            port=config.integer("port"), user=config.text("masteruser"),
            password=config.text("masterauth") or config.text("requirepass"),
            node_id=self.node.run_id, epoch=source.epoch, move=self.move.id,
        ))  # fmt: skip
        try:
            async with self.stream, trio.open_nursery() as nursery:
                await self.stream.send_all(link.begin())
                nursery.start_soon(self.acknowledge)
                await self.receive(link)
        finally:
            if self.spool is not None:
                self.spool.close()
            self.spool = self.taker = self.stream = None

    async def empty(self) -> None:
        """Delete what is here of the slots."""
        self.state = "emptying"
        sweep = Sweep(self.node, self.move.slots)
        more = True
        while more:
            began = time.monotonic_ns()
            if not self.may_begin():
                raise PullFailed("the move is over")
            if not self.node.ctx.gates & GATE_BUSY:
                self.node.ctx.session = None
                more = sweep.step(began + SWEEP_NS)
                self.node.persistence.commit()
            await self.pacer.rest(began)
        self.tables = self.node.keyspace.databases[0].slots

    async def receive(self, link: ReplicaLink) -> None:
        """Take what comes, until the connection ends."""
        assert self.stream is not None
        while True:
            data = await self.stream.receive_some(RECEIVE_BYTES)
            if not data:
                raise PullFailed("the source closed the connection")
            self.received += len(data)
            for event in link.feed(bytes(data)):
                await self.handle(event)

    async def handle(self, event: Event) -> None:
        """Do what an event of the link says."""
        if isinstance(event, Stream):
            await self.follow(event.data)
        elif isinstance(event, Send):
            await self.say(event.data)
        elif isinstance(event, Payload):
            assert self.spool is not None
            self.spool.write(event.data)
        elif isinstance(event, FullSync):
            self.state = "copying"
        elif isinstance(event, PayloadBegins):
            self.spool = Spool(os.path.dirname(self.node.persistence.snapshots.path()) or ".")
        elif isinstance(event, PayloadEnds):
            await self.load()
        elif isinstance(event, Failed):
            raise PullFailed(event.reason)
        else:
            raise PullFailed("the source goes on with a stream that nobody has")

    async def say(self, data: bytes) -> None:
        """Send something to the source."""
        async with self.speaking:
            if self.stream is not None:
                await self.stream.send_all(data)

    async def slices(self, step: Any) -> None:
        """Call `step(deadline)` until nothing is left, and let others have their turns."""
        node, more = self.node, True
        taker = self.taker
        assert taker is not None
        while more:
            began = time.monotonic_ns()
            if node.ctx.gates & GATE_BUSY or not node.duty.holds_lease():
                # A script of a client is half done; or this node may not write now.
                await trio.sleep(BUSY_SECONDS)
                continue
            if taker.ahead() > AHEAD_BYTES_MAX:
                await trio.sleep(AHEAD_SECONDS)
                continue
            self.check()
            node.ctx.session = None
            more = step(began + SLICE_NS)
            self.tables = node.keyspace.databases[0].slots
            if not node.persistence.commit():
                raise PullFailed("nothing can be written to the disk")
            node.duty.commit()
            await self.pacer.rest(began)

    async def load(self) -> None:
        """The snapshot is whole: take it."""
        spool = self.spool
        assert spool is not None
        self.state = "taking"
        spool.file.flush()
        # Not closed by hand: an error that is on its way may still hold a piece of it.
        view = memoryview(mmap.mmap(spool.file.fileno(), 0, access=mmap.ACCESS_READ))
        reader = RdbReader(view)
        self.taker = Taker(self.node, self.mask)
        try:
            await check_sum(view)
            self.taker.open(reader)
            await self.slices(self.taker.load)
        finally:
            self.taker.entries = None
            reader.close()
        spool.close()
        self.spool = None
        self.state = "following"
        log("move_taken", move=self.move.id, bytes=spool.size, commands=self.taker.keys)

    async def follow(self, data: bytes) -> None:
        """Take a piece of the stream."""
        assert self.taker is not None
        self.taker.feed(data)
        await self.slices(self.taker.step)
        await self.tell()

    async def tell(self) -> None:
        """Let the source know how far we are, if that is news."""
        taker = self.taker
        if taker is None or self.state != "following":
            return
        self.check()
        order = self.order()
        offset = taker.acknowledged(order)
        if offset is not None:
            if self.node.duty.must_sync and not self.node.persistence.sync():
                raise PullFailed("nothing can be written to the disk")
            await self.say(pack([b"REPLCONF", b"ACK", b"%d" % offset, b"FACK", b"%d" % order]))

    async def acknowledge(self) -> None:
        """Tell the source what our replica has meanwhile; and each second that we are there."""
        alive = trio.current_time()
        while True:
            await trio.sleep(TICK_SECONDS)
            await self.tell()
            if trio.current_time() - alive >= ALIVE_SECONDS and self.stream is not None:
                alive = trio.current_time()
                if self.spool is not None:
                    await self.say(b"\n")


async def check_sum(view: memoryview) -> None:
    """Compare the checksum at the end of a snapshot with its bytes; raises PullFailed."""
    if len(view) < 18:
        raise PullFailed("the snapshot is too short to be one")
    crc = 0
    for at in range(0, len(view) - 8, CRC_BYTES):
        crc = extend(crc, view[at : min(at + CRC_BYTES, len(view) - 8)])
        await trio.lowlevel.checkpoint()
    if crc != int.from_bytes(view[-8:], "little"):
        raise PullFailed("the snapshot is damaged: its checksum is another")


class MoveTasks:
    """Everything of a node's moves that takes time."""

    def __init__(self, moves: Moves) -> None:
        self.moves = moves
        self.node = moves.node
        self.changed = trio.Event()
        moves.wake = self.wake

    def wake(self) -> None:
        """Something is to be done."""
        self.changed.set()

    async def run(self) -> None:
        """Do what the topology asks for, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch)
            nursery.start_soon(self.sweep)
            while True:
                self.changed = changed = trio.Event()
                self.reconcile(nursery)
                await changed.wait()

    def reconcile(self, nursery: trio.Nursery) -> None:
        """Fetch what is to be fetched, and nothing else."""
        moves = self.moves
        wanted = moves.wanted()
        for name, pull in list(moves.pulls.items()):
            if name not in wanted:
                pull.scope.cancel()
                del moves.pulls[name]
            else:
                pull.move = wanted[name]
        for name, move in wanted.items():
            if name not in moves.pulls:
                pull = moves.pulls[name] = Pull(moves, move)
                nursery.start_soon(pull.run)

    async def watch(self) -> None:
        """Time limits, while something moves."""
        while True:
            if not self.moves.busy():
                await self.changed.wait()
            self.node.ctx.session = None
            self.moves.tick()
            await trio.sleep(TICK_SECONDS)

    async def sweep(self) -> None:
        """Delete what is to be deleted."""
        pacer = Pacer(self.node)
        while True:
            began = time.monotonic_ns()
            more = bool(self.moves.sweeps)
            if more and not self.node.ctx.gates & GATE_BUSY and self.node.duty.holds_lease():
                self.node.ctx.session = None
                more = self.moves.sweep_all(began + SWEEP_NS)
                self.node.persistence.commit()
            if more:
                await pacer.rest(began)
            else:
                await self.changed.wait()


def leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The single errors in a group of groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
