"""Primary: those who follow this node, and how they are fed.

A replica is an ordinary client until it asks for PSYNC (or SYNC). If the backlog still holds what
it misses it is sent that (a partial sync); else it gets a cut of the data and what comes after the
cut (a full sync). States, with the words of INFO:

    state      INFO           entered by                      what it is sent
    WAITING    wait_bgsave    PSYNC, SYNC                     a newline a second, so that it waits
    SAVING     wait_bgsave    the cut goes to a file first    the same
    SENDING    send_bulk      the cut goes to the replica     the cut ($EOF:), by full_sync.py
    READING    send_bulk      the file is there               the file ($length), piece by piece
    READY      online         $EOF: is out                    nothing, until it acknowledges, for it
                                                              finds the end of the cut by the last
                                                              bytes of all that it has read
    ONLINE     online         $length is out; its first ACK;  the stream
                              a partial sync

All replicas read one backlog, each at its `cursor`, the offset of the next byte it is sent. No more
than `WINDOW_BYTES` are handed to a connection before it has taken some, so a slow replica costs no
memory; `turn` hands on, at the end of each turn of the loop in which something came or was taken.
What was decided for a replica in its own request (`greeting`) is sent then, too, behind the replies
it has coming; from PSYNC on its requests have no replies.

Nothing here reads a clock or a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_REPLICAS
from isthmus.node.engine.errors import RedisError
from isthmus.node.persist.aof_format import NO_DB
from isthmus.node.replicate.backlog import NOTHING
from isthmus.wire.logs import log
from isthmus.wire.resp import pack

WAITING, SAVING, SENDING, READING, READY, ONLINE = range(6)
STATE_WORDS = ("wait_bgsave", "wait_bgsave", "send_bulk", "send_bulk", "online", "online")
WINDOW_BYTES = 1 << 20
PIECE_BYTES = 128 * 1024
SECOND_MS = 1000
SHARD_PING_MS = 400
EOF, PSYNC2, RDB_ONLY = b"eof", b"psync2", b"rdb-only"
GETACK = pack([b"REPLCONF", b"GETACK", b"*"])
PING = pack([b"PING"])
FAILING_OVER = b"NOMASTERLINK Can't SYNC while failing over"
NOT_IN_SYNC = b"NOMASTERLINK Can't SYNC while not connected with my master"
OTHER_EPOCH = b"ERR this node leads its shard at epoch %d, and you ask for epoch %d"
WAITERS = (b"replicas", b"aof")
MOVE = b"isthmus-move"
NO_MOVES = b"ERR this node is in no cluster: nothing moves"


class AttachedReplica:
    """One connection that follows this node."""

    def __init__(self, client: ClientState, now_ms: int) -> None:
        facts = client.sync_facts
        self.client = client
        self.host = facts.get(b"ip-address") or client.address.rpartition(b":")[0].strip(b"[]")
        self.port = int(facts.get(b"listening-port", b"0"))
        self.node_id = facts.get(b"isthmus-node", b"").decode(errors="replace")
        self.wishes = client.sync_wishes
        self.state = WAITING
        self.cursor = 0
        self.acked = 0
        # What of the stream is in its append only file, as it says.
        self.acked_aof = 0
        self.ack_ms = now_ms
        self.since_ms = now_ms
        # When it last took something, and how much it had taken by then.
        self.moved_ms = now_ms
        self.moved_bytes = 0
        self.greeting = b""
        # The file of its full sync, while it is sent that.
        self.file: Any = None
        # Since when its soft limit is exceeded; 0: it is not.
        self.over_ms = 0
        # SYNC is PSYNC without a line that tells id and offset.
        self.old = False

    def peer(self) -> Any:
        """Its connection, or None if that is gone."""
        peer = self.client.peer
        return peer if peer is not None and peer.open else None

    def lag_s(self, now_ms: int) -> int:
        """Seconds since it acknowledged something."""
        return max(0, now_ms - self.ack_ms) // SECOND_MS


def missing_from(replication: Any, replid: str, offset: int) -> bool:
    """True if a replica that has stream `replid` before `offset` can be sent just the rest."""
    known = replid == replication.replid or (
        replid == replication.replid2 and offset <= replication.second_offset
    )
    return known and replication.has_stream() and bool(replication.backlog.holds(offset))


class Primary:
    """The replicas of this node, oldest first, and what they are sent."""

    def __init__(self, replication: Any) -> None:
        self.replication = replication
        self.node = replication.node
        self.config = replication.node.config
        self.replicas: dict[int, AttachedReplica] = {}
        self.full_syncs = self.partial_syncs = self.partial_refusals = 0
        self.acks_wanted = False
        self.alone_since_ms = 0
        self.beat_ms = self.ping_ms = 0
        # Somebody waits for a cut, and it has been asked for.
        self.cut_asked = False
        # Set by the server: begin a cut when there is none, by calling what is given.
        self.ask_cut: Callable[[], None] = lambda: None
        for name in ("min-replicas-to-write", "min-replicas-max-lag"):
            self.config.on_change(name, self._limits_changed)

    def stir(self) -> None:
        """Have `turn` called at the end of this turn of the loop."""
        self.replication.stream.stir()

    # -- who comes and goes -------------------------------------------------------------------

    def psync(self, client: ClientState, replid: str, offset: int) -> None:
        """PSYNC: go on at `offset` of stream `replid`, or with everything; raises RedisError."""
        if client.replica is not None:
            return
        if MOVE in client.sync_facts:
            # It is no replica, but the primary of a shard to which some slots are to go.
            if self.node.moves is None:
                raise RedisError(NO_MOVES)
            self.node.moves.begin(client)
            return
        self._admit(client)
        replication = self.replication
        replica = AttachedReplica(client, self.node.clock.now_ms)
        if missing_from(replication, replid, offset):
            self._attach(replica)
            self.partial_syncs += 1
            replica.state = ONLINE
            replica.cursor = offset
            replica.acked = offset - 1
            named = b" " + replication.replid.encode() if PSYNC2 in replica.wishes else b""
            replica.greeting = b"+CONTINUE" + named + b"\r\n"
            log("replica_continues", replica=self.name(replica), offset=offset,
                bytes=replication.offset + 1 - offset)  # fmt: skip
            self.regate()
            return
        if replid != "?":
            self.partial_refusals += 1
        self._wait_for_cut(replica)

    def sync(self, client: ClientState) -> None:
        """SYNC: everything, and the stream behind it; raises RedisError."""
        if client.replica is None:
            self._admit(client)
            replica = AttachedReplica(client, self.node.clock.now_ms)
            replica.old = True
            self._wait_for_cut(replica)

    def _admit(self, client: ClientState) -> None:
        replication = self.replication
        if replication.failover.state != "no-failover":
            raise RedisError(FAILING_OVER)
        if replication.role != "primary" and replication.state != "streaming":
            raise RedisError(NOT_IN_SYNC)
        duty = self.node.duty
        epoch = client.sync_facts.get(b"isthmus-epoch")
        if duty is not None and epoch is not None:
            node_id = client.sync_facts.get(b"isthmus-node", b"").decode(errors="replace")
            if not duty.admits(node_id, int(epoch)):
                raise RedisError(OTHER_EPOCH % (duty.epoch, int(epoch)))

    def _wait_for_cut(self, replica: AttachedReplica) -> None:
        self.full_syncs += 1
        self.replication.begin_stream()
        self._attach(replica)
        log("replica_waits_for_all", replica=self.name(replica))

    def _attach(self, replica: AttachedReplica) -> None:
        client = replica.client
        self.node.leave_modes(client)
        client.replica = replica
        client.reply_off = True
        client.regate()
        if client.peer is not None:
            # Replies may wait for what it acknowledges: what it is sent may not wait for them.
            client.peer.exempt = True
        self.replicas[client.id] = replica
        self.replication.stream.followed = True
        self.node.output_limits.apply(client)
        self.stir()

    def forget(self, client: ClientState) -> None:
        """The connection of a replica is gone."""
        replica = self.replicas.pop(client.id, None)
        if replica is None:
            if self.node.moves is not None:
                self.node.moves.forget(client)
            return
        client.replica = None
        self.replication.stream.followed = bool(self.replicas)
        if replica.node_id and self.node.duty is not None:
            self.node.duty.replica_gone(replica.node_id)
        if replica.file is not None:
            replica.file.close()
        self.keep()
        self.alone_since_ms = self.node.clock.now_ms
        log("replica_gone", replica=self.name(replica), acked=replica.acked)
        self.regate()

    def cut_off(self, replica: AttachedReplica, why: str) -> None:
        """Cut a replica off; it will come again."""
        log("replica_dropped", level="WARN", replica=self.name(replica), why=why)
        client = replica.client
        if self.node.server is not None:
            self.node.server.kill(client)
        else:
            client.close()
            self.forget(client)

    def let_go(self, why: str) -> None:
        """Cut all of them off, so that they hear what changed when they come again."""
        for replica in list(self.replicas.values()):
            self.cut_off(replica, why)

    def name(self, replica: AttachedReplica) -> str:
        """How the log calls it."""
        return replica.node_id or f"{replica.host.decode(errors='replace')}:{replica.port}"

    # -- full syncs ---------------------------------------------------------------------------

    def waiting(self) -> list[AttachedReplica]:
        """Those who need a cut."""
        return [replica for replica in self.replicas.values() if replica.state == WAITING]

    def diskless(self) -> bool:
        """True if a cut goes to replicas directly."""
        return bool(self.config.boolean("repl-diskless-sync"))

    def begin_due(self) -> None:
        """Ask for a cut if somebody has waited long enough for others to join."""
        # While a script stands still the data is in the middle of its changes.
        waiting = [] if self.cut_asked or self.node.keyspace.log.held else self.waiting()
        if not waiting:
            return
        delay_ms = self.config.integer("repl-diskless-sync-delay") * SECOND_MS
        if self.node.duty is not None:
            # A shard without a copy is what a cluster cannot wait with.
            delay_ms = 0
        crowd = self.config.integer("repl-diskless-sync-max-replicas")
        longest_ms = self.node.clock.now_ms - min(replica.since_ms for replica in waiting)
        if not self.diskless() or longest_ms >= delay_ms or 0 < crowd <= len(waiting):
            self.cut_asked = True
            self.ask_cut()

    def take_waiting(self) -> list[AttachedReplica]:
        """A cut begins now: those who get it, in one way that all of them understand.

        The stream goes on for them behind what there is of it, and says what database it is about.
        """
        self.cut_asked = False
        self.node.keyspace.log.flush()
        waiting = self.waiting()
        direct = self.diskless() and any(EOF in replica.wishes for replica in waiting)
        chosen = [replica for replica in waiting if not direct or EOF in replica.wishes]
        replication = self.replication
        if chosen and replication.role == "primary":
            # Who begins here has selected no database yet.
            replication.stream.db = NO_DB
        for replica in chosen:
            replica.state = SENDING if direct else SAVING
            replica.cursor = replication.offset + 1
            replica.acked = replication.offset
            replica.moved_ms = self.node.clock.now_ms
            if not replica.old:
                replica.greeting += replication.full_resync()
        self.keep()
        self.stir()
        return chosen

    def stream_db(self) -> int:
        """The database that the stream is about, as a snapshot says it."""
        return max(0, int(self.replication.stream.db))

    def sent(self, replica: AttachedReplica) -> None:
        """It has been handed the whole cut, up to the mark at its end."""
        replica.state = READY
        replica.ack_ms = self.node.clock.now_ms

    def saved(self, replica: AttachedReplica, file: Any, size: int) -> None:
        """The cut is in a file, which is handed to it from now on."""
        replica.file = file
        replica.state = READING
        replica.moved_ms = self.node.clock.now_ms
        replica.greeting += b"$%d\r\n" % size
        self.stir()

    def keep(self) -> None:
        """See that the backlog keeps what full syncs under way will need."""
        needed = [r.cursor for r in self.replicas.values() if WAITING < r.state < ONLINE]
        self.replication.backlog.keep_from = min(needed, default=NOTHING)

    def _go_online(self, replica: AttachedReplica) -> None:
        replica.state = ONLINE
        replica.ack_ms = self.node.clock.now_ms
        log("replica_online", replica=self.name(replica), offset=replica.cursor - 1)
        self.keep()
        self.regate()

    # -- feeding ------------------------------------------------------------------------------

    def turn(self) -> None:
        """The end of a turn of the loop: hand on what there is."""
        self.replication.stream.stirred = False
        self.begin_due()
        if self.acks_wanted:
            self.acks_wanted = False
            primary = self.replication.role == "primary" and not self.replication.frozen
            if primary and self.replicas:
                self.replication.stream.feed(GETACK)
        for replica in list(self.replicas.values()):
            self.hand_on(replica)

    def hand_on(self, replica: AttachedReplica) -> None:
        """Give one replica what its connection may take."""
        peer = replica.peer()
        if peer is None:
            return
        if replica.greeting:
            peer.send(replica.greeting)
            replica.greeting = b""
        if replica.state == READING:
            self._hand_on_file(replica, peer)
        if replica.state != ONLINE:
            return
        backlog = self.replication.backlog
        end: int = backlog.end
        while replica.cursor <= end:
            room = WINDOW_BYTES - peer.pending_output()
            if room <= 0:
                break
            data = backlog.read(replica.cursor, min(room, PIECE_BYTES))
            if not data:
                self.cut_off(replica, "it was too slow: what it needs is no longer kept")
                return
            replica.cursor += len(data)
            peer.send(data)
        peer.fed = replica.cursor <= end

    def _hand_on_file(self, replica: AttachedReplica, peer: Any) -> None:
        while peer.pending_output() < WINDOW_BYTES:
            data = replica.file.read(PIECE_BYTES)
            if not data:
                replica.file.close()
                replica.file = None
                peer.fed = False
                self._go_online(replica)
                return
            peer.send(data)
        peer.fed = True

    # -- what they say ------------------------------------------------------------------------

    def acknowledge(self, client: ClientState, offset: int, in_aof: int | None) -> None:
        """REPLCONF ACK: it has applied the stream up to `offset`."""
        replica = self.replicas.get(client.id)
        if replica is None:
            if self.node.moves is not None:
                self.node.moves.acknowledge(client, offset, in_aof or 0)
            return
        replica.acked = max(replica.acked, offset)
        if in_aof is not None:
            replica.acked_aof = max(replica.acked_aof, in_aof)
        late = replica.ack_ms
        replica.ack_ms = self.node.clock.now_ms
        if replica.state == READY:
            self._go_online(replica)
            self.stir()
        elif self.node.ctx.gates & GATE_REPLICAS or replica.ack_ms - late > SECOND_MS:
            self.regate()
        if replica.node_id and self.node.duty is not None:
            self.node.duty.replica_has(replica.node_id, replica.acked)
        self.replication.failover.look()
        self.wake_waiting()

    def wake_waiting(self) -> None:
        """Let clients that wait for acknowledgements look again."""
        blocking = self.node.blocking
        for blocked in blocking.waiting_for(*WAITERS):
            blocking.rerun(blocked)

    def ask_acks(self) -> None:
        """Somebody waits: let replicas say at once how far they are."""
        self.acks_wanted = True
        self.stir()

    def count_acked(self, offset: int) -> int:
        """How many replicas have applied the stream up to `offset`."""
        return sum(r.state == ONLINE and r.acked >= offset for r in self.replicas.values())

    def count_acked_aof(self, offset: int) -> int:
        """How many replicas have the stream up to `offset` in their append only file."""
        return sum(r.state == ONLINE and r.acked_aof >= offset for r in self.replicas.values())

    # -- writing only with enough of them -----------------------------------------------------

    def online(self) -> list[AttachedReplica]:
        """Those who are sent the stream, as ROLE lists them."""
        return [replica for replica in self.replicas.values() if replica.state >= READY]

    def good(self) -> int:
        """How many are online and have acknowledged something lately."""
        lag = self.config.integer("min-replicas-max-lag")
        now_ms = self.node.clock.now_ms
        return sum(r.state == ONLINE and r.lag_s(now_ms) <= lag for r in self.replicas.values())

    def _limits_changed(self, text: str) -> None:
        self.regate()

    def regate(self) -> None:
        """Refuse writes while there are too few good replicas, if that is asked for."""
        wanted = self.config.integer("min-replicas-to-write")
        lag = self.config.integer("min-replicas-max-lag")
        ctx = self.node.ctx
        few = wanted > 0 and lag > 0 and self.replication.role == "primary" and self.good() < wanted
        ctx.gates = ctx.gates | GATE_REPLICAS if few else ctx.gates & ~GATE_REPLICAS

    # -- what is told of them -----------------------------------------------------------------

    def figures(self) -> dict[str, str | int]:
        """The fields of INFO about those who follow."""
        now_ms = self.node.clock.now_ms
        found: dict[str, str | int] = {"connected_slaves": len(self.replicas)}
        if self.config.integer("min-replicas-to-write") and self.config.integer(
            "min-replicas-max-lag"
        ):
            found["min_slaves_good_slaves"] = self.good()
        for at, replica in enumerate(self.replicas.values()):
            lag = replica.lag_s(now_ms) if replica.state == ONLINE else 0
            found[f"slave{at}"] = (
                f"ip={replica.host.decode(errors='replace')},port={replica.port},"
                f"state={STATE_WORDS[replica.state]},offset={replica.acked},lag={lag}"
            )
        return found

    def buffers(self) -> int:
        """Bytes that wait in the connections of replicas."""
        peers = [replica.peer() for replica in self.replicas.values()]
        return sum(peer.pending_output() for peer in peers if peer is not None)

    # -- timers -------------------------------------------------------------------------------

    def cron(self) -> None:
        """Ten times a second: what is due, and who is silent for too long."""
        now_ms = self.node.clock.now_ms
        replication = self.replication
        replication.note_time(now_ms)
        replication.failover.look()
        if not self.replicas:
            # The first one is not greeted with a PING, which comes a period later.
            self.ping_ms = now_ms
            ttl_ms = self.config.integer("repl-backlog-ttl") * SECOND_MS
            alone = replication.recording and self.alone_since_ms and self.node.cluster is None
            if alone and ttl_ms and now_ms - self.alone_since_ms > ttl_ms:
                replication.end_stream()
            if now_ms - self.beat_ms >= SECOND_MS:
                self.beat_ms = now_ms
                self.regate()
            return
        if now_ms - self.beat_ms >= SECOND_MS:
            self.beat_ms = now_ms
            self._beat(now_ms)
        period_ms = self.config.integer("repl-ping-replica-period") * SECOND_MS
        if self.node.duty is not None:
            # Replicas tell the coordinator for how long they have heard nothing.
            period_ms = min(period_ms, SHARD_PING_MS)
        leads = replication.role == "primary" and not replication.frozen
        if leads and now_ms - self.ping_ms >= period_ms:
            self.ping_ms = now_ms
            replication.stream.feed(PING)
        self.stir()

    def _beat(self, now_ms: int) -> None:
        timeout_ms = self.config.integer("repl-timeout") * SECOND_MS
        for replica in list(self.replicas.values()):
            peer = replica.peer()
            if peer is None:
                continue
            if replica.state in (WAITING, SAVING):
                replica.greeting += b"\n"
                continue
            if peer.bytes_out != replica.moved_bytes:
                replica.moved_bytes, replica.moved_ms = peer.bytes_out, now_ms
            heard_ms = max(replica.ack_ms, replica.client.active_ms)
            if replica.state < READY:
                heard_ms = max(heard_ms, replica.moved_ms)
            if now_ms - heard_ms > timeout_ms:
                self.cut_off(replica, "it was silent for longer than repl-timeout")
            elif replica.state == ONLINE and self._too_slow(replica, now_ms):
                self.cut_off(replica, "more waits for it than client-output-buffer-limit lets")
        self.regate()

    def _too_slow(self, replica: AttachedReplica, now_ms: int) -> bool:
        """True if client-output-buffer-limit is exceeded by what waits for it."""
        replication = self.replication
        waits = replication.offset + 1 - replica.cursor
        limit = self.node.output_limits.limits[b"replica"]
        least = replication.backlog.bytes_max
        if limit.hard_bytes and waits > max(limit.hard_bytes, least):
            return True
        if not limit.soft_bytes or waits <= max(limit.soft_bytes, least):
            replica.over_ms = 0
            return False
        replica.over_ms = replica.over_ms or now_ms
        return bool(now_ms - replica.over_ms > limit.soft_seconds * SECOND_MS)
