"""What this node believes the cluster to look like: pure, and quick where a command asks.

`ClusterView` is fed the topology frames of the coordinator (the frame is described in
`isthmus/coordinator/DESIGN.md`) and answers two kinds of questions. Every command with a key asks
`mine[slot]` and `state_ok`, plain attributes; the rest (redirects, CLUSTER NODES and friends)
is rare and computed when asked.

Invariants. A topology older than the one held is refused, so a late frame changes nothing. All
attributes change together inside `apply`, which never fails half-way: the frame is read whole
before anything is replaced. Before the first topology, and after `fence`, the node serves
nothing. The cluster is "ok" when every slot has an owner that is alive, or has a replica that is
and will take its place: what Redis does with `cluster-require-full-coverage yes`, but while a
replica takes over, the other shards go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from isthmus.node.cluster.gossip import Gossip
from isthmus.wire.lease import voter_sets

SLOTS: Final = 16384
DOWN: Final = b"CLUSTERDOWN The cluster is down"
UNBOUND: Final = b"CLUSTERDOWN Hash slot not served"


class BadTopology(Exception):
    """A frame that is not a topology; the view keeps what it had."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node of the cluster. `shard` is None for a spare."""

    id: str
    host: str
    port: int
    link_port: int
    zone: str
    alive: bool
    shard: int | None
    primary: bool


@dataclass(frozen=True, slots=True)
class MoveInfo:
    """Slots on their way from one shard to another: ranges, both shards, how far it is, and the
    epoch since when that is so (isthmus/node/moves/DESIGN.md)."""

    id: str
    source: int
    target: int
    slots: tuple[tuple[int, int], ...]
    state: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard: inclusive slot ranges, the primary, its replicas."""

    number: int
    id: str
    epoch: int
    slots: tuple[tuple[int, int], ...]
    primary: NodeInfo
    replicas: tuple[NodeInfo, ...] = field(default=())
    # The replicas whose acknowledgements count.
    synced: tuple[str, ...] = field(default=())
    # Whose votes the primary's lease needs: a majority of each set (wire/lease.py).
    voters: tuple[frozenset[str], ...] = field(default=())

    @property
    def covered(self) -> bool:
        """True if somebody serves the slots of this shard, or will soon."""
        return self.primary.alive or any(replica.alive for replica in self.replicas)


class ClusterView:
    """The topology as node `my_id` holds it; `mine` and `state_ok` are for the hot path."""

    def __init__(self, my_id: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.my_id = my_id
        self.mine = bytearray(SLOTS)  # 1: this node serves the slot
        self.copied = bytearray(SLOTS)  # 1: it is a replica of the slot's shard, and may be read
        self.foreign = b"\1" * SLOTS  # 1: neither, the slot is of another shard
        self.moves: tuple[MoveInfo, ...] = ()
        self.state_ok = False
        self.cluster_id = ""
        self.epoch = 0
        self.fenced = ""  # why this node may not serve; empty if it may
        self.heard_ms = 0  # wall clock of the coordinator's last word; the link writes it
        # How replies wait for replicas, and how long a lease lasts; 0: a coordinator without any.
        self.durability = ""
        self.lease_ms = 0
        # What nodes tell of themselves, and the lanes to them as CLUSTER LINKS lists them:
        # (id, since when in Unix ms, bytes that wait).
        self.gossip = Gossip(my_id)
        self.links: Callable[[], list[tuple[str, int, int]]] = list
        self.messages_sent = 0
        self.messages_received = 0
        self.published_sent = 0  # what the bus carried to other nodes, and from them
        self.published_received = 0
        self.nodes: tuple[NodeInfo, ...] = (NodeInfo(my_id, host, port, 0, "", True, None, True),)
        self.shards: tuple[ShardInfo, ...] = ()
        self._owners: list[ShardInfo | None] = [None] * SLOTS

    def apply(self, topology: Mapping[str, Any]) -> bool:
        """Take over a topology frame; False if it is older than what is held.

        Raises BadTopology for a frame of another cluster or one that makes no sense.
        """
        try:
            cluster, epoch = str(topology["cluster"]), int(topology["epoch"])
            nodes, shards = _read(topology)
            lease_ms = int(topology.get("lease_ms", 0))
            moves = tuple(_move(row) for row in topology.get("moves", ()))
        except (KeyError, TypeError, ValueError) as error:
            raise BadTopology(f"malformed topology: {error!r}") from error
        if self.cluster_id and cluster != self.cluster_id:
            raise BadTopology(f"topology of cluster {cluster}, this node is in {self.cluster_id}")
        if epoch < self.epoch:
            return False
        owners: list[ShardInfo | None] = [None] * SLOTS
        mine, copied, foreign = bytearray(SLOTS), bytearray(SLOTS), bytearray(b"\1" * SLOTS)
        for shard in shards:
            for first, last in shard.slots:
                owners[first : last + 1] = [shard] * (last + 1 - first)
                if shard.primary.id == self.my_id:
                    mine[first : last + 1] = b"\x01" * (last + 1 - first)
                elif any(replica.id == self.my_id for replica in shard.replicas):
                    copied[first : last + 1] = b"\x01" * (last + 1 - first)
                else:
                    continue
                foreign[first : last + 1] = bytes(last + 1 - first)
        self.cluster_id, self.epoch = cluster, epoch
        self.nodes, self.shards, self._owners = nodes, shards, owners
        self.gossip.forget_others({node.id for node in nodes})
        self.fenced = ""
        self.foreign, self.moves = bytes(foreign), moves
        self.mine[:] = mine  # in place: the execute gate may hold the array
        self.copied[:] = copied
        self.state_ok = all(owner is not None and owner.covered for owner in owners)
        self.durability = str(topology.get("durability", ""))
        self.lease_ms = lease_ms
        return True

    def fence(self, why: str) -> None:
        """Serve nothing until the next topology: another process took this node's place."""
        self.fenced = why
        self.state_ok = False
        self.mine[:] = bytes(SLOTS)
        self.copied[:] = bytes(SLOTS)

    # --- answers for clients ---

    def redirect_error(self, slot: int) -> bytes:
        """Why this node does not serve `slot` now, as Redis words it (without the dash)."""
        owner = self._owners[slot]
        if owner is None:
            return UNBOUND
        if not self.state_ok:
            return DOWN
        return self.moved(slot)

    def moved(self, slot: int) -> bytes:
        """`MOVED 3999 127.0.0.1:8501`, by the endpoint that is preferred. The slot must have an
        owner."""
        owner = self._owners[slot]
        if owner is None:
            raise ValueError(f"slot {slot} has no owner")
        primary = owner.primary
        host: bytes | None = primary.host.encode()
        if not self.gossip.to_proxy():
            host = self.gossip.endpoint(primary.id, primary.host)
        return b"MOVED %d %s:%d" % (slot, host or b"", primary.port)

    def health(self, node: NodeInfo) -> bytes:
        """online, loading (a replica without the data of its shard) or fail: CLUSTER SHARDS."""
        if not node.alive:
            return b"fail"
        return b"online" if self.has_data(node) else b"loading"

    def has_data(self, node: NodeInfo) -> bool:
        """False for a replica that has not got its shard's data yet, as far as is known here."""
        if node.primary:
            return True
        shard = None if node.shard is None else self.shard(node.shard)
        synced = shard is not None and node.id in shard.synced
        return synced or self.gossip.offset_of(node.id) > 0

    @property
    def me(self) -> NodeInfo | None:
        """This node as the cluster knows it; None if it does not."""
        return self.node(self.my_id)

    @property
    def my_shard(self) -> ShardInfo | None:
        """The shard this node holds a replica of."""
        me = self.me
        return None if me is None or me.shard is None else self.shard(me.shard)

    def node(self, node_id: str) -> NodeInfo | None:
        """The node with that id."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def shard(self, number: int) -> ShardInfo | None:
        """The shard with that number."""
        return next((shard for shard in self.shards if shard.number == number), None)

    def slots_served(self) -> int:
        """How many slots this node serves."""
        return self.mine.count(1)

    def ranges(self) -> Iterator[tuple[int, int, ShardInfo]]:
        """(first, last, shard) of every range in the order of slots: CLUSTER SLOTS."""
        rows = [(first, last, shard) for shard in self.shards for first, last in shard.slots]
        return iter(sorted(rows, key=lambda row: row[0]))

    def info_text(self) -> bytes:
        """The text of CLUSTER INFO."""
        assigned = [owner for owner in self._owners if owner is not None]
        good = sum(owner.primary.alive for owner in assigned)
        mine = self.my_shard
        rows: list[tuple[str, object]] = [
            ("cluster_state", "ok" if self.state_ok else "fail"),
            ("cluster_slots_assigned", len(assigned)),
            ("cluster_slots_ok", good),
            ("cluster_slots_pfail", 0),
            ("cluster_slots_fail", len(assigned) - good),
            ("cluster_known_nodes", len(self.nodes)),
            ("cluster_size", sum(bool(shard.slots) for shard in self.shards)),
            ("cluster_current_epoch", self.epoch),
            ("cluster_my_epoch", 0 if mine is None else mine.epoch),
            *_carried("sent", self.published_sent, self.messages_sent),
            *_carried("received", self.published_received, self.messages_received),
            ("total_cluster_links_buffer_limit_exceeded", 0),
        ]
        return "".join(f"{name}:{value}\r\n" for name, value in rows).encode()

    def nodes_text(self) -> bytes:
        """The text of CLUSTER NODES: one line for each node."""
        return b"".join(self.node_line(node) + b"\n" for node in self.nodes)

    def node_line(self, node: NodeInfo) -> bytes:
        """One line of CLUSTER NODES, without its line feed."""
        shard = None if node.shard is None else self.shard(node.shard)
        myself = node.id == self.my_id
        flags = ["myself"] if myself else []
        flags.append("master" if node.primary else "slave")
        if not node.alive:
            flags.append("fail")
        hostname = self.gossip.hostname_of(node.id)
        fields = [
            node.id,
            f"{node.host}:{node.port}@{node.link_port}" + (f",{hostname}" if hostname else ""),
            ",".join(flags),
            "-" if node.primary or shard is None else shard.primary.id,
            "0",
            "0" if myself else str(self.heard_ms),
            str(0 if shard is None else shard.epoch),
            "connected" if node.alive else "disconnected",
        ]
        if node.primary and shard is not None:
            fields += [str(a) if a == b else f"{a}-{b}" for a, b in shard.slots]
        return " ".join(fields).encode()


def _carried(way: str, published: int, others: int) -> list[tuple[str, object]]:
    """As in Redis a kind of message has a line only once there were some."""
    rows: list[tuple[str, object]] = [(f"cluster_stats_messages_{way}", published + others)]
    if published:
        rows.insert(0, (f"cluster_stats_messages_publish_{way}", published))
    return rows


def _move(row: Mapping[str, Any]) -> MoveInfo:
    return MoveInfo(
        str(row["id"]), int(row["source"]), int(row["target"]), _ranges(row), str(row["state"]),
        int(row["epoch"]),
    )  # fmt: skip


def _ranges(row: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    slots = tuple((int(first), int(last)) for first, last in row["slots"])
    if any(not 0 <= first <= last < SLOTS for first, last in slots):
        raise ValueError(f"slots {slots}")
    return slots


def _read(topology: Mapping[str, Any]) -> tuple[tuple[NodeInfo, ...], tuple[ShardInfo, ...]]:
    primaries = {str(row["primary"]) for row in topology["shards"]}
    nodes = tuple(_node(row, primaries) for row in topology["nodes"])
    by_id = {node.id: node for node in nodes}
    shards = []
    for row in topology["shards"]:
        slots = _ranges(row)
        replicas = tuple(by_id[name] for name in row["replicas"])
        primary = by_id[row["primary"]]
        number, epoch = int(row["number"]), int(row["epoch"])
        synced = tuple(map(str, row.get("synced", ())))
        shards.append(ShardInfo(
            number, str(row["id"]), epoch, slots, primary, replicas, synced, voter_sets(row)
        ))  # fmt: skip
    return nodes, tuple(shards)


def _node(row: Mapping[str, Any], primaries: set[str]) -> NodeInfo:
    name = str(row["id"])
    host, port = _split(row["address"])
    link_port = _split(row["link_address"])[1] if row.get("link_address") else 0
    shard = None if row["shard"] is None else int(row["shard"])
    primary = shard is None or name in primaries
    return NodeInfo(
        name, host, port, link_port, str(row["zone"]), bool(row["alive"]), shard, primary
    )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
