"""Follower (io): keeps this node a copy of the primary it was told to follow.

One task per node. It connects, lets the pure machine (replica.py) do the talking, loads what a full
sync brings (full_load.py), applies the stream (apply.py) and, when the link breaks, begins anew
with what was applied. States, as others see them:

    connecting   no link, or the primary has not answered PSYNC yet
    syncing      a snapshot is coming, or being loaded
    streaming    the data is the primary's as of `offset`, and follows it

`follow` and `unfollow` are plain functions: what they decide holds when they return, and the task
learns of it at its next checkpoint. The data never changes hands in the middle of a function, so a
node that is told to lead while a snapshot is loaded leads with what it had.

A node only asks to go on from an offset if its data is the data at that offset: it followed before,
or its own stream was recorded. What failed to apply is answered by asking for everything.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_BUSY, GATE_REPLICA
from isthmus.node.replicate.apply import StreamApplier, StreamError
from isthmus.node.replicate.backoff import LOST, REFUSED, SPOILT, Backoff
from isthmus.node.replicate.full_load import Loaded, PayloadRefused, Spool, load, take_over
from isthmus.node.replicate.quarantine import Receipt, count, keep, tail_from_file, tail_of
from isthmus.node.replicate.replica import (
    NO_OFFSET,
    Event,
    Failed,
    FullSync,
    Introduction,
    PartialSync,
    Payload,
    PayloadBegins,
    PayloadEnds,
    ReplicaLink,
    Send,
    Stream,
    is_id,
)
from isthmus.node.replicate.replication import NO_ID, REPLICA, Replication
from isthmus.wire.logs import log
from isthmus.wire.resp import pack

CONNECTING, SYNCING, STREAMING = "connecting", "syncing", "streaming"
RECEIVE_BYTES = 256 * 1024
SLICE_NS = 5_000_000
BUSY_SECONDS = 0.005
TICK_SECONDS = 0.1
ACK_SECONDS = 1.0
# Who waits for these goes on waiting when the node begins to follow; all others are cut off.
WAIT_ON = (b"postponed", b"suspended", b"snapshot")
ROLE_CHANGED = (
    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> "
    b"replica?)\r\n"
)
SYNCS_NOTED_MAX = 1024
# Bytes that wait to be sent: acknowledgements to a primary that does not read.
OUT_BYTES_MAX = 64 * 1024
# What a fault of ours raises, in a command of the stream or in loading: it ends one connection.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, MemoryError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip


class LinkLost(Exception):
    """The connection ended, for a reason worth telling."""


class LinkRefused(LinkLost):
    """The primary does not want us, and will say so again."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to follow; in a cluster, as which node and under which epoch of the shard."""

    host: str
    port: int
    node_id: str = ""
    epoch: int = 0


NOBODY = Target("", 0)


class Follower:
    """The task that follows; `node.replication.follower`."""

    def __init__(self, node: Any, port: int = 0) -> None:
        self.node = node
        self.replication: Replication = node.replication
        self.replication.follower = self
        self.target: Target | None = None
        self.paused = False
        self.state = CONNECTING
        # There is a connection, though what comes by it may be no data yet.
        self.connected = False
        self.problem = ""
        # Where clients find this node, for the primary's list of its replicas.
        self.port = port
        # The data is what the stream had at `replication.offset`.
        self.in_step = False
        self.applier: StreamApplier | None = None
        # The link as one of the node's clients, while there is a stream.
        self.client: ClientState | None = None
        self.scope: trio.CancelScope | None = None
        self.changed = trio.Event()
        self.out = bytearray()
        self.may_send = trio.Event()
        self.heard_ns = 0
        self.down_since_s = time.time()
        self.spool: Spool | None = None
        self.full_sync: FullSync | None = None
        self.loading = False
        self.sync_bytes = 0
        self.sync_bytes_total = -1
        # How the last connection ended, and since when it has carried the stream (monotonic).
        self.ended = LOST
        self.streaming_since: float | None = None
        # (bytes written to the append only file, the offset of the stream that they reach).
        self.written: deque[tuple[int, int]] = deque()
        self.on_disk = 0
        # Told of what had to be given up; set by the composition root.
        self.lost: Callable[[Receipt], None] = lambda receipt: None
        config = node.config
        config.on_change("replica-read-only", self._regate)
        config.on_change("replica-serve-stale-data", self._regate)
        # Another login may be one that the primary takes: it is tried at once.
        for name in ("masteruser", "masterauth"):
            config.on_change(name, lambda text: self.changed.set())

    # -- what is decided ----------------------------------------------------------------------

    def follow(self, host: str, port: int, node_id: str = "", epoch: int = 0) -> None:
        """Follow the primary at that address from now on."""
        target = Target(host, port, node_id, epoch)
        if target == self.target:
            return
        replication = self.replication
        if replication.role != REPLICA:
            # A primary's own stream is as good as another's, if it was written down.
            self.in_step = self.in_step or replication.recording
            replication.become_replica()
        self._aim(target)
        log("follows", host=host, port=port, epoch=epoch)

    def unfollow(self) -> None:
        """Follow nobody: lead, with the data as it is."""
        replication = self.replication
        if self.target is None and replication.role != REPLICA:
            return
        self._aim(None)
        self.applier = None
        if not self.in_step:
            # The data is of no stream that anybody knows: nobody may go on with it as if it were.
            replication.restart_stream(self.node.random_bytes(20).hex(), replication.offset)
        self.in_step = False
        replication.become_primary()
        log("leads", replid=replication.replid, offset=replication.offset)

    def restored_from(self, facts: dict[bytes, bytes]) -> None:
        """The data was loaded from a snapshot that says so of itself: it may be that of a stream
        at an offset, and go on from there."""
        replid, offset = facts.get(b"repl-id", b""), facts.get(b"repl-offset", b"")
        if is_id(replid) and replid.decode() != NO_ID and offset.isdigit() and len(offset) < 19:
            # Until it is told otherwise: if it leads, then under another id, for others may have
            # more of this stream than the snapshot.
            self.replication.become_replica()
            self.replication.restart_stream(replid.decode(), int(offset))
            self.applier = StreamApplier(self.node, self.selected(facts))
            self.in_step = True

    def restored_from_aof(self, found: Any) -> None:
        """The data was loaded from an append only file, which says which stream it is (or does
        not, if it has no places)."""
        if found.places and found.exact:
            last = found.places[-1]
            self.replication.become_replica()
            self.replication.restart_stream(last.replid, last.offset)
            self.applier = StreamApplier(self.node, found.db)
            self.in_step = True

    def selected(self, facts: dict[bytes, bytes]) -> int:
        """The database that a snapshot says is selected in the stream behind it."""
        told = facts.get(b"repl-stream-db", b"0")
        index = int(told) if told.isdigit() and len(told) < 10 else 0
        return index if index < len(self.node.keyspace.databases) else 0

    def pause(self) -> None:
        """Take nothing more from the primary, and go on being what this node is."""
        self.paused = True
        self.reconnect("it is not to be followed for now")

    def resume(self) -> None:
        """Follow again."""
        self.paused = False
        self.changed.set()

    def reconnect(self, why: str) -> None:
        """Give up the connection, if there is one."""
        self.problem = why
        if self.scope is not None:
            self.scope.cancel()

    def _aim(self, target: Target | None) -> None:
        self.target = target
        self.hide_link()
        self._set_state(CONNECTING)
        self.problem = ""
        node = self.node
        node.keyspace.follows = target is not None
        self._regate()
        if target is not None:
            for blocked in list(node.blocking.clients.values()):
                if blocked.kind not in WAIT_ON:
                    node.blocking.answer(blocked.client, ROLE_CHANGED)
                    blocked.client.close()
        else:
            for db in node.keyspace.databases:
                db.look_for_due()
        if self.scope is not None:
            self.scope.cancel()
        self.changed.set()

    def _regate(self, text: str = "") -> None:
        node, follows = self.node, self.target is not None
        read_only = node.config.boolean("replica-read-only")
        node.keep_expired()
        stale = not node.config.boolean("replica-serve-stale-data")
        gates = node.ctx.gates & ~GATE_REPLICA
        if follows and (read_only or stale):
            gates |= GATE_REPLICA
        node.ctx.gates = gates

    def _set_state(self, state: str) -> None:
        if self.state == STREAMING and state != STREAMING:
            self.down_since_s = time.time()
        self.state = state

    def silent_ms(self, now_ns: int | None = None) -> int:
        """For how long the primary has said nothing (as of now_ns, monotonic); -1 if it never
        said anything."""
        if self.heard_ns == 0:
            return -1
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        return max(now_ns - self.heard_ns, 0) // 1_000_000

    # -- the task -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow whom there is to follow, until cancelled."""
        backoff, aimed = Backoff(), None
        while True:
            self.changed = trio.Event()
            target = self.target
            if target is None or self.paused:
                await self.changed.wait()
                continue
            if target != aimed:
                backoff, aimed = Backoff(in_shard=bool(target.node_id)), target
            self.ended, self.streaming_since = LOST, None
            with trio.CancelScope() as self.scope:
                await self.attempt(target)
            self.scope = None
            self.connected = False
            self._set_state(CONNECTING)
            if self.target != target:
                continue
            log("primary_lost", level="WARN", host=target.host, port=target.port, why=self.problem)
            since = self.streaming_since
            pause = backoff.after(self.ended, -1 if since is None else time.monotonic() - since)
            with trio.move_on_after(pause):
                await self.changed.wait()

    async def attempt(self, target: Target) -> None:
        """One connection, from beginning to end."""
        timeout = self.node.config.integer("repl-timeout")
        try:
            with trio.fail_after(timeout):
                source = self.node.config.text("bind-source-addr") or None
                stream = await trio.open_tcp_stream(target.host, target.port, local_address=source)
        except (OSError, trio.TooSlowError) as error:
            self.problem = f"cannot connect: {error or 'no answer'}"
            return
        self.connected = True
        link = ReplicaLink(self.introduction(target))
        self.out = bytearray(link.begin())
        self.may_send = trio.Event()
        self.may_send.set()
        self.heard_ns = time.monotonic_ns()
        self.problem = ""
        try:
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(self.send, stream)
                nursery.start_soon(self.tick)
                await self.receive(stream, link)
        except* (LinkLost, OSError, PayloadRefused, trio.BrokenResourceError) as group:
            self.problem = "; ".join(str(error) or repr(error) for error in leaves(group))
            if any(isinstance(error, LinkRefused) for error in leaves(group)):
                self.ended = REFUSED
        except* StreamError as group:
            self.spoilt(group)
        except* FAULTS as group:
            log("stream_fault", level="ERROR", traceback="".join(traceback.format_exception(group)))
            self.spoilt(group)
        finally:
            self.drop_payload()
            self.hide_link()

    def spoilt(self, group: BaseExceptionGroup[Any]) -> None:
        """Something of the stream was not applied: the data is not the primary's any more."""
        self.problem = "; ".join(str(error) or repr(error) for error in leaves(group))
        self.ended = SPOILT
        self.in_step = False
        self.applier = None
        log("stream_refused", level="ERROR", why=self.problem, then="full sync")

    def introduction(self, target: Target) -> Introduction:
        """What we say to a primary."""
        config, replication = self.node.config, self.replication
        replid, offset = "?", NO_OFFSET
        if self.in_step:
            replid, offset = replication.replid, replication.offset + 1
        return Introduction(
            port=config.integer("replica-announce-port") or self.port or config.integer("port"),
            replid=replid, offset=offset, address=config.text("replica-announce-ip"),
            user=config.text("masteruser"), password=self.password(target),
            node_id=self.node.run_id if target.node_id else "", epoch=target.epoch,
            failover=replication.failover.state != "no-failover",
        )  # fmt: skip

    def password(self, target: Target) -> str:
        """What the primary wants to hear; the nodes of a cluster have one password."""
        given = self.node.config.text("masterauth")
        return str(given or (self.node.config.text("requirepass") if target.node_id else ""))

    async def send(self, stream: trio.SocketStream) -> None:
        """Send what `say` leaves, until cancelled."""
        while True:
            await self.may_send.wait()
            data, self.out = bytes(self.out), bytearray()
            self.may_send = trio.Event()
            try:
                await stream.send_all(data)
            except trio.BrokenResourceError as error:
                raise LinkLost("the primary closed the connection") from error

    def say(self, data: bytes) -> None:
        """Send bytes to the primary; as good as lost if it does not read."""
        if len(self.out) < OUT_BYTES_MAX:
            self.out += data
            self.may_send.set()

    def acknowledge(self) -> None:
        """Tell the primary how far we are, and how far the append only file is on the disk."""
        words = [b"REPLCONF", b"ACK", b"%d" % self.replication.offset]
        if self.node.persistence.aof.enabled:
            words += [b"FACK", b"%d" % self.synced_offset()]
        self.say(pack(words))

    def commit(self) -> None:
        """Write what was applied to the append only file, and note what stands there."""
        aof = self.node.persistence.aof
        self.node.persistence.commit()
        if not aof.enabled or aof.buffer.data:
            return
        noted = (aof.written, self.replication.offset)
        if self.written and (
            self.written[-1][0] == noted[0] or len(self.written) >= SYNCS_NOTED_MAX
        ):
            # The same bytes, or too many notes: the last one says later what it would say.
            self.written[-1] = noted
        else:
            self.written.append(noted)

    def synced_offset(self) -> int:
        """Up to where the stream is in an append only file on the disk."""
        synced = self.node.persistence.aof.synced
        while self.written and self.written[0][0] <= synced:
            self.on_disk = self.written.popleft()[1]
        return self.on_disk

    async def tick(self) -> None:
        """Acknowledge each second, and look at how long the primary has been silent."""
        acked = trio.current_time()
        while True:
            await trio.sleep(TICK_SECONDS)
            limit_ms = self.node.config.integer("repl-timeout") * 1000
            if self.loading:
                self.heard_ns = time.monotonic_ns()
            elif self.silent_ms() > limit_ms:
                raise LinkLost(f"the primary said nothing for {limit_ms // 1000} seconds")
            if trio.current_time() - acked < ACK_SECONDS:
                continue
            acked = trio.current_time()
            if self.state == STREAMING:
                self.acknowledge()
            elif self.loading:
                # As Redis does: the primary hears that there is somebody.
                self.say(b"\n")

    async def receive(self, stream: trio.SocketStream, link: ReplicaLink) -> None:
        """Take what comes, until the connection ends."""
        while True:
            data = await stream.receive_some(RECEIVE_BYTES)
            self.check_wanted()
            if not data:
                raise LinkLost("the primary closed the connection")
            self.heard_ns = time.monotonic_ns()
            for event in link.feed(bytes(data)):
                await self.handle(event)

    def check_wanted(self) -> None:
        """Raise LinkLost if this connection was given up.

        A task that was about to go on when its scope was cancelled does go on until it waits again:
        by then this node may lead, or follow another.
        """
        if self.scope is None or self.scope.cancel_called:
            raise LinkLost(self.problem or "given up")

    async def handle(self, event: Event) -> None:
        """Do what an event of the link says."""
        if isinstance(event, Stream):
            await self.apply(event.data)
        elif isinstance(event, Send):
            self.say(event.data)
        elif isinstance(event, Payload):
            assert self.spool is not None
            self.spool.write(event.data)
            self.sync_bytes += len(event.data)
            await trio.lowlevel.checkpoint()
        elif isinstance(event, FullSync):
            self.replication.failover.answered()
            self.full_sync = event
            self._set_state(SYNCING)
            self.quarantine(event)
            self.sync_bytes, self.sync_bytes_total = 0, -1
            log("full_sync_begins", replid=event.replid, offset=event.offset)
        elif isinstance(event, PayloadBegins):
            self.sync_bytes_total = event.size
            self.spool = Spool(os.path.dirname(self.node.persistence.snapshots.path()) or ".")
        elif isinstance(event, PayloadEnds):
            await self.load()
        elif isinstance(event, PartialSync):
            self.replication.failover.answered()
            self.replication.rename_stream(event.replid)
            if self.applier is None:
                self.applier = StreamApplier(self.node)
            self.applier.restart()
            self.stream_begins("partial")
        elif isinstance(event, Failed):
            if event.refused:
                self.replication.failover.abort(event.reason)
            raise (LinkRefused if event.refused else LinkLost)(event.reason)

    # -- what is given up ---------------------------------------------------------------------

    def quarantine(self, sync: FullSync) -> None:
        """Keep what this node has of its stream and the primary has not, before it is replaced."""
        replication, target = self.replication, self.target
        offset = replication.offset
        if not self.in_step or target is None or not 0 <= sync.common < offset:
            return
        receipt = Receipt(
            shard=-1 if self.node.duty is None else self.node.duty.shard, epoch=target.epoch,
            node=self.node.run_id, new_primary=target.node_id, replid=replication.replid,
            from_offset=sync.common + 1, to_offset=offset, written_ms=self.node.clock.now_ms,
        )  # fmt: skip
        receipt.first_ms, receipt.last_ms = replication.times_behind(sync.common)
        try:
            data = tail_of(replication, sync.common)
            found = self.node.persistence.loading.stream
            if data is None and found is not None:
                tail = tail_from_file(found.path, found.places, sync.common)
                data, receipt.exact = (None, False) if tail is None else tail
            receipt.kept = data is not None
            if data is not None:
                count(receipt, data)
            path = keep(os.getcwd(), receipt, data)
        except OSError as error:
            # Nothing may be given up before it is kept: the link is tried again.
            raise LinkLost(f"the quarantine cannot be written: {error}") from error
        # Once is enough, should this sync break off and be begun again.
        self.in_step = False
        log(
            "quarantined", level="WARN", receipt=path, commands=receipt.commands,
            keys=receipt.key_count, bytes=receipt.bytes, kept=receipt.kept,
        )  # fmt: skip
        self.lost(receipt)

    # -- full sync ----------------------------------------------------------------------------

    async def load(self) -> None:
        """The payload is whole: load it, and go on from there."""
        spool, sync = self.spool, self.full_sync
        assert spool is not None and sync is not None
        node = self.node
        loaded = Loaded(node)
        done = False
        self.loading = True
        try:
            for _ in load(node, spool, loaded):
                await trio.lowlevel.checkpoint()
            while node.ctx.gates & GATE_BUSY:
                await trio.sleep(BUSY_SECONDS)
            self.check_wanted()
            done = True
        finally:
            self.loading = False
            if not done:
                loaded.discard(node)
        self.take(loaded, sync)
        self.drop_payload()
        self.stream_begins("full")

    def take(self, loaded: Loaded, sync: FullSync) -> None:
        """Change over to the data that was loaded; the append only file begins anew with it."""
        node = self.node
        node.ctx.session = None
        self.in_step = False
        appends = node.persistence.aof.enabled
        if appends:
            node.persistence.aof.turn(False)
        take_over(node, loaded)
        self.replication.restart_stream(sync.replid, sync.offset)
        index = self.selected(loaded.loader.facts)
        self.applier = StreamApplier(node, index)
        self.replication.stream.db = index
        self.in_step = True
        self.written.clear()
        # The file that begins has none of it until it is rewritten, which Redis counts likewise.
        self.on_disk = 0
        if appends:
            try:
                node.persistence.aof.turn(True)
            except OSError as error:
                log("aof_not_begun", level="ERROR", why=str(error))
                node.persistence.aof.rewrite_scheduled = True

    def stream_begins(self, kind: str) -> None:
        """The data is the primary's as of `offset`."""
        assert self.applier is not None
        self.applier.asked = self.acknowledge
        self.show_link()
        self._set_state(STREAMING)
        self.streaming_since = time.monotonic()
        # A primary that sent a marked payload goes on only when it hears of us.
        self.acknowledge()
        log("in_sync", kind=kind, replid=self.replication.replid, offset=self.replication.offset)

    def show_link(self) -> None:
        """Have the primary among the clients, as Redis does: CLIENT LIST shows it, with flag M."""
        node, target = self.node, self.target
        assert self.applier is not None and target is not None
        client = self.applier.client
        if client.id < 0:
            client.id = node.next_client_id
            node.next_client_id += 1
        client.address = f"{target.host}:{target.port}".encode()
        client.created_ms = client.active_ms = node.clock.now_ms
        self.client = node.clients[client.id] = client

    def hide_link(self) -> None:
        """The connection is gone."""
        if self.client is not None:
            self.node.clients.pop(self.client.id, None)
            self.node.client_memory.forget(self.client)
        self.client = None

    def drop_payload(self) -> None:
        """The payload was loaded, or is not wanted any more."""
        if self.spool is not None:
            self.spool.close()
        self.spool = None
        self.full_sync = None

    # -- the stream ---------------------------------------------------------------------------

    async def apply(self, data: bytes) -> None:
        """Apply a piece of the stream in slices, between which the loop serves others."""
        applier = self.applier
        assert applier is not None
        applier.feed(data)
        applier.client.active_ms = self.node.clock.now_ms
        more = True
        while more:
            self.check_wanted()
            if self.node.ctx.gates & GATE_BUSY:
                # A script of a client is half done.
                await trio.sleep(BUSY_SECONDS)
                continue
            self.node.ctx.session = None
            more = applier.step(time.monotonic_ns() + SLICE_NS)
            self.commit()
            if self.target is not None and self.target.node_id:
                # Replies may wait for this.
                self.acknowledge()
            await trio.lowlevel.checkpoint()

    # -- what clients are told ----------------------------------------------------------------

    def figures(self) -> dict[str, str | int]:
        """The fields of INFO replication of a replica."""
        target, config = self.target or NOBODY, self.node.config
        up = self.state == STREAMING
        found: dict[str, str | int] = {
            "master_host": target.host, "master_port": target.port,
            "master_link_status": "up" if up else "down",
            "master_last_io_seconds_ago": self.silent_ms() // 1000 if up else -1,
            "master_sync_in_progress": int(self.state == SYNCING),
            "slave_read_repl_offset": self.read_offset(),
            "slave_repl_offset": self.replication.offset,
        }  # fmt: skip
        if self.state == SYNCING:
            total = self.sync_bytes_total
            found |= {
                "master_sync_total_bytes": max(total, 0),
                "master_sync_read_bytes": self.sync_bytes,
                "master_sync_left_bytes": total - self.sync_bytes,
                "master_sync_perc": f"{100 * self.sync_bytes / total:.2f}" if total > 0 else "0.00",
                "master_sync_last_io_seconds_ago": self.silent_ms() // 1000,
            }
        if not up:
            found["master_link_down_since_seconds"] = int(time.time() - self.down_since_s)
        return found | {
            "slave_priority": config.integer("replica-priority"),
            "slave_read_only": int(config.boolean("replica-read-only")),
            "replica_announced": int(config.boolean("replica-announced")),
        }

    def address(self) -> tuple[str, int]:
        """Where the primary is."""
        target = self.target or NOBODY
        return target.host, target.port

    def read_offset(self) -> int:
        """The offset of the last byte that came."""
        waiting = 0 if self.applier is None else len(self.applier.raw)
        return self.replication.offset + waiting


def leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The single errors in a group of groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
