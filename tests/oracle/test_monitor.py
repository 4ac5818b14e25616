"""MONITOR beside a real server: what a monitoring client reads while others work, times aside."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.hostile.process import node
from tests.oracle.clients import Clients, Step, both
from tests.support.servers import Server

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

STEPS: list[Step] = [
    (0, "MONITOR"), (1, "SET a b\"c\\d\x01\u00e9"), (1, "GET a"), (1, "GET"), (1, "NOSUCH x"),
    (1, "SELECT 3"), (1, "LPUSH a x"), (1, "INCR n"), (1, "MULTI"), (1, "GET a"), (1, "PING"),
    (1, "EXEC"), (1, "EXEC"), (1, "CONFIG GET nothing"),
    (1, "EVAL return(redis.call('get',KEYS[1])) 1 n"), (1, "EVAL return(redis.pcall('nope')) 0"),
    (1, "EVAL return(redis.call('client','id')) 0"), (1, "EVAL bad( 0"), (1, "MULTI"),
    (1, "EVAL return(redis.call('get','n')) 0"), (1, "EXEC"), (1, "SCRIPT LOAD return(1)"),
    (1, "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0"), (1, "EVALSHA 00 0"),
    (1, "CLIENT GETNAME"), (1, "AUTH x"),
    (1, "AUTH u x"), (1, "HELLO 2 AUTH u x"),
    (0, "PING"), (0, "GET a"), (0, "SET a b"), (0, "MONITOR"), (0, "SUBSCRIBE c"),
    (1, "PUBLISH c hello"), (0, "RESET"), (0, "GET a"), (1, "GET a"), (2, "MULTI"), (2, "MONITOR"),
    (2, "EXEC"), (2, "MONITOR"), (1, "BLPOP nolist 0"), (2, "RPUSH nolist 1"),
    (0, "RPUSH nolist 1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with node(tmp_path_factory.mktemp("ours")) as process:
        yield "127.0.0.1", process.port
        process.check()


def neutral(clients: Clients, read: list[bytes]) -> list[bytes]:
    """Without the times, the addresses, and the pings of the harness itself."""
    control = b"%b:%d" % (b"127.0.0.1", clients.control.getsockname()[1])
    out = []
    for text in read:
        lines = [line for line in text.splitlines(keepends=True) if control not in line]
        text = b"".join(lines)
        text = re.sub(rb"\+\d{10}\.\d{6} \[", b"+TIME [", text)
        for index, each in enumerate(clients.sockets):
            if each.fileno() >= 0:
                port = b"127.0.0.1:%d" % each.getsockname()[1]
                text = text.replace(port, b"$address%d" % index)
        out.append(text)
    return out


@pytest.mark.parametrize("protocols", [[2, 2, 2], [3, 3, 3]])
def test_lines(ours: tuple[str, int], redis8: Server, protocols: list[int]) -> None:
    left = Clients(*ours, protocols)
    right = Clients(redis8.host, redis8.port, protocols)
    try:
        for each in (left, right):
            each.ask(b"FLUSHALL\r\n", b"+OK\r\n")
        for index, line in STEPS:
            mine, real = both(left, right, index, line)
            assert neutral(left, mine) == neutral(right, real), (index, line)
    finally:
        left.close()
        right.close()
