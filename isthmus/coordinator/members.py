"""Members of the cluster: how they register, beat, fall silent, and are forgotten.

Invariant: every id has at most one live process, the holder of the connection in
`Member.connection`. Death here is a judgement, pushed so that nodes can answer CLUSTERDOWN and
clients stop waiting; who takes a dead primary's place is decided in failover.py. A judge whose own
clock jumped (the process was stopped, the machine slept) judges nobody until it has listened for
a whole limit again.
"""

from __future__ import annotations

from isthmus.coordinator import failover, shards, slot_moves
from isthmus.coordinator.messages import (
    EPOCH_MAX,
    PROXY,
    STREAMING,
    Copy,
    Description,
    Refusal,
    Report,
)
from isthmus.coordinator.state import (
    MEMBERS_MAX,
    MS,
    Member,
    Shard,
    State,
    Work,
    member_body,
    names,
    shard_of,
)
from isthmus.coordinator.views import topology

# --- registration ----------------------------------------------------------------------------


def register(work: Work, connection: int, who: Description) -> None:
    """A peer asks to be, or to be again, a member. Raises Refusal."""
    state = work.state
    _check_welcome(work, connection, who)
    known = state.members.get(who.id)
    shard = None if known is None else shard_of(state, who.id)
    if known is not None and shard is not None and _must_wait(known, shard, who):
        failover.primary_returns(work, shard, connection, who)
        return
    admit(work, connection, who)


def _must_wait(known: Member, shard: Shard, who: Description) -> bool:
    """Another process at the place of a primary that has replicas: it may know less than they."""
    is_primary = shard.primary == known.id
    return is_primary and bool(shard.replicas) and known.incarnation != who.incarnation


def admit(work: Work, connection: int, who: Description) -> None:
    """Make the peer a member and greet it."""
    state = work.state
    known = state.members.get(who.id)
    if known is None:
        if len(state.members) >= MEMBERS_MAX:
            raise Refusal("TOO_MANY", f"this cluster has {MEMBERS_MAX} members already")
        known = state.members[who.id] = _member(who)
        _forget_predecessor(work, who)
        work.changed(known)
        work.note("member_joined", **names(known))
    else:
        _return(work, known, who)
    if known.connection and known.connection != connection:
        del state.connections[known.connection]
        work.out.close.append(known.connection)
    known.connection = connection
    known.answered_ns = work.now
    known.seen_ns = state.registered_ns = work.now
    known.gone_ns = 0
    known.epoch = who.epoch
    _take_copy(work, known, who.copy)
    state.connections[connection] = who.id
    if who.epoch > state.epoch:
        _raise_floor(work, who)
    _consider(work, known)
    work.send(connection, _welcome(state))
    if not work.topology_changed:
        work.send(connection, topology(state))


def _raise_floor(work: Work, who: Description) -> None:
    """Our store was put back to an older copy. Numbers the nodes have seen must not be used
    for something else: go above them, and let everybody have the result.
    """
    state = work.state
    work.note("epoch_floor_raised", ours=state.epoch, reported=who.epoch, member=who.id)
    state.epoch = who.epoch
    work.topology_changed = False
    for shard in state.shards:
        if shard.replicas:
            # Its primary may be another by now. Under the old epoch nobody gets a lease; the
            # copies will tell who has the newest data.
            failover.doubt(work, shard, "the store was put back to an older copy")
            continue
        shard.epoch = work.bump()
        work.save_shard(shard)
    work.bump()


def _check_welcome(work: Work, connection: int, who: Description) -> None:
    state = work.state
    if who.region != state.region:
        raise Refusal(
            "WRONG_REGION",
            f"this coordinator serves region {state.region}, the process is of {who.region}",
        )
    if who.cluster and who.cluster != state.cluster_id:
        raise Refusal(
            "WRONG_CLUSTER",
            f"the process belongs to cluster {who.cluster}; this coordinator holds"
            f" {state.cluster_id}: check the coordinator's data folder, or start the process anew",
        )
    if who.epoch >= EPOCH_MAX:
        raise Refusal("BAD_MESSAGE", "epoch leaves no room above it")
    if state.connections.get(connection, who.id) != who.id:
        raise Refusal("BAD_MESSAGE", "this connection has registered another id")
    known = state.members.get(who.id)
    if known is not None and known.role != who.role:
        raise Refusal("DUPLICATE_ID", f"id {who.id} belongs to a {known.role}")
    if known is None or known.incarnation == who.incarnation or not known.alive:
        return
    # Without a connection the old process may still run, cut off from us. Whoever now listens on
    # its very address proves that it is gone; anybody else waits until it counts as dead.
    if known.connection or known.address != who.address:
        raise Refusal(
            "DUPLICATE_ID",
            f"id {who.id} is in use by a live process (pid {known.pid}, {known.address});"
            " two processes may not share a data folder or a copy of one",
        )


def _return(work: Work, known: Member, who: Description) -> None:
    """A known id registers: the same process again, or the one that takes its place."""
    before = member_body(known)
    restarted = known.incarnation != who.incarnation
    for name in ("zone", "address", "link_address", "metrics_address", "pid"):
        setattr(known, name, getattr(who, name))
    known.incarnation = who.incarnation
    known.alive = True
    if member_body(known) == before:
        return
    work.changed(known)
    shard = shard_of(work.state, known.id)
    if restarted and shard is not None:
        known.streamed_ns, known.anew = 0, True
        if shard.primary == known.id:
            shard.epoch = work.bump()
            work.save_shard(shard)
        else:
            # What it has is what was on its disk.
            shards.not_synced(work, shard, known.id)
    work.note("member_returned", **names(known), restarted=restarted)


def _forget_predecessor(work: Work, who: Description) -> None:
    """Drop a dead member that held nothing and whose address the newcomer has taken."""
    for old in list(work.state.members.values()):
        same_place = old.address == who.address and old.role == who.role and old.id != who.id
        if same_place and not old.alive and shard_of(work.state, old.id) is None:
            _forget(work, old)


def _member(who: Description) -> Member:
    return Member(
        who.id, who.role, who.region, who.zone, who.address, who.link_address,
        who.metrics_address, who.pid, who.incarnation,
    )  # fmt: skip


def _welcome(state: State) -> dict[str, object]:
    heartbeat_ms = state.heartbeat_ms
    return {
        "type": "registered",
        "cluster": state.cluster_id,
        "region": state.region,
        "heartbeat_ms": heartbeat_ms,
        "silence_ms": state.limits.dead_ms + 2 * heartbeat_ms,
    }


# --- life and death --------------------------------------------------------------------------


def heartbeat(work: Work, connection: int, said: Report) -> None:
    """A member says it is there, and what it holds. Raises Refusal."""
    state = work.state
    member = on_connection(state, connection)
    member.seen_ns = work.now
    member.gone_ns = 0
    member.epoch, member.slots, member.keys = said.epoch, said.slots, said.keys
    member.disk = said.disk
    _take_copy(work, member, said.copy)
    if not member.alive:
        member.alive = True
        work.changed(member)
        work.note("member_alive", **names(member))
    # Answers keep the member from taking the connection for dead; half the limit is often enough,
    # and an idle cluster stays idle.
    if work.now - member.answered_ns >= state.limits.dead_ms * MS // 2:
        member.answered_ns = work.now
        work.send(connection, {"type": "heartbeat", "epoch": state.epoch})
    shard = shard_of(state, member.id)
    if shard is not None and (shard.replicas or shard.joint or shard.leaving):
        shards.heard(work, shard, member)
        failover.consider(work, shard)
    if state.moves:
        slot_moves.heard(work, member, said.moves)
    if said.epoch < state.epoch and not work.topology_changed:
        work.send(connection, topology(state))


def _take_copy(work: Work, member: Member, copy: Copy | None) -> None:
    member.copy, member.copied_ns = copy, work.now
    shard = shard_of(work.state, member.id)
    if copy is None or shard is None or copy.state != STREAMING:
        return
    if (copy.shard, copy.epoch, copy.data_epoch) == (shard.number, shard.epoch, shard.epoch):
        member.streamed_ns, member.anew = work.now, False


def leave(work: Work, connection: int) -> None:
    """A member shuts down in good order. Raises Refusal."""
    member = on_connection(work.state, connection)
    closed(work, connection)
    work.note("member_left", **names(member))
    member.seen_ns = work.now
    if member.role == PROXY:
        _forget(work, member)
    elif member.alive:
        member.alive = False
        work.changed(member)
        _consider(work, member)


def closed(work: Work, connection: int) -> None:
    """A lost connection alone proves nothing about the process: silence does, in `tick`."""
    state = work.state
    failover.asker_gone(state, connection)
    member_id = state.connections.pop(connection, None)
    if member_id is None:
        return
    state.members[member_id].connection = 0
    shard = shard_of(state, member_id)
    if shard is not None and shard.primary == member_id:
        failover.probe(work, shard)


def refused(work: Work, member_id: str, incarnation: str) -> None:
    """Nobody listens any more where a member without connection was: its process has ended."""
    member = work.state.members.get(member_id)
    if member is None or member.connection or member.incarnation != incarnation:
        return
    member.gone_ns = member.gone_ns or work.now
    _consider(work, member)


def _consider(work: Work, member: Member) -> None:
    shard = shard_of(work.state, member.id)
    if shard is not None and shard.replicas:
        failover.consider(work, shard)


def tick(work: Work) -> bool:
    """Judge who is dead; False if nobody can be judged because it was us who was away."""
    state, limits = work.state, work.state.limits
    gap = work.now - state.ticked_ns if state.ticked_ns else 0
    state.ticked_ns = work.now
    if gap > limits.own_pause_ms * MS:
        work.note("own_pause", gap_ms=gap // MS)
        for member in state.members.values():
            if member.alive:
                member.seen_ns = work.now
        failover.judge_anew(state, work.now)
        state.registered_ns = work.now
        return False
    for member in list(state.members.values()):
        silent = work.now - member.seen_ns
        if member.alive and silent > limits.dead_ms * MS:
            if failover.vouched(state, member, work.now):
                continue
            member.alive = False
            member.seen_ns = work.now
            work.changed(member)
            work.note("member_dead", **names(member), silent_ms=silent // MS)
        elif not member.alive and silent > limits.forget_ms * MS:
            if shard_of(state, member.id) is None and not member.connection:
                _forget(work, member)
    return True


def _forget(work: Work, member: Member) -> None:
    del work.state.members[member.id]
    work.objects["member", member.id] = None
    if member.role != PROXY:
        work.bump()
    work.note("member_forgotten", **names(member))


def on_connection(state: State, connection: int) -> Member:
    """The member that speaks on a connection. Raises Refusal."""
    member_id = state.connections.get(connection)
    if member_id is None:
        raise Refusal("NOT_REGISTERED", "register first")
    return state.members[member_id]
