"""Who is the primary of a shard: suspicion, election, planned failover, primaries that return.

A primary comes under *suspicion* when it was silent for `suspect_ms` and no replica has heard it
either, when it said goodbye or its address refuses connections, when another process registers at
its place, or when the store itself is in doubt. The election then *reads* the copies: only what a
node said after the suspicion began counts, and of a primary that may live, only what a replica
said once it followed it no more (its fence). Nobody is promoted before all that were synced, or
may still count as synced, have been read or are dead; and where no acknowledged write may be lost
a dead one is waited for. Rules of the choice:

1. Never a copy that is empty or in the middle of a full sync.
2. If every copy was read, the newest data wins, by (data epoch, offset): nothing can be lost.
3. Else a copy qualifies by data of the shard's present epoch, and by having been synced, or
   streaming when the primary was last heard. The highest offset wins; then a zone other than the
   failed one's; then the smaller id.
4. If all that qualify have just been restarted, so was everything: the primary is given a while to
   come back with what it has on its disk.
5. A primary that comes back as another process is a candidate by what it brings from its disk; its
   registration is not answered before it is known who it is now. Empty, it stays primary only of
   a shard that never had data elsewhere.

A promotion is one commit that leaves the set of copies as it is. Every decision, and every
reason to wait, goes into the journal with what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.coordinator import messages, slot_moves
from isthmus.coordinator.messages import STREAMING, Copy, Description, Refusal
from isthmus.coordinator.shards import new_epoch
from isthmus.coordinator.state import (
    MS,
    Handover,
    Member,
    Returning,
    Shard,
    State,
    Watch,
    Work,
    shard_of,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of an election: a winner (perhaps the primary itself), or why there is none."""

    winner: str
    why: str


# --- suspicion -------------------------------------------------------------------------------


def consider(work: Work, shard: Shard) -> None:
    """Begin, end, or pursue the suspicion of a shard's primary."""
    state = work.state
    watch = state.watch(shard)
    reason = _reason(state, shard, watch, work.now)
    if not reason:
        _end(work, shard, watch)
        return
    if not watch.since_ns:
        if not (watch.returning or watch.doubt) and _heard_by(state, shard, work.now):
            return
        _begin(work, shard, watch, reason)
    watch.reason = reason
    verdict = elect(state, shard, work.now)
    if verdict.winner == shard.primary:
        _stay(work, shard, watch, verdict)
    elif verdict.winner:
        promote(work, shard, verdict.winner, "failover", f"{reason}; {verdict.why}")
    elif watch.waiting != verdict.why:
        watch.waiting = verdict.why
        work.record(shard, "waiting", verdict.why)


def _reason(state: State, shard: Shard, watch: Watch, now: int) -> str:
    """Why the primary cannot be relied on; empty if it can."""
    primary = state.members[shard.primary]
    if watch.returning is not None:
        return "the primary came back as another process"
    if watch.doubt:
        return watch.doubt
    if primary.gone_ns:
        return "the primary's process has ended"
    silent = now - primary.seen_ns
    if not primary.alive:
        return "the primary is dead"
    if silent > _patience_ms(state, watch, now) * MS:
        # The number is that of the moment of suspicion; later ones would be news each time.
        return watch.reason or f"the primary was silent for {silent // MS} ms"
    return ""


def _patience_ms(state: State, watch: Watch, now: int) -> int:
    """How long a primary may be silent; twice as long for a while after a failover."""
    return state.limits.suspect_ms * (2 if now < watch.slow_until_ns else 1)


def _heard_by(state: State, shard: Shard, now: int) -> str:
    """A replica that has heard the primary of late, which then is only cut off from us."""
    primary = state.members[shard.primary]
    patience = _patience_ms(state, state.watch(shard), now)
    for name in shard.replicas:
        member, copy = state.members[name], state.members[name].copy
        if copy is None or not member.connection or copy.epoch != shard.epoch:
            continue
        age_ms = (now - member.copied_ns) // MS
        recent = 0 <= copy.primary_silent_ms and copy.primary_silent_ms + age_ms < patience
        # Of a process that has ended the last words are no proof of life; an open stream is.
        if recent and (not primary.gone_ns or copy.state == STREAMING):
            return name
    return ""


def vouched(state: State, member: Member, now: int) -> bool:
    """Whether a silent member is a primary that its replicas still hear."""
    shard = shard_of(state, member.id)
    return shard is not None and shard.primary == member.id and bool(_heard_by(state, shard, now))


def _begin(work: Work, shard: Shard, watch: Watch, reason: str) -> None:
    # What was said after a process had ended counts, even if we were in doubt for a moment.
    watch.since_ns = state_primary(work.state, shard).gone_ns or work.now
    watch.reason = reason
    watch.waiting = ""
    _cancel(work, shard, watch, reason)
    work.record(shard, "suspected", reason)
    for name in shard.replicas:
        work.tell(name, {"type": "fence", "shard": shard.number, "epoch": shard.epoch})


def _end(work: Work, shard: Shard, watch: Watch) -> None:
    if not watch.since_ns:
        return
    watch.since_ns, watch.reason, watch.waiting = 0, "", ""
    work.record(shard, "cleared", "the primary is heard again")
    for name in shard.replicas:
        work.tell(name, {"type": "fence_lifted", "shard": shard.number, "epoch": shard.epoch})


def judge_anew(state: State, now: int) -> None:
    """It was the coordinator who was away: forget suspicions that rest on silence."""
    for watch in state.watches.values():
        watch.since_ns, watch.reason, watch.waiting = 0, "", ""
        if watch.returning is not None:
            watch.returning.since_ns = now


def doubt(work: Work, shard: Shard, why: str) -> None:
    """The store may be wrong about the primary: let the copies tell."""
    watch = work.state.watch(shard)
    watch.doubt, watch.doubt_epoch = why, work.bump()


def probe(work: Work, shard: Shard) -> None:
    """Have a look whether the process of a primary without connection is still there."""
    primary = state_primary(work.state, shard)
    if shard.replicas and not primary.connection and not primary.gone_ns:
        address = primary.link_address or primary.address
        work.out.probes.append((primary.id, primary.incarnation, address))


# --- election --------------------------------------------------------------------------------


def elect(state: State, shard: Shard, now: int) -> Verdict:
    """Who should be the primary, from what was read since the suspicion began."""
    watch = state.watch(shard)
    home = watch.returning is not None or bool(watch.doubt)  # the primary itself may be read
    counted = _counted(shard)
    reads = {name: copy for name in shard.copies if (copy := _read(state, shard, name))}
    if not home:
        reads.pop(shard.primary, None)
    wait = _unread(state, shard, [*counted, *(shard.replicas if home else [])])
    if wait:
        return Verdict("", f"{_short(wait[0])} has not answered since")
    complete = all(name in reads for name in shard.copies)
    dead = [name for name in counted if not _alive(state, name)]
    if dead and not complete and state.strict:
        return Verdict("", f"an acknowledged write may be only at {_short(dead[0])}, which is away")
    whole = {name: copy for name, copy in reads.items() if copy.whole}
    if complete and whole:
        return _newest(state, shard, whole, "every copy was read, this one has the newest data")
    if watch.doubt:
        return Verdict("", "not every copy has been heard")
    if home and shard.primary in whole:
        return _newest(state, shard, whole, "it has the newest data of those that live")
    fit = {name: copy for name, copy in whole.items() if _qualifies(state, shard, name, copy)}
    fit.pop(shard.primary, None)
    if fit and not home and _cold(state, list(fit), now):
        return Verdict("", "all copies were restarted, and the primary may come back with more")
    if fit:
        return _newest(state, shard, fit, "it has the highest offset")
    if home and (complete or _never_held(state, shard)):
        return Verdict(shard.primary, "no copy has any data")
    if home and watch.returning is not None and watch.returning.who.copy is None:
        return Verdict(shard.primary, "no replica can take its place")
    return Verdict("", _why_none(state, shard, reads))


def _counted(shard: Shard) -> list[str]:
    """Whose acknowledgements count, or may count for a primary that has not heard otherwise."""
    return [name for name in (*shard.synced, *shard.leaving) if name != shard.primary]


def _alive(state: State, name: str) -> bool:
    member = state.members.get(name)
    return member is not None and member.alive


def _read(state: State, shard: Shard, name: str) -> Copy | None:
    """What a node said of its copy since the suspicion began; None if that proves nothing."""
    watch = state.watch(shard)
    if name == shard.primary and watch.returning is not None:
        return watch.returning.who.copy
    member = state.members.get(name)
    copy = None if member is None else member.copy
    if member is None or copy is None or not member.alive or not member.connection:
        return None
    if copy.shard != shard.number or member.copied_ns < watch.since_ns:
        return None
    if watch.doubt and member.epoch < watch.doubt_epoch:
        return None
    # A node that knows of fences must have stopped following; else the primary, if it is not dead
    # for sure, could still get acknowledgements for writes that were not read.
    certain = watch.returning is not None or watch.doubt or state.members[shard.primary].gone_ns
    if not certain and copy.fenced >= 0 and copy.fenced != shard.epoch:
        return None
    return copy


def _unread(state: State, shard: Shard, names: list[str]) -> list[str]:
    """Those of the living that have not been read and might yet be."""
    watch = state.watch(shard)
    found = []
    for name in names:
        member = state.members.get(name)
        if member is None or not member.alive or _read(state, shard, name) is not None:
            continue
        silent = member.copied_ns >= watch.since_ns and member.copy is None  # it tells no copies
        if not silent:
            found.append(name)
    return found


def _qualifies(state: State, shard: Shard, name: str, copy: Copy) -> bool:
    """Whether a copy has, as far as anybody can know, what was acknowledged."""
    heard_ns = state.members[shard.primary].seen_ns - state.limits.suspect_ms * MS
    streamed = 0 < state.members[name].streamed_ns and state.members[name].streamed_ns >= heard_ns
    return copy.whole and copy.data_epoch == shard.epoch and (name in _counted(shard) or streamed)


def _newest(state: State, shard: Shard, copies: dict[str, Copy], why: str) -> Verdict:
    zone = state.members[shard.primary].zone

    def order(name: str) -> tuple[int, int, bool, bool, str]:
        copy, elsewhere = copies[name], state.members[name].zone != zone
        return (-copy.data_epoch, -copy.offset, name != shard.primary, not elsewhere, name)

    return Verdict(min(copies, key=order), why)


def _cold(state: State, names: list[str], now: int) -> bool:
    """Whether everything is just being started: then a primary's disk may hold the newest data."""
    recent = now - state.registered_ns < state.limits.cold_ms * MS
    return recent and all(state.members[name].anew for name in names)


def _never_held(state: State, shard: Shard) -> bool:
    """Whether no replica is known to have had any data."""
    copies = [state.members[name].copy for name in shard.replicas]
    return not _counted(shard) and not any(copy and copy.data_epoch for copy in copies)


def _why_none(state: State, shard: Shard, reads: dict[str, Copy]) -> str:
    said = []
    for name in shard.replicas:
        copy = reads.get(name)
        if not _alive(state, name):
            what = "is dead"
        elif copy is None:
            what = "has not told what it has"
        elif not copy.whole:
            what = f"is {copy.state}"
        elif copy.data_epoch != shard.epoch:
            what = f"has data of epoch {copy.data_epoch}, not {shard.epoch}"
        else:
            what = "was not synced"
        said.append(f"{_short(name)} {what}")
    return "no replica can be promoted: " + ", ".join(said)


def _short(name: str) -> str:
    return name[:8]


# --- decisions -------------------------------------------------------------------------------


def promote(work: Work, shard: Shard, winner: str, event: str, why: str) -> None:
    """One commit: `winner` is the primary, the old primary a replica, the epoch new."""
    state, old = work.state, state_primary(work.state, shard)
    watch = state.watch(shard)
    work.bump()
    work.record(shard, event, f"{_short(winner)} is promoted: {why}", promoted=winner)
    shard.replicas = [old.id if name == winner else name for name in shard.replicas]
    shard.primary = winner
    new_epoch(work, shard, planned=event == "planned")
    if event == "failover":
        watch.slow_until_ns = work.now + state.limits.flap_ms * MS
        if watch.returning is None and not watch.doubt and old.alive:
            # Silent to everybody: clients shall not be sent to it any more.
            old.alive = False
            old.seen_ns = work.now
            work.changed(old)
    _settled(work, watch)


def _stay(work: Work, shard: Shard, watch: Watch, verdict: Verdict) -> None:
    work.bump()
    work.record(shard, "stays", f"{_short(shard.primary)} stays primary: {verdict.why}")
    new_epoch(work, shard)
    _settled(work, watch)


def _settled(work: Work, watch: Watch) -> None:
    watch.since_ns, watch.reason, watch.waiting, watch.doubt = 0, "", "", ""
    if watch.returning is not None:
        work.admitted.append(watch.returning)
        watch.returning = None


def state_primary(state: State, shard: Shard) -> Member:
    """The member that is the shard's primary."""
    return state.members[shard.primary]


def primary_returns(work: Work, shard: Shard, connection: int, who: Description) -> None:
    """Another process registers at the place of a primary that has replicas."""
    watch = work.state.watch(shard)
    earlier = watch.returning
    if earlier is not None and earlier.connection != connection:
        work.out.close.append(earlier.connection)
    watch.returning = Returning(connection, who, work.now)
    gone = state_primary(work.state, shard)
    gone.gone_ns = gone.gone_ns or work.now
    consider(work, shard)


def asker_gone(state: State, connection: int) -> None:
    """A connection ended on which somebody waited for a decision."""
    for watch in state.watches.values():
        if watch.returning is not None and watch.returning.connection == connection:
            watch.returning = None
        if watch.handover is not None and watch.handover.connection == connection:
            watch.handover.connection = 0


def tick(work: Work) -> None:
    """Time passes: pursue suspicions, and end what took too long."""
    state = work.state
    for shard in state.shards:
        if not shard.replicas:
            continue
        watch = state.watch(shard)
        if watch.handover is not None and work.now >= watch.handover.deadline_ns:
            _cancel(work, shard, watch, "the primary did not finish in time")
        probe(work, shard)
        consider(work, shard)
        late = watch.returning
        if late is not None and work.now - late.since_ns > state.limits.return_ms * MS:
            watch.returning = None
            text = f"shard {shard.number} has no primary yet: {watch.waiting}"
            work.send(late.connection, {"type": "refused", "code": "ELECTING", "error": text})
            work.out.close.append(late.connection)


# --- planned failover ------------------------------------------------------------------------


def requested(
    work: Work, connection: int, call: object, number: int, to: str | None, accept_loss: bool
) -> None:
    """Somebody wants another primary for a shard; the answer comes when it is decided."""
    try:
        done = _begin_handover(work, connection, call, number, to, accept_loss)
    except Refusal as refusal:
        work.send(connection, {"id": call, "error": refusal.text})
        return
    if done is not None:
        _answer(work, connection, call, done)


def wanted(work: Work, member: Member, body: dict[str, object]) -> None:
    """A client told a replica to take over (CLUSTER FAILOVER): as if somebody had asked here.

    It is answered at once, whether that has begun; what comes of it, topologies tell.
    """
    number, asked = messages.wanted(body)
    error = ""
    try:
        if body.get("node") != member.id:
            raise Refusal("BAD_MESSAGE", "a replica asks for itself only")
        _begin_handover(work, 0, None, number, member.id, accept_loss=False)
    except Refusal as refusal:
        error = refusal.text
    work.send(member.connection, {"type": "failover_answer", "number": asked, "error": error})


def _begin_handover(
    work: Work, connection: int, call: object, number: int, to: str | None, accept_loss: bool
) -> Shard | None:
    """The shard if its failover is done already; None if it is under way. Raises Refusal."""
    state = work.state
    shard = next((shard for shard in state.shards if shard.number == number), None)
    if shard is None:
        raise Refusal("BAD_MESSAGE", f"there is no shard {number}")
    watch = state.watch(shard)
    if not shard.replicas:
        raise Refusal("BAD_MESSAGE", f"shard {number} has no replica")
    if to is not None and to not in shard.replicas:
        raise Refusal("BAD_MESSAGE", f"{to} is no replica of shard {number}")
    if watch.handover is not None:
        raise Refusal("BAD_MESSAGE", f"a failover of shard {number} is under way already")
    primary = state_primary(state, shard)
    healthy = primary.alive and primary.connection and not primary.gone_ns and not watch.since_ns
    fit = [name for name in shard.replicas if ready(state, shard, name)]
    target = to if to in fit else None if to else _first(state, shard, fit)
    if healthy and target is not None:
        slot_moves.make_way(work, shard, "another primary takes over on purpose")
        epoch, deadline = shard.epoch, work.now + state.limits.handover_ms * MS
        watch.handover = Handover(target, epoch, deadline, connection, call)
        frame = {"type": "handover", "shard": number, "epoch": epoch, "to": target}
        work.tell(primary.id, frame)
        work.record(shard, "handover", f"{_short(target)} is to take over", promoted=target)
        return None
    if not accept_loss:
        text = watch.waiting or (_not_in_sync(to) if healthy else "")
        text = text or "its primary is silent, and being judged"
        raise Refusal("BAD_MESSAGE", f"shard {number} cannot fail over now: {text}")
    winner = _whatever(state, shard, to)
    promote(work, shard, winner, "forced", "an operator accepts that writes may be lost")
    return shard


def let_go(work: Work, shard: Shard, names: list[str]) -> None:
    """Have one of these replicas take over, if one can."""
    busy = unsettled(work.state, shard)
    fit = [name for name in names if ready(work.state, shard, name)]
    if fit and not busy:
        requested(work, 0, None, shard.number, _first(work.state, shard, fit), False)


def unsettled(state: State, shard: Shard) -> bool:
    """True while it is not decided who the primary is."""
    watch = state.watch(shard)
    return bool(watch.handover or watch.since_ns or watch.returning or watch.doubt)


def _not_in_sync(to: str | None) -> str:
    return f"{to} is not in sync" if to else "no replica is in sync"


def ready(state: State, shard: Shard, name: str) -> bool:
    """True if a replica could take over now, and lose nothing."""
    member, copy = state.members[name], state.members[name].copy
    return (
        name in shard.synced and member.alive and member.connection != 0 and copy is not None
        and copy.state == STREAMING and copy.whole and copy.epoch == shard.epoch
    )  # fmt: skip


def _first(state: State, shard: Shard, names: list[str]) -> str | None:
    copies = {name: copy for name in names if (copy := state.members[name].copy)}
    return _newest(state, shard, copies, "").winner if copies else None


def _whatever(state: State, shard: Shard, to: str | None) -> str:
    """The best copy that lives, whatever may be lost. Raises Refusal."""
    copies = {
        name: copy
        for name in ([to] if to else shard.replicas)
        if state.members[name].connection and (copy := state.members[name].copy) and copy.whole
    }
    if not copies:
        raise Refusal("BAD_MESSAGE", f"no replica of shard {shard.number} that lives has data")
    return _newest(state, shard, copies, "").winner


def drained(work: Work, member: Member, body: dict[str, object]) -> None:
    """A primary holds its writes, and all it acknowledged is at the one that takes over."""
    number, epoch, offset = messages.drained(body)
    state = work.state
    shard = shard_of(state, member.id)
    watch = None if shard is None else state.watch(shard)
    plan = None if watch is None else watch.handover
    fits = (
        shard is not None and plan is not None and shard.primary == member.id
        and (shard.number, shard.epoch) == (number, epoch)
    )  # fmt: skip
    if not fits or shard is None or watch is None or plan is None:
        frame: dict[str, object] = {"type": "handover_cancelled", "shard": number, "epoch": epoch}
        work.tell(member.id, frame)
        return
    if not ready(state, shard, plan.to):
        _cancel(work, shard, watch, f"{_short(plan.to)} is not in sync any more")
        return
    watch.handover = None
    promote(work, shard, plan.to, "planned", f"it has all of the primary, up to offset {offset}")
    _answer(work, plan.connection, plan.call, shard)


def _cancel(work: Work, shard: Shard, watch: Watch, why: str) -> None:
    plan, watch.handover = watch.handover, None
    if plan is None:
        return
    frame: dict[str, object] = {
        "type": "handover_cancelled", "shard": shard.number, "epoch": plan.epoch,
    }  # fmt: skip
    work.tell(shard.primary, frame)
    work.record(shard, "cancelled", f"the planned failover is off: {why}")
    if plan.connection:
        text = f"nothing was changed: {why}"
        work.send(plan.connection, {"id": plan.call, "error": text})


def _answer(work: Work, connection: int, call: object, shard: Shard) -> None:
    if connection:
        result = {"shard": shard.number, "epoch": shard.epoch, "primary": shard.primary}
        work.send(connection, {"id": call, "result": result})
