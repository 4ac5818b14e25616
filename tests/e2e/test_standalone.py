"""One node alone: a drop-in redis-server for a client and for the default benchmark list."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import redis

from tests.e2e import cluster as e2e
from tests.e2e.test_cluster import benchmark, needs_benchmark
from tests.support import servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = e2e.free_ports(1).node
    node = subprocess.Popen(
        [*e2e.PROGRAM, "node", "--standalone", "--port", str(port), "--metrics-port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        servers.await_output(node, b"node_ready", e2e.START_SECONDS_MAX)
        yield port
    finally:
        servers.stop(node)
    assert node.returncode == 0


@needs_benchmark
@pytest.mark.parametrize("pipeline", [1, 16])
def test_the_default_benchmark_list(port: int, pipeline: int) -> None:
    benchmark(port, pipeline)


def test_databases_are_apart(port: int) -> None:
    with redis.Redis(port=port, db=3) as three, redis.Redis(port=port, db=4) as four:
        three.set("apart", "3")
        assert four.get("apart") is None
        assert three.get("apart") == b"3"
