"""The reply writer: RESP2 or RESP3 bytes collected for one client.

A command writes its reply by calls in order; what RESP2 has no type for becomes what Redis
sends there instead (a map its flat array, a set or push an array, a double or verbatim text a
bulk string, a boolean an integer). The caller is trusted to write as many elements as the head
of an aggregate announced.

Invariant: the bytes are valid RESP whatever the text. Simple strings, errors and big numbers are
one line, so carriage returns and line feeds in them become spaces; otherwise text that came from
one client could forge a reply to another.

`mark` and `truncate` undo a reply that an error interrupted. `take` empties the writer; a buffer
above 1 MiB is not kept, so that one large reply does not stay on an idle connection for good.

This is the Python twin of `reply.pyx`, where the buffer is C memory that the pump sends from.
What methods return there (0) means nothing.
"""

from __future__ import annotations

from typing import final

from isthmus.wire.scalars import INT64_MAX, INT64_MIN, format_float, i64

__all__ = ["ReplyWriter"]

_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


@final
class ReplyWriter:
    """Collects replies in one buffer, in the protocol version of the client."""

    __slots__ = ("_buffer", "protocol")

    def __init__(self, protocol: i64 = 2) -> None:
        self.protocol = protocol
        self._buffer = bytearray()

    @property
    def size(self) -> i64:
        """Bytes written and not yet taken."""
        return len(self._buffer)

    def ok(self) -> None:
        """+OK"""
        self._buffer += b"+OK\r\n"

    def simple(self, text: bytes) -> None:
        """A simple string; line ends in it become spaces."""
        self._line(b"+", text)

    def error(self, text: bytes) -> None:
        """An error; `text` starts with its code (`ERR ...`)."""
        self._line(b"-", text)

    def integer(self, value: i64) -> None:
        """An integer."""
        self._header(b":", value)

    def bulk(self, value: bytes) -> None:
        """A bulk string."""
        self._buffer += b"$%d\r\n%b\r\n" % (len(value), value)

    def null(self) -> None:
        """The absent value."""
        self._buffer += b"_\r\n" if self.protocol >= 3 else b"$-1\r\n"

    def null_array(self) -> None:
        """The absent array."""
        self._buffer += b"_\r\n" if self.protocol >= 3 else b"*-1\r\n"

    def empty_array(self) -> None:
        """An array of nothing."""
        self._buffer += b"*0\r\n"

    def array(self, count: i64) -> None:
        """The head of an array; its `count` elements follow."""
        self._header(b"*", count)

    def map(self, count: i64) -> None:
        """The head of a map; `count` keys and values follow, alternating."""
        if self.protocol >= 3:
            self._header(b"%", count)
        else:
            self._header(b"*", 2 * count)

    def set(self, count: i64) -> None:
        """The head of a set; its `count` elements follow."""
        self._header(b"~" if self.protocol >= 3 else b"*", count)

    def push(self, count: i64) -> None:
        """The head of an out-of-band message; its `count` elements follow."""
        self._header(b">" if self.protocol >= 3 else b"*", count)

    def double(self, value: float) -> None:
        """A double, spelt as `format_float` spells it."""
        text = format_float(value)
        if self.protocol >= 3:
            self._buffer += b",%b\r\n" % text
        else:
            self.bulk(text)

    def boolean(self, value: bool) -> None:
        """True or false; 1 or 0 in RESP2."""
        if self.protocol >= 3:
            self._buffer += b"#t\r\n" if value else b"#f\r\n"
        else:
            self._buffer += b":1\r\n" if value else b":0\r\n"

    def big_number(self, digits: bytes) -> None:
        """A number of any size, given as its digits; a bulk string in RESP2."""
        if self.protocol >= 3:
            self._line(b"(", digits)
        else:
            self.bulk(digits)

    def verbatim(self, fmt3: bytes, text: bytes) -> None:
        """Text with a format of three letters (`txt`, `mkd`); a bulk string in RESP2."""
        if len(fmt3) != 3:
            raise ValueError("a verbatim format has three bytes")
        if self.protocol >= 3:
            self._buffer += b"=%d\r\n%b:%b\r\n" % (len(text) + 4, fmt3, text)
        else:
            self.bulk(text)

    def raw(self, data: bytes) -> None:
        """Bytes that are already a reply, or part of one."""
        self._buffer += data

    def mark(self) -> i64:
        """The present size, for `truncate`."""
        return len(self._buffer)

    def truncate(self, mark: i64) -> None:
        """Forget what was written since `mark`."""
        if not 0 <= mark <= len(self._buffer):
            raise ValueError("mark outside the buffer")
        del self._buffer[mark:]

    def take(self) -> bytes:
        """Return everything written, and forget it."""
        data = bytes(self._buffer)
        self.clear()
        return data

    def take_from(self, mark: i64) -> bytes:
        """Return what was written since `mark`, and forget it."""
        data = bytes(self._buffer[mark:])
        self.truncate(mark)
        return data

    def clear(self) -> None:
        """Forget everything; a buffer that had grown above 1 MiB goes back to the system."""
        self._buffer.clear()  # a cleared bytearray keeps no storage, of whatever size

    def _header(self, kind: bytes, value: i64) -> None:
        if not INT64_MIN <= value <= INT64_MAX:
            raise OverflowError("integer outside 64 bits")
        self._buffer += b"%b%d\r\n" % (kind, value)

    def _line(self, kind: bytes, text: bytes) -> None:
        self._buffer += b"%b%b\r\n" % (kind, text.translate(_ONE_LINE))
