"""The framed link: format errors, limits, calls and their failures."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from isthmus.wire.link import Link, LinkClosed, LinkError, RpcClient, RpcError, serve_rpc


def frame(value: Any) -> bytes:
    body = msgpack.packb(value)
    return len(body).to_bytes(4, "big") + body


async def received(data: bytes, **options: int) -> Any:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(data)
    await theirs.aclose()
    return await Link(ours, **options).receive()


async def test_round_trip_keeps_bytes_and_text_apart() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    message = {"a": b"\xff", "b": "text", "c": [1, None, 2.5], "d": {"x": 1 << 63}}
    await Link(ours).send(message)
    await Link(ours).send({})
    peer = Link(theirs)
    assert await peer.receive() == message
    assert await peer.receive() == {}


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00",
        b"\x00\x00\x00\x05\x80",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x00",
        frame([1]),
        frame({1: 2}),
        frame({b"a": 2}),
        b"\x00\x00\x08\x00" + b"\x91" * 2048,
    ],
)
async def test_malformed_frames_end_the_link(data: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        await received(data)
    assert not isinstance(caught.value, LinkClosed)


async def test_end_between_frames_is_closed() -> None:
    with pytest.raises(LinkClosed):
        await received(b"")


async def test_limit_holds_in_both_directions() -> None:
    with pytest.raises(LinkError, match="at most"):
        await received(frame({"k": b"x" * 100}), frame_bytes_max=100)
    ours, _theirs = trio.testing.memory_stream_pair()
    with pytest.raises(ValueError, match="frame"):
        await Link(ours, frame_bytes_max=100).send({"k": b"x" * 100})


async def echo(method: str, params: dict[str, Any]) -> Any:
    if method == "fail":
        raise RpcError("no such thing")
    if method == "wait":
        await trio.sleep(params["seconds"])
    return [method, params]


async def test_calls_overlap(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve_rpc, theirs, echo, "server")
    order = []
    async with RpcClient.over(ours, "client") as client:
        assert client.peer == "server"

        async def ask(seconds: int) -> None:
            order.append((await client.call("wait", seconds=seconds))[1]["seconds"])

        async with trio.open_nursery() as calls:
            calls.start_soon(ask, 2)
            calls.start_soon(ask, 1)
        with pytest.raises(RpcError, match="no such thing"):
            await client.call("fail")
        assert await client.call("x", a=1) == ["x", {"a": 1}]
    assert order == [1, 2]
    with pytest.raises(LinkClosed):
        await client.call("x")


async def test_lost_link_fails_the_waiting_call(nursery: trio.Nursery) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def vanish() -> None:
        link = Link(theirs)
        await link.greet("server")
        await link.receive()
        await link.aclose()

    nursery.start_soon(vanish)
    async with RpcClient.over(ours, "client") as client:
        with pytest.raises(LinkClosed):
            await client.call("x")


async def test_other_version_is_refused() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(frame({"hello": "node", "version": 2}))
    with pytest.raises(LinkError, match="version"):
        async with RpcClient.over(ours, "client"):
            pass


async def test_server_ends_on_a_malformed_request(nursery: trio.Nursery) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(frame({"hello": "c", "version": 1}) + frame({"id": "x"}))
    with pytest.raises(LinkError, match="not a request"):
        await serve_rpc(theirs, echo, "server")
