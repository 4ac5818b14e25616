"""Where slots, primaries and replicas go: pure and deterministic.

Rules. Slots: `shards` contiguous ranges that cover all 16384, whose sizes differ by one at
most, the larger ones first. Primaries: zones take turns in the order of their names, so that no
zone holds two primaries more than another unless it is the only one with nodes left; inside a
zone nodes go by address, then id. The same nodes give the same placement in whatever order they
came, which is why a restart from nothing looks the same to its operator.

Replicas: no two copies of a shard in one zone while a free node of another zone could be had
instead. Which node goes to which shard is a matching, found with augmenting paths, so that a shard
with little choice is not left out for one with more. `plan` says what to do next with a cluster
that exists: the fewest moves that replace lost copies, add missing ones, and take apart copies that
share a zone; one move a shard, since a shard's copies change one step at a time. `spread_leads`
says which copies should take over where failovers have left a zone with many primaries. A copy that
shares a zone, or lies on a node that is drained, is first doubled elsewhere and dropped when the
new one is synced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class Holding:
    """A shard as it is: its copies (the primary first), and what may be done with it."""

    shard: int
    copies: tuple[Candidate, ...]
    lost: frozenset[str] = frozenset()  # replicas that have been dead for long
    synced: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()  # nodes that are to hold nothing
    settled: bool = True  # its copies may be changed now


@dataclass(frozen=True, slots=True)
class Move:
    """A change of one shard's copies: `add` a node, `drop` one, or both; empty: none."""

    shard: int
    add: str = ""
    drop: str = ""


@dataclass(frozen=True, slots=True)
class _Need:
    shard: int
    zones: frozenset[str]  # where the other copies are
    drop: str = ""
    apart: bool = False  # only a node of another zone will do


@dataclass(frozen=True, slots=True)
class Seat:
    """A shard's primary: the zone where it is, and in which others which copy could take over."""

    shard: int
    zone: str
    others: Mapping[str, str]


def spread_leads(seats: Iterable[Seat]) -> list[tuple[int, str]]:
    """Which copies should take over as primaries, (shard, node), so that none could still be moved
    from a zone to one that holds at least two fewer, be it by way of others."""
    there = list(seats)
    at = {seat.shard: seat for seat in there}
    while (step := next_lead(at.values())) is not None:
        shard, node = step
        zone = next(zone for zone, name in at[shard].others.items() if name == node)
        others = {**at[shard].others, at[shard].zone: ""}
        del others[zone]
        at[shard] = Seat(shard, zone, others)
    moved = [seat for seat in there if at[seat.shard].zone != seat.zone]
    return [(seat.shard, seat.others[at[seat.shard].zone]) for seat in moved]


def next_lead(seats: Iterable[Seat]) -> tuple[int, str] | None:
    """The first step of that; it is not undone when all is reckoned anew behind it.

    The shortest chain of shards that leads from a zone that holds too many to one that holds few
    enough is begun at its end. What is between holds as many as its start, or one less: so the
    step makes zones more alike, or leaves them so and the chain shorter.
    """
    there = sorted(seats, key=lambda seat: seat.shard)
    held = Counter(seat.zone for seat in there)
    chains = [_chain(there, held, zone) for zone in sorted(held, key=lambda z: (-held[z], z))]
    best = min(filter(None, chains), key=len, default=None)
    if best is None:
        return None
    seat, zone = best[-1]
    return seat.shard, seat.others[zone]


def _chain(seats: list[Seat], held: Mapping[str, int], start: str) -> list[tuple[Seat, str]]:
    """The fewest shards, and where they go, so that `start` has one less and a zone with at least
    two fewer one more; empty: there is no way."""
    ways: dict[str, list[tuple[Seat, str]]] = {start: []}
    queue = [start]
    for zone in queue:
        for seat in seats:
            for other in sorted(seat.others) if seat.zone == zone else ():
                if other in ways:
                    continue
                ways[other] = [*ways[zone], (seat, other)]
                if held.get(other, 0) <= held[start] - 2:
                    return ways[other]
                queue.append(other)
    return []


def spread_copies(candidates: Iterable[Candidate], shards: int, replicas: int) -> list[list[str]]:
    """The copies of shard 0, 1, ..., each with its primary first."""
    everyone = sorted(candidates, key=_order)
    by_id = {candidate.id: candidate for candidate in everyone}
    copies = [[name] for name in spread_primaries(everyone, shards)]
    for _ in range(replicas):
        taken = {name for names in copies for name in names}
        free = [candidate for candidate in everyone if candidate.id not in taken]
        if len(free) < shards:
            raise ValueError(f"{len(everyone)} nodes cannot hold {shards} shards that often")
        needs = [
            _Need(number, frozenset(by_id[name].zone for name in names))
            for number, names in enumerate(copies)
        ]
        for number, name in _match(needs, free).items():
            copies[number].append(name)
    return copies


def plan(holdings: Iterable[Holding], spares: Iterable[Candidate], wanted: int) -> list[Move]:
    """What to do next, so that every shard has `wanted` copies, apart if they can be."""
    needs: list[_Need] = []
    apart: list[_Need] = []
    moves: list[Move] = []
    for holding in holdings:
        if not holding.settled:
            continue
        there = [c for c in holding.copies if c.id not in holding.lost]
        zones = [c.zone for c in there]
        if len(holding.copies) > wanted:
            drop = _surplus(holding)
            moves += [Move(holding.shard, drop=drop)] if drop else []
        elif len(there) < wanted:
            drop = min(holding.lost, default="")
            needs.append(_Need(holding.shard, frozenset(zones), drop))
        elif any(c.id in holding.drained for c in there):
            # First doubled elsewhere, then dropped: as a copy that shares a zone.
            stay = frozenset(c.zone for c in there if c.id not in holding.drained)
            needs.append(_Need(holding.shard, stay))
        elif len(set(zones)) < len(zones):
            apart.append(_Need(holding.shard, frozenset(zones), apart=True))
    free = sorted(spares, key=_order)
    drops = {need.shard: need.drop for need in needs}
    # Whoever lacks a copy comes first; then those whose copies only lie badly.
    found = _match(needs, free)
    rest = [candidate for candidate in free if candidate.id not in found.values()]
    found |= _match(apart, rest)
    moves += [Move(number, add=name, drop=drops.get(number, "")) for number, name in found.items()]
    return sorted(moves, key=lambda move: move.shard)


def _surplus(holding: Holding) -> str:
    """The replica that can go; empty if none can yet."""

    def left(drop: Candidate) -> list[Candidate]:
        return [c for c in holding.copies if c is not drop]

    def clashes(copies: list[Candidate]) -> int:
        return len(copies) - len({c.zone for c in copies})

    def order(drop: Candidate) -> tuple[bool, bool, int, bool, str]:
        lost, synced = drop.id in holding.lost, drop.id in holding.synced
        return (not lost, drop.id not in holding.drained, clashes(left(drop)), synced, drop.id)

    best = min(holding.copies[1:], key=order)
    if holding.copies[0].id in holding.drained and best.id not in holding.lost:
        # The primary is to go: one of the others takes over first.
        return ""
    others = [c.id for c in left(best)[1:]]
    # A copy that counts goes only when all that stay count as well.
    ready = best.id not in holding.synced or all(name in holding.synced for name in others)
    lonely = best.id not in holding.lost and not any(name in holding.synced for name in others)
    return best.id if ready and (not lonely or not others) else ""


def _match(needs: list[_Need], free: list[Candidate]) -> dict[int, str]:
    """A node for each need: as many as can be in other zones, the rest anywhere."""
    taken: dict[str, _Need] = {}
    there = Counter(candidate.zone for candidate in free)
    # Zones with many free nodes give first, so that the last ones are not all of one zone.
    ranked = sorted(free, key=lambda c: (-there[c.zone], c.zone, *_order(c)))

    def place(need: _Need, seen: set[str]) -> bool:
        for candidate in ranked:
            if candidate.zone in need.zones or candidate.id in seen:
                continue
            seen.add(candidate.id)
            holder = taken.get(candidate.id)
            if holder is None or place(holder, seen):
                taken[candidate.id] = need
                return True
        return False

    unplaced = [need for need in needs if not place(need, set())]
    left = [candidate for candidate in ranked if candidate.id not in taken]
    for need in unplaced:
        if left and not need.apart:
            taken[left.pop(0).id] = need
    return {need.shard: name for name, need in taken.items()}


def _order(candidate: Candidate) -> tuple[str, int, str]:
    host, _, port = candidate.address.rpartition(":")
    return (host, int(port) if port.isdecimal() else 0, candidate.id)
