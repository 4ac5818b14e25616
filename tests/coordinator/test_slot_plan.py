"""Laws of the plan that makes shards equal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.coordinator.placement import spread_slots
from isthmus.coordinator.slot_plan import (
    SLOTS,
    Transfer,
    after,
    count,
    holds,
    joined,
    piece,
    plan,
    shares,
    without,
)

Held = dict[int, list[tuple[int, int]]]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Held, set[int]]:
    """Some shards, among which all slots are cut up in any way, and those that are to stay."""
    shards = draw(st.integers(1, 8))
    cuts = draw(st.lists(st.integers(1, SLOTS - 1), max_size=20, unique=True))
    edges = [0, *sorted(cuts), SLOTS]
    held: Held = {number: [] for number in range(shards)}
    for first, stop in zip(edges, edges[1:], strict=False):
        held[draw(st.integers(0, shards - 1))].append((first, stop - 1))
    keep = draw(st.sets(st.integers(0, shards - 1), min_size=1))
    return {number: joined(ranges) for number, ranges in held.items()}, keep


@settings(max_examples=100, deadline=None)
@given(layouts())
def test_afterwards_all_have_as_many_and_nothing_moves_for_nothing(
    layout: tuple[Held, set[int]],
) -> None:
    held, keep = layout
    transfers = plan(held, keep)
    then = after(held, transfers)
    sizes = [count(then[number]) for number in keep]
    assert max(sizes) - min(sizes) <= 1
    assert all(then[number] == [] for number in held if number not in keep)
    everything = sorted(slot for ranges in then.values() for slot in ranges)
    assert joined(everything) == [(0, SLOTS - 1)] and count(everything) == SLOTS
    # No slot leaves a shard that has no more than its share, and none that could stay leaves: no
    # choice of shares needs fewer moves than giving the larger ones to those that have most.
    before = {number: count(ranges) for number, ranges in held.items()}
    wanted = shares(before, keep)
    moved = sum(transfer.count for transfer in transfers)
    assert moved == sum(max(0, before[number] - wanted[number]) for number in held)
    low = SLOTS // len(keep)
    larger = SLOTS % len(keep)
    surplus = sorted((before[number] - low for number in keep), reverse=True)
    best = sum(before[n] for n in held if n not in keep)
    best += sum(max(0, s - (place < larger)) for place, s in enumerate(surplus))
    assert moved == best
    assert plan(then, keep) == []


@settings(max_examples=25, deadline=None)
@given(layouts(), st.integers(50, 2000), st.randoms(use_true_random=False))
def test_a_plan_made_anew_after_each_step_moves_no_more(
    layout: tuple[Held, set[int]], slots_max: int, draw: object
) -> None:
    held, keep = layout
    wanted = sum(transfer.count for transfer in plan(held, keep))
    moved = 0
    while transfers := plan(held, keep):
        step = piece(draw.choice(transfers), slots_max)  # type: ignore[attr-defined]
        assert 0 < step.count <= slots_max and holds(held[step.source], step.slots)
        held = after(held, [step])
        moved += step.count
    assert moved == wanted


def test_three_become_four_and_three_again() -> None:
    held: Held = {number: [slots] for number, slots in enumerate(spread_slots(3))}
    grown = plan({**held, 3: []}, range(4))
    assert [(t.source, t.target, t.count) for t in grown] == [
        (0, 3, 1366), (1, 3, 1365), (2, 3, 1365),
    ]  # fmt: skip
    back = plan(after({**held, 3: []}, grown), range(3))
    assert {t.source for t in back} == {3} and sum(t.count for t in back) == 4096


def test_ranges() -> None:
    assert without([(0, 9)], [(3, 4), (8, 20)]) == ((0, 2), (5, 7))
    assert without([(0, 9), (20, 29)], []) == ((0, 9), (20, 29))
    assert joined([(5, 6), (0, 4), (8, 9)]) == [(0, 6), (8, 9)]
    assert piece(Transfer(0, 1, ((0, 9), (20, 29))), 12).slots == ((8, 9), (20, 29))
