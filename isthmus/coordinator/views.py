"""What others see of the cluster: the topology frame, the status, warnings, the journal.

Nothing here decides or changes anything. The frame's exact shape is in
`isthmus/wire/membership.py`, the status' in DESIGN.md. Lists read the same every time: shards by
number, the primary of each before its replicas, spares and proxies behind them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from isthmus.coordinator import receipts
from isthmus.coordinator.goals import goal
from isthmus.coordinator.messages import NODE, PROXY
from isthmus.coordinator.slot_plan import count
from isthmus.coordinator.state import (
    MS,
    Member,
    Shard,
    SlotMove,
    State,
    in_order,
    move_frame,
    shard_frame,
    shard_of,
)
from isthmus.wire.policy import OFF


def topology(state: State) -> dict[str, object]:
    """The frame pushed to every member: all a node or proxy needs to route and to redirect."""
    place = {node: shard.number for shard in state.shards for node in shard.copies}
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
        for m in in_order(state)
        if m.role == NODE
    ]
    return {
        "type": "topology",
        "cluster": state.cluster_id,
        "region": state.region,
        "epoch": state.epoch,
        "persistence": str(state.persistence or OFF),
        "durability": str(state.durable),
        "lease_ms": state.limits.lease_ms,
        "replicas_wanted": state.replicas_wanted,
        "shards": [shard_frame(shard) for shard in state.shards],
        "moves": [move_frame(move) for move in state.moves.values()],
        "nodes": nodes,
    }


def status(state: State, now: int | None = None) -> dict[str, object]:
    """What `isthmus status` shows, without the coordinator's own line."""
    down = [s for s in state.shards if not state.members[s.primary].alive]
    return {
        "region": state.region,
        "cluster": state.cluster_id,
        "epoch": state.epoch,
        "state": "forming" if not state.shards else "down" if down else "ok",
        "shards_wanted": state.shards_wanted,
        "replicas_wanted": state.replicas_wanted,
        "persistence": str(state.persistence or OFF),
        "durability": str(state.durable),
        "warnings": warnings(state),
        "receipts": len(receipts.unsettled(state)),
        "shards": [_shard(state, shard, now) for shard in state.shards],
        "moves": [_move(move) for move in state.moves.values()],
        "goal": goal(state),
        "processes": [_process(state, member) for member in in_order(state)],
    }


def _shard(state: State, shard: Shard, now: int | None) -> dict[str, object]:
    watch = state.watch(shard)
    suspected = watch.since_ns and now is not None
    return {
        **shard_frame(shard),
        "leaving": list(shard.leaving),
        "zones": [state.members[name].zone for name in shard.copies],
        "suspected_ms": (now - watch.since_ns) // MS if suspected and now is not None else 0,
        "suspicion": watch.reason,
        "waiting": watch.waiting,
    }


def _move(move: SlotMove) -> dict[str, object]:
    said = {side: asdict(report) for side, report in move.said.items()}
    return {**move_frame(move), "count": count(move.slots), "said": said}


def _process(state: State, member: Member) -> dict[str, object]:
    shard = shard_of(state, member.id)
    if member.role == PROXY:
        role = PROXY
    elif shard is None:
        role = "spare"
    else:
        role = "primary" if shard.primary == member.id else "replica"
    copy = member.copy
    serves = shard is not None and role == "primary"
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
        "slots": [list(p) for p in shard.slots] if shard is not None and serves else [],
        "state": "up" if member.alive else "dead",
        "connected": member.connection != 0,
        "keys": member.keys,
        "disk": None if member.disk is None else asdict(member.disk),
        "copy": None if copy is None else asdict(copy),
        "synced": shard is not None and member.id in shard.synced,
        "offset": None if copy is None else copy.offset,
        "lag_bytes": lag(state, shard, member),
    }


def lag(state: State, shard: Shard | None, member: Member) -> int | None:
    """How far a replica is behind its primary, as both last said; None if that is unknown."""
    if shard is None or member.copy is None or member.id == shard.primary:
        return None
    primary = state.members[shard.primary].copy
    if primary is None or primary.data_epoch != member.copy.data_epoch:
        return None
    return max(0, primary.offset - member.copy.offset)


def warnings(state: State) -> list[str]:
    """What an operator should know of the shards: sentences."""
    said = []
    zones_alive = {m.zone for m in state.members.values() if m.role == NODE and m.alive}
    for shard in state.shards:
        members = [state.members[name] for name in shard.copies]
        living = [m for m in members if m.alive]
        if len(living) <= state.replicas_wanted:
            said.append(
                f"shard {shard.number} has {len(living)} living"
                f" {'copy' if len(living) == 1 else 'copies'} of the"
                f" {state.replicas_wanted + 1} wanted"
            )
        said += _crowded(shard, members, zones_alive)
        said += _unwell(state, shard)
        waiting = state.watch(shard).waiting
        if waiting:
            said.append(f"shard {shard.number} has no primary that serves: {waiting}")
    return said + receipts.warnings(state)


def _unwell(state: State, shard: Shard) -> list[str]:
    """What of a shard with replicas does not work as it should, by what its primary last said."""
    if not shard.replicas or state.watch(shard).waiting:
        return []
    primary = state.members[shard.primary]
    said, copy = [], primary.copy
    if primary.alive and copy is not None and copy.role == "primary":
        if copy.problem:
            said.append(f"shard {shard.number}: its primary {copy.problem}")
        elif copy.epoch == shard.epoch and not copy.lease_left_ms:
            said.append(f"shard {shard.number}: its primary holds no lease")
    if not shard.synced and any(state.members[name].alive for name in shard.replicas):
        said.append(f"shard {shard.number} has no replica in sync: nobody can take over")
    return said


def _crowded(shard: Shard, members: list[Member], zones_alive: set[str]) -> list[str]:
    zones = [m.zone for m in members if m.zone]
    twice = sorted({zone for zone in zones if zones.count(zone) > 1})
    why = "" if len(zones_alive) > 1 else ", the only zone that lives"
    return [f"shard {shard.number} has two copies in zone {zone}{why}" for zone in twice]


def journal(state: State, shard: int | None) -> list[dict[str, Any]]:
    """The entries of the journal, of one shard or of all, oldest first."""
    return [entry for entry in state.journal.values() if shard in (None, entry["shard"])]
