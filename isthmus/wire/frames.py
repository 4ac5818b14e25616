"""The data link's frames: how a proxy and a node talk, many clients over one connection.

Both ways a stream of frames; a frame is a header of 16 bytes, big-endian, and its payload:

    u32 payload bytes | u32 topology epoch | u16 count | u8 protocol (2|3) | u8 flags | u32 sequence

- *request frame* (flags 0 or SPLIT): `count` requests as RESP multibulks, one after the other.
  SPLIT says that a request may name keys of several slots (all served by the node asked).
- *reply frame* (flags 0): `count` u32 sizes, then that many replies as raw RESP. Replies come in
  the order of the requests; `sequence` is that of the request frame they answer. One request frame
  may be answered by several reply frames, never one reply frame for several request frames.
- *relay frame* (RELAY): `count` requests like those of a request frame, from another node, which
  are not answered (node/cluster/bus.py).
- *talk frame* (TALK): one msgpack map from another node, which is not answered here; what it asks
  for comes down the asker's own lane (node/cluster/bus.py).
- *push frame* (PUSH): bytes for the client of a private link, as they are (messages of its
  subscriptions). A link is private if the proxy's hello says so (HELLO | PRIVATE).
- *hello* (HELLO, or HELLO | ERROR when it is refused): the first frame each way, see link_hello.

Epochs and sequences are cut to 32 bits. A payload is `FRAME_BYTES_MAX` at most: the header is
checked before anything is kept for it, and memory then grows only with bytes that came.

`FramePeer` builds request frames right in the queue of its socket. The header of the *open* frame
is brought up to date after each request, so at any moment the queue holds whole, true frames; a
frame stays open as long as none of it has been sent and its flags, protocol and epoch fit.
Thus all requests of one turn, and all that wait for a slow node, go out together without a timer.

`ReplyFrame` does the same for replies in the shared ReplyWriter, which the pump sends as it is.

This is the Python twin of frames.pyx.
"""

from __future__ import annotations

import struct
from typing import final

from isthmus.wire.parser import Feed, RequestParser
from isthmus.wire.pump import Peer
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

__all__ = [
    "ERROR",
    "PRIVATE",
    "PUSH",
    "FRAME_BYTES_MAX",
    "HELLO",
    "RELAY",
    "REPLY_BYTES_MAX",
    "SPLIT",
    "TALK",
    "FrameError",
    "FramePeer",
    "FrameReader",
    "ReplyFrame",
    "hello_frame",
    "late_frame",
    "push_frame",
    "relay_frame",
    "talk_frame",
]

HELLO = 1
ERROR = 2
SPLIT = 4
RELAY = 8
PRIVATE = 16
PUSH = 32
TALK = 64
HEADER_BYTES = 16
FRAME_BYTES_MAX = (1 << 30) + (1 << 26)
# A reply above this is not sent; the node answers an error in its place.
REPLY_BYTES_MAX = 1 << 30
# An open frame takes no more requests beyond these, so that a node can answer in small portions.
OPEN_FRAME_BYTES_MAX = 65536
OPEN_FRAME_REQUESTS_MAX = 1024
_RECEIVE_BYTES = 65536
_U32 = 0xFFFFFFFF
_HEADER = struct.Struct(">IIHBBI")


class FrameError(Exception):
    """The other end does not keep to the format: close the link."""


def hello_frame(flags: int, epoch: int, payload: bytes) -> bytes:
    """A whole hello frame (HELLO is added to `flags`)."""
    return _HEADER.pack(len(payload), epoch & _U32, 0, 2, HELLO | flags, 0) + payload


def relay_frame(epoch: int, count: int, payload: bytes) -> bytes:
    """A whole relay frame of `count` requests."""
    return _HEADER.pack(len(payload), epoch & _U32, count, 2, RELAY, 0) + payload


def talk_frame(epoch: int, payload: bytes) -> bytes:
    """A whole talk frame."""
    return _HEADER.pack(len(payload), epoch & _U32, 0, 2, TALK, 0) + payload


def push_frame(protocol: int, epoch: int, data: bytes) -> bytes:
    """A whole push frame."""
    return _HEADER.pack(len(data), epoch & _U32, 0, protocol, PUSH, 0) + data


def late_frame(protocol: int, epoch: int, sequence: int, data: bytes) -> bytes:
    """A whole reply frame of one reply."""
    fields = len(data) + 4, epoch & _U32, 1, protocol, 0, sequence & _U32
    return _HEADER.pack(*fields) + struct.pack(">I", len(data)) + data


@final
class FrameReader(Feed):
    """Frames of one link, one at a time; the fields are those of the frame last read."""

    def __init__(self) -> None:
        super().__init__()
        self.query_buffer_bytes_max = FRAME_BYTES_MAX + HEADER_BYTES + _RECEIVE_BYTES
        self.count = 0
        self.protocol = 2
        self.flags = 0
        self.epoch = 0
        self.sequence = 0
        self._payload = b""
        self._sizes_at = 0
        self._reply = b""
        self._reply_at = 0

    def next(self) -> bool:
        """Read the next frame if it is there whole; the payload is good until the next call of
        `next`, `feed` or `settle`. Raises FrameError."""
        data, pos = self._data, self._pos
        if len(data) - pos < HEADER_BYTES:
            return False
        size, epoch, count, protocol, flags, sequence = _HEADER.unpack_from(data, pos)
        if size > FRAME_BYTES_MAX or protocol not in (2, 3):
            raise FrameError(f"bad header: {size} bytes, protocol {protocol}")
        stop = pos + HEADER_BYTES + size
        if len(data) < stop:
            return False
        self.epoch, self.count, self.protocol, self.flags = epoch, count, protocol, flags
        self.sequence = sequence
        self._payload = bytes(data[pos + HEADER_BYTES : stop])
        self._pos = stop
        return True

    def payload(self) -> bytes:
        """The payload of the frame."""
        return self._payload

    def open_requests(self, parser: RequestParser) -> None:
        """Hand the payload to `parser`, to be read or settled before the payload goes."""
        parser.feed(self._payload)

    def open_replies(self) -> None:
        """Begin to read the payload as replies. Raises FrameError if sizes and bytes differ."""
        table = 4 * self.count
        if len(self._payload) < table:
            raise FrameError("a reply frame shorter than its table of sizes")
        sizes = struct.unpack_from(f">{self.count}I", self._payload)
        if table + sum(sizes) != len(self._payload) or 0 in sizes:
            raise FrameError("a reply frame whose sizes do not add up")
        self._sizes_at = 0
        self._reply_at = table

    def next_reply(self) -> i64:
        """Go on to the next reply (at most `count` times); its first byte."""
        (size,) = struct.unpack_from(">I", self._payload, self._sizes_at)
        self._sizes_at += 4
        self._reply = self._payload[self._reply_at : self._reply_at + size]
        self._reply_at += size
        return self._reply[0]

    def reply(self) -> bytes:
        """The reply that next_reply went to."""
        return self._reply

    def reply_to(self, peer: Peer) -> None:
        """Queue that reply for `peer`."""
        peer.send(self._reply)


class FramePeer(Peer):
    """A Peer that sends request frames; `sequence` is that of the frame added to last."""

    def __init__(self, parser: Feed) -> None:
        super().__init__(parser)
        self.sequence = 0
        self._frame_at = -1
        self._frame_size = 0
        self._frame_count = 0
        self._frame_kind = (0, 0, 0)

    def add_request(self, parser: RequestParser, flags: i64, protocol: i64, epoch: i64) -> None:
        """Add the request that `parser.next` just returned, as its bytes came."""
        self._add(parser.raw(), flags, protocol, epoch)

    def add_argv(self, argv: list[bytes], flags: i64, protocol: i64, epoch: i64) -> None:
        """Add a request given as its arguments."""
        parts = [b"*%d\r\n" % len(argv)]
        parts += [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in argv]
        self._add(b"".join(parts), flags, protocol, epoch)

    def add_hello(self, flags: i64, epoch: i64, payload: bytes) -> None:
        """Send a hello frame."""
        self._frame_at = -1
        self.send(hello_frame(flags, epoch, payload))

    def _add(self, request: bytes, flags: i64, protocol: i64, epoch: i64) -> None:
        if not self.open:
            return
        kind = (flags, protocol, epoch & _U32)
        fits = (
            self._frame_at >= self.bytes_out
            and self._frame_size < OPEN_FRAME_BYTES_MAX
            and self._frame_count < OPEN_FRAME_REQUESTS_MAX
            and self._frame_kind == kind
        )
        if not fits:
            self._frame_at = self.bytes_out + len(self._backlog)
            self._frame_size = self._frame_count = 0
            self._frame_kind = kind
            self.sequence = (self.sequence + 1) & _U32
            self.send(bytes(HEADER_BYTES))
        self.send(request)
        self._frame_size += len(request)
        self._frame_count += 1
        at = self._frame_at - self.bytes_out
        _HEADER.pack_into(
            self._backlog, at, self._frame_size, kind[2], self._frame_count, protocol, flags,
            self.sequence,
        )  # fmt: skip


@final
class ReplyFrame:
    """The reply frame being written: begin, then write a reply and `note` it, then finish."""

    def __init__(self) -> None:
        self.count = 0
        self._head = 0
        self._mark = 0
        self._room = 0
        self._writer: ReplyWriter

    def begin(self, writer: ReplyWriter, room: i64) -> None:
        """Begin a frame of at most `room` replies at the end of `writer`."""
        self._writer = writer
        self._head = writer.size
        self._room = room
        self.count = 0
        writer.raw(bytes(HEADER_BYTES + 4 * room))
        self._mark = writer.size

    def note(self) -> None:
        """What was written since the last call is one reply."""
        size = self._writer.size
        at = self._head + HEADER_BYTES + 4 * self.count
        struct.pack_into(">I", self._writer._buffer, at, size - self._mark)
        self._mark = size
        self.count += 1

    def finish(self, protocol: i64, epoch: i64, sequence: i64) -> None:
        """Write the header; a frame without replies is taken back."""
        buffer = self._writer._buffer
        table = self._head + HEADER_BYTES + 4 * self.count
        del buffer[table : self._head + HEADER_BYTES + 4 * self._room]
        if self.count == 0:
            self._writer.truncate(self._head)
            return
        size = len(buffer) - self._head - HEADER_BYTES
        fields = size, epoch & _U32, self.count, protocol, 0, sequence & _U32
        _HEADER.pack_into(buffer, self._head, *fields)
