"""A tiny HTTP responder for Prometheus (io), shared by every process of Isthmus.

It answers `GET /metrics` with the registry's text and `GET /healthz` with `ok`, one request per
connection, then closes. It is meant for a scraper on a private network, so it understands only
the request line; what it must do is stay harmless: a request head is at most `HEAD_BYTES_MAX`, a
whole exchange takes at most `EXCHANGE_SECONDS_MAX`, and more than `CONNECTIONS_MAX` connections
at once are closed unanswered.

The registry's collectors run on the event loop: they may read counters, never compute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

import trio
from prometheus_client import CollectorRegistry, generate_latest

HEAD_BYTES_MAX: Final = 8192
EXCHANGE_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 32
_TEXT: Final = "text/plain; charset=utf-8"
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


def _healthy() -> bool:
    return True


async def serve_metrics(
    host: str,
    port: int,
    registry: CollectorRegistry,
    *,
    healthy: Callable[[], bool] = _healthy,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Port 0 takes a free one; `started` gets the bound `host:port`.

    Raises OSError when the address cannot be bound.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    bound = listeners[0].socket.getsockname()[1]
    responder = _Responder(registry, healthy)
    async with trio.open_nursery() as nursery:
        await nursery.start(functools.partial(trio.serve_listeners, responder.handle, listeners))
        task_status.started(f"{host}:{bound}")


class _Responder:
    def __init__(self, registry: CollectorRegistry, healthy: Callable[[], bool]) -> None:
        self._registry = registry
        self._healthy = healthy
        self._open = 0

    async def handle(self, stream: trio.abc.Stream) -> None:
        if self._open >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._open += 1
        try:
            with trio.move_on_after(EXCHANGE_SECONDS_MAX):
                head = await _read_head(stream)
                if head:
                    await stream.send_all(self._answer(head))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the scraper went away: its own business
        finally:
            self._open -= 1
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await stream.aclose()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", _TEXT, b"bad request\n")
        method, target = words[0], words[1].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", _TEXT, b"GET only\n")
        if target == b"/metrics":
            status, kind, body = "200 OK", _PROMETHEUS, generate_latest(self._registry)
        elif target == b"/healthz" and self._healthy():
            status, kind, body = "200 OK", _TEXT, b"ok\n"
        elif target == b"/healthz":
            status, kind, body = "503 Service Unavailable", _TEXT, b"not ready\n"
        else:
            status, kind, body = "404 Not Found", _TEXT, b"try /metrics or /healthz\n"
        return _response(status, kind, body, send_body=method == b"GET")


async def _read_head(stream: trio.abc.Stream) -> bytes:
    """The bytes up to the empty line; nothing when the peer closed first or sent too much."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(HEAD_BYTES_MAX)
        if not data or len(head) + len(data) > HEAD_BYTES_MAX:
            return b""
        head += data
    return bytes(head)


def _response(status: str, kind: str, body: bytes, *, send_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if send_body else b"")
