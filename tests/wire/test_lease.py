"""Leases: what a voter grants, what a holder counts, and that no two nodes ever hold one shard."""

from __future__ import annotations

import pytest

from isthmus.wire.lease import FOREVER, WITNESS, Holder, Voter, voter_sets, voters_of
from tests.wire.lease_model import Protocol, World, overlapping_runs

MS = 1_000_000
LEASE = 2000 * MS
COUNTED = LEASE * 95 // 100
START = 10**12
READY = START + LEASE


def voter() -> Voter:
    made = Voter(2000, START)
    made.learn(0, 5)
    return made


def holder(*copies: str, epoch: int = 5) -> Holder:
    made = Holder("a")
    made.configure(0, epoch, (voters_of(copies),))
    return made


# --- voters ---


def test_the_coordinator_votes_where_copies_are_even_in_number() -> None:
    assert voters_of(["a"]) == {"a"}
    assert voters_of(["a", "b"]) == {"a", "b", WITNESS}
    assert voters_of(["a", "b", "c"]) == {"a", "b", "c"}


def test_a_change_of_copies_has_two_sets_of_voters() -> None:
    shard = {"primary": "a", "replicas": ["c"]}
    assert voter_sets(shard) == (voters_of("ac"),)
    assert voter_sets({**shard, "joint": []}) == (voters_of("ac"),)
    assert voter_sets({**shard, "joint": ["a", "b"]}) == (voters_of("ac"), voters_of("ab"))


def test_a_voter_grants_nothing_for_a_lease_after_its_start() -> None:
    assert voter().ask(0, 5, "a", READY - 1) == (False, 5)
    assert voter().ask(0, 5, "a", READY) == (True, 5)


def test_a_voter_grants_nothing_for_a_shard_no_topology_told_it_of() -> None:
    assert voter().ask(1, 5, "a", READY) == (False, 0)


def test_a_grant_keeps_others_out_until_it_has_run_out() -> None:
    v = voter()
    assert v.ask(0, 5, "a", READY).granted
    assert v.ask(0, 6, "b", READY + LEASE - 1) == (False, 6)
    assert v.ask(0, 6, "b", READY + LEASE) == (True, 6)


def test_a_newer_epoch_ends_renewals_of_the_older() -> None:
    v = voter()
    assert v.ask(0, 5, "a", READY).granted
    v.learn(0, 6)
    assert v.ask(0, 5, "a", READY + 1) == (False, 6)
    v.learn(0, 5)
    assert v.ask(0, 5, "a", READY + 1) == (False, 6)


def test_the_same_node_may_go_on_under_a_newer_epoch() -> None:
    v = voter()
    assert v.ask(0, 5, "a", READY).granted
    assert v.ask(0, 6, "a", READY + 1).granted


def test_a_release_forgets_exactly_one_grant() -> None:
    v = voter()
    assert v.ask(0, 5, "a", READY).granted
    v.release(0, 4, "a")
    v.release(0, 5, "b")
    v.release(7, 5, "a")
    assert not v.ask(0, 6, "b", READY + 1).granted
    v.release(0, 5, "a")
    assert v.ask(0, 6, "b", READY + 1).granted


def test_frames_of_a_voter() -> None:
    v = voter()
    ask = {"type": "lease", "shard": 0, "epoch": 5, "node": "a", "number": 9}
    granted = {"type": "grant", "shard": 0, "epoch": 5, "number": 9, "granted": True, "known": 5}
    assert v.answer(ask, READY) == granted
    assert v.answer({"type": "release", "shard": 0, "epoch": 5, "node": "a"}, READY) is None
    assert v.answer({**ask, "node": "b"}, READY) == granted
    for broken in ({"shard": -1}, {"epoch": None}, {"node": ""}, {"node": WITNESS}, {"number": ""}):
        with pytest.raises(ValueError, match="no"):
            v.answer({**ask, **broken}, READY)


# --- holders ---


def test_a_holder_needs_a_majority_counted_from_when_it_asked() -> None:
    h = holder("a", "b")
    (first, frame), *rest = h.requests(START)
    assert [first, *(name for name, _ in rest)] == ["a", "b", WITNESS]
    number = frame["number"]
    h.granted("a", number, START + MS)
    assert h.held_until() == 0
    h.granted("b", number, START + 400 * MS)
    assert h.held_until() == START + COUNTED


def test_a_holder_asks_again_when_it_is_time() -> None:
    h = holder("a", "b")
    assert h.next_ns() == 0
    sent = h.requests(START)
    assert h.requests(START + 99 * MS) == []
    assert h.next_ns() == START + 100 * MS, "soon, while it has no lease"
    for voter, frame in sent:
        h.granted(voter, frame["number"], START + MS)
    assert h.requests(START + 499 * MS) == []
    assert h.next_ns() == START + 500 * MS
    assert h.requests(START + 500 * MS)


def test_a_holder_of_a_single_copy_asks_nobody_and_never_ends() -> None:
    h = holder("a")
    assert h.held_until() == FOREVER
    assert h.requests(START) == []
    assert h.next_ns() == FOREVER


def test_an_answer_nobody_waits_for_counts_nothing() -> None:
    h = holder("a", "b")
    old = h.requests(START)[0][1]["number"]
    h.configure(0, 6, (voters_of("ab"),))
    h.granted("a", old, START)
    h.granted("b", old, START)
    assert h.held_until() == 0


def test_a_late_answer_does_not_take_back_a_newer_one() -> None:
    h = holder("a", "b")
    first = h.requests(START)[0][1]["number"]
    second = h.requests(START + 500 * MS)[0][1]["number"]
    for number in (second, first):
        h.granted("a", number, START + 600 * MS)
        h.granted("b", number, START + 600 * MS)
    assert h.held_until() == START + 500 * MS + COUNTED


def test_while_copies_change_a_majority_of_both_sets_is_needed() -> None:
    h = holder("a", "b")
    number = h.requests(START)[0][1]["number"]
    h.granted("a", number, START)
    h.granted("b", number, START)
    h.configure(0, 5, voter_sets({"primary": "a", "replicas": ["c"], "joint": ["a", "b"]}))
    assert h.held_until() == 0
    h.granted("c", number, START)
    assert h.held_until() == START + COUNTED


def test_a_release_stops_the_holder_and_tells_all_voters() -> None:
    h = holder("a", "b")
    number = h.requests(START)[0][1]["number"]
    h.granted("a", number, START)
    h.granted("b", number, START)
    told = h.release()
    assert [name for name, _ in told] == ["a", "b", WITNESS]
    assert told[0][1] == {"type": "release", "shard": 0, "epoch": 5, "node": "a"}
    assert h.held_until() == 0
    assert h.requests(START + LEASE) == []
    h.granted("a", number, START)
    h.granted("b", number, START)
    assert h.held_until() == 0


def test_an_answer_tells_a_holder_of_a_newer_epoch() -> None:
    h = holder("a", "b")
    number = h.requests(START)[0][1]["number"]
    frame = {
        "type": "grant",
        "shard": 0,
        "epoch": 5,
        "number": number,
        "granted": False,
        "known": 8,
    }
    assert h.answered("b", frame, START) == 8
    assert h.held_until() == 0
    h.answered("b", {**frame, "granted": True, "epoch": 4}, START)
    h.answered("a", {**frame, "granted": True}, START)
    assert h.held_until() == 0
    h.answered("b", {**frame, "granted": True}, START)
    assert h.held_until() == START + COUNTED


# --- the world ---


class CountsFromReceipt(Holder):
    """Broken: a grant is counted from when its answer came, and in full."""

    def granted(self, voter: str, number: int, now: int) -> None:
        if number in self._sent:
            self._until[voter] = now + LEASE
            self._count()


class OneIsEnough(Holder):
    """Broken: one voter's grant will do."""

    def _end(self, voters: frozenset[str]) -> int:
        return max(self._until.get(voter, 0) for voter in voters)


class NoWait(Voter):
    """Broken: it grants as soon as it has started."""

    def __init__(self, lease_ms: int, now: int) -> None:
        super().__init__(lease_ms, now - lease_ms * MS)


def test_a_short_run_has_one_holder_at_a_time() -> None:
    world = World(1).run(1500)
    assert world.overlaps == 0
    assert world.held_ticks > 300


@pytest.mark.slow
def test_no_run_has_two_holders_at_once() -> None:
    worlds = [World(seed).run(3000) for seed in range(100)]
    assert sum(world.overlaps for world in worlds) == 0
    # And that is not because nobody ever holds anything.
    assert sum(world.held_ticks for world in worlds) > 100 * 3000 * 0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        Protocol(holder=CountsFromReceipt),
        Protocol(holder=OneIsEnough),
        Protocol(voter=NoWait),
        Protocol(joint=False),
    ],
    ids=["counted from receipt", "one is enough", "no wait", "one set of voters"],
)
def test_the_model_notices_a_protocol_that_lacks_something(broken: Protocol) -> None:
    assert overlapping_runs(range(100), 3000, broken) > 0
