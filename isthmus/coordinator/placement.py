"""Where slots and primaries go when a cluster is formed: pure and deterministic.

Two rules. Slots: `shards` contiguous ranges that cover all 16384, whose sizes differ by one at
most, the larger ones first. Primaries: zones take turns in the order of their names, so that no
zone holds two primaries more than another unless it is the only one with nodes left; inside a
zone nodes go by address, then id. The same nodes give the same placement in whatever order they
came, which is why a restart from nothing looks the same to its operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SLOTS: Final = 16384


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that could hold a shard."""

    id: str
    zone: str
    address: str


def spread_slots(shards: int) -> list[tuple[int, int]]:
    """One inclusive (first, last) range for each shard."""
    if not 1 <= shards <= SLOTS:
        raise ValueError(f"cannot spread {SLOTS} slots over {shards} shards")
    size, larger = divmod(SLOTS, shards)
    ranges = []
    first = 0
    for number in range(shards):
        last = first + size + (1 if number < larger else 0) - 1
        ranges.append((first, last))
        first = last + 1
    return ranges


def spread_primaries(candidates: Iterable[Candidate], shards: int) -> list[str]:
    """The ids of the nodes that become the primaries of shard 0, 1, ..."""
    zones: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=_order):
        zones.setdefault(candidate.zone, []).append(candidate)
    chosen: list[str] = []
    names = sorted(zones)
    turn = 0
    while len(chosen) < shards:
        taken = [zones[name][turn].id for name in names if turn < len(zones[name])]
        if not taken:
            raise ValueError(f"{len(chosen)} nodes cannot hold {shards} shards")
        chosen += taken[: shards - len(chosen)]
        turn += 1
    return chosen


def _order(candidate: Candidate) -> tuple[str, int, str]:
    host, _, port = candidate.address.rpartition(":")
    return (host, int(port) if port.isdecimal() else 0, candidate.id)
