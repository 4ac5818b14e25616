"""Four clients at once against redis-server 8.0: waiting, publishing, events, tracking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import crowd
from tests.oracle.pools import CROWDS
from tests.support.servers import Server

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

SEQUENCES = 200
seeds = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def theirs(redis8: Server) -> Iterator[crowd.RealCrowd]:
    made = crowd.RealCrowd(redis8)
    yield made
    made.fence([b"CONFIG", b"SET", b"notify-keyspace-events", b""])
    made.fence.close()


@pytest.mark.parametrize("lines", sorted(CROWDS))
@settings(
    max_examples=SEQUENCES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seeds=seeds)
def test_all_clients_agree(theirs: crowd.RealCrowd, lines: str, seeds: list[int]) -> None:
    crowd.run(theirs, crowd.steps_of(lines, seeds))
