"""Ports that are free now, also while other workers run other files of the suite.

Every worker has a part of its own of what lies below the ports that the kernel gives to whoever
asks for any, so no two of them, and no outgoing connection, take what one has just looked up. The
bus of a redis-server in cluster mode, 10,000 above its port, lies below those of the kernel, too.
"""

from __future__ import annotations

import os
import random
import socket

FIRST, END = 11_000, 21_000


def share(first: int, end: int, worker: int, workers: int) -> tuple[int, int]:
    """The part of a range that belongs to one of so many workers."""
    each = (end - first) // workers
    return first + worker * each, first + (worker + 1) * each


_LOW, _HIGH = share(
    FIRST,
    END,
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
_next = random.randrange(_LOW, _HIGH)


def neighbours(count: int) -> int:
    """The first of `count` ports of 127.0.0.1 on which nobody listens now; each call gives others,
    as long as there are some."""
    global _next
    for _ in range((_HIGH - _LOW) // count):
        first, _next = _next, _next + count
        if first + count > _HIGH:
            first, _next = _LOW, _LOW + count
        if all(free(port) for port in range(first, first + count)):
            return first
    raise AssertionError("no free ports")


def free(port: int) -> bool:
    """True if the port can be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    return neighbours(1)
