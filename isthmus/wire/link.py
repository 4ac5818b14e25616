"""The framed link between our own processes, and calls over it.

A frame is a 4-byte big-endian length and that many bytes of msgpack, which must be one map with
text keys. The length is checked against `frame_bytes_max` before anything is read or kept; a peer
that breaks the format has ended the link (`LinkError`). An end of the stream between two frames is
`LinkClosed`, inside one a `LinkError`.

Calls. Right after connecting both ends send a hello and check the other's:

    {"hello": "<who: node, coordinator ...>", "version": 1}
    {"id": 7, "method": "register", "params": {...}}          a request
    {"id": 7, "result": <anything>}                           its answer, or
    {"id": 7, "error": "<text>"}

Answers may come in any order. A connection that is lost fails every call that waits on it: the
caller then does not know whether the other end carried it out.

This file may be used from trio tasks only; sending is one frame at a time, receiving belongs to
one task. It retries nothing and reconnects nothing: that is the caller's policy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import trio

__all__ = ["VERSION", "Link", "LinkClosed", "LinkError", "RpcClient", "RpcError", "serve_rpc"]

VERSION = 1
FRAME_BYTES_MAX = 64 << 20
CALLS_MAX = 1024  # requests of one peer that may run at once
_HEAD_BYTES = 4
_RECEIVE_BYTES = 65536

Message = dict[str, Any]
Handler = Callable[[str, Message], Awaitable[Any]]


class LinkError(Exception):
    """The peer, or the way to it, broke the link's format."""


class LinkClosed(LinkError):
    """The link has ended, orderly or by a reset."""


class RpcError(Exception):
    """The other end refused a call, or failed in it; the text is the other end's."""


class Link:
    """Maps sent and received over one byte stream."""

    def __init__(self, stream: trio.abc.Stream, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._stream = stream
        self._frame_bytes_max = frame_bytes_max
        self._sending = trio.Lock()
        self._unread = bytearray()
        self._broken = False

    async def send(self, message: Message) -> None:
        """Send one message; ValueError if it is larger than a frame may be.

        Raises LinkClosed. A send that was cancelled may have sent half a frame, so it ends the
        link for all later ones.
        """
        body = msgpack.packb(message, use_bin_type=True)
        if len(body) > self._frame_bytes_max:
            raise ValueError(f"message of {len(body)} bytes, a frame has {self._frame_bytes_max}")
        async with self._sending:
            if self._broken:
                raise LinkClosed("an earlier send was interrupted")
            self._broken = True
            try:
                await self._stream.send_all(len(body).to_bytes(_HEAD_BYTES, "big") + body)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise LinkClosed("link lost") from exc
            self._broken = False

    async def receive(self) -> Message:
        """Return the next message; LinkClosed at the end, LinkError if it is none."""
        await self._fill(_HEAD_BYTES, inside=False)
        size = int.from_bytes(self._unread[:_HEAD_BYTES], "big")
        if size > self._frame_bytes_max:
            raise LinkError(f"frame of {size} bytes, at most {self._frame_bytes_max} are taken")
        await self._fill(_HEAD_BYTES + size, inside=True)
        body = bytes(self._unread[_HEAD_BYTES : _HEAD_BYTES + size])
        del self._unread[: _HEAD_BYTES + size]
        try:
            message = msgpack.unpackb(body, raw=False, strict_map_key=True)
        except (ValueError, RecursionError) as exc:  # msgpack's own errors are ValueErrors
            raise LinkError("frame is not msgpack") from exc
        if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
            raise LinkError("frame is not a map with text keys")
        return message

    async def _fill(self, count: int, *, inside: bool) -> None:
        """Read until `count` bytes are there; `inside` a frame the stream may not end."""
        if len(self._unread) >= count:
            await trio.lowlevel.checkpoint()
        while len(self._unread) < count:
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise LinkClosed("link lost") from exc
            if not data:
                if inside or self._unread:
                    raise LinkError("link ended inside a frame")
                raise LinkClosed("link ended")
            self._unread += data

    async def greet(self, name: str, *, timeout_seconds: float = 5.0) -> str:
        """Exchange hellos; return the other's name, LinkError if it speaks another version."""
        with trio.move_on_after(timeout_seconds) as scope:
            await self.send({"hello": name, "version": VERSION})
            hello = await self.receive()
        if scope.cancelled_caught:
            raise LinkError("no hello in time")
        if not isinstance(hello.get("hello"), str) or hello.get("version") != VERSION:
            raise LinkError(f"not a link of version {VERSION}")
        return str(hello["hello"])

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


@asynccontextmanager
async def _plain_errors() -> AsyncIterator[None]:
    """Unwrap the group a nursery makes of one error: here it is always that of the block itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


class _Call:
    """One request under way: its answer, or how it failed."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: Any = None
        self.error: Exception | None = None


class RpcClient:
    """Calls to the other end of a link; made by `RpcClient.over`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._calls: dict[int, _Call] = {}
        self._last_id = 0
        self._lost: LinkError | None = None
        self.peer = ""

    @classmethod
    @asynccontextmanager
    async def over(cls, stream: trio.abc.Stream, name: str) -> AsyncIterator[RpcClient]:
        """Greet as `name`, then answer calls until the block ends, which closes the stream."""
        link = Link(stream)
        client = cls(link)
        try:
            client.peer = await link.greet(name)
            async with _plain_errors(), trio.open_nursery() as nursery:
                nursery.start_soon(client._receive_answers)
                yield client
                nursery.cancel_scope.cancel()
        finally:
            client._fail_all(LinkClosed("link closed"))
            await trio.aclose_forcefully(stream)

    async def call(self, method: str, **params: Any) -> Any:
        """Return the answer; RpcError if the other end refused, LinkError if the link is lost."""
        if self._lost is not None:
            raise LinkClosed(str(self._lost)) from self._lost
        self._last_id += 1
        number = self._last_id
        call = self._calls[number] = _Call()
        try:
            await self._link.send({"id": number, "method": method, "params": params})
            await call.done.wait()
        finally:
            del self._calls[number]
        if call.error is not None:
            raise call.error
        return call.result

    async def _receive_answers(self) -> None:
        try:
            while True:
                answer = await self._link.receive()
                number = answer.get("id")
                call = self._calls.get(number) if isinstance(number, int) else None
                if call is None:
                    continue  # its caller was cancelled and waits no more
                if "error" in answer:
                    call.error = RpcError(str(answer["error"]))
                call.result = answer.get("result")
                call.done.set()
        except LinkError as exc:
            self._fail_all(exc)

    def _fail_all(self, cause: LinkError) -> None:
        if self._lost is None:
            self._lost = cause
        for call in self._calls.values():
            if not call.done.is_set():
                call.error = LinkClosed(str(cause))
                call.done.set()


async def serve_rpc(stream: trio.abc.Stream, handler: Handler, name: str) -> None:
    """Answer calls on `stream` until it ends, each in its own task; then close it.

    `handler(method, params)` returns the result, or raises RpcError to refuse. LinkError is raised
    if the peer breaks the format; an orderly or a sudden end is a plain return.
    """
    link = Link(stream)
    slots = trio.Semaphore(CALLS_MAX)

    async def answer(number: int, method: str, params: Message) -> None:
        try:
            message: Message = {"id": number, "result": await handler(method, params)}
        except RpcError as exc:
            message = {"id": number, "error": str(exc)}
        finally:
            slots.release()
        try:
            await link.send(message)
        except LinkClosed:
            pass  # the receiving loop sees the same end

    try:
        await link.greet(name)
        async with _plain_errors(), trio.open_nursery() as nursery:
            while True:
                request = await link.receive()
                number, method = request.get("id"), request.get("method")
                params = request.get("params")
                if not (isinstance(number, int) and isinstance(method, str)):
                    raise LinkError("not a request")
                if not isinstance(params, dict):
                    raise LinkError("request without params")
                await slots.acquire()
                nursery.start_soon(answer, number, method, params)
    except LinkClosed:
        return
    finally:
        await trio.aclose_forcefully(stream)
