"""Laws of placement, checked on many inputs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.coordinator.placement import SLOTS, Candidate, spread_primaries, spread_slots


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 100, 16384])
def test_slots_are_covered_once_in_ranges_of_nearly_one_size(shards: int) -> None:
    ranges = spread_slots(shards)
    assert ranges[0][0] == 0 and ranges[-1][1] == SLOTS - 1
    assert all(b[0] == a[1] + 1 for a, b in zip(ranges, ranges[1:], strict=False))
    sizes = {last - first + 1 for first, last in ranges}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shards", [0, -1, 16385])
def test_numbers_of_shards_that_make_no_sense(shards: int) -> None:
    with pytest.raises(ValueError):
        spread_slots(shards)


nodes = st.lists(st.sampled_from("xyz"), min_size=1, max_size=12)


@settings(max_examples=50)
@given(zones=nodes, data=st.data())
def test_zones_share_primaries_evenly_in_any_order(zones: str, data: st.DataObject) -> None:
    candidates = [
        Candidate(f"{n:040x}", zone, f"127.0.0.1:{8500 + n}") for n, zone in enumerate(zones)
    ]
    shards = data.draw(st.integers(1, len(candidates)))
    chosen = spread_primaries(candidates, shards)
    assert len(set(chosen)) == shards
    assert spread_primaries(data.draw(st.permutations(candidates)), shards) == chosen
    zone_of = {c.id: c.zone for c in candidates}
    used, there = Counter(zone_of[c] for c in chosen), Counter(zones)
    for zone, count in there.items():
        for other in there:
            # A zone is behind another by more than one only if it has no node left to give.
            assert used[zone] >= used[other] - 1 or used[zone] == count


def test_too_few_nodes() -> None:
    with pytest.raises(ValueError):
        spread_primaries([Candidate("a", "x", "h:1")], 2)


def test_ports_are_ordered_as_numbers() -> None:
    candidates = [Candidate("a", "x", "h:10000"), Candidate("b", "x", "h:9000")]
    assert spread_primaries(candidates, 2) == ["b", "a"]
