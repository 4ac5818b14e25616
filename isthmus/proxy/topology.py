"""The topology frame as the proxy reads it: which node serves which slots (pure).

The frame is described in isthmus/wire/membership.py. It comes from another process and is read
whole before anything of it is believed: BadTopology leaves the router with what it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.wire.slots import SLOTS


class BadTopology(Exception):
    """A frame that is not a topology."""


@dataclass(frozen=True, slots=True)
class Primary:
    """The node that serves a shard. `link_address` is empty if it takes no proxies."""

    shard: int
    id: str
    address: str
    link_address: str
    zone: str
    alive: bool
    slots: tuple[tuple[int, int], ...]
    # Epoch of the last change of who serves the shard, and whether the one before agreed to it.
    epoch: int = 0
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    """Shards in the order of their numbers."""

    cluster: str
    epoch: int
    shards: tuple[Primary, ...]


def read(frame: Mapping[str, Any]) -> Topology:
    """A topology frame. Raises BadTopology."""
    try:
        nodes = {str(row["id"]): row for row in frame["nodes"]}
        shards = tuple(sorted((_primary(row, nodes) for row in frame["shards"]), key=_number))
        topology = Topology(str(frame["cluster"]), int(frame["epoch"]), shards)
    except (KeyError, TypeError, ValueError) as error:
        raise BadTopology(f"malformed topology: {error!r}") from error
    if len({shard.shard for shard in shards}) != len(shards):
        raise BadTopology("two shards have the same number")
    return topology


def _number(primary: Primary) -> int:
    return primary.shard


def _primary(row: Mapping[str, Any], nodes: Mapping[str, Any]) -> Primary:
    node = nodes[str(row["primary"])]
    slots = tuple((int(first), int(last)) for first, last in row["slots"])
    if any(not 0 <= first <= last < SLOTS for first, last in slots):
        raise ValueError(f"slots {slots}")
    number = int(row["number"])
    if not 0 <= number < 1 << 15:
        raise ValueError(f"shard number {number}")
    return Primary(
        number, str(node["id"]), str(node["address"]), str(node.get("link_address") or ""),
        str(node["zone"]), bool(node["alive"]), slots, int(row.get("epoch", 0)),
        bool(row.get("planned", False)),
    )  # fmt: skip
