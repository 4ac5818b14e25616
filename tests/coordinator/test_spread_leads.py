"""Laws of spread_leads: which copies take over so that zones hold alike many primaries."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.coordinator.placement import Seat, next_lead, spread_leads

ZONES = "wxyz"


@st.composite
def seats(draw: st.DrawFn) -> list[Seat]:
    found = []
    for number in range(draw(st.integers(1, 9))):
        zones = draw(st.lists(st.sampled_from(ZONES), min_size=1, max_size=3, unique=True))
        others = {zone: f"{number}{zone}" for zone in zones[1:]}
        found.append(Seat(number, zones[0], others))
    return found


def after(found: list[Seat], moves: list[tuple[int, str]]) -> dict[int, str]:
    named = dict(moves)
    zones: dict[int, str] = {}
    for seat in found:
        back = {node: zone for zone, node in seat.others.items()}
        zones[seat.shard] = back[named[seat.shard]] if seat.shard in named else seat.zone
    return zones


def spread(zones: dict[int, str]) -> int:
    return sum(n * n for n in Counter(zones.values()).values())


def best(found: list[Seat]) -> int:
    """The least that any choice of primaries comes to, by trying all (few shards, few zones)."""
    counts = {(0,) * len(ZONES)}
    for seat in found:
        choices = [ZONES.index(zone) for zone in (seat.zone, *seat.others)]
        counts = {
            tuple(n + (at == choice) for at, n in enumerate(count))
            for count in counts for choice in choices
        }  # fmt: skip
    return min(sum(n * n for n in count) for count in counts)


@settings(max_examples=200)
@given(found=seats())
def test_it_comes_to_the_best_there_is(found: list[Seat]) -> None:
    moves = spread_leads(found)
    assert len({shard for shard, _ in moves}) == len(moves)
    assert spread(after(found, moves)) == best(found)


@settings(max_examples=100)
@given(found=seats())
def test_done_one_by_one_it_ends(found: list[Seat]) -> None:
    # Each time only the first is done and all is reckoned anew, as the coordinator does.
    for _ in range(4 * len(found)):
        step = next_lead(found)
        if step is None:
            break
        shard, node = step
        for at, seat in enumerate(found):
            if seat.shard == shard:
                zone = next(zone for zone, name in seat.others.items() if name == node)
                others = {k: v for k, v in seat.others.items() if k != zone}
                others[seat.zone] = f"{shard}{seat.zone}"
                found[at] = Seat(shard, zone, others)
    assert not spread_leads(found)


def test_nothing_moves_for_less_than_two() -> None:
    assert spread_leads([Seat(0, "x", {"y": "a"})]) == []
    assert spread_leads([Seat(0, "x", {"y": "a"}), Seat(1, "x", {"y": "b"})]) == [(0, "a")]


def test_by_way_of_another_zone() -> None:
    found = [Seat(0, "x", {"y": "a"}), Seat(1, "x", {}), Seat(2, "y", {"z": "c"})]
    assert spread_leads(found) == [(0, "a"), (2, "c")]
