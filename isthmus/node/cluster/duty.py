"""Duty: what a node of a cluster does for its shard, as the topology has it (pure).

    idle        the node holds no copy (a spare), or no topology came yet
    leading     it is the primary: serves while it holds the lease, and waits for replicas as the
                durability policy says
    following   it is a replica: follows the primary, and serves nothing but what READONLY allows
    handing     it is a primary about to be followed by another on purpose: writes wait until that
                replica has everything; then the lease is given up, and everything waits
    handed      it gave its lease up and waits for the topology that says who leads

Replies and replicas. What a turn changed is in the stream before its replies go out (`commit`).
With durability `async` they go out at once, and writes are refused once the oldest change that no
counted replica has is older, or all such changes are larger, than the policy allows: so what can be
lost is bounded. With `replica` they wait until a replica whose word counts has the turn's changes.
With `fsync` they wait until the append only file is on the disk.

Whose word counts is the topology's (`synced`): the coordinator asks exactly these before it makes
another node the primary. Of them, only those count that follow under the shard's present epoch.

A primary that has just been made one lets requests wait until it has its lease, for a while: it
takes as long as the lease of the one before still runs. One whose lease ends answers nothing that
concerns keys. Those to whom it owes replies go on waiting, for as long as a lease lasts: it may
only have stood still, and gets it back under the same epoch, so that nobody else has led meanwhile
and what replicas have of these writes stays. Then, or when another leads, it cuts them off: what
became of their writes is for the next primary to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from isthmus.node.cluster.leadership import Leadership
from isthmus.node.cluster.view import ClusterView, NodeInfo, ShardInfo
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_DUTY
from isthmus.node.engine.errors import CLUSTERDOWN
from isthmus.node.engine.spec import MAY_REPLICATE, WRITE, CommandSpec
from isthmus.wire.durability import ASYNC, FSYNC, REPLICA, Durability, DurabilityError, parse
from isthmus.wire.logs import log

Frame = dict[str, Any]
IDLE, LEADING, FOLLOWING, HANDING, HANDED = "idle", "leading", "following", "handing", "handed"
MS = 1_000_000
HANDOVER_MS_MAX = 5000
# A topology reaches everybody within this: who is sent on afterwards finds the new primary known.
SPREAD_MS = 50
# How long requests wait for the first lease under an epoch: beyond what was promised to another.
ACQUIRE_LEASES = 2
# Changes of so long share one note of when they were made.
NOTE_MS = 5
# A token is an offset above the pump's own answers 0 and 1.
TOKEN = 2
# A lease that lasts longer than this ends never: a shard of one copy.
NO_END_MS = 1 << 40
# The kind of a client that waits for the coordinator's answer (CLUSTER FAILOVER).
WISH = b"failover"
BEHIND = b"NOREPLICAS Not enough good replicas to write: "
NO_FILE = (
    b"MISCONF durability is fsync and nothing is kept on disk yet: use isthmus persistence set "
    b"aof:always"
)


class Duty:
    """One node's duty. `now` is nanoseconds of CLOCK_BOOTTIME.

    `release(token)` lets the pump send what waited for it, `cut_off()` closes those who wait, and
    `say(frame)` speaks to the coordinator; all are set by the composition root.
    """

    def __init__(
        self, node: Any, view: ClusterView, leadership: Leadership, boot_ns: Callable[[], int]
    ) -> None:
        self.node = node
        self.view = view
        self.leadership = leadership
        self.boot_ns = boot_ns
        self.release: Callable[[int], object] = lambda token: None
        self.cut_off: Callable[[], int] = lambda: 0
        # Keeps shard and data epoch beyond the end of the process.
        self.remember: Callable[[int, int], None] = lambda shard, data_epoch: None
        self.say: Callable[[Frame], None] = lambda frame: None
        # Have the next heartbeat sent at once.
        self.say_soon: Callable[[], None] = lambda: None
        self.state = IDLE
        self.shard = -1
        self.epoch = 0
        # The shard epoch under which the data here was written last.
        self.data_epoch = 0
        # The shard that the data is of, as the last run remembered it; -1: of none.
        self.data_shard = -1
        # The shard epoch whose primary it follows no more, by order of the coordinator.
        self.fenced = 0
        self.durability: Durability = parse(ASYNC)
        # node id -> the offset it has, of replicas that follow under this epoch.
        self.offsets: dict[str, int] = {}
        # The largest offset that a replica has whose word counts; how far changes are safe.
        self.acked = 0
        # (offset, when) of changes that are not: the oldest first.
        self.unsafe: deque[tuple[int, int]] = deque()
        self.noted = 0
        self.problem = ""
        self._refusal = b""
        self._target: tuple[Any, ...] = ()
        self._heir = ""
        self._handover_until = 0
        self._acquire_until = 0
        # Until when those who wait for replies may go on waiting without a lease; 0: there is one.
        self._owed_until = 0
        # How often this process was made a primary, and ceased to be one; and how many clients were
        # cut off without an answer: for metrics.
        self.promotions = 0
        self.demotions = 0
        self.cut_clients = 0
        # number -> a client that asked this node to lead.
        self._wishes: dict[int, ClientState] = {}
        self._wished = 0

    # -- the topology -------------------------------------------------------------------------

    def topology_changed(self) -> None:
        """The view is another one: take up the duty it says."""
        now = self.boot_ns()
        before = self.durability.kind
        self._learn_durability()
        self.leadership.learn(self.view, now)
        shard = self.view.my_shard
        if shard is None or self.view.fenced:
            self._rest()
        elif shard.primary.id == self.view.my_id:
            self._lead(shard)
        else:
            self._follow(shard)
        self._count(now)
        if before == REPLICA != self.durability.kind and self.holds_lease():
            # What replies wait for is asked no more.
            self.release(self.noted + TOKEN)
        self.regate(now)

    def _learn_durability(self) -> None:
        if self.view.durability:
            try:
                self.durability = parse(self.view.durability)
            except DurabilityError as error:
                # One of a later version: what is in force stays.
                log("durability_not_understood", level="ERROR", why=str(error))

    def _rest(self) -> None:
        if self.state == FOLLOWING:
            self.node.replication.unfollow()
        self._leave_lead()
        self.state, self.shard, self._target = IDLE, -1, ()

    def _lead(self, shard: ShardInfo) -> None:
        replication = self.node.replication
        if self.state == HANDED and self.epoch == shard.epoch:
            # A topology about others: the lease, asked for anew by now, is the heir's.
            self.leadership.release()
            return
        if self.fenced:
            self._lift_fence()
        if self.state == FOLLOWING or replication.role == "replica":
            # Or its data is of a stream as of its last run, which may have gone on without it.
            replication.unfollow()
            replication.become_primary()
            self.promotions += 1
            log(
                "promoted", level="WARN", shard=shard.number, epoch=shard.epoch,
                offset=replication.offset, replid=replication.replid,
            )  # fmt: skip
        if self.epoch != shard.epoch or self.state not in (LEADING, HANDING):
            if self._owed_until:
                # Another may have led in between.
                self._owed_until = 0
                self._break_off()
            self.offsets = {}
            self.noted = replication.offset
            self.acked = 0
            self.unsafe.clear()
            self._acquire_until = self.boot_ns() + ACQUIRE_LEASES * self.view.lease_ms * MS
        if self.state in (HANDING, HANDED) and self.epoch != shard.epoch:
            self._end_handover()
        if self.state not in (HANDING, HANDED):
            self.state = LEADING
        self.shard, self.epoch, self._target = shard.number, shard.epoch, ()
        self._data_is_of(shard.number, shard.epoch)
        if shard.replicas:
            replication.record()

    def _follow(self, shard: ShardInfo) -> None:
        demoted = self.state in (LEADING, HANDING, HANDED)
        primary = shard.primary
        target = (primary.id, primary.host, primary.port, shard.epoch)
        if demoted:
            self.demotions += 1
            log("demoted", level="WARN", shard=shard.number, epoch=shard.epoch, by=primary.id)
        self._leave_lead()
        self.state, self.shard, self.epoch = FOLLOWING, shard.number, shard.epoch
        if self.fenced and self.fenced != shard.epoch:
            self._lift_fence()
        if target != self._target:
            self._target = target
            self.node.replication.follow(
                primary.host, primary.port, node_id=primary.id, epoch=shard.epoch
            )

    def _data_is_of(self, shard: int, epoch: int) -> None:
        if (shard, epoch) != (self.data_shard, self.data_epoch):
            self.data_shard, self.data_epoch = shard, epoch
            self.remember(shard, epoch)

    def _lift_fence(self) -> None:
        self.fenced = 0
        self.node.replication.follower.resume()

    def _leave_lead(self) -> None:
        """Be a primary no longer: whoever waits for a promise of ours will not have it."""
        if self.state in (LEADING, HANDING, HANDED):
            self._owed_until = 0
            self._break_off()
            self._end_handover(SPREAD_MS if self.state == HANDED else 0)
        self.offsets = {}
        self.unsafe.clear()

    def _break_off(self) -> None:
        cut = self._cut_off()
        if cut:
            log("cut_off_unacknowledged", level="WARN", clients=cut)

    def _cut_off(self) -> int:
        cut = self.cut_off()
        self.cut_clients += cut
        return cut

    # -- replicas -----------------------------------------------------------------------------

    def admits(self, node_id: str, epoch: int) -> bool:
        """True if a replica of this shard may follow this node under that epoch."""
        leads = self.state in (LEADING, HANDING, HANDED)
        return leads and epoch == self.epoch and any(
            replica.id == node_id for replica in self._replicas()
        )  # fmt: skip

    def replica_has(self, node_id: str, offset: int) -> None:
        """A replica that follows under this epoch acknowledged everything up to `offset`."""
        if self.state not in (LEADING, HANDING, HANDED):
            return
        self.offsets[node_id] = offset
        now = self.boot_ns()
        self._count(now)
        if self.state == HANDING:
            self._try_hand_over(now)

    def replica_gone(self, node_id: str) -> None:
        """Its connection is lost."""
        self.offsets.pop(node_id, None)

    def _replicas(self) -> tuple[NodeInfo, ...]:
        shard = self.view.my_shard
        return () if shard is None else shard.replicas

    def _counted(self) -> tuple[str, ...]:
        shard = self.view.my_shard
        return () if shard is None else shard.synced

    def counts_replicas(self) -> bool:
        """True if there are replicas whose word counts."""
        return bool(self._counted())

    def holds_lease(self) -> bool:
        """True if this node may change the data of its shard now."""
        return self.state == LEADING and self.leadership.holds(self.boot_ns())

    def _count(self, now: int) -> None:
        """Find how far changes are safe, and tell those who wait for it."""
        has = [self.offsets[name] for name in self._counted() if name in self.offsets]
        if not has or max(has) <= self.acked:
            return
        self.acked = max(has)
        unsafe = self.unsafe
        while unsafe and unsafe[0][0] <= self.acked:
            unsafe.popleft()
        # Who holds no lease promises nothing more, whatever replicas say.
        if self.leadership.holds(now):
            self.release(self.acked + TOKEN)
        if self._refusal:
            self.regate(now)

    # -- turns --------------------------------------------------------------------------------

    def turn(self) -> None:
        """A turn of the loop begins: nothing is answered behind the end of the lease."""
        if self.state == FOLLOWING or self.state == IDLE:
            return
        now = self.boot_ns()
        if (now >= self.leadership.until_ns or self.unsafe or self._refusal) and self._stale(now):
            self.regate(now)

    def _stale(self, now: int) -> bool:
        return self.why_not(now) != self._refusal

    def commit(self) -> int:
        """What this turn changed is in the stream: 0 if its replies may not be sent, 1 if they may,
        else the token they wait for."""
        if self.state == FOLLOWING or self.state == IDLE:
            return 1
        now = self.boot_ns()
        end = self.node.replication.offset
        if end == self.noted:
            return 1
        self.noted = end
        waits = self.durability.kind == REPLICA
        at_once = 1
        if not self.leadership.holds(now):
            log("lease_lost_in_a_turn", level="WARN", shard=self.shard, epoch=self.epoch)
            self.regate(now)
            if not self._owed_until:
                return 0
            at_once = end + TOKEN
        unsafe = self.unsafe
        if not self._replicas() or not (waits or self._counted()):
            unsafe.clear()
            return at_once
        if unsafe and now - unsafe[-1][1] < NOTE_MS * MS:
            unsafe[-1] = end, unsafe[-1][1]
        else:
            unsafe.append((end, now))
        return end + TOKEN if waits else at_once

    @property
    def must_sync(self) -> bool:
        """True if the append only file is to be on the disk before anybody is told."""
        return self.durability.kind == FSYNC

    # -- what is refused ----------------------------------------------------------------------

    def lag_ms(self, now: int) -> int:
        """How old the oldest change is that no counted replica has."""
        return (now - self.unsafe[0][1]) // MS if self.unsafe else 0

    def lag_bytes(self) -> int:
        """How much of the stream no counted replica has."""
        if not self.unsafe:
            return 0
        return int(self.node.replication.offset) - self.acked if self.acked else 0

    def why_not(self, now: int) -> bytes:
        """The error for what may not be done now; empty if everything may."""
        if self.state in (IDLE, FOLLOWING):
            return b""
        if not self.leadership.holds(now):
            return CLUSTERDOWN
        policy = self.durability
        if policy.kind == FSYNC and not self.node.persistence.aof.enabled:
            return NO_FILE
        # Without a replica whose word counts there is nothing to wait for, but with `replica`.
        if not self._replicas() or (policy.kind != REPLICA and not self._counted()):
            return b""
        if self.lag_ms(now) > policy.lag_ms:
            return BEHIND + b"they lack changes of more than %d ms" % policy.lag_ms
        if self.lag_bytes() > policy.lag_bytes:
            return BEHIND + b"they lack more than %d bytes" % policy.lag_bytes
        return b""

    def regate(self, now: int) -> None:
        """Refuse what must be, from now on."""
        before, self._refusal = self._refusal, self.why_not(now)
        ctx = self.node.ctx
        if self._refusal:
            ctx.gates |= GATE_DUTY
        else:
            ctx.gates &= ~GATE_DUTY
        if self._refusal == before:
            if before is CLUSTERDOWN and self._acquire_until and now > self._acquire_until:
                # Nothing is to be expected soon: those who waited are told so.
                self._acquire_until = 0
                self.node.blocking.resume_postponed()
            if self._owed_until and (now > self._owed_until or not self._may_return()):
                self._owed_until = 0
                self._break_off()
            return
        if before == CLUSTERDOWN:
            self._owed_until = 0
            # Replicas may have acknowledged in the meantime; without `replica` none are waited for.
            safe = self.acked if self.durability.kind == REPLICA else self.noted
            if safe:
                self.release(safe + TOKEN)
        if self._refusal == CLUSTERDOWN:
            self.problem = "waits for the lease of its shard"
            returns = self._may_return()
            self._owed_until = now + self.view.lease_ms * MS if returns else 0
            cut = 0 if returns else self._cut_off()
            log("lease_lost", level="WARN", shard=self.shard, epoch=self.epoch, cut_off=cut)
        elif self._refusal:
            self.problem = self._refusal.decode()
            # Nobody is to wait for ever: what became of these writes is not known.
            cut = self._cut_off() if self.durability.kind == REPLICA else 0
            log("replicas_behind", level="WARN", shard=self.shard, why=self.problem, cut_off=cut)
        else:
            self.problem = ""
            log("serving", shard=self.shard, epoch=self.epoch)
        if self._refusal != CLUSTERDOWN:
            self._acquire_until = 0
        if before == CLUSTERDOWN:
            self.node.blocking.resume_postponed()

    def _may_return(self) -> bool:
        """Without a lease: whether this node may get it back under its epoch, for all it knows."""
        return self.state == LEADING and self.leadership.known <= self.epoch

    def refusal(self, session: ClientState, spec: CommandSpec) -> bytes | None:
        """Why a command may not run now; None if it may, an empty text if it is to wait. Called
        while GATE_DUTY is set."""
        if not self._refusal:
            return None
        writes = bool(spec.flags & (WRITE | MAY_REPLICATE))
        if spec.name == b"exec":
            writes = any(each.flags & (WRITE | MAY_REPLICATE) for each, _ in session.queue)
            keys = bool(session.queue)
        else:
            keys = bool(spec.one_key or spec.key_specs)
        if self._refusal == CLUSTERDOWN:
            if not (writes or keys):
                return None
            waits = self._acquire_until or self.state == HANDED
            return b"" if waits else CLUSTERDOWN
        return self._refusal if writes else None

    # -- giving the shard to another ----------------------------------------------------------

    def hear(self, frame: Frame) -> None:
        """An order of the coordinator."""
        kind = frame.get("type")
        if kind == "failover_answer":
            self._answer_wish(frame)
        if (frame.get("shard"), frame.get("epoch")) != (self.shard, self.epoch):
            return
        if kind == "fence" and self.state == FOLLOWING:
            # What this copy has from now on does not change before somebody leads anew.
            self.fenced = self.epoch
            self.node.replication.follower.pause()
            log("fenced_primary", level="WARN", shard=self.shard, epoch=self.epoch)
            self.say_soon()
        elif kind == "fence_lifted" and self.fenced == self.epoch:
            self._lift_fence()
        elif kind == "handover" and self.state == LEADING:
            self._begin_handover(str(frame.get("to")))
        elif kind == "handover_cancelled" and self.state in (HANDING, HANDED):
            log("handover_cancelled", level="WARN", shard=self.shard, to=self._heir)
            self._end_handover()
            self.state = LEADING
            self.leadership.learn(self.view, self.boot_ns())
            self.regate(self.boot_ns())

    def ask_to_lead(self, client: ClientState) -> None:
        """A client wants this replica to lead: ask for it. The client waits, as WISH."""
        for number, other in list(self._wishes.items()):
            if other.blocked is None or other.blocked.kind != WISH or other is client:
                del self._wishes[number]
        self._wished += 1
        self._wishes[self._wished] = client
        self.say({
            "type": "failover_wanted", "shard": self.shard, "node": self.view.my_id,
            "number": self._wished,
        })  # fmt: skip

    def _answer_wish(self, frame: Frame) -> None:
        number = frame.get("number")
        client = self._wishes.pop(number, None) if isinstance(number, int) else None
        if client is None or client.blocked is None or client.blocked.kind != WISH:
            return
        error = str(frame.get("error") or "").encode("ascii", "replace")
        error = error.replace(b"\r", b" ").replace(b"\n", b" ")
        reply = b"-ERR The coordinator refuses: " + error + b"\r\n" if error else b"+OK\r\n"
        self.node.blocking.answer(client, reply)

    def _begin_handover(self, heir: str) -> None:
        now = self.boot_ns()
        self.state, self._heir = HANDING, heir
        self._handover_until = now + HANDOVER_MS_MAX * MS
        node = self.node
        node.blocking.pause(node.clock.now_ms + HANDOVER_MS_MAX, True)
        node.replication.freeze(True)
        log("handover_begins", shard=self.shard, epoch=self.epoch, to=heir)
        self._try_hand_over(now)

    def _try_hand_over(self, now: int) -> None:
        """Give the lease up, if the heir has everything."""
        replication = self.node.replication
        self.node.keyspace.log.flush()
        if self.offsets.get(self._heir, -1) < replication.offset:
            replication.primary.ask_acks()
            return
        if self.leadership.holds(now):
            # What its replies promised is kept by the heir: they may go.
            self.release(replication.offset + TOKEN)
        self.state = HANDED
        # Reads wait as well from here on, instead of being refused.
        self.node.blocking.pause(self.node.clock.now_ms + HANDOVER_MS_MAX, False)
        self.leadership.release()
        self.say({
            "type": "drained", "shard": self.shard, "epoch": self.epoch,
            "offset": replication.offset,
        })  # fmt: skip

    def _end_handover(self, after_ms: int = 0) -> None:
        if self.state in (HANDING, HANDED):
            self.node.replication.freeze(False)
            self.node.blocking.unpause()
            if after_ms:
                self.node.blocking.pause(self.node.clock.now_ms + after_ms, False)
        self._heir, self._handover_until = "", 0

    def acquiring(self) -> bool:
        """True while this node leads by the topology and has no lease."""
        return self.state == LEADING and not self.leadership.holds(self.boot_ns())

    def cron(self) -> None:
        """Several times a second: what nobody else is the occasion for."""
        now = self.boot_ns()
        self.leadership.tick(now)
        if self.state in (HANDING, HANDED) and now > self._handover_until:
            # No word of the coordinator: whoever it chose, our lease has to be got anew.
            log("handover_timed_out", level="WARN", shard=self.shard, to=self._heir)
            self._end_handover()
            self.state = LEADING
            self.leadership.learn(self.view, now)
        if self._stale(now) or self._acquire_until or self._owed_until:
            self.regate(now)

    # -- what the coordinator is told ---------------------------------------------------------

    def copy(self) -> Frame | None:
        """The state of the copy here, for a heartbeat; None if there is none."""
        if self.state == IDLE and self.data_shard < 0:
            return None
        replication = self.node.replication
        now = self.boot_ns()
        leads = self.state not in (FOLLOWING, IDLE)
        if self.state == FOLLOWING and replication.state == "streaming":
            self._data_is_of(self.shard, self.epoch)
        left = self.leadership.until_ns - now
        return {
            "shard": self.data_shard if self.state == IDLE else self.shard,
            "epoch": self.epoch,
            "role": "primary" if leads else "replica",
            "state": "serving" if leads else self._copy_state(),
            "replid": replication.replid,
            "offset": replication.offset,
            "data_epoch": self.data_epoch,
            "primary_silent_ms": -1 if leads or self.fenced else self.primary_silent_ms(now),
            "lease_left_ms": max(0, min(left // MS, 1 << 40)) if leads else 0,
            "fenced": self.fenced,
            "problem": self.problem[:200],
        }

    def lease_left_ms(self, now: int) -> int:
        """How long the lease lasts yet; 0: there is none, -1: it never ends."""
        left = (self.leadership.until_ns - now) // MS
        return -1 if left > NO_END_MS else max(0, left)

    def leads(self) -> bool:
        """True for the primary of a shard by the topology, with or without its lease."""
        return self.state in (LEADING, HANDING, HANDED)

    @property
    def role(self) -> str:
        """primary, replica or spare."""
        return "primary" if self.leads() else "replica" if self.state == FOLLOWING else "spare"

    def figures(self) -> dict[str, str | int]:
        """The fields of INFO cluster beside Redis' own."""
        now, me = self.boot_ns(), self.view.me
        found: dict[str, str | int] = {
            "isthmus_topology_epoch": self.view.epoch, "isthmus_zone": me.zone if me else "",
            "isthmus_duty": self.state, "isthmus_durability": str(self.durability),
        }  # fmt: skip
        if self.state != IDLE:
            found |= {
                "isthmus_shard": self.shard, "isthmus_shard_epoch": self.epoch,
                "isthmus_data_epoch": self.data_epoch,
            }  # fmt: skip
        if self.leads():
            found |= {
                "isthmus_lease_left_ms": self.lease_left_ms(now),
                "isthmus_synced_replicas": len(self._counted()),
                "isthmus_lag_ms": self.lag_ms(now), "isthmus_lag_bytes": self.lag_bytes(),
            }  # fmt: skip
        elif self.state == FOLLOWING:
            found["isthmus_primary_silent_ms"] = self.primary_silent_ms(now)
        return found | ({"isthmus_problem": self.problem} if self.problem else {})

    def primary_silent_ms(self, now: int) -> int:
        """Since the last sign of life of the primary followed; -1: there was none.

        A stream may be still for long, but who leads asks for its lease all the time, whether or
        not the replication link is up.
        """
        signs = (int(self.node.replication.silent_ms()), self.leadership.silent_ms(now))
        return min((each for each in signs if each >= 0), default=-1)

    def _copy_state(self) -> str:
        """How a copy that does not lead is: empty, if it never had the data of the shard."""
        if self.state == IDLE or self.fenced:
            return "connecting" if self.data_epoch else "empty"
        state = str(self.node.replication.state)
        return "empty" if state == "connecting" and not self.data_epoch else state
