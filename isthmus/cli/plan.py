"""Which processes a local cluster is made of, and the command line of each (pure).

Everything listens on 127.0.0.1. Nodes take neighbouring ports from ``node_port`` and zones in turn;
proxies take neighbouring ports from ``port``. Ports that nobody has to know beforehand (data link,
metrics) are 0: the process picks one and tells the coordinator, and ``isthmus status`` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
SHARDS_MAX = 256
PROXIES_MAX = 64
REPLICAS_MAX = 6
SPARES_MAX = 1024
NODE_ROLES = ("primary", "replica", "spare")
# What a new cluster keeps on disk unless told otherwise: its directory outlives it.
PERSISTENCE = "aof:everysec"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadPlan(ValueError):
    """The options cannot make a cluster; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    shards: int
    replicas: int
    zones: tuple[str, ...]
    port: int
    node_port: int
    coordinator_port: int
    proxies: int
    region: str
    data_dir: Path
    persistence: str | None = None  # None: as the cluster had it, PERSISTENCE for a new one
    durability: str | None = None  # None: as the cluster had it, the coordinator's for a new one
    spares: int = 0  # nodes beyond those that the shards need

    @property
    def node_count(self) -> int:
        """How many nodes that takes."""
        return self.shards * (1 + self.replicas) + self.spares

    @property
    def coordinator(self) -> str:
        """The coordinator's address."""
        return f"{HOST}:{self.coordinator_port}"


@dataclass(frozen=True, slots=True)
class Spec:
    """One process to run: ``arguments`` follow the program's name; ``option`` sets its port."""

    name: str
    role: str
    port: int
    option: str
    arguments: tuple[str, ...]


def make(options: Options) -> list[Spec]:
    """The processes in the order they are started: coordinator, nodes, proxies."""
    _check(options)
    data = options.data_dir
    specs = [
        Spec(
            "coordinator",
            "coordinator",
            options.coordinator_port,
            "--coordinator-port",
            (
                *("coordinator", "--port", str(options.coordinator_port)),
                *("--shards", str(options.shards), "--region", options.region),
                *("--persistence", options.persistence or PERSISTENCE),
                *(("--replicas", str(options.replicas)) if options.replicas else ()),
                *(("--durability", options.durability) if options.durability else ()),
                *("--metrics-port", "0", "--data-dir", str(data / "coordinator")),
            ),
        )
    ]
    specs += [node(options, i, options.node_port + i) for i in range(options.node_count)]
    for i in range(options.proxies):
        port = options.port + i
        proxy = (
            *("proxy", "--coordinator", options.coordinator, "--port", str(port)),
            *("--metrics-port", "0", "--zone", _zone(options, i), "--region", options.region),
        )
        specs.append(Spec(f"proxy-{i}", "proxy", port, "--port", proxy))
    return specs


def node(options: Options, i: int, port: int) -> Spec:
    """The node with number `i`, on a port."""
    arguments = (
        *("node", "--coordinator", options.coordinator, "--port", str(port)),
        *("--link-port", "0", "--metrics-port", "0", "--zone", _zone(options, i)),
        *("--region", options.region, "--data-dir", str(options.data_dir / f"node-{i}")),
    )
    return Spec(f"node-{i}", "node", port, "--node-port", arguments)


def _zone(options: Options, i: int) -> str:
    return options.zones[i % len(options.zones)]


def _check(options: Options) -> None:
    if not 0 <= options.replicas <= REPLICAS_MAX:
        raise BadPlan(f"--replicas must be from 0 to {REPLICAS_MAX}, not {options.replicas}")
    for name, value, most in (
        ("--shards", options.shards, SHARDS_MAX),
        ("--proxies", options.proxies, PROXIES_MAX),
    ):
        if not 1 <= value <= most:
            raise BadPlan(f"{name} must be from 1 to {most}, not {value}")
    for option, names in (("--zones", options.zones), ("--region", (options.region,))):
        for name in names:
            if not _NAME.fullmatch(name):
                raise BadPlan(f"{option}: a name is letters, digits and - _ . only, not {name!r}")
    if not 0 <= options.spares <= SPARES_MAX:
        raise BadPlan(f"--spares must be from 0 to {SPARES_MAX}, not {options.spares}")
    taken: dict[int, str] = {}
    for option, first, count in (
        ("--coordinator-port", options.coordinator_port, 1),
        ("--node-port", options.node_port, options.node_count),
        ("--port", options.port, options.proxies),
    ):
        if not 1 <= first <= 65536 - count:
            raise BadPlan(f"{option} {first} leaves no room for {count} port(s) below 65536")
        for port in range(first, first + count):
            if port in taken:
                raise BadPlan(f"{option} and {taken[port]} both want port {port}")
            taken[port] = option


def ready(
    status: Mapping[str, object], shards: int, proxies: int, replicas: int = 0
) -> tuple[bool, str]:
    """Whether a coordinator's status shows a whole cluster, and how far it has come.

    Whole means that all 16384 slots belong to live primaries and that every node and proxy holds
    the present topology, and that primaries hold their leases; until then a client could still be
    told CLUSTERDOWN. And that what is
    written is kept as the policy says, by all that can.
    """
    epoch = status.get("epoch", 0)
    wanted = shards * (1 + replicas)
    nodes = slots = ours = 0
    for process in processes(status):
        if process.get("state") != "up":
            continue
        if process.get("role") == "proxy":
            ours += process.get("topology_epoch") == epoch
        elif process.get("role") == "primary":
            nodes += 1
            if process.get("topology_epoch") == epoch and _leads(process):
                slots += slot_count(process)
        elif process.get("role") in ("spare", "replica"):
            nodes += 1
    text = (
        f"{min(nodes, wanted)} of {wanted} nodes, {slots:,} of 16,384 slots, "
        f"{min(ours, proxies)} of {proxies} proxies"
    )
    there = slots == 16384 and nodes >= wanted and ours >= proxies
    return there and not behind(status, failed=False), text


def _leads(process: Mapping[str, object]) -> bool:
    """Whether a primary may serve: it holds its lease, if it says anything about that."""
    copy = process.get("copy")
    return not isinstance(copy, Mapping) or bool(copy.get("lease_left_ms"))


def disk(process: Mapping[str, object]) -> Mapping[str, object] | None:
    """How a node of a status fares with keeping data; None for others, and before its beats."""
    found = process.get("disk")
    return found if isinstance(found, Mapping) else None


def behind(status: Mapping[str, object], *, failed: bool = True) -> list[str]:
    """The addresses of living nodes where the policy of a status is not in force.

    Those that tried and could not are among them if `failed`.
    """
    wanted = status.get("persistence")
    late = []
    for process in processes(status) if wanted else []:
        if process.get("state") != "up" or process.get("role") not in NODE_ROLES:
            continue
        found = disk(process)
        if found is None:
            late.append(str(process.get("address")))
        elif found.get("policy") != wanted and (
            failed or found.get("problem") in ("", f"changing to {wanted}")
        ):
            late.append(str(process.get("address")))
    return late


def processes(status: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The lines of a status."""
    found = status.get("processes")
    return [p for p in found if isinstance(p, Mapping)] if isinstance(found, list) else []


def slot_ranges(process: Mapping[str, object]) -> list[tuple[int, int]]:
    """A status line's slots as inclusive ranges."""
    found = process.get("slots")
    return [(int(first), int(last)) for first, last in found] if isinstance(found, list) else []


def slot_count(process: Mapping[str, object]) -> int:
    """How many slots a status line holds."""
    return sum(last - first + 1 for first, last in slot_ranges(process))
