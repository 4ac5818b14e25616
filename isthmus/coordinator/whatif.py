"""What would happen if nodes went down: answered from the model, nothing is touched (pure).

The question is put to the state as it is: who is alive, synced and how far. For each shard the
answer says which copies it loses, who would be promoted, whether the lease could be had (a majority
of the voters, the coordinator among them where copies are even in number), and what is left.
Outcomes: `unaffected`; `serves` (its primary lives, but it loses copies); `fails over`;
`stops` (copies are left, but none may be promoted or no majority is); `lost` (no copy is left).
"""

from __future__ import annotations

from isthmus.coordinator.messages import NODE
from isthmus.coordinator.state import Member, Shard, State
from isthmus.wire.lease import WITNESS, voters_of


def whatif(state: State, zone: str | None, node: str | None) -> dict[str, object]:
    """What each shard would suffer if a zone, or a node, went down. Raises ValueError."""
    nodes = [m for m in state.members.values() if m.role == NODE]
    down = [m for m in nodes if (m.zone == zone if node is None else m.id == node)]
    if not down:
        zones = ", ".join(sorted({m.zone for m in nodes if m.zone})) or "none"
        what = f"zone {zone}" if node is None else f"node {node}"
        raise ValueError(f"there is no {what}; the zones are: {zones}")
    gone = {m.id for m in down}
    shards = [_shard(state, shard, gone) for shard in state.shards]
    counts = dict.fromkeys(("unaffected", "serves", "fails over", "stops", "lost"), 0)
    for told in shards:
        counts[str(told["outcome"])] += 1
    return {
        "down": [{"id": m.id, "address": m.address, "zone": m.zone} for m in down],
        "outcomes": counts,
        "shards": shards,
    }


def _shard(state: State, shard: Shard, gone: set[str]) -> dict[str, object]:
    lost = [name for name in shard.copies if name in gone]
    left = [name for name in shard.copies if name not in gone and state.members[name].alive]
    promoted = _next(state, shard, left) if shard.primary in gone else None
    if not lost:
        outcome, text = "unaffected", "nothing changes"
    elif not left:
        outcome, text = "lost", "no copy is left: its slots are away until a node returns"
    elif not _majority(shard, left):
        outcome, text = "stops", "no majority of its voters is left: nobody can hold its lease"
    elif shard.primary not in gone:
        outcome, text = "serves", f"{len(left)} of {len(shard.copies)} copies are left"
    elif promoted is None:
        outcome, text = "stops", "no copy that is left is in sync: it waits for one that returns"
    else:
        outcome, text = "fails over", "the promoted copy serves once the old lease has run out"
    return {
        "shard": shard.number,
        "outcome": outcome,
        "text": text,
        "primary": shard.primary,
        "promoted": promoted if outcome == "fails over" else None,
        "lost": lost,
        "left": left,
        "zones_left": sorted({state.members[name].zone for name in left}),
    }


def _majority(shard: Shard, left: list[str]) -> bool:
    sets = [voters_of(shard.copies), *([voters_of(shard.joint)] if shard.joint else [])]
    living = {*left, WITNESS}
    return all(len(voters & living) > len(voters) // 2 for voters in sets)


def _next(state: State, shard: Shard, left: list[str]) -> str | None:
    """Who an election would choose among these, going by what they last said."""
    members = [state.members[name] for name in left if name in shard.synced]
    fit = [m for m in members if m.copy is not None and m.copy.whole]
    primary = state.members[shard.primary]

    def order(member: Member) -> tuple[int, bool, str]:
        offset = member.copy.offset if member.copy else 0
        return (-offset, member.zone == primary.zone, member.id)

    return min(fit, key=order).id if fit else None
