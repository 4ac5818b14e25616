# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `frames.py`, which states the contract and the format.

Replies go from the link's receive buffer straight into the queues of the clients' sockets, and
requests from a client's receive buffer straight into the link's: one copy each, no object.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memmove, memset

from isthmus.wire.parser cimport Feed, RequestParser
from isthmus.wire.pump cimport Peer
from isthmus.wire.reply cimport ReplyWriter

HELLO = 1
ERROR = 2
SPLIT = 4
RELAY = 8
PRIVATE = 16
PUSH = 32
TALK = 64
HEADER_BYTES = 16
FRAME_BYTES_MAX = (1 << 30) + (1 << 26)
REPLY_BYTES_MAX = 1 << 30
OPEN_FRAME_BYTES_MAX = 65536
OPEN_FRAME_REQUESTS_MAX = 1024

cdef enum:
    _HEADER = 16
    _BYTES_MAX = 1140850688  # FRAME_BYTES_MAX
    _OPEN_BYTES_MAX = 65536
    _OPEN_REQUESTS_MAX = 1024
    _RECEIVE_BYTES = 65536
    _ZEROS = 1024

cdef char _zeros[_ZEROS]
memset(_zeros, 0, _ZEROS)
cdef ReplyWriter _scratch = ReplyWriter()


class FrameError(Exception):
    """The other end does not keep to the format: close the link."""


cdef inline unsigned int _read32(const char* at) noexcept:
    cdef const unsigned char* it = <const unsigned char*>at
    return (<unsigned int>it[0] << 24) | (it[1] << 16) | (it[2] << 8) | it[3]


cdef inline void _write32(char* at, unsigned int value) noexcept:
    at[0] = <char>(value >> 24)
    at[1] = <char>(value >> 16)
    at[2] = <char>(value >> 8)
    at[3] = <char>value


cdef inline void _write_header(char* at, unsigned int size, unsigned int epoch, unsigned int count,
                               int protocol, int flags, unsigned int sequence) noexcept:
    _write32(at, size)
    _write32(at + 4, epoch)
    at[8] = <char>(count >> 8)
    at[9] = <char>count
    at[10] = <char>protocol
    at[11] = <char>flags
    _write32(at + 12, sequence)


def hello_frame(flags, epoch, payload):
    """A whole hello frame (HELLO is added to `flags`)."""
    cdef char header[_HEADER]
    _write_header(header, <unsigned int>len(payload), <unsigned int>(epoch & 0xFFFFFFFF), 0, 2,
                  HELLO | flags, 0)
    return PyBytes_FromStringAndSize(header, _HEADER) + payload


def relay_frame(epoch, count, payload):
    """A whole relay frame of `count` requests."""
    cdef char header[_HEADER]
    _write_header(header, <unsigned int>len(payload), <unsigned int>(epoch & 0xFFFFFFFF), count, 2,
                  RELAY, 0)
    return PyBytes_FromStringAndSize(header, _HEADER) + payload


def talk_frame(epoch, payload):
    """A whole talk frame."""
    cdef char header[_HEADER]
    _write_header(header, <unsigned int>len(payload), <unsigned int>(epoch & 0xFFFFFFFF), 0, 2,
                  TALK, 0)
    return PyBytes_FromStringAndSize(header, _HEADER) + payload


def push_frame(protocol, epoch, data):
    """A whole push frame."""
    cdef char header[_HEADER]
    _write_header(header, <unsigned int>len(data), <unsigned int>(epoch & 0xFFFFFFFF), 0, protocol,
                  PUSH, 0)
    return PyBytes_FromStringAndSize(header, _HEADER) + data


def late_frame(protocol, epoch, sequence, data):
    """A whole reply frame of one reply."""
    cdef char header[_HEADER]
    _write_header(header, <unsigned int>(len(data) + 4), <unsigned int>(epoch & 0xFFFFFFFF), 1,
                  protocol, 0, <unsigned int>(sequence & 0xFFFFFFFF))
    return (
        PyBytes_FromStringAndSize(header, _HEADER) + (<object>len(data)).to_bytes(4, "big") + data
    )


@cython.final
cdef class FrameReader(Feed):
    """Frames of one link, one at a time; the fields are those of the frame last read."""

    def __cinit__(self):
        self.query_buffer_bytes_max = <long long>_BYTES_MAX + _HEADER + _RECEIVE_BYTES
        self.protocol = 2

    cpdef bint next(self) except -1:
        """Read the next frame if it is there whole; see the Python twin."""
        cdef const char* at = self.data + self.pos
        cdef Py_ssize_t left = self.end - self.pos
        cdef Py_ssize_t size
        if left < _HEADER:
            return False
        size = _read32(at)
        if size > _BYTES_MAX or (at[10] != 2 and at[10] != 3):
            raise FrameError(f"bad header: {size} bytes, protocol {<unsigned char>at[10]}")
        if left < _HEADER + size:
            self.wanted = _HEADER + size
            return False
        self.wanted = 0
        self.epoch = _read32(at + 4)
        self.count = (<unsigned char>at[8] << 8) | <unsigned char>at[9]
        self.protocol = at[10]
        self.flags = <unsigned char>at[11]
        self.sequence = _read32(at + 12)
        self.payload_at = self.pos + _HEADER
        self.payload_size = size
        self.pos += _HEADER + size
        return True

    cpdef bytes payload(self):
        """The payload of the frame."""
        return PyBytes_FromStringAndSize(self.data + self.payload_at, self.payload_size)

    cpdef int open_requests(self, RequestParser parser) except -1:
        """Hand the payload to `parser`, to be read or settled before the payload goes."""
        return parser.feed_raw(self.data + self.payload_at, self.payload_size)

    cpdef int open_replies(self) except -1:
        """Begin to read the payload as replies. Raises FrameError if sizes and bytes differ."""
        cdef Py_ssize_t total = 4 * self.count
        cdef Py_ssize_t size
        cdef long long i
        if self.payload_size < total:
            raise FrameError("a reply frame shorter than its table of sizes")
        self.sizes_at = self.payload_at
        self.reply_at = self.payload_at + total
        self.reply_size = 0
        for i in range(self.count):
            size = _read32(self.data + self.sizes_at + 4 * i)
            if size == 0:
                raise FrameError("a reply frame whose sizes do not add up")
            total += size
        if total != self.payload_size:
            raise FrameError("a reply frame whose sizes do not add up")
        return 0

    cpdef int next_reply(self) except -2:
        """Go on to the next reply (at most `count` times); its first byte."""
        self.reply_at += self.reply_size
        self.reply_size = _read32(self.data + self.sizes_at)
        self.sizes_at += 4
        return <unsigned char>self.data[self.reply_at]

    cpdef bytes reply(self):
        """The reply that next_reply went to."""
        return PyBytes_FromStringAndSize(self.data + self.reply_at, self.reply_size)

    cpdef int reply_to(self, Peer peer) except -1:
        """Queue that reply for `peer`."""
        return peer.send_raw(self.data + self.reply_at, self.reply_size)


cdef class FramePeer(Peer):
    """A Peer that sends request frames; `sequence` is that of the frame added to last."""

    def __cinit__(self, *args, **kwargs):
        self.frame_at = -1

    cdef int begin_request(self, long long flags, long long protocol, long long epoch) except -1:
        epoch &= 0xFFFFFFFF
        if (self.frame_at >= self.bytes_out and self.frame_size < _OPEN_BYTES_MAX
                and self.frame_count < _OPEN_REQUESTS_MAX and self.frame_flags == flags
                and self.frame_protocol == protocol and self.frame_epoch == epoch):
            return 0
        self.frame_at = self.bytes_out + (self.backlog_end - self.backlog_start)
        self.frame_size = self.frame_count = 0
        self.frame_flags = flags
        self.frame_protocol = protocol
        self.frame_epoch = epoch
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return self.send_raw(_zeros, _HEADER)

    cdef int end_request(self) except -1:
        cdef Py_ssize_t at = self.backlog_start + <Py_ssize_t>(self.frame_at - self.bytes_out)
        self.frame_count += 1
        self.frame_size = self.backlog_end - at - _HEADER
        _write_header(self.backlog + at, <unsigned int>self.frame_size,
                      <unsigned int>self.frame_epoch, <unsigned int>self.frame_count,
                      <int>self.frame_protocol, <int>self.frame_flags, <unsigned int>self.sequence)
        return 0

    cpdef int add_request(self, RequestParser parser, long long flags, long long protocol,
                          long long epoch) except -1:
        """Add the request that `parser.next` just returned, as its bytes came."""
        if parser.raw_start < 0:
            if parser.last is None:
                raise ValueError("the last request is gone")
            return self.add_argv(parser.last, flags, protocol, epoch)
        if not self.open:
            return 0
        self.begin_request(flags, protocol, epoch)
        self.send_raw(parser.data + parser.raw_start, parser.raw_stop - parser.raw_start)
        return self.end_request()

    cpdef int add_argv(self, list argv, long long flags, long long protocol,
                       long long epoch) except -1:
        """Add a request given as its arguments."""
        cdef bytes arg
        if not self.open:
            return 0
        _scratch.clear()
        _scratch.array(len(argv))
        for arg in argv:
            _scratch.bulk_raw(PyBytes_AS_STRING(arg), PyBytes_GET_SIZE(arg))
        self.begin_request(flags, protocol, epoch)
        self.send_raw(_scratch.buf, _scratch.size)
        _scratch.clear()
        return self.end_request()

    cpdef int add_hello(self, long long flags, long long epoch, bytes payload) except -1:
        """Send a hello frame."""
        self.frame_at = -1
        return self.send(hello_frame(flags, epoch, payload))


@cython.final
cdef class ReplyFrame:
    """The reply frame being written: begin, then write a reply and `note` it, then finish."""

    cpdef int begin(self, ReplyWriter writer, long long room) except -1:
        """Begin a frame of at most `room` replies at the end of `writer`."""
        cdef Py_ssize_t left = _HEADER + 4 * room
        self.writer = writer
        self.head = writer.size
        self.room = room
        self.count = 0
        while left > 0:
            writer.append(_zeros, min(left, <Py_ssize_t>_ZEROS))
            left -= _ZEROS
        self.mark = writer.size
        return 0

    cpdef int note(self) except -1:
        """What was written since the last call is one reply."""
        cdef Py_ssize_t size = self.writer.size
        if self.count >= self.room:
            raise ValueError("more replies than the frame has room for")
        _write32(self.writer.buf + self.head + _HEADER + 4 * self.count,
                 <unsigned int>(size - self.mark))
        self.mark = size
        self.count += 1
        return 0

    cpdef int finish(self, long long protocol, long long epoch, long long sequence) except -1:
        """Write the header; a frame without replies is taken back."""
        cdef ReplyWriter writer = self.writer
        cdef Py_ssize_t table = self.head + _HEADER + 4 * <Py_ssize_t>self.count
        cdef Py_ssize_t spare = 4 * (self.room - <Py_ssize_t>self.count)
        if self.count == 0:
            return writer.truncate(self.head)
        if spare:
            memmove(writer.buf + table, writer.buf + table + spare,
                    writer.size - table - spare)
            writer.truncate(writer.size - spare)
        _write_header(writer.buf + self.head, <unsigned int>(writer.size - self.head - _HEADER),
                      <unsigned int>(epoch & 0xFFFFFFFF), <unsigned int>self.count,
                      <int>protocol, 0,
                      <unsigned int>(sequence & 0xFFFFFFFF))
        return 0
