"""Generated streams of every group against redis-server 8.0, in RESP2 and in RESP3.

The request is drawn from the commands' own syntax (grammar.py); hypothesis draws the streams, makes
a failing one shorter, and is told to draw the same ones each time. `make soak` draws others. What
was found is kept in found/, one file a story, and is replayed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import differ
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.support.servers import Server

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

SEQUENCES = 100  # in each of the two protocols
FOUND = sorted((Path(__file__).parent / "found").glob("*.txt"))

seeds = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=50)


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def real(request: pytest.FixtureRequest, redis8: Server) -> Iterator[tuple[differ.Real, int]]:
    made = differ.Real(redis8, request.param).configure()
    yield made, request.param
    made([b"FLUSHALL"])
    made.close()


@pytest.mark.parametrize("group", GROUPS)
@settings(
    max_examples=SEQUENCES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seeds=seeds)
def test_replies_agree(real: tuple[differ.Real, int], group: str, seeds: list[int]) -> None:
    server, protocol = real
    differ.run(server, protocol, differ.stream_of(Grammar(group), seeds))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_found(real: tuple[differ.Real, int], path: Path) -> None:
    server, protocol = real
    lines = path.read_text(encoding="ascii").splitlines()
    stream = [differ.read(line) for line in lines if line and not line.startswith("#")]
    differ.run(server, protocol, stream)


def test_a_line_is_read_as_it_was_written() -> None:
    argv = [b"SET", b"", b'a "b" \\c', bytes(range(256)), b"#x", b"plain"]
    assert differ.read(differ.show(argv)) == argv
