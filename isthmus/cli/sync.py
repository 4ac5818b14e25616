"""A server's snapshot over the wire, as `redis-cli --rdb` gets it (io).

    REPLCONF capa eof | REPLCONF rdb-only 1 | SYNC
    -> blank lines while the server prepares | $EOF:<40 characters> | snapshot | the 40 characters
       or, from a server that saves to its disk first, $<length> | snapshot

Servers older than 7.0 do not know rdb-only; they would go on with commands, so the connection is
ended behind the snapshot. Nothing is kept here but the last 40 bytes: pieces go to `take`, and the
next is read when that returns, so a slow destination slows the server's sending down, not ours up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import hiredis
import trio

PIECE_BYTES = 256 << 10
CONNECT_SECONDS_MAX = 10.0
SILENCE_SECONDS_MAX = 120.0
MARK_BYTES = 40
LINE_BYTES_MAX = 4096


class SyncFailed(Exception):
    """No snapshot was had; the text says from whom, and why."""


@dataclass(frozen=True)
class Server:
    """Where a server listens, and as whom to ask it."""

    host: str
    port: int
    user: str = "default"
    password: str | None = None

    @property
    def name(self) -> str:
        """HOST:PORT"""
        return f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> Server:
        """Another server that takes the same login."""
        return Server(host, port, self.user, self.password)


def server_of(text: str) -> Server:
    """redis://[user:password@]host[:port], or host:port; ValueError says what is wrong."""
    url = urlsplit(text if "://" in text else f"redis://{text}")
    if url.scheme != "redis":
        raise ValueError(f"{text!r}: redis://host:port is meant; {url.scheme} is not spoken here")
    try:
        port = url.port or 6379
    except ValueError as error:
        raise ValueError(f"{text!r} names no port that there can be") from error
    if not url.hostname:
        raise ValueError(f"{text!r} names no host: redis://host:port is meant")
    password = unquote(url.password) if url.password else None
    return Server(url.hostname, port, unquote(url.username or "") or "default", password)


Take = Callable[[bytes], Awaitable[None]]


async def snapshot(server: Server, take: Take) -> None:
    """Hand a server's snapshot over piece by piece; SyncFailed."""
    try:
        with trio.fail_after(CONNECT_SECONDS_MAX):
            stream = await trio.open_tcp_stream(server.host, server.port)
    except (OSError, trio.TooSlowError) as error:
        raise SyncFailed(f"nobody answers at {server.name}") from error
    async with stream:
        try:
            await _Sync(server, stream).run(take)
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise SyncFailed(f"{server.name} was lost before its snapshot was whole") from error


class _Sync:
    """One conversation."""

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self.server = server
        self.stream = stream
        self.held = bytearray()

    async def run(self, take: Take) -> None:
        """All of it."""
        server = self.server
        if server.password is not None:
            login = (server.password,) if server.user == "default" else (
                server.user, server.password)  # fmt: skip
            answer = await self.ask("AUTH", *login)
            if answer[:1] == b"-":
                raise SyncFailed(f"{server.name} refuses the login: {_text(answer)}")
        await self.ask("REPLCONF", "capa", "eof")
        await self.ask("REPLCONF", "rdb-only", "1")
        await self.send("SYNC")
        head = b""
        while not head:
            head = await self.line()
        if head[:1] != b"$":
            raise SyncFailed(f"{server.name} gives no snapshot: {_text(head)}")
        if head.startswith(b"$EOF:") and len(head) == 5 + MARK_BYTES:
            await self.until_mark(head[5:], take)
        elif head[1:].isdigit() and len(head) < 20:
            await self.counted(int(head[1:]), take)
        else:
            raise SyncFailed(f"{server.name} answers SYNC with {head[:80]!r}")

    async def ask(self, *argv: str) -> bytes:
        """The line that answers a command."""
        await self.send(*argv)
        return await self.line()

    async def send(self, *argv: str) -> None:
        """A command."""
        await self.stream.send_all(hiredis.pack_command(argv))  # type: ignore[arg-type]

    async def receive(self) -> bytes:
        """More bytes."""
        with trio.fail_after(SILENCE_SECONDS_MAX):
            piece = bytes(await self.stream.receive_some(PIECE_BYTES))
        if not piece:
            raise SyncFailed(f"{self.server.name} ended before its snapshot was whole")
        return piece

    async def line(self) -> bytes:
        """A line, without its end."""
        while (end := self.held.find(b"\n")) < 0:
            if len(self.held) > LINE_BYTES_MAX:
                raise SyncFailed(f"{self.server.name} does not speak as a Redis does")
            self.held += await self.receive()
        found = bytes(self.held[:end]).rstrip(b"\r")
        del self.held[: end + 1]
        return found

    async def until_mark(self, mark: bytes, take: Take) -> None:
        """A snapshot whose end is told by the mark behind it."""
        held = bytes(self.held)
        while (end := held.find(mark)) < 0:
            safe = max(len(held) - MARK_BYTES + 1, 0)
            if safe:
                await take(held[:safe])
            held = held[safe:] + await self.receive()
        await take(held[:end])

    async def counted(self, size: int, take: Take) -> None:
        """A snapshot of known length."""
        held = bytes(self.held)
        while size:
            piece = held[:size] or (await self.receive())[:size]
            held = b""
            size -= len(piece)
            await take(piece)


def _text(line: bytes) -> str:
    return line.lstrip(b"-").decode("utf-8", "replace")[:200]
