"""Moves of slots: from a shard's primary to another's, one commit for each step.

    copying     the target fetches the slots and follows what changes in them
    yielding    the source lets clients wait, and says so once the target has everything
    flipped     the slots are the target's; the source keeps its keys, which nobody sees
    cleaning    the source deletes them
    cancelled   nothing was moved; the target deletes what it has fetched

What is to be done is a part of the topology, so nodes hear of it whatever was lost on the way; what
they have done they say with their heartbeats, and at once where it matters (node/moves). A step is
stored before anybody hears of it. A coordinator that comes back goes on from there: everything it
has to know is said again.

A move belongs to two shard epochs, those of its beginning. When either shard has another primary
process before the flip, the move is cancelled, and planned anew later: what was fetched may be
gone, and who was asked to yield may not be the primary. The *flip* is one commit that takes the
slots from one shard and gives them to the other under a new topology epoch; shard epochs stay as
they are, so leases go on. It follows from a single word of the source's primary: that it yielded
under this very order, and that the target, which knew of the order too, had everything. From then
on until a newer topology neither of them takes that back (node/moves/moves.py says how), so no
write is acknowledged by one that the other has not.

A failover of a shard comes first: planned or not, it ends the moves of that shard (`make_way`).
"""

from __future__ import annotations

from typing import Final

from isthmus.coordinator.messages import MoveReport
from isthmus.coordinator.slot_plan import count, holds, joined, without
from isthmus.coordinator.state import MS, Member, Shard, SlotMove, State, Work

COPYING, YIELDING, FLIPPED, CLEANING, CANCELLED = (
    "copying", "yielding", "flipped", "cleaning", "cancelled"
)  # fmt: skip
BEFORE_FLIP: Final = (COPYING, YIELDING)
AFTER_FLIP: Final = (FLIPPED, CLEANING)
SOURCE, TARGET = "source", "target"
# The target is as good as level when it lacks no more than this.
LAG_BYTES: Final = 256 << 10
YIELD_MS: Final = 2000
AGAIN_MS: Final = 2000
# A move in which nothing goes on for so long is given up.
STALL_MS: Final = 60_000


def begin(work: Work, source: Shard, target: Shard, slots: list[tuple[int, int]]) -> None:
    """Have slots fetched."""
    epoch = work.bump()
    move = SlotMove(
        f"{epoch}.{source.number}.{target.number}", source.number, target.number, slots, COPYING,
        epoch, source.epoch, target.epoch, since_ns=work.now, moved_ns=work.now,
    )  # fmt: skip
    work.state.moves[move.id] = move
    work.save_move(move)
    work.note("move_begins", move=move.id, slots=count(slots), source=source.number,
              target=target.number)  # fmt: skip


def heard(work: Work, member: Member, said: tuple[MoveReport, ...]) -> None:
    """A node has beaten, or a primary says how its moves stand."""
    for report in said:
        move = work.state.moves.get(report.id)
        if move is None:
            continue
        shard = work.state.shard(move.source if report.side == SOURCE else move.target)
        if shard is None or shard.primary != member.id or shard.epoch != report.epoch:
            continue
        if move.said.get(report.side) != report:
            move.said[report.side] = report
            move.moved_ns = work.now
        drive(work, move)
    for move in list(work.state.moves.values()):
        # Its topology is all that is waited for.
        if move.state == FLIPPED:
            drive(work, move)


def tick(work: Work) -> None:
    """Time passes."""
    for move in list(work.state.moves.values()):
        drive(work, move)


def make_way(work: Work, shard: Shard, why: str) -> None:
    """End the moves of a shard that have not come to their flip."""
    for move in list(work.state.moves.values()):
        if shard.number in (move.source, move.target) and move.state in BEFORE_FLIP:
            _cancel(work, move, why)


def drive(work: Work, move: SlotMove) -> None:
    """Go on with a move, if it is time."""
    state = work.state
    source, target = state.shard(move.source), state.shard(move.target)
    if source is None or target is None:
        # Shards are not taken away while they have moves.
        return
    if move.state in BEFORE_FLIP:
        why = _obstacle(work, move, source, target)
        if why:
            _cancel(work, move, why)
        elif move.state == COPYING:
            _copying(work, move)
        else:
            _yielding(work, move, source, target)
    elif move.state == FLIPPED:
        if _confirmed(state, move, target):
            _enter(work, move, CLEANING)
    elif _clean(move, SOURCE if move.state == CLEANING else TARGET):
        del state.moves[move.id]
        work.objects["move", move.id] = None
        work.bump()
        work.note("move_done" if move.state == CLEANING else "move_gone", move=move.id)


def _obstacle(work: Work, move: SlotMove, source: Shard, target: Shard) -> str:
    """Why a move cannot go on; empty if it can."""
    state = work.state
    if (source.epoch, target.epoch) != (move.source_epoch, move.target_epoch):
        return "a shard has another primary"
    if not holds(source.slots, tuple(move.slots)):
        return "the source does not have the slots"
    for shard in (source, target):
        watch = state.watch(shard)
        if watch.doubt or watch.returning is not None or watch.handover is not None:
            return f"shard {shard.number} is busy with its primary"
    if not move.moved_ns:
        move.moved_ns = work.now
    if work.now - move.moved_ns > STALL_MS * MS:
        return f"nothing went on for {STALL_MS // 1000} s"
    return ""


def _copying(work: Work, move: SlotMove) -> None:
    said = move.said.get(SOURCE)
    level = said is not None and said.state == "following" and said.lag <= LAG_BYTES
    if level and work.now >= move.again_ns and ready(work, move.target):
        _enter(work, move, YIELDING)


def ready(work: Work, number: int) -> bool:
    """Whether a shard can take slots: its primary is there, and what it gets is on a replica."""
    state = work.state
    shard = state.shard(number)
    if shard is None:
        return False
    primary, watch = state.members[shard.primary], state.watch(shard)
    busy = watch.since_ns or watch.handover or watch.returning or watch.doubt or shard.joint
    if busy or not primary.alive or not primary.connection:
        return False
    copy = primary.copy
    leads = (
        copy is not None and copy.lease_left_ms > 0
        and (copy.shard, copy.epoch) == (shard.number, shard.epoch)
    )  # fmt: skip
    return leads and (not shard.replicas or bool(shard.synced))


def _yielding(work: Work, move: SlotMove, source: Shard, target: Shard) -> None:
    said = move.said.get(SOURCE)
    done = said is not None and said.state == "yielded" and said.order == move.epoch
    if done and ready(work, target.number):
        _flip(work, move, source, target)
        return
    if not move.since_ns:
        # We are another coordinator than the one that gave the order.
        move.since_ns = work.now
    if work.now - move.since_ns > YIELD_MS * MS:
        work.note("yield_withdrawn", move=move.id)
        move.again_ns = work.now + AGAIN_MS * MS
        _enter(work, move, COPYING)


def _flip(work: Work, move: SlotMove, source: Shard, target: Shard) -> None:
    source.slots = list(without(source.slots, move.slots))
    target.slots = joined([*target.slots, *move.slots])
    work.save_shard(source)
    work.save_shard(target)
    _enter(work, move, FLIPPED)
    work.record(
        source, "moved", f"{count(move.slots)} slots are shard {target.number}'s", move=move.id
    )


def _confirmed(state: State, move: SlotMove, target: Shard) -> bool:
    """Whether the target's primary knows that the slots are its own."""
    primary = state.members[target.primary]
    return primary.epoch >= move.epoch and primary.alive and bool(primary.connection)


def _clean(move: SlotMove, side: str) -> bool:
    said = move.said.get(side)
    return said is not None and said.state == "clean"


def _enter(work: Work, move: SlotMove, state: str) -> None:
    move.state = state
    move.epoch = work.bump()
    move.since_ns = move.moved_ns = work.now
    if state in (CLEANING, CANCELLED):
        # Said of the same move before, by a sweep that was for something else.
        move.said.pop(SOURCE if state == CLEANING else TARGET, None)
    work.save_move(move)
    work.note(f"move_{state}", move=move.id)


def _cancel(work: Work, move: SlotMove, why: str) -> None:
    source = work.state.shard(move.source)
    _enter(work, move, CANCELLED)
    work.state.moves_again_ns = work.now + AGAIN_MS * MS
    if source is not None:
        work.record(source, "not_moved", f"{count(move.slots)} slots stay: {why}", move=move.id)
