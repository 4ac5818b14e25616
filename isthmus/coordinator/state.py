"""What the coordinator knows, and one step under way: the ground the rest of the model stands on.

`State` is one cluster: its members (nodes and proxies), its shards, settings, and the journal of
decisions. What a restart must find again is in `Member` and `Shard` up to where they say so, in
the settings and the journal; `Watch`, the leases granted as witness, and what members last
reported belong to this run. `Work` is one step under way: it collects what changes and makes the
outbox of it, in the order that `model.py` promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from isthmus.coordinator.messages import NODE, PROXY, Copy, Description, Disk, MoveReport
from isthmus.coordinator.store.base import Batch, Body, Key
from isthmus.wire import lease
from isthmus.wire.durability import ASYNC, Durability
from isthmus.wire.lease import Voter
from isthmus.wire.policy import Policy

MS: Final = 1_000_000
MEMBERS_MAX: Final = 1000
JOURNAL_ENTRIES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Times, in milliseconds, that govern a coordinator's judgement."""

    heartbeat_ms: int = 500
    heartbeat_replicated_ms: int = 250  # of clusters whose shards have replicas
    suspect_ms: int = 1000  # silence after which a primary may be replaced
    dead_ms: int = 2000  # silence after which a member is dead
    settle_ms: int = 200  # quiet after the last registration before a cluster is formed
    forget_ms: int = 60_000  # how long a dead member that holds nothing is remembered
    own_pause_ms: int = 1000  # a gap between ticks that means: it was me who was away
    replace_ms: int = 30_000  # how long a replica may be dead before another takes its place
    flap_ms: int = 60_000  # how long after a failover the shard's suspicion takes twice as long
    handover_ms: int = 5000  # how long a planned failover may take
    cold_ms: int = 5000  # how long after a stop of everything a primary is waited for
    return_ms: int = 3000  # how long a primary that comes back waits for who it is now
    lease_ms: int = lease.LEASE_MS


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
    gone_ns: int = 0  # since when its process is known to have ended; 0: it is not
    epoch: int = 0
    slots: int = 0
    keys: int = 0
    disk: Disk | None = None
    copy: Copy | None = None  # None: unknown, or none
    copied_ns: int = 0  # when `copy` was said
    streamed_ns: int = 0  # when it last said that it streams under its shard's epoch
    anew: bool = False  # it came back as another process, and has not streamed since


@dataclass(slots=True)
class Shard:
    """A set of slots and the nodes that hold it; all of it is stored."""

    number: int
    id: str
    epoch: int  # topology epoch of the last change of who is its primary process
    primary: str
    replicas: list[str]
    slots: list[tuple[int, int]]
    synced: list[str] = field(default_factory=list)  # replicas whose acknowledgements count
    # Replicas that were synced, and the epoch that says they are not: until the primary has
    # reported that epoch their acknowledgements may still count.
    leaving: dict[str, int] = field(default_factory=dict)
    # The copies before the last change of their set, until the primary holds the lease with both.
    joint: list[str] = field(default_factory=list)
    copies_epoch: int = 0  # of that change
    # The primary before this epoch agreed: it had handed over all that it acknowledged.
    planned: bool = False

    @property
    def copies(self) -> list[str]:
        """All nodes that hold it, the primary first."""
        return [self.primary, *self.replicas]


@dataclass(slots=True)
class SlotMove:
    """Slots on their way from one shard to another; the fields up to `target_epoch` are stored."""

    id: str
    source: int
    target: int
    slots: list[tuple[int, int]]
    state: str  # of slot_moves.py
    epoch: int  # of the topology that says so
    source_epoch: int  # shard epochs under which it began
    target_epoch: int
    since_ns: int = 0  # when it came into this state, in this run
    again_ns: int = 0  # no order to yield before this
    said: dict[str, MoveReport] = field(default_factory=dict)  # by side: what the primary said last
    moved_ns: int = 0  # when what is said last showed that it goes on


@dataclass(slots=True)
class Returning:
    """The registration of a primary that comes back as another process, not yet answered."""

    connection: int
    who: Description
    since_ns: int


@dataclass(slots=True)
class Handover:
    """A planned failover under way."""

    to: str
    epoch: int
    deadline_ns: int
    connection: int  # who asked
    call: object


@dataclass(slots=True)
class Watch:
    """What goes on with one shard in this run."""

    since_ns: int = 0  # when its primary came under suspicion; 0: it is not
    reason: str = ""
    waiting: str = ""  # why nobody has been promoted yet
    slow_until_ns: int = 0  # until then suspicion takes twice as long
    doubt: str = ""  # why the store may be wrong about the primary
    doubt_epoch: int = 0  # copies that hold this topology, or a later one, can be believed
    returning: Returning | None = None
    handover: Handover | None = None
    spread_tries: int = 0  # how often a replica was to take over since `balance` was asked for


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
    durability: Durability | None = None  # None: likewise
    replicas_wanted: int = 0
    watches: dict[int, Watch] = field(default_factory=dict)
    voter: Voter | None = None  # the witness; made by the first step
    journal: dict[int, Body] = field(default_factory=dict)  # number -> entry, oldest first
    moves: dict[str, SlotMove] = field(default_factory=dict)
    balance: bool = False  # slots are to be moved until all shards have as many
    draining: list[str] = field(default_factory=list)  # nodes that are to hold nothing
    moves_again_ns: int = 0  # after a move that failed no other begins before this
    wall_offset_ns: int = 0  # what is added to `now` for the time of day

    def shard(self, number: int) -> Shard | None:
        """The shard with that number."""
        return next((shard for shard in self.shards if shard.number == number), None)

    def watch(self, shard: Shard) -> Watch:
        """What goes on with a shard."""
        return self.watches.setdefault(shard.number, Watch())

    @property
    def durable(self) -> Durability:
        """The durability policy in force."""
        return self.durability or Durability()

    @property
    def strict(self) -> bool:
        """Whether no acknowledged write may be lost, but by an operator's word."""
        return self.durable.kind != ASYNC

    @property
    def heartbeat_ms(self) -> int:
        """How often members are asked to beat."""
        if self.replicas_wanted or any(shard.replicas for shard in self.shards):
            return self.limits.heartbeat_replicated_ms
        return self.limits.heartbeat_ms


@dataclass(slots=True)
class Outbox:
    """What a step wants done; see model.py for the order."""

    persist: Batch | None = None
    send: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    close: list[int] = field(default_factory=list)
    notes: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    probes: list[tuple[str, str, str]] = field(default_factory=list)  # member, incarnation, address


class Work:
    """One step under way: collects what changed, and turns it into an outbox at the end."""

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self.out = Outbox()
        self.objects: dict[Key, Body | None] = {}
        self.topology_changed = False
        self.admitted: list[Returning] = []  # registrations whose wait has ended

    def bump(self) -> int:
        """The topology changes in this step; its new epoch."""
        if not self.topology_changed:
            self.topology_changed = True
            self.state.epoch += 1
        return self.state.epoch

    def save_member(self, member: Member) -> None:
        """Store a member."""
        self.objects["member", member.id] = member_body(member)

    def save_move(self, move: SlotMove) -> None:
        """Store a move, which is a part of the topology."""
        self.objects["move", move.id] = {
            name: getattr(move, name) for name in MOVE_STORED if name != "slots"
        } | {"slots": [list(pair) for pair in move.slots]}

    def save_shard(self, shard: Shard) -> None:
        """Store a shard."""
        self.objects["shard", str(shard.number)] = shard_body(shard)

    def changed(self, member: Member) -> None:
        """Store a member; nodes are part of the topology, proxies are not."""
        self.save_member(member)
        if member.role == NODE:
            self.bump()

    def note(self, event: str, **fields: object) -> None:
        """A line for the log."""
        self.out.notes.append((event, fields))

    def send(self, connection: int, frame: dict[str, object]) -> None:
        """Queue a frame."""
        self.out.send.append((connection, frame))

    def tell(self, member_id: str, frame: dict[str, object]) -> None:
        """Queue a frame for a member, if it is connected."""
        member = self.state.members.get(member_id)
        if member is not None and member.connection:
            self.send(member.connection, frame)

    def record(self, shard: Shard, event: str, text: str, **more: object) -> None:
        """Write into the journal what was seen or decided; the oldest entry makes room."""
        journal = self.state.journal
        number = max(journal, default=0) + 1
        entry: Body = {
            "number": number,
            "at_ms": (self.now + self.state.wall_offset_ns) // MS,
            "shard": shard.number,
            "epoch": self.state.epoch,
            "event": event,
            "text": text,
            "saw": [sight(self.state, shard, name, self.now) for name in shard.copies],
            **more,
        }
        journal[number] = entry
        self.objects[journal_key(number)] = entry
        if len(journal) > JOURNAL_ENTRIES_MAX:
            oldest = next(iter(journal))
            del journal[oldest]
            self.objects[journal_key(oldest)] = None
        self.note(f"shard_{event}", shard=shard.number, why=text)


def sight(state: State, shard: Shard, name: str, now: int) -> dict[str, Any]:
    """What the coordinator knows of one copy at this moment, for the journal."""
    member = state.members[name]
    copy = member.copy
    seen: dict[str, Any] = {
        "node": name,
        "role": "primary" if name == shard.primary else "replica",
        "zone": member.zone,
        "synced": name in shard.synced,
        "alive": member.alive,
        "connected": member.connection != 0,
        "silent_ms": (now - member.seen_ns) // MS,
    }
    if copy is not None:
        seen |= {
            "state": copy.state,
            "offset": copy.offset,
            "data_epoch": copy.data_epoch,
            "primary_silent_ms": copy.primary_silent_ms,
        }
    return seen


def journal_key(number: int) -> Key:
    """The key of a journal's entry in the store."""
    return "journal", f"{number:012d}"


def shard_of(state: State, member_id: str) -> Shard | None:
    """The shard a node holds a copy of; None for spares and proxies."""
    for shard in state.shards:
        if shard.primary == member_id or member_id in shard.replicas:
            return shard
    return None


def in_order(state: State) -> Iterator[Member]:
    """Members by shard, primaries first, then spares, then proxies: lists read the same always."""
    place = {
        node: (shard.number, node != shard.primary) for shard in state.shards
        for node in shard.copies
    }  # fmt: skip
    last = (len(state.shards), False)

    def order(m: Member) -> tuple[bool, tuple[int, bool], str, str]:
        return (m.role == PROXY, place.get(m.id, last), m.address, m.id)

    return iter(sorted(state.members.values(), key=order))


def names(member: Member) -> dict[str, object]:
    """A member as lines of the log name it."""
    return {
        "role": member.role, "id": member.id, "pid": member.pid,
        "address": member.address, "zone": member.zone,
    }  # fmt: skip


# --- what is stored --------------------------------------------------------------------------

PERSISTENCE: Final = ("settings", "persistence")
DURABILITY: Final = ("settings", "durability")
SHARDS: Final = ("settings", "shards")
BALANCE: Final = ("settings", "balance")
DRAINING: Final = ("settings", "draining")
REPLICAS: Final = ("settings", "replicas")
STORED: Final = (
    "id", "role", "region", "zone", "address", "link_address", "metrics_address", "pid",
    "incarnation", "alive",
)  # fmt: skip


MOVE_STORED: Final = (
    "id", "source", "target", "slots", "state", "epoch", "source_epoch", "target_epoch"
)  # fmt: skip


def member_body(member: Member) -> Body:
    """A member as it is stored."""
    return {name: getattr(member, name) for name in sorted(STORED)}


def shard_body(shard: Shard) -> Body:
    """A shard as it is stored."""
    return {
        **shard_frame(shard),
        "leaving": dict(shard.leaving),
        "copies_epoch": shard.copies_epoch,
    }


def move_frame(move: SlotMove) -> Body:
    """A move as topologies carry it."""
    return {
        "id": move.id,
        "source": move.source,
        "target": move.target,
        "slots": [list(pair) for pair in move.slots],
        "state": move.state,
        "epoch": move.epoch,
    }


def shard_frame(shard: Shard) -> Body:
    """A shard as topologies carry it."""
    return {
        "number": shard.number,
        "id": shard.id,
        "epoch": shard.epoch,
        "primary": shard.primary,
        "replicas": list(shard.replicas),
        "slots": [list(pair) for pair in shard.slots],
        "synced": list(shard.synced),
        "joint": list(shard.joint),
        "planned": shard.planned,
    }
