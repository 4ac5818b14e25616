"""What comparisons with a real server share: a connection to it, and strategies for requests."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import hiredis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.support.servers import Server
from tests.support.store import RedisReplyError, encode

INTEGERS = [
    "0", "1", "-1", "2", "-2", "3", "7", "8", "9", "-8", "16", "100", "-100", "1_0", " 1", "0x10",
    "", "1.0", "+1", "01", "-0", "abc", "2147483648", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "9" * 40,
]  # fmt: skip


class Peer:
    """One connection to the real server, in one protocol."""

    def __init__(self, server: Server, protocol: int) -> None:
        self.protocol = protocol
        self.socket = socket.create_connection((server.host, server.port), timeout=10)
        self.reader = hiredis.Reader(replyError=RedisReplyError)
        self("HELLO", str(protocol))
        self("FLUSHALL")

    def pipeline(self, requests: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies to several requests, which are sent together."""
        packed = [hiredis.pack_command(tuple(encode(arg) for arg in args)) for args in requests]
        self.socket.sendall(b"".join(packed))
        return [self._reply() for _ in requests]

    def _reply(self) -> Any:
        while (reply := self.reader.gets()) is False:
            self.reader.feed(self.socket.recv(65536))
        return reply

    def __call__(self, *args: Any) -> Any:
        return self.pipeline([args])[0]

    def close(self) -> None:
        """Leave the server empty."""
        self("FLUSHALL")
        self.socket.close()


def line(word: str, *parts: Any) -> Any:
    """A strategy for argument lists: texts as they are, strategies drawn, lists spliced in."""
    drawn = st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts))
    return drawn.map(
        lambda args: [word, *(w for a in args for w in (a if isinstance(a, list) else [a]))]
    )


def sequences(count: int) -> settings:
    """`count` examples, the same in every run."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
