"""Moves: what a node does about slots that come to its shard or leave it; the facade `node.moves`.

Everything follows from the topology, which names the moves under way (view.moves) with a state:

    copying     the target fetches the slots and follows what changes in them
    yielding    the same; and the source lets clients wait that ask for these slots, and says
                `yielded` once the target has everything
    flipped     the slots are the target's; the source keeps its keys, hidden
    cleaning    the source deletes them
    cancelled   the slots stay; the target deletes what it fetched

So an order that is lost comes again, and a node that starts anew, or that a failover makes a
primary, knows what is to be done. What a node reports goes with its heartbeats (`report`), and what
somebody waits for also at once (`say`).

Yielding. What the source has said once it cannot take back: from `yielded` on the coordinator may
give the slots away at any time, and the target serves them before the source hears of it. So only a
newer topology ends the waiting, not even the loss of the connection does: one in which the slots
are another's, or one without the order. The target knows of the order, too, when it acknowledges
the last of the stream (it says so), and from then on does not begin anew either.
Clients that waited for `PATIENCE_MS` are told to try again. When the slots are gone clients go on
to wait, for at most `LEAVE_MS`, until the target has closed the connection, which it does when it
knows that they are its own: so nobody is sent to a node that would send him back.

Clients that wait for keys in slots that went are redirected, as in Redis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_MOVE
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.spec import READONLY, WRITE, CommandSpec
from isthmus.node.moves.give import YIELDED, YIELDING, Given
from isthmus.node.moves.masks import within
from isthmus.node.moves.sweep import Sweep
from isthmus.node.persist.cut import Cut
from isthmus.node.persist.snapshot import STREAM, Job
from isthmus.node.replicate.full_sync import DirectSync
from isthmus.node.replicate.primary import ONLINE, READY, SENDING, WAITING
from isthmus.wire.logs import log
from isthmus.wire.slots import SLOTS, key_slot

Frame = dict[str, Any]
COPYING, ORDERED, FLIPPED, CLEANING, CANCELLED = (
    "copying", "yielding", "flipped", "cleaning", "cancelled"
)  # fmt: skip
MS = 1_000_000
LEAVE_MS = 200
PATIENCE_MS = 5000
NO_SUCH_MOVE = b"ERR no such move of slots is under way here"
TRY_AGAIN = b"TRYAGAIN the slot is being moved to another shard"
LEADING = "leading"


class Leaving:
    """Slots that are another shard's, which clients here do not hear of yet."""

    def __init__(self, given: Given, until_ns: int) -> None:
        self.given = given
        self.until_ns = until_ns


class Moves:
    """Both sides of all moves that concern this node."""

    def __init__(self, node: Any, view: Any) -> None:
        self.node = node
        self.view = view
        self.duty = node.duty
        self.keyspace = node.keyspace
        # Speaks to the coordinator.
        self.say: Callable[[Frame], None] = lambda frame: None
        # Called when there is something to do for the task (pull.py).
        self.wake: Callable[[], None] = lambda: None
        self.givens: dict[int, Given] = {}
        self.leaving: list[Leaving] = []
        # Those that yielded and lost their connection, by the id of the move.
        self.pledges: dict[str, Given] = {}
        # What this node fetches (pull.py) and deletes, by the id of the move.
        self.pulls: dict[str, Any] = {}
        self.sweeps: dict[str, Sweep] = {}
        # One byte a slot: 1 where clients wait.
        self.waiting = bytes(SLOTS)
        self.waiting_since_ns = 0
        self._asked = False
        # Before the first topology no slot is known to be ours.
        self.keyspace.databases[0].hide(view.foreign)

    # -- what the topology says ---------------------------------------------------------------

    def leads(self) -> bool:
        """True if this node is the primary of its shard."""
        return bool(self.duty.state == LEADING)

    def sources(self) -> dict[str, Any]:
        """The moves away from this node's shard, if it leads that."""
        return self._mine("source")

    def targets(self) -> dict[str, Any]:
        """The moves to this node's shard, if it leads that."""
        return self._mine("target")

    def wanted(self) -> dict[str, Any]:
        """The moves whose slots this node has to fetch."""
        moves = self.targets()
        return {name: moves[name] for name in moves if moves[name].state in (COPYING, ORDERED)}

    def _mine(self, side: str) -> dict[str, Any]:
        if not self.leads():
            return {}
        shard = self.duty.shard
        return {move.id: move for move in self.view.moves if getattr(move, side) == shard}

    def topology_changed(self) -> None:
        """The view is another one."""
        db = self.keyspace.databases[0]
        if db.hidden != self.view.foreign:
            db.hide(self.view.foreign)
        outgoing = self.sources()
        for given in list(self.givens.values()):
            self._review(given, outgoing.get(given.move.id))
        for name, given in list(self.pledges.items()):
            move = outgoing.get(name)
            if move is None or move.state != ORDERED or move.epoch != given.order:
                # The slots are ours again, or another's: requests find out by themselves.
                del self.pledges[name]
                if within(given.mask, self.view.foreign):
                    self._redirect_blocked(given.mask)
                    self.node.tracking.flushed(False)
        for leaving in list(self.leaving):
            if within(leaving.given.mask, self.view.foreign):
                self._keep_waiting(leaving.given.mask)
            else:
                self._leave(leaving)
        self._regate()
        self._plan_sweeps()
        self.wake()

    def _review(self, given: Given, move: Any) -> None:
        """What a topology means for one that fetches."""
        if any(leaving.given is given for leaving in self.leaving):
            return
        gone = within(given.mask, self.view.foreign)
        if gone and given.state == YIELDED and self.leads():
            log("slots_gone", move=given.move.id, to=given.move.target)
            self.leaving.append(Leaving(given, self._now() + LEAVE_MS * MS))
            self._keep_waiting(given.mask)
        elif move is None or move.state not in (COPYING, ORDERED) or gone:
            self.cut_off(given, "the move is over")
        else:
            given.move = move
            if given.state >= YIELDING and (move.state != ORDERED or move.epoch != given.order):
                log("yield_ends", level="WARN", move=move.id)
                given.state = ONLINE
            if move.state == ORDERED:
                self._try_to_yield(given)

    def _now(self) -> int:
        return int(self.node.clock.mono_ns())

    # -- the source: who fetches --------------------------------------------------------------

    def begin(self, client: ClientState) -> None:
        """The target of a move asks for its slots; raises RedisError."""
        facts = client.sync_facts
        name = facts[b"isthmus-move"].decode(errors="replace")
        move = self.sources().get(name)
        target = None if move is None else self.view.shard(move.target)
        asks = facts.get(b"isthmus-node", b"").decode(errors="replace"), facts.get(b"isthmus-epoch")
        if move is None or move.state not in (COPYING, ORDERED) or target is None:
            raise RedisError(NO_SUCH_MOVE)
        if asks != (target.primary.id, b"%d" % self.duty.epoch):
            raise RedisError(NO_SUCH_MOVE)
        for other in list(self.givens.values()):
            if other.move.id == name:
                self.cut_off(other, "the other side begins anew")
        self.node.leave_modes(client)
        given = Given(move, client, self.node.random_bytes(20).hex())
        client.replica = given
        client.reply_off = True
        client.regate()
        self.node.output_limits.apply(client)
        self.givens[client.id] = given
        log("move_begins", move=name, to=move.target, keys=self._count(given.mask))
        self._ask_cut()

    def _count(self, mask: bytes) -> int:
        counts = self.keyspace.databases[0].counts
        return sum(counts.of(slot) for slot in range(SLOTS) if mask[slot])

    def forget(self, client: ClientState) -> None:
        """The connection of one that fetches is gone."""
        given = self.givens.pop(client.id, None)
        client.replica = None
        if given is None:
            return
        self._detach(given)
        for leaving in list(self.leaving):
            if leaving.given is given:
                self._leave(leaving)
                return
        if given.state == YIELDED:
            self.pledges[given.move.id] = given
        log("move_connection_gone", move=given.move.id, state=given.state, acked=given.acked)
        self._regate()

    def cut_off(self, given: Given, why: str) -> None:
        """End the connection of one that fetches; it comes again if the move goes on."""
        log("move_connection_ended", level="WARN", move=given.move.id, why=why)
        self._detach(given)
        if self.node.server is not None:
            self.node.server.kill(given.client)
        else:
            given.client.close()
            self.forget(given.client)

    def _detach(self, given: Given) -> None:
        if given in self.keyspace.log.sinks:
            self.keyspace.log.flush()
            self.keyspace.log.detach(given)
        if given.cut is not None:
            given.cut.end()

    # -- the source: the snapshot -------------------------------------------------------------

    def _ask_cut(self) -> None:
        waits = any(given.state == WAITING for given in self.givens.values())
        if waits and not self._asked and not self.keyspace.log.held:
            self._asked = True
            self.node.persistence.snapshots.stream(self._next_job)

    def _next_job(self) -> Job | None:
        """Begin the cut for the next one that waits."""
        self._asked = False
        waiting = [each for each in self.givens.values() if each.state == WAITING and each.peer()]
        if self.keyspace.log.held or not waiting:
            # A script stands still in the middle of its changes: `tick` asks again.
            return None
        given = waiting[0]
        snapshots = self.node.persistence.snapshots
        self.keyspace.log.flush()
        head = snapshots.head(False)
        cut: Cut = snapshots.new_cut(given.mask)
        given.cut = cut
        self.keyspace.log.attach(given)
        given.state = SENDING
        given.greeting = b"+FULLRESYNC %s 0\r\n" % given.replid.encode()
        self._stir()
        mark = self.node.random_bytes(20).hex().encode()
        by_loop = snapshots.background is not None
        who: Any = self  # as good as a Primary, and `given` as an AttachedReplica
        direct = DirectSync(cut, who, [given], head, mark, by_loop)  # type: ignore[list-item]
        return Job(direct, STREAM, lambda problem: self._cut_over(given, problem))

    def _cut_over(self, given: Given, problem: str | None) -> None:
        if problem is not None and given.peer() is not None:
            self.cut_off(given, f"the cut of the slots failed: {problem}")
        self._ask_cut()

    def name(self, given: Given) -> str:
        """How the log calls it."""
        return f"move {given.move.id}"

    def sent(self, given: Given) -> None:
        """The whole snapshot was handed to the connection."""
        given.state = READY

    # -- the source: the stream ---------------------------------------------------------------

    def _stir(self) -> None:
        self.node.replication.primary.stir()

    def turn(self) -> None:
        """The end of a turn of the loop: hand on what there is."""
        for given in list(self.givens.values()):
            if given.problem:
                self.cut_off(given, given.problem)
            else:
                given.hand_on()

    def acknowledge(self, client: ClientState, offset: int, order: int) -> None:
        """The other side has everything up to `offset`, on its replicas too; and knows of an order
        to yield of that epoch (0: of none)."""
        given = self.givens.get(client.id)
        if given is None:
            return
        given.acked = max(given.acked, min(offset, given.end))
        given.known = order
        if given.state == READY:
            given.state = ONLINE
            log("move_follows", move=given.move.id, bytes=given.end)
            self.say({"type": "moves", "moves": [given.report(self.duty.epoch)]})
            if given.move.state == ORDERED:
                self._try_to_yield(given)
            self._stir()
        self._look(given)

    # -- the source: yielding -----------------------------------------------------------------

    def _try_to_yield(self, given: Given) -> None:
        """Let clients wait, if the other side follows and nothing is half done."""
        log_ = self.keyspace.log
        if given.state != ONLINE or log_.held or given.problem:
            return
        log_.flush()
        given.final, given.order = given.end, given.move.epoch
        given.state = YIELDING
        log("yield_begins", move=given.move.id, lag=given.end - given.acked)
        self._regate()
        self._stir()
        self._look(given)

    def _look(self, given: Given) -> None:
        if given.problem or given.state != YIELDING or given.known != given.order:
            return
        if given.acked >= given.final:
            given.state = YIELDED
            log("yielded", move=given.move.id, bytes=given.final)
            self.say({"type": "moves", "moves": [given.report(self.duty.epoch)]})

    def _regate(self) -> None:
        """Let clients wait for the right slots, and go on with those that need not any more."""
        masks = [given.mask for given in self.givens.values() if given.state >= YIELDING]
        masks += [given.mask for given in self.pledges.values()]
        masks += [leaving.given.mask for leaving in self.leaving]
        before = self.waiting
        total = 0
        for mask in masks:
            total |= int.from_bytes(mask)
        self.waiting = total.to_bytes(SLOTS)
        ctx = self.node.ctx
        if total:
            if not ctx.gates & GATE_MOVE:
                self.waiting_since_ns = self._now()
            ctx.gates |= GATE_MOVE
        else:
            ctx.gates &= ~GATE_MOVE
        if not within(before, self.waiting):
            self.node.blocking.resume_postponed()
        self.wake()

    def obstacle(self, session: ClientState, spec: CommandSpec, argv: list[bytes]) -> bytes | None:
        """An empty text if the command has to wait, or an error if it did for long; else None.
        Called while GATE_MOVE is set."""
        if session.replica is not None or not self._concerned(session, spec, argv):
            return None
        if self._now() - self.waiting_since_ns > PATIENCE_MS * MS:
            return TRY_AGAIN
        return b""

    def _concerned(self, session: ClientState, spec: CommandSpec, argv: list[bytes]) -> bool:
        if spec.name == b"exec":
            return any(self._concerned(session, *each) for each in session.queue)
        at = spec.key_positions(argv) if spec.one_key or spec.key_specs else []
        if at:
            return any(self.waiting[key_slot(argv[position])] for position in at)
        # What names no key and may change some: FLUSHALL, scripts.
        return bool(spec.flags & WRITE) or (spec.group == "scripting" and not spec.flags & READONLY)

    # -- the source: the slots are another's --------------------------------------------------

    def _keep_waiting(self, mask: bytes) -> None:
        """Take requests for slots that are gone as if they were ours: they wait at the gate."""
        mine = self.view.mine
        joined = int.from_bytes(mine) | int.from_bytes(mask)
        mine[:] = joined.to_bytes(SLOTS)

    def _leave(self, leaving: Leaving) -> None:
        """Send on whoever waits for these slots."""
        self.leaving.remove(leaving)
        mask, mine, foreign = leaving.given.mask, self.view.mine, self.view.foreign
        for slot in range(SLOTS):
            if mask[slot] and foreign[slot]:
                mine[slot] = 0
        self._redirect_blocked(mask)
        # Whatever clients remember of these keys, they hear nothing more of here.
        self.node.tracking.flushed(False)
        self.node.pubsub.drop_shards(mine)
        self._regate()
        if leaving.given.peer() is not None:
            self.cut_off(leaving.given, "the slots are gone")

    def _redirect_blocked(self, mask: bytes) -> None:
        for blocked in list(self.node.blocking.clients.values()):
            gone = [slot for slot in map(key_slot, blocked.keys) if mask[slot]]
            if gone:
                self.node.blocking.answer(
                    blocked.client, b"-" + self.view.redirect_error(gone[0]) + b"\r\n"
                )

    # -- both sides: deleting -----------------------------------------------------------------

    def _plan_sweeps(self) -> None:
        ordered = {
            name: move
            for moves, state in ((self.sources(), CLEANING), (self.targets(), CANCELLED))
            for name, move in moves.items()
            if move.state == state
        }
        for name in list(self.sweeps):
            if name not in ordered:
                del self.sweeps[name]
        for name, move in ordered.items():
            if name not in self.sweeps:
                self.sweeps[name] = Sweep(self.node, move.slots)

    def sweep_all(self, deadline_ns: int) -> bool:
        """Delete for a while; True while something is left."""
        if not self.leads():
            return False
        for name, sweep in self.sweeps.items():
            if not sweep.slots:
                continue
            if sweep.step(deadline_ns):
                return True
            log("slots_swept", move=name, keys=sweep.deleted)
            self.say({"type": "moves", "moves": [self._sweep_report(name, sweep)]})
        return False

    def _sweep_report(self, name: str, sweep: Sweep) -> Frame:
        side = "source" if name in self.sources() else "target"
        return {
            "id": name, "side": side, "epoch": self.duty.epoch,
            "state": "cleaning" if sweep.slots else "clean",
            "left": sweep.left() if sweep.slots else 0,
        }  # fmt: skip

    # -- time, and what is reported -----------------------------------------------------------

    def busy(self) -> bool:
        """True if `tick` is to be called."""
        return bool(self.givens or self.leaving or self.pledges)

    def tick(self) -> None:
        """Some fifty times a second while something moves."""
        now = self._now()
        for leaving in list(self.leaving):
            if now >= leaving.until_ns:
                self._leave(leaving)
        self._ask_cut()
        for given in self.givens.values():
            if given.move.state == ORDERED and given.state == ONLINE:
                self._try_to_yield(given)
        if self.node.ctx.gates & GATE_MOVE and now - self.waiting_since_ns > PATIENCE_MS * MS:
            self.node.blocking.resume_postponed()
        self._stir()

    def report(self) -> list[Frame]:
        """How all moves here stand, for a heartbeat."""
        epoch = self.duty.epoch
        found = [given.report(epoch) for given in (*self.givens.values(), *self.pledges.values())]
        found += [self._sweep_report(name, sweep) for name, sweep in self.sweeps.items()]
        found += [pull.report(epoch) for pull in self.pulls.values()]
        return found

    def hidden_keys(self) -> int:
        """How many keys are here of slots that are other shards'."""
        return int(self.keyspace.databases[0].counts.hidden)
