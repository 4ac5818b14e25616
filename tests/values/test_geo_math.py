"""Places and distances: both twins, bit for bit the same, and near what they should be."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.values.geohash import Area, fineness, ranges, text
from tests.support import twins

MODULE = "isthmus.node.values.geo_math"
TWINS = pytest.mark.parametrize("geo", twins.both(MODULE))
PURE = twins.load_pure(MODULE)

LONGITUDES = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 0.0, 180.0]))
LATITUDES = st.one_of(
    st.floats(-85.05112878, 85.05112878), st.sampled_from([-85.05112878, 0.0, 85.05112878])
)
PLACES = st.tuples(LONGITUDES, LATITUDES)


@TWINS
@settings(derandomize=True, deadline=None, max_examples=60)
@given(place=PLACES, other=PLACES)
def test_there_and_back(
    geo: ModuleType, place: tuple[float, float], other: tuple[float, float]
) -> None:
    score = float(geo.encode(*place, geo.LATITUDE_MAX, geo.STEPS))
    assert score == float(PURE.encode(*place, geo.LATITUDE_MAX, geo.STEPS))
    lon, lat = geo.decode(score)
    assert (lon, lat) == PURE.decode(score)
    if place[0] < 180 and place[1] < 85.05112878:
        assert abs(lon - place[0]) < 6e-6
        assert abs(lat - place[1]) < 3e-6
    away = geo.distance(*place, *other)
    assert away == PURE.distance(*place, *other)
    assert 0 <= away <= math.pi * geo.EARTH_RADIUS * (1 + 1e-12)


@TWINS
@settings(derandomize=True, deadline=None, max_examples=60)
@given(score=st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70).map(float)))
def test_any_score_is_on_the_map(geo: ModuleType, score: float) -> None:
    lon, lat = geo.decode(score)
    assert (lon, lat) == PURE.decode(score)
    assert -180 <= lon <= 180
    assert -85.05112878 <= lat <= 85.05112878
    assert len(text(score)) == 11


@TWINS
@settings(derandomize=True, deadline=None, max_examples=60)
@given(number=st.integers(0, 2**32 - 1))
def test_bits_are_spread_and_gathered(geo: ModuleType, number: int) -> None:
    assert geo.gather(geo.spread(number)) == number
    assert geo.spread(number) == int(f"{number:b}", 4)


@TWINS
@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    centre=PLACES,
    others=st.lists(PLACES, max_size=20),
    size=st.floats(0, 3e7),
    height=st.floats(0, 3e7),
    circle=st.booleans(),
    limit=st.integers(0, 4),
)
def test_filters_agree(
    geo: ModuleType,
    centre: tuple[float, float],
    others: list[tuple[float, float]],
    size: float,
    height: float,
    circle: bool,
    limit: int,
) -> None:
    pairs = [
        (b"%d" % n, float(PURE.encode(*place, PURE.LATITUDE_MAX, PURE.STEPS)))
        for n, place in enumerate(others)
    ]
    shape = (size, 0.0, 0.0) if circle else (-1.0, size, height)
    ours: list[object] = []
    theirs: list[object] = []
    geo.filter_places(pairs, *centre, *shape, limit, ours)
    PURE.filter_places(pairs, *centre, *shape, limit, theirs)
    assert ours == theirs
    assert not limit or len(ours) <= limit


@settings(derandomize=True, deadline=None, max_examples=60)
@given(centre=PLACES, others=st.lists(PLACES, max_size=30), size=st.floats(0, 5e6))
def test_ranges_hold_the_whole_circle(
    centre: tuple[float, float], others: list[tuple[float, float]], size: float
) -> None:
    """As far as Redis' grid promises it: away from the poles and the edge of the map."""
    if abs(centre[1]) > 40 or abs(centre[0]) > 120:
        return
    held = ranges(Area(*centre, size, 0.0, 0.0))
    for place in others:
        score = float(PURE.encode(*place, PURE.LATITUDE_MAX, PURE.STEPS))
        if PURE.distance(*centre, *PURE.decode(score)) <= size:
            assert any(low <= score < high for low, high in held)


def test_lengths_without_end() -> None:
    assert fineness(math.inf, 0) == 1
    assert fineness(0, 0) == 26
    assert len(ranges(Area(10.0, 20.0, math.inf, 0.0, 0.0))) >= 2
    assert len(ranges(Area(10.0, 20.0, -1.0, math.inf, math.inf))) >= 2
