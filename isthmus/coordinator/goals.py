"""Goals: how many shards, equal and their primaries spread; which nodes are to hold nothing.

What an operator asks for is stored and pursued until it is so, whatever happens on the way, one
step of each kind at a time:

- too few shards: a new one, without slots, on nodes that hold nothing (as many as can be made);
- too many: those with the highest numbers give their slots away, and are forgotten when they are
  empty; their nodes hold nothing then;
- slots are moved (slot_moves.py) as the plan of slot_plan.py says, while `balance` is asked for or
  a shard is to go. A shard takes part in one move at a time;
- then, if `balance` is asked for, replicas take over where a zone holds more primaries than it
  need to (planned failovers, one after the other);
- a node that is drained: its copies are doubled elsewhere and then dropped (placement.py), and
  where it is the primary another one takes over first.

`preview` tells what would be done, from the state as it is; nothing is touched.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from isthmus.coordinator import failover, slot_moves
from isthmus.coordinator.messages import NODE
from isthmus.coordinator.placement import Candidate, Seat, next_lead, spread_copies, spread_leads
from isthmus.coordinator.slot_plan import Transfer, after, count, piece, plan
from isthmus.coordinator.state import (
    BALANCE,
    DRAINING,
    SHARDS,
    Member,
    Shard,
    State,
    Work,
    shard_of,
)

# A move of more would be long, and all of it to be done again if it fails.
SLOTS_PER_MOVE: Final = 512
SHARDS_MAX: Final = 1000
# How often a shard is to have another primary for the sake of zones, if it does not come about.
SPREAD_TRIES_MAX: Final = 3


# --- what is asked for -----------------------------------------------------------------------


def set_shards(work: Work, count_wanted: int) -> None:
    """So many shards, with equally many slots."""
    state = work.state
    state.shards_wanted = count_wanted
    work.objects[SHARDS] = {"count": count_wanted}
    set_balance(work, True)
    work.note("shards_wanted", count=count_wanted)


def set_balance(work: Work, wanted: bool) -> None:
    """Move slots until all shards have as many, and primaries until zones do; or no more."""
    if wanted:
        for watch in work.state.watches.values():
            watch.spread_tries = 0
    if work.state.balance != wanted:
        work.state.balance = wanted
        work.objects[BALANCE] = {"wanted": wanted}


def set_draining(work: Work, node: str, drained: bool) -> None:
    """Let a node hold nothing, or whatever it is given."""
    names = work.state.draining
    if drained != (node in names):
        names.append(node) if drained else names.remove(node)
        names.sort()
        work.objects[DRAINING] = {"nodes": list(names)}
        work.note("draining" if drained else "not_draining", id=node)


# --- what follows ----------------------------------------------------------------------------


def tick(work: Work) -> None:
    """Go on towards what is asked for."""
    state = work.state
    slot_moves.tick(work)
    for name in [name for name in state.draining if name not in state.members]:
        set_draining(work, name, False)
    _add_shards(work)
    _take_shards_away(work)
    _hand_over(work)
    _start_moves(work)


def spares(state: State) -> list[Member]:
    """The nodes that could hold a copy of something."""
    return [
        m for m in state.members.values()
        if m.role == NODE and m.alive and m.connection and m.id not in state.draining
        and shard_of(state, m.id) is None
    ]  # fmt: skip


def staying(state: State, wanted: int) -> list[int]:
    """The numbers of the shards that are not to go."""
    return sorted(shard.number for shard in state.shards)[:wanted]


def _missing(state: State) -> int:
    """How many nodes are missing for the shards that are to be made, and the copies to be added."""
    wanted = 1 + state.replicas_wanted
    copies = sum(max(0, wanted - len(shard.copies)) for shard in state.shards)
    return (state.shards_wanted - len(state.shards)) * wanted + copies


def _add_shards(work: Work) -> None:
    state = work.state
    wanted = state.shards_wanted - len(state.shards)
    there = spares(state)
    possible = min(wanted, len(there) // (1 + state.replicas_wanted))
    if possible < 1:
        return
    candidates = [Candidate(m.id, m.zone, m.address) for m in there]
    copies = spread_copies(candidates, possible, state.replicas_wanted)
    epoch = work.bump()
    for number, (primary, *replicas) in zip(new_numbers(state, possible), copies, strict=True):
        text = f"{state.cluster_id}/{number}/{epoch}"
        name = hashlib.sha1(text.encode()).hexdigest()
        shard = Shard(number, name, epoch, primary, replicas, [])
        state.shards.append(shard)
        state.watches.pop(number, None)
        work.save_shard(shard)
        work.record(shard, "added", f"shard {number} is made, without slots")
    state.shards.sort(key=lambda shard: shard.number)


def new_numbers(state: State, how_many: int) -> list[int]:
    """The lowest numbers that no shard has."""
    taken = {shard.number for shard in state.shards}
    free = (number for number in range(len(taken) + how_many) if number not in taken)
    return [next(free) for _ in range(how_many)]


def _take_shards_away(work: Work) -> None:
    state = work.state
    keep = staying(state, state.shards_wanted)
    busy = {number for move in state.moves.values() for number in (move.source, move.target)}
    for shard in list(state.shards):
        if shard.number in keep or shard.slots or shard.number in busy:
            continue
        work.bump()
        work.record(
            shard, "removed", f"shard {shard.number} has no slots any more and is forgotten"
        )
        state.shards.remove(shard)
        state.watches.pop(shard.number, None)
        work.objects["shard", str(shard.number)] = None


def _hand_over(work: Work) -> None:
    """Another primary for shards whose primary is to hold nothing."""
    state = work.state
    for shard in state.shards:
        if shard.primary in state.draining:
            names = [name for name in shard.replicas if name not in state.draining]
            failover.let_go(work, shard, names)


def _under_way(state: State) -> list[Transfer]:
    return [
        Transfer(move.source, move.target, tuple(move.slots))
        for move in state.moves.values() if move.state in slot_moves.BEFORE_FLIP
    ]  # fmt: skip


def transfers(state: State, wanted: int) -> list[Transfer]:
    """What has to be moved yet, besides what is under way, for so many shards to be equal."""
    held = {shard.number: shard.slots for shard in state.shards}
    keep = staying(state, wanted)
    return plan(after(held, _under_way(state)), keep)


def _start_moves(work: Work) -> None:
    state = work.state
    leaving = len(state.shards) > state.shards_wanted
    if not (state.balance or leaving) or work.now < state.moves_again_ns:
        return
    ahead = transfers(state, state.shards_wanted)
    if not ahead:
        if not state.moves and len(state.shards) == state.shards_wanted and state.balance:
            _spread(work)
        return
    busy = {
        number for move in state.moves.values() if move.state not in slot_moves.AFTER_FLIP
        for number in (move.source, move.target)
    }  # fmt: skip
    for transfer in ahead:
        source, target = state.shard(transfer.source), state.shard(transfer.target)
        if source is None or target is None or busy & {source.number, target.number}:
            continue
        if slot_moves.ready(work, source.number) and slot_moves.ready(work, target.number):
            busy |= {source.number, target.number}
            slots = list(piece(transfer, SLOTS_PER_MOVE).slots)
            slot_moves.begin(work, source, target, slots)


def _spread(work: Work) -> None:
    state = work.state
    if _handing_over(state):
        return
    step = next_lead(seats(state))
    if step is None:
        set_balance(work, False)
        work.note("balanced", shards=len(state.shards))
        return
    number, name = step
    shard = state.shard(number)
    assert shard is not None
    state.watch(shard).spread_tries += 1
    failover.let_go(work, shard, [name])


def _handing_over(state: State) -> bool:
    return any(state.watch(shard).handover for shard in state.shards)


def seats(state: State) -> list[Seat]:
    """Where primaries are, and where they could be at once."""
    found = []
    for shard in state.shards:
        names = [
            name for name in shard.replicas
            if failover.ready(state, shard, name) and name not in state.draining
            and state.watch(shard).spread_tries < SPREAD_TRIES_MAX
            and not failover.unsettled(state, shard)
        ]  # fmt: skip
        others = {state.members[name].zone: name for name in sorted(names, reverse=True)}
        zone = state.members[shard.primary].zone
        others.pop(zone, None)
        found.append(Seat(shard.number, zone, others))
    return found


# --- what is told ----------------------------------------------------------------------------


def goal(state: State) -> dict[str, Any]:
    """What is being pursued, and how far off it is."""
    formed = bool(state.shards)
    ahead = transfers(state, state.shards_wanted) if formed else []
    leaving = len(state.shards) > state.shards_wanted
    pending = sum(each.count for each in ahead) if state.balance or leaving else 0
    pending += sum(each.count for each in _under_way(state))
    held = [name for name in state.draining if shard_of(state, name) is not None]
    nodes = max(0, _missing(state) - len(spares(state))) if formed else 0
    primaries = len(spread_leads(seats(state))) if formed and state.balance else 0
    settling = state.balance and _handing_over(state)
    return {
        "shards": state.shards_wanted,
        "balance": state.balance,
        "draining": list(state.draining),
        "still_held": held,
        "slots_left": pending,
        "primaries_left": primaries,
        "missing_nodes": nodes,
        "reached": formed
        and not (pending or held or state.moves or len(state.shards) != state.shards_wanted)
        and not (primaries or settling),
    }


def preview(state: State, shards: int | None, node: str | None) -> dict[str, Any]:
    """What would be done for a number of shards, or to drain a node. Raises ValueError."""
    if not state.shards:
        raise ValueError("the cluster has not formed yet")
    if node is not None:
        return _preview_drain(state, node)
    wanted = state.shards_wanted if shards is None else shards
    if not 1 <= wanted <= SHARDS_MAX:
        raise ValueError(f"the number of shards is from 1 to {SHARDS_MAX}, not {wanted}")
    held: dict[int, Any] = {shard.number: shard.slots for shard in state.shards}
    new = new_numbers(state, max(0, wanted - len(held)))
    keep = sorted([*staying(state, wanted), *new])
    held |= {number: [] for number in new}
    there = spares(state)
    needed = len(new) * (1 + state.replicas_wanted)
    chosen: list[list[str]] = []
    if new and needed <= len(there):
        candidates = [Candidate(m.id, m.zone, m.address) for m in there]
        chosen = spread_copies(candidates, len(new), state.replicas_wanted)
    return {
        "shards_before": len(state.shards),
        "shards": wanted,
        "added": [
            {"shard": number, "nodes": [state.members[name].address for name in names]}
            for number, names in zip(new, chosen or [[] for _ in new], strict=True)
        ],
        "removed": [number for number in held if number not in keep],
        "moves": [
            {"source": t.source, "target": t.target, "count": t.count,
             "slots": [list(pair) for pair in t.slots]}
            for t in plan(after(held, _under_way(state)), keep)
        ],
        "primaries": [_taking_over(state, *step) for step in spread_leads(seats(state))],
        "slots": {str(n): count(slots) for n, slots in held.items()},
        "missing_nodes": max(0, needed - len(there)),
    }  # fmt: skip


def _taking_over(state: State, number: int, name: str) -> dict[str, Any]:
    shard, new = state.shard(number), state.members[name]
    assert shard is not None
    old = state.members[shard.primary]
    return {
        "shard": number, "from": old.address, "from_zone": old.zone, "to": new.address,
        "to_zone": new.zone,
    }  # fmt: skip


def _preview_drain(state: State, node: str) -> dict[str, Any]:
    member = state.members.get(node)
    if member is None or member.role != NODE:
        raise ValueError(f"there is no node {node}")
    shard = shard_of(state, node)
    others = [m for m in spares(state) if m.id != node]
    steps: list[str] = []
    if shard is not None:
        zones = {state.members[name].zone for name in shard.copies if name != node}
        better = [m for m in others if m.zone not in zones] or others
        if better:
            steps.append(f"shard {shard.number} gets a copy on {better[0].address}")
        if shard.primary == node:
            steps.append(f"a replica of shard {shard.number} becomes its primary")
        steps.append(f"{member.address} gives up its copy of shard {shard.number}")
    missing = int(shard is not None and not others)
    return {"node": node, "address": member.address, "steps": steps, "missing_nodes": missing}
