"""The coordinator's decisions: a pure `step(state, message, now) -> Outbox`.

State is one cluster: its members (nodes and proxies), its shards, and the topology epoch. A step
changes the state in memory and returns what must happen outside, in this order:

1. `persist`: commit this batch. If that fails the process must stop, for memory is ahead of disk.
2. `send`: frames, each to one connection, in order.
3. `close`: connections to end after that.
4. `probes`: members to connect to, whose answer comes back as `Probe`.
5. `notes`: lines for the log.

Invariants. The epoch only grows, and grows with every change of the topology, so that two
topologies of one cluster with the same epoch are equal. Every id has at most one live process.
Slots of shards cover 0..16383 exactly once from the moment the cluster is formed. A shard has one
primary under each shard epoch, and a commit that changes it leaves the set of copies alone. What a
step may not do: read a clock, choose at random, touch a file or a socket; `now` is monotonic
nanoseconds that go on while the machine sleeps, connections are numbers.

The parts: state.py (what is known), members.py (who is there), shards.py (who holds what),
failover.py (who is primary), receipts.py (what was lost by that), slot_moves.py (which slots go
where), goals.py (what for), views.py and whatif.py (what others are told). This file joins them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.coordinator import failover, goals, members, receipts, shards, slot_moves
from isthmus.coordinator.goals import preview
from isthmus.coordinator.messages import Refusal, description, moves, report
from isthmus.coordinator.state import (
    BALANCE,
    DRAINING,
    DURABILITY,
    MS,
    PERSISTENCE,
    REPLICAS,
    SHARDS,
    Limits,
    Member,
    Outbox,
    Returning,
    Shard,
    SlotMove,
    State,
    Work,
    shard_of,
)
from isthmus.coordinator.store.base import Batch, Saved
from isthmus.coordinator.views import journal, status, topology
from isthmus.coordinator.whatif import whatif
from isthmus.wire import durability
from isthmus.wire.durability import Durability
from isthmus.wire.lease import Voter
from isthmus.wire.policy import OFF, Policy, parse

__all__ = (
    "DECISIONS", "DURABILITY", "MS", "PERSISTENCE", "REPLICAS", "Closed", "Drain", "Drained",
    "Failover", "Heartbeat", "Lease", "Leave", "Limits", "Member", "Message", "MovesSaid", "Outbox",
    "Probe", "Rebalance", "Receipt", "Register", "SetDurability", "SetPersistence", "SetShards",
    "Settle", "Shard", "SlotMove", "State", "Tick", "Wanted", "journal", "preview", "restore",
    "shard_of", "status", "step", "topology", "whatif",
)  # fmt: skip


# Lines for the log that say what was decided of a shard; each is an event of the journal as well.
DECISIONS = tuple(
    f"shard_{event}" for event in (
        "suspected", "cleared", "waiting", "failover", "forced", "stays", "handover", "planned",
        "cancelled", "receipt",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Register:
    """A peer asks to be, or to be again, a member."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A member says it is there, and what it holds."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Leave:
    """A member shuts down in good order."""

    connection: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection ended, for whatever reason."""

    connection: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A node asks the witness for a shard's lease, or gives it back (wire/lease.py)."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Drained:
    """A primary has handed over to the one that is to take its place."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class MovesSaid:
    """A primary says how moves of slots stand, before its next heartbeat."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A node that was primary tells what it had to give up."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class SetShards:
    """Somebody decides how many shards there are to be."""

    count: int


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Somebody wants all shards to have equally many slots."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Somebody decides that a node is to hold nothing, or may hold something again."""

    node: str
    drained: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """A replica was asked by a client to lead its shard."""

    connection: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Settle:
    """Somebody is done with the loss receipts of a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes; sent several times a second. `wall_ms`: the time of day, for the journal."""

    wall_ms: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """A member's address was tried: connections to it are refused."""

    member: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class Failover:
    """Somebody wants another primary; answered on the connection as call `call`."""

    connection: int
    call: object
    shard: int
    to: str | None = None
    accept_loss: bool = False


@dataclass(frozen=True, slots=True)
class SetPersistence:
    """Somebody decides what nodes keep on disk."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class SetDurability:
    """Somebody decides when writes count as acknowledged."""

    policy: Durability


Message = (
    Register | Heartbeat | Leave | Closed | Lease | Drained | Receipt | Wanted | MovesSaid | Tick
    | Probe | Failover | Settle | SetPersistence | SetDurability | SetShards | Rebalance | Drain
)  # fmt: skip


def step(state: State, message: Message, now: int) -> Outbox:
    """Change `state` by one message at monotonic time `now` (ns); say what must follow."""
    work = Work(state, now)
    if state.voter is None:
        # Nobody knows what an earlier process of ours has granted.
        state.voter = Voter(state.limits.lease_ms, now)
        _teach(state)
    if isinstance(message, Tick):
        _tick(work, message)
    elif isinstance(message, SetPersistence):
        _set_persistence(work, message.policy)
    elif isinstance(message, Settle):
        receipts.settle(work, message.name)
    elif isinstance(message, SetDurability):
        _set_durability(work, message.policy)
    elif isinstance(message, SetShards):
        goals.set_shards(work, message.count)
    elif isinstance(message, Rebalance):
        goals.set_balance(work, True)
    elif isinstance(message, Drain):
        goals.set_draining(work, message.node, message.drained)
    elif isinstance(message, Probe):
        members.refused(work, message.member, message.incarnation)
    elif isinstance(message, Failover):
        failover.requested(
            work, message.connection, message.call, message.shard, message.to, message.accept_loss
        )
    else:
        _from_peer(work, message)
    for late in work.admitted:
        _admit(work, late.connection, late)
    return _finish(work)


def _from_peer(
    work: Work,
    message: Register | Heartbeat | Leave | Closed | Lease | Drained | Receipt | Wanted | MovesSaid,
) -> None:
    """A message of a connection; one that makes no sense ends it."""
    connection = message.connection
    try:
        if isinstance(message, Register):
            members.register(work, connection, description(message.body))
        elif isinstance(message, Heartbeat):
            members.heartbeat(work, connection, report(message.body))
        elif isinstance(message, Leave):
            members.leave(work, connection)
        elif isinstance(message, Lease):
            _lease(work, connection, message.body)
        elif isinstance(message, MovesSaid):
            member = members.on_connection(work.state, connection)
            slot_moves.heard(work, member, moves(message.body))
        elif isinstance(message, Drained):
            failover.drained(work, members.on_connection(work.state, connection), message.body)
        elif isinstance(message, Receipt):
            receipts.told(work, members.on_connection(work.state, connection), message.body)
        elif isinstance(message, Wanted):
            failover.wanted(work, members.on_connection(work.state, connection), message.body)
        else:
            members.closed(work, connection)
    except Refusal as refusal:
        _refuse(work, connection, refusal)


def _admit(work: Work, connection: int, late: Returning) -> None:
    """A primary that came back has waited for who it is; now it is greeted."""
    try:
        members.admit(work, connection, late.who)
    except Refusal as refusal:
        _refuse(work, connection, refusal)


def _refuse(work: Work, connection: int, refusal: Refusal) -> None:
    work.note("peer_refused", connection=connection, code=refusal.code, why=refusal.text)
    work.send(connection, {"type": "refused", "code": refusal.code, "error": refusal.text})
    work.out.close.append(connection)


def _tick(work: Work, message: Tick) -> None:
    state = work.state
    if message.wall_ms:
        state.wall_offset_ns = message.wall_ms * MS - work.now
    if not members.tick(work):
        return
    if not state.shards:
        if work.now - state.registered_ns >= state.limits.settle_ms * MS:
            shards.form(work)
        return
    failover.tick(work)
    shards.tick(work)
    goals.tick(work)


def _lease(work: Work, connection: int, body: Mapping[str, Any]) -> None:
    """The witness' vote. What it grants is not stored: a voter that restarts waits instead."""
    voter = work.state.voter
    member = members.on_connection(work.state, connection)
    if voter is None or body.get("node") != member.id:
        raise Refusal("BAD_MESSAGE", "a node asks for itself only")
    try:
        answer = voter.answer(body, work.now)
    except ValueError as error:
        raise Refusal("BAD_MESSAGE", f"lease: {error}") from error
    if answer is not None:
        work.send(connection, answer)


def _teach(state: State) -> None:
    """The witness knows every epoch that was ever committed."""
    if state.voter is not None:
        for shard in state.shards:
            state.voter.learn(shard.number, shard.epoch)


def _finish(work: Work) -> Outbox:
    state, out = work.state, work.out
    if work.topology_changed:
        _teach(state)
        frame = topology(state)
        for connection in sorted(state.connections):
            work.send(connection, frame)
    if work.objects or work.topology_changed:
        out.persist = Batch(state.epoch, work.objects)
    return out


def _set_persistence(work: Work, policy: Policy) -> None:
    """A part of the topology, so that nobody who has the present epoch has an older policy."""
    state = work.state
    if state.persistence == policy:
        return
    work.note("persistence_set", policy=str(policy), before=str(state.persistence or OFF))
    state.persistence = policy
    work.objects[PERSISTENCE] = {"policy": str(policy)}
    work.bump()


def _set_durability(work: Work, policy: Durability) -> None:
    state = work.state
    if state.durability == policy:
        return
    work.note("durability_set", policy=str(policy), before=str(state.durable))
    state.durability = policy
    work.objects[DURABILITY] = {"policy": str(policy)}
    work.bump()


def restore(saved: Saved, shards_wanted: int, limits: Limits, now: int) -> State:
    """The state of a stored cluster. Everybody gets a whole limit from `now` to be heard.

    A cluster that is already formed keeps its number of shards, whatever is wanted now, unless
    another one was asked for since. Raises
    PolicyError or DurabilityError for a policy that only a later version knows.
    """
    state = State(saved.cluster_id, saved.region, shards_wanted, limits, saved.epoch)
    for (kind, name), body in sorted(saved.objects.items()):
        if kind == "member":
            member = Member(**body)  # type: ignore[arg-type]
            member.seen_ns = now
            state.members[member.id] = member
        elif kind == "shard":
            shard = Shard(**body)  # type: ignore[arg-type]
            shard.slots = [(first, last) for first, last in shard.slots]
            state.shards.append(shard)
        elif kind == "move":
            move = SlotMove(**body)  # type: ignore[arg-type]
            move.slots = [(first, last) for first, last in move.slots]
            state.moves[move.id] = move
        elif kind == "journal":
            state.journal[int(name)] = body
        elif (kind, name) == PERSISTENCE:
            state.persistence = parse(body["policy"])
        elif (kind, name) == DURABILITY:
            state.durability = durability.parse(body["policy"])
        elif (kind, name) == REPLICAS and isinstance(body["count"], int):
            state.replicas_wanted = body["count"]
        elif (kind, name) == BALANCE:
            state.balance = bool(body["wanted"])
        elif (kind, name) == DRAINING and isinstance(body["nodes"], list):
            state.draining = list(body["nodes"])
    state.shards.sort(key=lambda shard: shard.number)
    if state.shards:
        asked = saved.objects.get(SHARDS, {}).get("count")
        state.shards_wanted = asked if isinstance(asked, int) else len(state.shards)
    return state
