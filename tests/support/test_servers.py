"""The test servers themselves: they answer, and they are gone afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import redis

from tests.support import servers


@pytest.mark.oracle
def test_redis_server_answers(redis_server: servers.Server) -> None:
    with socket.create_connection((redis_server.host, redis_server.port), timeout=5) as stream:
        stream.sendall(b"PING\r\n")
        assert stream.recv(16) == b"+PONG\r\n"


@pytest.mark.oracle
def test_a_stopped_server_is_gone(tmp_path: Path) -> None:
    with servers.redis_server(tmp_path) as server:
        address = (server.host, server.port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5).close()


def test_a_missing_server_skips_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="apt-get install redis-server"):
        with servers.redis_server(tmp_path):
            pass


@pytest.mark.oracle
def test_redis8_answers(redis8: servers.Server) -> None:
    with redis.Redis(redis8.host, redis8.port) as client:
        assert client.info("server")["redis_version"].startswith("8.")


def test_without_redis8_the_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_REDIS8", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"tools/fetch_redis8\.sh"):
        with servers.redis8(tmp_path):
            pass
