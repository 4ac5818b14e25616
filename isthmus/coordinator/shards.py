"""The shards: how they are formed, which replicas are synced, and which nodes hold copies.

Three kinds of changes, each one commit under a new topology epoch, and never two at once in one
shard:

- *synced*. A replica enters when it says that it streams under the shard's epoch. It leaves when it
  is dead, disconnected, or cut off from a primary that is well; it is *leaving* until the primary
  has reported the epoch that says so, for until then its acknowledgements may count.
- *the set of copies*. The plan of placement.py is followed one step at a time. The copies before
  the change are `joint` until the primary holds the lease with both sets of voters (wire/lease.py).
  The primary never changes in such a commit.
- *the shard epoch*, when the primary process is another (failover.py). Nobody is synced then.
"""

from __future__ import annotations

import hashlib

from isthmus.coordinator.messages import NODE
from isthmus.coordinator.placement import Candidate, Holding, plan, spread_copies, spread_slots
from isthmus.coordinator.state import MS, Member, Shard, State, Work


def form(work: Work) -> None:
    """Give every shard its slots and its copies, once enough nodes are there."""
    state = work.state
    candidates = [
        _candidate(m) for m in state.members.values() if m.role == NODE and m.alive and m.connection
    ]
    wanted = state.shards_wanted
    if len(candidates) < wanted * (1 + state.replicas_wanted):
        return
    copies = spread_copies(candidates, wanted, state.replicas_wanted)
    epoch = work.bump()
    for number, slots in enumerate(spread_slots(wanted)):
        name = hashlib.sha1(f"{state.cluster_id}/{number}".encode()).hexdigest()
        primary, *replicas = copies[number]
        shard = Shard(number, name, epoch, primary, replicas, [slots])
        state.shards.append(shard)
        work.save_shard(shard)
    work.note("cluster_formed", shards=wanted, nodes=len(candidates), epoch=epoch)


def _candidate(member: Member) -> Candidate:
    return Candidate(member.id, member.zone, member.address)


def new_epoch(work: Work, shard: Shard, *, planned: bool = False) -> None:
    """The primary process is another: nobody has acknowledged anything to it yet."""
    shard.epoch = work.bump()
    shard.planned = planned
    shard.synced, shard.leaving = [], {}
    work.save_shard(shard)


# --- synced ----------------------------------------------------------------------------------


def heard(work: Work, shard: Shard, member: Member) -> None:
    """A copy has beaten: what follows for synced, leaving and joint."""
    if member.id == shard.primary:
        _primary_heard(work, shard, member)
    elif member.streamed_ns == work.now and work.now:
        if member.id not in shard.synced:
            shard.synced.append(member.id)
            shard.leaving.pop(member.id, None)
            work.bump()
            work.save_shard(shard)
            work.note("replica_synced", shard=shard.number, id=member.id)
    elif member.id in shard.synced and _cut_off(work.state, shard, member, work.now):
        not_synced(work, shard, member.id)


def _primary_heard(work: Work, shard: Shard, primary: Member) -> None:
    done = [name for name, epoch in shard.leaving.items() if primary.epoch >= epoch]
    for name in done:
        del shard.leaving[name]
    if done:
        work.save_shard(shard)
    if shard.joint and primary.epoch >= shard.copies_epoch and _holds(shard, primary):
        shard.joint = []
        work.bump()
        work.save_shard(shard)


def _holds(shard: Shard, primary: Member) -> bool:
    """Whether the primary holds the lease, hence with the voters of both sets of copies.

    That it knows of both would not do: if it became primary after the change, the one before it
    may hold the shard with the older set alone. A node that tells no copies takes no leases.
    """
    copy = primary.copy
    if copy is None:
        return True
    return (copy.shard, copy.epoch) == (shard.number, shard.epoch) and copy.lease_left_ms > 0


def _cut_off(state: State, shard: Shard, member: Member, now: int) -> bool:
    """A synced replica has not streamed for a while, though the primary is well."""
    primary = state.members[shard.primary]
    patience = state.limits.suspect_ms * MS
    well = primary.alive and primary.connection and not state.watch(shard).since_ns
    return bool(well) and now - member.streamed_ns > patience and now - primary.seen_ns < patience


def not_synced(work: Work, shard: Shard, name: str) -> None:
    """The acknowledgements of a replica count no more, once the primary knows."""
    if name not in shard.synced:
        return
    shard.synced.remove(name)
    shard.leaving[name] = work.bump()
    work.save_shard(shard)
    work.note("replica_not_synced", shard=shard.number, id=name)


def tick(work: Work) -> None:
    """Time passes: drop from the synced who is away, and follow the plan of placement."""
    state = work.state
    for shard in state.shards:
        if state.watch(shard).since_ns:
            continue
        for name in list(shard.synced):
            member = state.members[name]
            silent = work.now - member.seen_ns > state.limits.suspect_ms * MS
            if not member.alive or (silent and not member.connection):
                not_synced(work, shard, name)
    _place(work)


# --- copies ----------------------------------------------------------------------------------


def _place(work: Work) -> None:
    """Replace what is lost, fill up what is missing, take away what is too much."""
    state = work.state
    held = {name for shard in state.shards for name in shard.copies}
    spares = [
        _candidate(m) for m in state.members.values()
        if m.role == NODE and m.alive and m.connection and m.id not in held
        and m.id not in state.draining
    ]  # fmt: skip
    holdings = [_holding(work, shard) for shard in state.shards]
    for move in plan(holdings, spares, 1 + state.replicas_wanted):
        shard = next(shard for shard in state.shards if shard.number == move.shard)
        _change_copies(work, shard, move.add, move.drop)


def _holding(work: Work, shard: Shard) -> Holding:
    state, now = work.state, work.now
    members = [state.members[name] for name in shard.copies]
    limit = state.limits.replace_ms * MS
    lost = [m.id for m in members[1:] if not m.alive and now - m.seen_ns > limit]
    primary, watch = members[0], state.watch(shard)
    busy = watch.since_ns or watch.handover or watch.returning or watch.doubt or shard.joint
    # Not in the commit that changes the primary.
    busy = busy or (work.topology_changed and shard.epoch == state.epoch)
    return Holding(
        shard.number,
        tuple(_candidate(m) for m in members),
        frozenset(lost),
        frozenset(shard.synced),
        frozenset(state.draining),
        bool(primary.alive and primary.connection and not busy),
    )


def _change_copies(work: Work, shard: Shard, add: str, drop: str) -> None:
    before = shard.copies
    text = f"{drop[:8]} is replaced by {add[:8]}" if add and drop else ""
    text = text or (f"{add[:8]} is added" if add else f"{drop[:8]} is taken away")
    epoch = work.bump()
    work.record(shard, "copies", text)
    if drop:
        not_synced(work, shard, drop)
        shard.replicas.remove(drop)
    if add:
        shard.replicas.append(add)
    shard.joint, shard.copies_epoch = before, epoch
    work.save_shard(shard)
