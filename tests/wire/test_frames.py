"""Data-link frames: one contract for both twins, fed whole and byte by byte.

A twin rests on the Feed and the Peer of its own kind, so the pure one is tested when the suite runs
pure, and the compiled one when it runs compiled.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.wire import frames as frames_module
from isthmus.wire.parser import RequestParser
from isthmus.wire.pump import Pump, Ticker
from isthmus.wire.reply import ReplyWriter

SET = [b"SET", b"k", b"v"]
GET = [b"GET", b"k"]


@pytest.fixture
def frames() -> Any:
    return frames_module


def multibulk(argv: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in argv)


def frame(
    payload: bytes, *, epoch: int = 7, count: int = 1, protocol: int = 2, flags: int = 0,
    sequence: int = 1,
) -> bytes:  # fmt: skip
    return struct.pack(">IIHBBI", len(payload), epoch, count, protocol, flags, sequence) + payload


def replies(*parts: bytes, **fields: int) -> bytes:
    sizes = b"".join(struct.pack(">I", len(part)) for part in parts)
    return frame(sizes + b"".join(parts), count=len(parts), **fields)


def drain(reader: Any) -> list[bytes]:
    found = []
    reader.open_replies()
    for _ in range(reader.count):
        first = reader.next_reply()
        found.append(reader.reply())
        assert found[-1][0] == first
    return found


# -- reading ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_frames_come_out_whole_however_they_were_cut(frames: Any, step: int) -> None:
    data = replies(b"+OK\r\n", b"$1\r\nv\r\n", sequence=4) + replies(
        b":1\r\n", protocol=3, sequence=5
    )
    reader = frames.FrameReader()
    found = []
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        while reader.next():
            found.append((reader.sequence, reader.protocol, reader.epoch, drain(reader)))
        reader.settle()
    assert found == [(4, 2, 7, [b"+OK\r\n", b"$1\r\nv\r\n"]), (5, 3, 7, [b":1\r\n"])]
    assert reader.pending == 0


def test_a_request_payload_goes_to_a_parser(frames: Any) -> None:
    reader, parser = frames.FrameReader(), RequestParser()
    reader.feed(frame(multibulk(SET) + multibulk(GET), count=2, flags=frames.SPLIT))
    assert reader.next()
    assert reader.flags == frames.SPLIT
    reader.open_requests(parser)
    assert [parser.next(), parser.next(), parser.next()] == [SET, GET, None]
    assert not reader.next()


def test_what_is_unread_survives_the_loss_of_the_callers_memory(frames: Any) -> None:
    reader, parser = frames.FrameReader(), RequestParser()
    parser.authenticated = True
    memory = bytearray(frame(multibulk(SET) + multibulk(GET), count=2))
    reader.feed(memory)
    assert reader.next()
    reader.open_requests(parser)
    assert parser.next() == SET
    parser.settle()
    reader.settle()
    memory[:] = bytes(len(memory))
    assert parser.next() == GET


@pytest.mark.parametrize(
    "header",
    [
        struct.pack(">IIHBBI", 0xFFFFFFFF, 0, 1, 2, 0, 0),
        struct.pack(">IIHBBI", (1 << 30) + (1 << 26) + 1, 0, 1, 2, 0, 0),
        struct.pack(">IIHBBI", 0, 0, 1, 4, 0, 0),
        struct.pack(">IIHBBI", 0, 0, 1, 0, 0, 0),
    ],
)
def test_a_bad_header_is_refused_before_its_payload_comes(frames: Any, header: bytes) -> None:
    reader = frames.FrameReader()
    reader.feed(header)
    with pytest.raises(frames.FrameError):
        reader.next()


@pytest.mark.parametrize(
    "bad",
    [
        frame(b"", count=1),
        frame(struct.pack(">I", 5) + b"+OK\r", count=1),
        frame(struct.pack(">I", 4) + b"+OK\r\n", count=1),
        frame(struct.pack(">II", 5, 0) + b"+OK\r\n", count=2),
        frame(struct.pack(">II", 0xFFFFFFFF, 6) + b"+OK\r\n", count=2),
    ],
)
def test_sizes_must_add_up(frames: Any, bad: bytes) -> None:
    reader = frames.FrameReader()
    reader.feed(bad)
    assert reader.next()
    with pytest.raises(frames.FrameError):
        reader.open_replies()


def test_a_huge_announcement_costs_nothing(frames: Any) -> None:
    reader = frames.FrameReader()
    reader.feed(struct.pack(">IIHBBI", 1 << 30, 0, 1, 2, 0, 0))
    assert not reader.next()
    reader.settle()
    assert reader.pending == 16


# -- writing requests ---------------------------------------------------------------------


class Wire:
    """A FramePeer in a pump, and the other end of its socket."""

    def __init__(self, module: Any) -> None:
        self.pump = Pump(ReplyWriter(), Ticker())
        mine, self.far = socket.socketpair()
        mine.setblocking(False)
        self.far.settimeout(2)
        self.peer = module.FramePeer(module.FrameReader())
        self.pump.add(self.peer, mine.detach())
        self.reader = module.FrameReader()

    def arrived(self) -> list[tuple[int, int, int, int, bytes]]:
        self.pump.poll(0)
        self.reader.feed(self.far.recv(1 << 20))
        found = []
        while self.reader.next():
            it = self.reader
            found.append((it.sequence, it.count, it.protocol, it.flags, it.payload()))
        assert self.reader.pending == 0
        return found


@pytest.fixture
def wire(frames: Any) -> Iterator[Wire]:
    made = Wire(frames)
    yield made
    made.pump.close(made.peer)
    made.far.close()


def test_requests_of_one_turn_share_a_frame(wire: Wire) -> None:
    wire.peer.add_argv(SET, 0, 2, 1)
    wire.peer.add_argv(GET, 0, 2, 1)
    assert wire.peer.sequence == 1
    assert wire.arrived() == [(1, 2, 2, 0, multibulk(SET) + multibulk(GET))]
    wire.peer.add_argv(GET, 0, 2, 1)
    assert wire.arrived() == [(2, 1, 2, 0, multibulk(GET))]


def test_another_protocol_flag_or_epoch_begins_a_frame(wire: Wire) -> None:
    for flags, protocol, epoch in ((0, 2, 1), (0, 3, 1), (4, 3, 1), (4, 3, 2)):
        wire.peer.add_argv(GET, flags, protocol, epoch)
    assert [row[:4] for row in wire.arrived()] == [
        (1, 1, 2, 0),
        (2, 1, 3, 0),
        (3, 1, 3, 4),
        (4, 1, 3, 4),
    ]


@pytest.mark.parametrize(
    ("sent", "framed"),
    [
        (multibulk(GET), multibulk(GET)),
        (b"GET k\r\n", multibulk(GET)),
        (b"*2\r\n$3\r\nGETxx$1\r\nkxx", multibulk(GET)),
    ],
)
def test_a_parsed_request_is_framed_canonically(wire: Wire, sent: bytes, framed: bytes) -> None:
    parser = RequestParser()
    parser.feed(sent)
    assert parser.next() == GET
    wire.peer.add_request(parser, 0, 2, 1)
    assert wire.arrived()[0][4] == framed


def test_a_frame_has_bounds(frames: Any, wire: Wire) -> None:
    for _ in range(frames.OPEN_FRAME_REQUESTS_MAX + 1):
        wire.peer.add_argv([b"PING"], 0, 2, 1)
    assert [row[1] for row in wire.arrived()] == [frames.OPEN_FRAME_REQUESTS_MAX, 1]
    large = [b"SET", b"k", bytes(frames.OPEN_FRAME_BYTES_MAX)]
    wire.peer.add_argv(large, 0, 2, 1)
    wire.peer.add_argv(GET, 0, 2, 1)
    assert [row[1] for row in wire.arrived()] == [1, 1]


def test_frames_stay_true_while_the_socket_takes_only_part(frames: Any, wire: Wire) -> None:
    value = bytes(3000)
    sent = 0
    collected = bytearray()
    for _ in range(400):
        wire.peer.add_argv([b"SET", b"k", value], 0, 2, 1)
        sent += 1
        if sent % 7 == 0:
            wire.pump.poll(0)
        if sent % 20 == 0:
            collected += wire.far.recv(4000)
    wire.far.setblocking(False)
    while wire.peer.pending_output() or sent:
        wire.pump.poll(0)
        try:
            collected += wire.far.recv(1 << 20)
        except BlockingIOError:
            break
    reader, parser = frames.FrameReader(), RequestParser()
    parser.authenticated = True
    reader.feed(bytes(collected))
    count = sequence = 0
    while reader.next():
        sequence += 1
        assert reader.sequence == sequence
        reader.open_requests(parser)
        for _ in range(reader.count):
            assert parser.next() == [b"SET", b"k", value]
        assert parser.next() is None
        count += reader.count
    assert count == sent
    assert reader.pending == 0


def test_a_closed_peer_takes_nothing(wire: Wire) -> None:
    wire.pump.close(wire.peer)
    wire.peer.add_argv(GET, 0, 2, 1)
    assert wire.peer.pending_output() == 0


def test_hello(frames: Any, wire: Wire) -> None:
    wire.peer.add_hello(frames.ERROR, 9, b"text")
    wire.peer.add_argv(GET, 0, 2, 1)
    rows = wire.arrived()
    assert rows[0][1:] == (0, 2, frames.HELLO | frames.ERROR, b"text")
    assert rows[1][1] == 1


# -- writing replies ----------------------------------------------------------------------


def test_a_reply_frame(frames: Any) -> None:
    writer = ReplyWriter()
    output = frames.ReplyFrame()
    writer.simple(b"before")
    output.begin(writer, 3)
    writer.ok()
    output.note()
    writer.bulk(b"v")
    output.note()
    assert output.count == 2
    output.finish(2, 7, 9)
    expected = replies(b"+OK\r\n", b"$1\r\nv\r\n", sequence=9)
    assert writer.take() == b"+before\r\n" + expected


def test_a_reply_frame_of_none_leaves_nothing(frames: Any) -> None:
    writer = ReplyWriter()
    output = frames.ReplyFrame()
    writer.ok()
    output.begin(writer, 700)
    output.finish(2, 7, 9)
    assert writer.take() == b"+OK\r\n"
