"""What every test shares: the report line about the build, and the real servers.

The servers are started once per session and only if a test asks for them. A test that uses one
must leave it as it found it, or flush it first.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import isthmus
from tests.support import servers
from tests.support.etcd import EtcdServer, etcd_server


def pytest_report_header() -> str:
    return f"isthmus: {'compiled' if isthmus.compiled() else 'pure'}"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A real redis-server, as an oracle; skips where there is none."""
    with servers.redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def redis8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A real redis-server 8.0, the oracle of what 7.2 and 7.4 added; skips where there is none.

    One for each file of tests: some set thresholds that others would stumble over.
    """
    with servers.redis8(tmp_path_factory.mktemp("redis8"), ["--enable-debug-command", "yes"]) as it:
        yield it


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A real etcd; every test has keys of its own in it. Skips where there is none."""
    with etcd_server(tmp_path_factory.mktemp("etcd")) as server:
        yield server
