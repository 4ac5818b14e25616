"""The same streams as in test_differ.py, fewer of them, to our servers as users run them.

One standalone node, and a cluster of three shards behind its proxy, where all keys share a hash
tag. What the in-process runs cannot see is compared here: the wire, the clock, the pump, routing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e import cluster as e2e
from tests.hostile.process import node
from tests.oracle import differ
from tests.oracle.grammar import Grammar
from tests.oracle.groups import CLUSTER_GROUPS, GROUPS
from tests.support.servers import Server

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(180)]

Sides = tuple[differ.Real, differ.Real]
HOST = "127.0.0.1"
SEQUENCES = 15
few = settings(
    max_examples=SEQUENCES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
seeds = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=50)


def pair(ours: Server, theirs: Server, protocol: int) -> Iterator[Sides]:
    sides = differ.Real(ours, protocol), differ.Real(theirs, protocol).configure()
    yield sides
    for side in sides:
        side([b"FLUSHALL"])
        side.close()


@pytest.fixture(scope="module")
def node_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with node(tmp_path_factory.mktemp("node")) as process:
        server = Server(HOST, process.port, process.pid)
        differ.Real(server, 2).configure().close()
        yield server
        process.check()


@pytest.fixture(scope="module")
def proxy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with e2e.running(tmp_path_factory.mktemp("cluster")) as cluster:
        for shard in range(3):
            differ.Real(Server(HOST, cluster.ports.node + shard, 0), 2).configure().close()
        yield Server(HOST, cluster.ports.proxy, cluster.up.pid)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def alone(request: pytest.FixtureRequest, node_server: Server, redis8: Server) -> Iterator[Sides]:
    yield from pair(node_server, redis8, request.param)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def clustered(
    request: pytest.FixtureRequest, proxy_server: Server, redis8: Server
) -> Iterator[Sides]:
    yield from pair(proxy_server, redis8, request.param)


@pytest.mark.parametrize("group", GROUPS)
@few
@given(seeds=seeds)
def test_a_node_agrees(alone: Sides, group: str, seeds: list[int]) -> None:
    differ.run_served(*alone, differ.stream_of(Grammar(group), seeds))


@pytest.mark.parametrize("group", CLUSTER_GROUPS)
@few
@given(seeds=seeds)
def test_a_cluster_agrees(clustered: Sides, group: str, seeds: list[int]) -> None:
    differ.run_served(*clustered, differ.stream_of(Grammar(group, b"{t}"), seeds))
