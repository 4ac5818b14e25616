"""The coordinator's decisions: a pure `step(state, message, now) -> Outbox`.

State is one cluster: its members (nodes and proxies), its shards, and the topology epoch. A step
changes the state in memory and returns what must happen outside, in this order:

1. `persist`: commit this batch. If that fails the process must stop, for memory is ahead of disk.
2. `send`: frames, each to one connection, in order.
3. `close`: connections to end after that.
4. `notes`: lines for the log.

Invariants. The epoch only grows, and grows with every change of the topology, so that two
topologies of one cluster with the same epoch are equal. Every id has at most one live process:
the holder of the connection in `Member.connection`. Slots of shards cover 0..16383 exactly once
from the moment the cluster is formed. What a step may not do: read a clock, choose at random,
touch a file or a socket; `now` is monotonic nanoseconds, connections are numbers.

Death here is a judgement of the coordinator, pushed so that nodes can answer CLUSTERDOWN and
clients stop waiting; nothing is promoted yet. A judge whose own clock jumped (the process was
stopped, the machine slept) judges nobody until it has listened for a whole limit again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

from isthmus.coordinator.messages import (
    EPOCH_MAX,
    NODE,
    PROXY,
    Description,
    Disk,
    Refusal,
    description,
    report,
)
from isthmus.coordinator.placement import Candidate, spread_primaries, spread_slots
from isthmus.coordinator.store.base import Batch, Body, Key, Saved
from isthmus.wire.policy import OFF, Policy, parse

MS: Final = 1_000_000
MEMBERS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """Times, in milliseconds, that govern a coordinator's judgement."""

    heartbeat_ms: int = 500
    suspect_ms: int = 2000  # silence after which a member is dead
    settle_ms: int = 200  # quiet after the last registration before a cluster is formed
    forget_ms: int = 60_000  # how long a dead member that holds nothing is remembered
    own_pause_ms: int = 1000  # a gap between ticks that means: it was me who was away


@dataclass(slots=True)
class Member:
    """A node or proxy. The fields up to `alive` are stored; the rest is of this run."""

    id: str
    role: str
    region: str
    zone: str
    address: str
    link_address: str
    metrics_address: str
    pid: int
    incarnation: str
    alive: bool = True
    connection: int = 0  # 0: none
    seen_ns: int = 0  # last word from it; for a dead one, about when it died
    answered_ns: int = 0  # when a heartbeat of it was last answered
    epoch: int = 0
    slots: int = 0
    keys: int = 0
    disk: Disk | None = None


@dataclass(slots=True)
class Shard:
    """One range of the key space and the nodes that hold it."""

    number: int
    id: str
    epoch: int  # topology epoch of the last change of who is its primary process
    primary: str
    replicas: list[str]
    slots: list[tuple[int, int]]


@dataclass(slots=True)
class State:
    """One region's cluster as its coordinator knows it."""

    cluster_id: str
    region: str
    shards_wanted: int
    limits: Limits = field(default_factory=Limits)
    epoch: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    connections: dict[int, str] = field(default_factory=dict)  # connection -> member id
    registered_ns: int = 0
    ticked_ns: int = 0
    persistence: Policy | None = None  # None: the store is of a time that knew none


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
class Tick:
    """Time passes; sent several times a second."""


@dataclass(frozen=True, slots=True)
class SetPersistence:
    """Somebody decides what nodes keep on disk."""

    policy: Policy


Message = Register | Heartbeat | Leave | Closed | Tick | SetPersistence


@dataclass(slots=True)
class Outbox:
    """What a step wants done; see the module text for the order."""

    persist: Batch | None = None
    send: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    close: list[int] = field(default_factory=list)
    notes: list[tuple[str, dict[str, object]]] = field(default_factory=list)


class _Work:
    """One step under way: collects what changed, and turns it into an outbox at the end."""

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self.out = Outbox()
        self.objects: dict[Key, Body | None] = {}
        self.topology_changed = False

    def bump(self) -> int:
        """The topology changes in this step; its new epoch."""
        if not self.topology_changed:
            self.topology_changed = True
            self.state.epoch += 1
        return self.state.epoch

    def save_member(self, member: Member) -> None:
        self.objects["member", member.id] = _member_body(member)

    def save_shard(self, shard: Shard) -> None:
        self.objects["shard", str(shard.number)] = _shard_body(shard)

    def note(self, event: str, **fields: object) -> None:
        self.out.notes.append((event, fields))

    def send(self, connection: int, frame: dict[str, object]) -> None:
        self.out.send.append((connection, frame))

    def finish(self) -> Outbox:
        if self.topology_changed:
            frame = topology(self.state)
            for connection in sorted(self.state.connections):
                self.send(connection, frame)
        if self.objects or self.topology_changed:
            self.out.persist = Batch(self.state.epoch, self.objects)
        return self.out


def step(state: State, message: Message, now: int) -> Outbox:
    """Change `state` by one message at monotonic time `now` (ns); say what must follow."""
    work = _Work(state, now)
    if isinstance(message, Tick):
        _tick(work)
        return work.finish()
    if isinstance(message, SetPersistence):
        _set_persistence(work, message.policy)
        return work.finish()
    connection = message.connection
    try:
        if isinstance(message, Register):
            _register(work, connection, description(message.body))
        elif isinstance(message, Heartbeat):
            _heartbeat(work, connection, message.body)
        elif isinstance(message, Leave):
            _leave(work, connection)
        else:
            _closed(work, connection)
    except Refusal as refusal:
        work.note("peer_refused", connection=connection, code=refusal.code, why=refusal.text)
        work.send(connection, {"type": "refused", "code": refusal.code, "error": refusal.text})
        work.out.close.append(connection)
    return work.finish()


# --- registration ----------------------------------------------------------------------------


def _register(work: _Work, connection: int, who: Description) -> None:
    state = work.state
    _check_welcome(work, connection, who)
    known = state.members.get(who.id)
    if known is None:
        if len(state.members) >= MEMBERS_MAX:
            raise Refusal("TOO_MANY", f"this cluster has {MEMBERS_MAX} members already")
        known = state.members[who.id] = _member(who)
        _forget_predecessor(work, who)
        _changed(work, known)
        work.note("member_joined", **_names(known))
    else:
        _return(work, known, who)
    if known.connection and known.connection != connection:
        del state.connections[known.connection]
        work.out.close.append(known.connection)
    known.connection = connection
    known.answered_ns = work.now
    known.seen_ns = state.registered_ns = work.now
    known.epoch = who.epoch
    state.connections[connection] = who.id
    if who.epoch > state.epoch:
        # Our store was put back to an older copy. Numbers the nodes have seen must not be used
        # for something else: go above them, and let everybody have the result.
        work.note("epoch_floor_raised", ours=state.epoch, reported=who.epoch, member=who.id)
        state.epoch = who.epoch
        work.topology_changed = False
        for shard in state.shards:
            shard.epoch = work.bump()
            work.save_shard(shard)
        work.bump()
    work.send(connection, _welcome(state))
    if not work.topology_changed:
        work.send(connection, topology(state))


def _check_welcome(work: _Work, connection: int, who: Description) -> None:
    state = work.state
    if who.region != state.region:
        raise Refusal(
            "WRONG_REGION",
            f"this coordinator serves region {state.region}, the process is of {who.region}",
        )
    if who.cluster and who.cluster != state.cluster_id:
        raise Refusal(
            "WRONG_CLUSTER",
            f"the process belongs to cluster {who.cluster}; this coordinator holds"
            f" {state.cluster_id}: check the coordinator's data folder, or start the process anew",
        )
    if who.epoch >= EPOCH_MAX:
        raise Refusal("BAD_MESSAGE", "epoch leaves no room above it")
    if state.connections.get(connection, who.id) != who.id:
        raise Refusal("BAD_MESSAGE", "this connection has registered another id")
    known = state.members.get(who.id)
    if known is not None and known.role != who.role:
        raise Refusal("DUPLICATE_ID", f"id {who.id} belongs to a {known.role}")
    if known is None or known.incarnation == who.incarnation or not known.alive:
        return
    # Without a connection the old process may still run, cut off from us. Whoever now listens on
    # its very address proves that it is gone; anybody else waits until it counts as dead.
    if known.connection or known.address != who.address:
        raise Refusal(
            "DUPLICATE_ID",
            f"id {who.id} is in use by a live process (pid {known.pid}, {known.address});"
            " two processes may not share a data folder or a copy of one",
        )


def _return(work: _Work, known: Member, who: Description) -> None:
    """A known id registers: the same process again, or the one that takes its place."""
    before = _member_body(known)
    restarted = known.incarnation != who.incarnation
    for name in ("zone", "address", "link_address", "metrics_address", "pid"):
        setattr(known, name, getattr(who, name))
    known.incarnation = who.incarnation
    known.alive = True
    if _member_body(known) == before:
        return
    _changed(work, known)
    shard = shard_of(work.state, known.id)
    if restarted and shard is not None and shard.primary == known.id:
        shard.epoch = work.bump()
        work.save_shard(shard)
    work.note("member_returned", **_names(known), restarted=restarted)


def _forget_predecessor(work: _Work, who: Description) -> None:
    """Drop a dead member that held nothing and whose address the newcomer has taken."""
    for old in list(work.state.members.values()):
        same_place = old.address == who.address and old.role == who.role and old.id != who.id
        if same_place and not old.alive and shard_of(work.state, old.id) is None:
            _forget(work, old)


def _welcome(state: State) -> dict[str, object]:
    return {
        "type": "registered",
        "cluster": state.cluster_id,
        "region": state.region,
        "heartbeat_ms": state.limits.heartbeat_ms,
        "silence_ms": state.limits.suspect_ms + 2 * state.limits.heartbeat_ms,
    }


# --- life and death --------------------------------------------------------------------------


def _heartbeat(work: _Work, connection: int, body: dict[str, object]) -> None:
    state = work.state
    said = report(body)
    member = _member_on(state, connection)
    member.seen_ns = work.now
    member.epoch, member.slots, member.keys = said.epoch, said.slots, said.keys
    member.disk = said.disk
    if not member.alive:
        member.alive = True
        _changed(work, member)
        work.note("member_alive", **_names(member))
    # Answers keep the member from taking the connection for dead; half the limit is often enough,
    # and an idle cluster stays idle.
    if work.now - member.answered_ns >= state.limits.suspect_ms * MS // 2:
        member.answered_ns = work.now
        work.send(connection, {"type": "heartbeat", "epoch": state.epoch})
    if said.epoch < state.epoch and not work.topology_changed:
        work.send(connection, topology(state))


def _leave(work: _Work, connection: int) -> None:
    member = _member_on(work.state, connection)
    _closed(work, connection)
    work.note("member_left", **_names(member))
    member.seen_ns = work.now
    if member.role == PROXY:
        _forget(work, member)
    elif member.alive:
        member.alive = False
        _changed(work, member)


def _closed(work: _Work, connection: int) -> None:
    """A lost connection alone proves nothing about the process: silence does, in `_tick`."""
    member_id = work.state.connections.pop(connection, None)
    if member_id is not None:
        work.state.members[member_id].connection = 0


def _tick(work: _Work) -> None:
    state, limits = work.state, work.state.limits
    gap = work.now - state.ticked_ns if state.ticked_ns else 0
    state.ticked_ns = work.now
    if gap > limits.own_pause_ms * MS:
        work.note("own_pause", gap_ms=gap // MS)
        for member in state.members.values():
            member.seen_ns = work.now
        state.registered_ns = work.now
        return
    for member in list(state.members.values()):
        silent = work.now - member.seen_ns
        if member.alive and silent > limits.suspect_ms * MS:
            member.alive = False
            member.seen_ns = work.now
            _changed(work, member)
            work.note("member_dead", **_names(member), silent_ms=silent // MS)
        elif not member.alive and silent > limits.forget_ms * MS:
            if shard_of(state, member.id) is None and not member.connection:
                _forget(work, member)
    if not state.shards and work.now - state.registered_ns >= limits.settle_ms * MS:
        _form(work)


def _changed(work: _Work, member: Member) -> None:
    """Store a member; nodes are part of the topology, proxies are not."""
    work.save_member(member)
    if member.role == NODE:
        work.bump()


def _forget(work: _Work, member: Member) -> None:
    del work.state.members[member.id]
    work.objects["member", member.id] = None
    if member.role == NODE:
        work.bump()
    work.note("member_forgotten", **_names(member))


def _form(work: _Work) -> None:
    """Give every shard its slots and its primary, once enough nodes are there."""
    state = work.state
    candidates = [
        Candidate(m.id, m.zone, m.address)
        for m in state.members.values()
        if m.role == NODE and m.alive and m.connection
    ]
    wanted = state.shards_wanted
    if len(candidates) < wanted:
        return
    primaries = spread_primaries(candidates, wanted)
    epoch = work.bump()
    for number, slots in enumerate(spread_slots(wanted)):
        name = hashlib.sha1(f"{state.cluster_id}/{number}".encode()).hexdigest()
        shard = Shard(number, name, epoch, primaries[number], [], [slots])
        state.shards.append(shard)
        work.save_shard(shard)
    work.note("cluster_formed", shards=wanted, nodes=len(candidates), epoch=epoch)


def _set_persistence(work: _Work, policy: Policy) -> None:
    """A part of the topology, so that nobody who has the present epoch has an older policy."""
    state = work.state
    if state.persistence == policy:
        return
    work.note("persistence_set", policy=str(policy), before=str(state.persistence or OFF))
    state.persistence = policy
    work.objects[PERSISTENCE] = {"policy": str(policy)}
    work.bump()


# --- what others see -------------------------------------------------------------------------


def topology(state: State) -> dict[str, object]:
    """The frame pushed to every member: all a node or proxy needs to route and to redirect."""
    place = {node: s.number for s in state.shards for node in (s.primary, *s.replicas)}
    nodes = [
        {
            "id": m.id,
            "region": m.region,
            "zone": m.zone,
            "address": m.address,
            "link_address": m.link_address,
            "alive": m.alive,
            "shard": place.get(m.id),
        }
        for m in _in_order(state)
        if m.role == NODE
    ]
    return {
        "type": "topology",
        "cluster": state.cluster_id,
        "region": state.region,
        "epoch": state.epoch,
        "persistence": str(state.persistence or OFF),
        "shards": [_shard_body(shard) for shard in state.shards],
        "nodes": nodes,
    }


def status(state: State) -> dict[str, object]:
    """What `isthmus status` shows, without the coordinator's own line."""
    down = [s for s in state.shards if not state.members[s.primary].alive]
    return {
        "region": state.region,
        "cluster": state.cluster_id,
        "epoch": state.epoch,
        "state": "forming" if not state.shards else "down" if down else "ok",
        "shards_wanted": state.shards_wanted,
        "persistence": str(state.persistence or OFF),
        "processes": [_process(state, member) for member in _in_order(state)],
    }


def _process(state: State, member: Member) -> dict[str, object]:
    shard = shard_of(state, member.id)
    if member.role == PROXY:
        role = PROXY
    elif shard is None:
        role = "spare"
    else:
        role = "primary" if shard.primary == member.id else "replica"
    return {
        "role": role,
        "id": member.id,
        "pid": member.pid,
        "region": member.region,
        "zone": member.zone,
        "shard": None if shard is None else shard.number,
        "epoch": member.epoch if shard is None else shard.epoch,
        "topology_epoch": member.epoch,
        "address": member.address,
        "link_address": member.link_address,
        "metrics_address": member.metrics_address,
        "slots": [] if shard is None else [list(pair) for pair in shard.slots],
        "state": "up" if member.alive else "dead",
        "connected": member.connection != 0,
        "keys": member.keys,
        "disk": None if member.disk is None else asdict(member.disk),
    }


def shard_of(state: State, member_id: str) -> Shard | None:
    """The shard a node holds a replica of; None for spares and proxies."""
    for shard in state.shards:
        if shard.primary == member_id or member_id in shard.replicas:
            return shard
    return None


def _in_order(state: State) -> Iterator[Member]:
    """Members by shard, then spares, then proxies; so that lists read the same every time."""
    place = {node: s.number for s in state.shards for node in (s.primary, *s.replicas)}

    def order(m: Member) -> tuple[bool, int, str, str]:
        return (m.role == PROXY, place.get(m.id, len(state.shards)), m.address, m.id)

    return iter(sorted(state.members.values(), key=order))


# --- storing ---------------------------------------------------------------------------------

PERSISTENCE: Final = ("settings", "persistence")
_STORED: Final = tuple(Description.__dataclass_fields__.keys() - {"cluster", "epoch"}) + ("alive",)


def restore(saved: Saved, shards_wanted: int, limits: Limits, now: int) -> State:
    """The state of a stored cluster. Everybody gets a whole limit from `now` to be heard.

    A cluster that is already formed keeps its number of shards, whatever is wanted now. Raises
    PolicyError for a persistence policy that only a later version knows.
    """
    state = State(saved.cluster_id, saved.region, shards_wanted, limits, saved.epoch)
    for (kind, name), body in saved.objects.items():
        if kind == "member":
            member = Member(**body)  # type: ignore[arg-type]
            member.seen_ns = now
            state.members[member.id] = member
        elif kind == "shard":
            shard = Shard(**body)  # type: ignore[arg-type]
            shard.slots = [(first, last) for first, last in shard.slots]
            state.shards.append(shard)
        elif (kind, name) == PERSISTENCE:
            state.persistence = parse(body["policy"])
    state.shards.sort(key=lambda shard: shard.number)
    if state.shards:
        state.shards_wanted = len(state.shards)
    return state


def _member(who: Description) -> Member:
    return Member(
        who.id, who.role, who.region, who.zone, who.address, who.link_address,
        who.metrics_address, who.pid, who.incarnation,
    )  # fmt: skip


def _member_body(member: Member) -> Body:
    return {name: getattr(member, name) for name in sorted(_STORED)}


def _shard_body(shard: Shard) -> Body:
    body = asdict(shard)
    body["slots"] = [list(pair) for pair in shard.slots]
    return body


def _member_on(state: State, connection: int) -> Member:
    member_id = state.connections.get(connection)
    if member_id is None:
        raise Refusal("NOT_REGISTERED", "register first")
    return state.members[member_id]


def _names(member: Member) -> dict[str, object]:
    return {
        "role": member.role, "id": member.id, "pid": member.pid,
        "address": member.address, "zone": member.zone,
    }  # fmt: skip
