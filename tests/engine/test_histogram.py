"""Histogram: the same numbers compiled and pure, near the true ones, and Redis' levels."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.twins import both, load_pure

PURE = load_pure("isthmus.node.engine.histogram")


@pytest.fixture(params=both("isthmus.node.engine.histogram"))
def module(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param
    return found


def test_nothing_noted(module: ModuleType) -> None:
    empty = module.Histogram()
    assert (empty.total, empty.percentile(50), empty.levels(), empty.count(3)) == (0, 0, [], 0)


@pytest.mark.parametrize("nanos", [0, 1, 127, 128, 255, 256, 257, 1023, 10**6, 10**9, 6 * 10**10])
def test_a_figure_read_back_is_near(module: ModuleType, nanos: int) -> None:
    one = module.Histogram()
    one.note(nanos)
    assert nanos <= one.percentile(50) <= nanos * 1.008


def test_cells_do_not_overlap(module: ModuleType) -> None:
    for cell in range(module.CELLS - 1):
        highest = module.highest_of(cell)
        assert module.cell_of(highest) == cell
        assert module.cell_of(highest + 1) == cell + 1
    assert module.highest_of(module.CELLS - 1) == module.NANOS_MAX


def test_out_of_range_counts_as_the_nearest(module: ModuleType) -> None:
    one = module.Histogram()
    one.note(-5)
    one.note(1 << 62)
    assert (one.percentile(0), one.percentile(100)) == (0, module.NANOS_MAX)


def test_off_and_reset(module: ModuleType) -> None:
    one = module.Histogram()
    one.note(5)
    one.on = False
    one.note(5)
    assert one.total == 1
    one.reset()
    assert (one.total, one.percentile(99)) == (0, 0)


def test_levels_are_those_of_redis(module: ModuleType) -> None:
    one = module.Histogram()
    for micros in (1, 30, 30, 70, 130, 300, 1000, 900_000):
        one.note(micros * 1000)
    assert one.levels() == [
        (1, 1), (33, 3), (132, 5), (528, 6), (1056, 7), (1082130, 8)
    ]  # fmt: skip


@given(st.lists(st.integers(0, 1 << 37), min_size=1, max_size=50), st.floats(0, 100))
def test_twins_agree(values: list[int], percent: float) -> None:
    histograms = []
    for parameter in both("isthmus.node.engine.histogram"):
        module = parameter.values[0]
        if module is not None:
            one = module.Histogram()
            for value in values:
                one.note(value)
            histograms.append((one.percentile(percent), one.levels(), one.total))
    assert all(found == histograms[0] for found in histograms)
    ordered = sorted(min(value, PURE.NANOS_MAX) for value in values)
    wanted = ordered[max(1, int(percent / 100 * len(ordered) + 0.5)) - 1]
    assert wanted <= histograms[0][0] <= wanted * 1.008
