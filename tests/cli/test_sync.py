"""How a snapshot is had from a server, against a server that is played."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from isthmus.cli.sync import Server, SyncFailed, snapshot

MARK = b"0123456789" * 4
DATA = bytes(range(256)) * 400 + MARK[:39] + b"x"


async def serve(answer: Callable[[], list[bytes]], known: bool = True) -> list[bytes]:
    """Play a server that sends these pieces after SYNC; what the client took."""
    taken: list[bytes] = []

    async def play(stream: trio.SocketStream) -> None:
        heard = b""
        for word in (b"capa", b"rdb-only", b"SYNC"):
            while word not in heard:
                heard += await stream.receive_some()
            if word != b"SYNC":
                await stream.send_all(b"+OK\r\n" if known else b"-ERR Unrecognized option\r\n")
        for piece in answer():
            await stream.send_all(piece)
        await stream.aclose()

    async def take(piece: bytes) -> None:
        taken.append(piece)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, play, [listener])
        try:
            await snapshot(Server("127.0.0.1", port), take)
        finally:
            nursery.cancel_scope.cancel()
    return taken


@pytest.mark.parametrize("known", [True, False])
async def test_ended_by_a_mark(known: bool) -> None:
    whole = b"\n\n$EOF:" + MARK + b"\r\n" + DATA + MARK + b"*1\r\n$4\r\nPING\r\n"
    assert b"".join(await serve(lambda: [whole], known)) == DATA


async def test_a_mark_in_pieces() -> None:
    whole = b"$EOF:" + MARK + b"\r\n" + DATA[-300:] + MARK
    pieces = [whole[at : at + 1] for at in range(len(whole))]
    assert b"".join(await serve(lambda: pieces)) == DATA[-300:]


async def test_of_a_length() -> None:
    whole = b"\n$%d\r\n" % len(DATA) + DATA + b"*1\r\n$4\r\nPING\r\n"
    assert b"".join(await serve(lambda: [whole[:30], whole[30:]])) == DATA


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"-NOAUTH Authentication required.\r\n"], "NOAUTH"),
        ([b"$EOF:" + MARK + b"\r\n" + DATA], "ended before"),
        ([b"$100\r\n" + b"x" * 99], "ended before"),
        ([b"$EOF:short\r\n"], "answers SYNC with"),
        ([b"$-1\r\n"], "answers SYNC with"),
        ([b"x" * 10_000], "does not speak"),
    ],
)
async def test_no_snapshot(pieces: list[bytes], reason: str) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(SyncFailed, match=reason), allow_unwrapped=True, flatten_subgroups=True
    ):
        await serve(lambda: pieces)


async def test_nobody_there() -> None:
    with pytest.raises(SyncFailed, match="nobody answers"):
        await snapshot(Server("127.0.0.1", 1), lambda piece: trio.sleep(0))
