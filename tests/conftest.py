"""What every test shares: the report line about the build, and the real servers.

The servers are started once per session and only if a test asks for them. A test that uses one
must leave it as it found it, or flush it first.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import isthmus
from tests.support import servers


def pytest_report_header() -> str:
    return f"isthmus: {'compiled' if isthmus.compiled() else 'pure'}"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A real redis-server, as an oracle; skips where there is none."""
    with servers.redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server
