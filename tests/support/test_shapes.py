"""The check of shapes itself: what it takes, and what it complains about."""

from __future__ import annotations

import pytest

from tests.support.shapes import complaint


@pytest.mark.parametrize(
    ("line", "reply", "protocol"),
    [
        (b"GET k", b"$1\r\nv\r\n", 2), (b"GET k", b"$-1\r\n", 2), (b"GET k", b"_\r\n", 3),
        (b"HGETALL k", b"*0\r\n", 2), (b"HGETALL k", b"%0\r\n", 3), (b"GET k", b"-ERR x\r\n", 2),
        (b"SMEMBERS k", b"*0\r\n", 2), (b"GET k", b"+QUEUED\r\n", 2),
        (b"ZSCORE k m", b"$1\r\n1\r\n", 2), (b"nope", b"*0\r\n", 2),
        (b"SET k v", b"+OK\r\n", 3), (b"PING", b"+PONG\r\n", 2),
        (b"client id", b":1\r\n", 2), (b"GET k", b"", 2),
    ],
)  # fmt: skip
def test_what_is_declared(line: bytes, reply: bytes, protocol: int) -> None:
    assert not complaint(line.split(), reply, protocol)


@pytest.mark.parametrize(
    ("line", "reply", "protocol"),
    [
        (b"GET k", b":1\r\n", 2), (b"HGETALL k", b"*0\r\n", 3), (b"SMEMBERS k", b"*0\r\n", 3),
        (b"ZSCORE k m", b"$1\r\n1\r\n", 3), (b"DEL k", b"$-1\r\n", 2),
        (b"SET k v", b"+okay\r\n", 2),
        (b"LPUSH k v", b"_\r\n", 3),
    ],
)  # fmt: skip
def test_what_is_not(line: bytes, reply: bytes, protocol: int) -> None:
    assert "declares reply=" in complaint(line.split(), reply, protocol)
