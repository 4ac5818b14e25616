"""The client against a stand-in server that speaks from a script of (expected bytes, answer)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from isthmus.wire.client import Client, ConnectionLost, ReplyError, connect


def pair() -> tuple[Client, trio.StapledStream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return Client(ours, 5.0), theirs


async def test_replies_in_order_and_errors_in_place(nursery: trio.Nursery) -> None:
    client, server = pair()

    async def answer() -> None:
        assert b"$3\r\nGET" in await server.receive_some()
        await server.send_all(b"$1\r\nv\r\n-ERR no\r\n:")
        await server.send_all(b"7\r\n")

    nursery.start_soon(answer)
    first, second, third = await client.pipeline([[b"GET", b"k"], [b"BAD"], [b"INCR", b"n"]])
    assert (first, third) == (b"v", 7)
    assert isinstance(second, ReplyError)


async def test_error_reply_is_raised_and_connection_stays_usable() -> None:
    client, server = pair()
    await server.send_all(b"-WRONGTYPE x\r\n+OK\r\n")
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        await client.call("LPUSH", "k", 1)
    assert await client.call("PING") == b"OK"


async def test_end_of_stream_is_connection_lost_for_ever() -> None:
    client, server = pair()
    await server.aclose()
    with pytest.raises(ConnectionLost):
        await client.call("PING")
    with pytest.raises(ConnectionLost):
        await client.call("PING")


async def test_timeout_is_connection_lost(autojump_clock: trio.testing.MockClock) -> None:
    client, _server = pair()
    with pytest.raises(ConnectionLost, match="no reply"):
        await client.call("PING")


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectionLost):
        async with connect("/nonexistent/socket"):
            pass
