"""Our servers for real clients: one standalone node and one cluster, as users start them.

What needs more than the usual environment is only collected by `make test-clients`, which makes a
second one from requirements.txt; the servers are run by the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import cluster as e2e
from tests.support import servers

HEAVY = ["test_applications.py", "test_coredis.py", "test_glide.py"]
collect_ignore = [] if os.environ.get("ISTHMUS_CLIENTS") else HEAVY
SERVER_PYTHON = os.environ.get("ISTHMUS_PYTHON", sys.executable)


@pytest.fixture(scope="session")
def program() -> list[str]:
    """The command `isthmus`."""
    return [SERVER_PYTHON, "-m", "isthmus.cli.main"]


@pytest.fixture(scope="session")
def node_port(program: list[str]) -> Iterator[int]:
    """The port of a standalone node."""
    port = e2e.free_ports(1).node
    node = subprocess.Popen(
        [*program, "node", "--standalone", "--port", str(port), "--metrics-port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        servers.await_output(node, b"node_ready", e2e.START_SECONDS_MAX)
        yield port
    finally:
        servers.stop(node)
    assert node.returncode == 0


@pytest.fixture(scope="session")
def cluster(program: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    """A cluster of three shards behind a proxy."""
    e2e.PROGRAM[:] = program
    with e2e.running(tmp_path_factory.mktemp("cluster")) as found:
        yield found
