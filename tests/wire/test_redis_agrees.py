"""The stored vectors of `hostile.py` against a live redis-server, where one is installed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from tests.support.servers import Server, redis_server
from tests.wire.hostile import VECTORS, Vector

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on PATH"),
]
SENTINEL = b"*2\r\n$4\r\nPING\r\n$8\r\nsentinel\r\n"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A server that wants a password, and one that does not."""
    paths: list[Path] = [tmp_path_factory.mktemp(name) for name in ("locked", "open")]
    locked = redis_server(paths[0], ["--requirepass", "pw"])
    with locked as first, redis_server(paths[1]) as second:
        yield first, second


def replies(server: Server, data: bytes) -> tuple[list[object], bool]:
    """All replies up to that to the sentinel, and whether the server closed before it."""
    reader = hiredis.Reader()
    found: list[object] = []
    with socket.create_connection((server.host, server.port), timeout=5) as sock:
        sock.sendall(data)
        while True:
            received = sock.recv(65536)
            if not received:
                return found, True
            reader.feed(received)
            while (reply := reader.gets()) is not False:
                found.append(reply)
                if reply == b"sentinel" or "NOAUTH" in str(reply):
                    return found, False


@pytest.mark.parametrize(
    "vector", [each for each in VECTORS if not each.waits], ids=lambda vector: vector.name
)
def test_redis_agrees(servers: tuple[Server, Server], vector: Vector) -> None:
    server = servers[vector.authenticated]
    if vector.error is not None:
        found, closed = replies(server, vector.data)
        text = "ERR Protocol error: " + vector.error.decode().translate({13: 32, 10: 32})
        assert (len(found), str(found[-1]), closed) == (len(vector.requests) + 1, text, True)
    else:
        found, closed = replies(server, vector.data + SENTINEL)
        assert (len(found), closed) == (len(vector.requests) + 1, False)
