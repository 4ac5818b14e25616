"""A small Redis client for our own tools: one connection, replies in order.

Used where Isthmus is the *client* (tests, chaos, the command line, probes), so its replies come
from a server we chose; `hiredis` reads them, which would not be safe for bytes from strangers.

    async with connect(("127.0.0.1", 6379)) as client:
        await client.call(b"SET", b"k", b"v")
        await client.pipeline([[b"GET", b"k"], [b"INCR", b"n"]])

`call` raises an error reply as `ReplyError`; `pipeline` returns it in its place in the list, since
the other replies are still good. After a timeout, a cancel or a lost connection the order of
replies is no longer known, so the client closes and every later call raises `ConnectionLost`:
whether the last commands were carried out is unknown. One call runs at a time; others wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import hiredis
import trio

__all__ = ["Address", "Client", "ConnectionLost", "ReplyError", "connect"]

Address = tuple[str, int] | str
Argument = bytes | str | int | float
_RECEIVE_BYTES = 65536
_NOT_YET = object()
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)


class ReplyError(Exception):
    """The server answered with an error; the text starts with its code."""


class ConnectionLost(Exception):
    """The connection ended or timed out; commands under way may or may not have run."""


class Client:
    """One connection; made by `connect`."""

    def __init__(self, stream: trio.abc.Stream, timeout_seconds: float) -> None:
        self._stream = stream
        self._timeout_seconds = timeout_seconds
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=_NOT_YET)
        self._turn = trio.Lock()
        self._lost = False

    async def call(self, *argv: Argument) -> Any:
        """Return the reply to one command; ReplyError, ConnectionLost."""
        (reply,) = await self.pipeline([argv])
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send all commands at once and return their replies, errors among them."""
        # hiredis declares a one-element tuple where it takes any number.
        packed = b"".join(hiredis.pack_command(cast(Any, tuple(argv))) for argv in commands)
        return await self._exchange(packed, len(commands))

    async def receive(self) -> Any:
        """Wait for one more reply without sending: a push, or a message of a subscription."""
        return (await self._exchange(b"", 1))[0]

    async def _exchange(self, data: bytes, count: int) -> list[Any]:
        async with self._turn:
            if self._lost:
                raise ConnectionLost("the connection was lost before")
            self._lost = True
            try:
                with trio.fail_after(self._timeout_seconds):
                    replies = await self._send_and_read(data, count)
            except trio.TooSlowError as exc:
                await trio.aclose_forcefully(self._stream)
                raise ConnectionLost(f"no reply in {self._timeout_seconds} seconds") from exc
            except _LOST as exc:
                raise ConnectionLost("connection reset") from exc
            except hiredis.ProtocolError as exc:
                raise ConnectionLost("the server does not speak RESP") from exc
            self._lost = False
            return replies

    async def _send_and_read(self, data: bytes, count: int) -> list[Any]:
        """Send and read side by side, or a large pipeline would block both ends on full buffers."""
        replies: list[Any] = []
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                try:
                    await self._stream.send_all(data)
                except _LOST as exc:
                    failures.append(exc)
                    nursery.cancel_scope.cancel()

            if data:
                nursery.start_soon(send)
            try:
                while len(replies) < count:
                    replies.append(await self._read())
            except (*_LOST, ConnectionLost, hiredis.ProtocolError) as exc:
                failures.append(exc)
                nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return replies

    async def _read(self) -> Any:
        while (reply := self._reader.gets()) is _NOT_YET:
            received = await self._stream.receive_some(_RECEIVE_BYTES)
            if not received:
                raise ConnectionLost("the server closed the connection")
            self._reader.feed(bytes(received))
        return reply


@asynccontextmanager
async def connect(
    address: Address,
    *,
    password: bytes | str | None = None,
    protocol: int = 2,
    timeout_seconds: float = 5.0,
) -> AsyncIterator[Client]:
    """Connect to `(host, port)` or to the path of a unix socket; the block's end closes.

    `timeout_seconds` bounds connecting and then each call. ConnectionLost if the server cannot be
    reached, ReplyError if it refuses the password or the protocol version.
    """
    try:
        with trio.fail_after(timeout_seconds):
            stream: trio.SocketStream
            if isinstance(address, str):
                stream = await trio.open_unix_socket(address)
            else:
                stream = await trio.open_tcp_stream(*address)
    except (OSError, trio.TooSlowError) as exc:
        raise ConnectionLost(f"cannot connect to {address}: {exc}") from exc
    async with stream:
        client = Client(stream, timeout_seconds)
        if protocol != 2:
            login = () if password is None else (b"AUTH", b"default", password)
            await client.call(b"HELLO", protocol, *login)
        elif password is not None:
            await client.call(b"AUTH", password)
        yield client
