"""The request parser: bytes of an untrusted client in, argument lists out.

A request is a multibulk (`*<args>CRLF`, then `$<size>CRLF<bytes>CRLF` for each) or, if its first
byte is not `*`, an inline request: one line of words, quoted as in a shell. Requests without
arguments are skipped. Leniency and error texts are those of Redis 7.4: the bytes after a
`CR` that ends a header and after the data of a bulk are skipped unseen, and a NUL byte in a header
or an inline line hides its end, so that the line is at last refused as too long.

Invariants:

- *Nothing is allocated on a client's word.* Every length is checked before it is used, and memory
  grows with bytes that really came: an unfinished request costs at most about twice its bytes.
- *The result does not depend on how the bytes were cut.* Feeding them whole or one by one gives the
  same requests and the same error; what was scanned or parsed is not scanned again.
- *An error is final.* Afterwards input is dropped and `next` returns None.

Limits. Before `authenticated` is set: 10 arguments, 16384 bytes in a bulk, 1 MiB for an unfinished
request. After it: `args_max`, `bulk_bytes_max`, `query_buffer_bytes_max`. A line may have
`inline_bytes_max` bytes before its end in either state. A parser starts *not* authenticated;
whoever creates it for a server without a password sets the flag.

Memory of the caller. `feed_raw` (compiled only) borrows: the caller calls `next` until None,
then `settle`, and may overwrite its buffer only after that. `feed` is the same for Python objects.

This is the Python twin of `parser.pyx`.
"""

from __future__ import annotations

from typing import NoReturn, final

from isthmus.wire.scalars import i64, parse_int, split_inline

__all__ = ["Feed", "ProtocolError", "QueryBufferExceeded", "RequestParser"]

_UNAUTHENTICATED_ARGS_MAX = 10
_UNAUTHENTICATED_BULK_MAX = 16384
_UNAUTHENTICATED_BUFFER_MAX = 1 << 20


class ProtocolError(Exception):
    """The client broke the protocol: reply `-ERR <text>`, then close."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class QueryBufferExceeded(Exception):
    """An unfinished request outgrew the query buffer: close without a reply."""


class Feed:
    """Bytes that came in and were not read yet: `_data[_pos:]`."""

    def __init__(self) -> None:
        self.query_buffer_bytes_max: i64 = 1 << 30
        self._data: bytes | bytearray = b""
        self._pos = 0
        self._taken = 0  # bytes of the unfinished request that were read already
        self._dead = False

    @property
    def pending(self) -> i64:
        """Bytes fed and not yet returned as part of a request."""
        return self._taken + len(self._data) - self._pos

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take `data`; QueryBufferExceeded if it is too much behind an unfinished request."""
        if not data or self._dead:
            return
        self._forget_spans()
        if self._pos == len(self._data):
            self._data = bytes(data)
            self._pos = 0
            return
        if self.pending + len(data) > self._kept_max():
            self._drop()
            raise QueryBufferExceeded
        self._hold()
        self._data += data

    def settle(self) -> None:
        """Stop borrowing; the caller may reuse its memory."""
        self._forget_spans()
        self._hold()

    def _hold(self) -> None:
        """Have the unread bytes in a bytearray without much that was read before them."""
        if isinstance(self._data, bytes) or self._pos > len(self._data) >> 1:
            self._data = bytearray(memoryview(self._data)[self._pos :])
            self._pos = 0

    def _kept_max(self) -> i64:
        return self.query_buffer_bytes_max

    def _forget_spans(self) -> None:
        """For a subclass that remembers positions in `_data`: they are about to change."""

    def _check_kept(self) -> None:
        if self.pending > self._kept_max():
            self._drop()
            raise QueryBufferExceeded

    def _drop(self) -> None:
        """Forget all input, also what is still to come."""
        self._dead = True
        self._data = b""
        self._pos = 0
        self._taken = 0


@final
class RequestParser(Feed):
    """Requests of one client, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.authenticated = False
        self.bulk_bytes_max: i64 = 512 << 20
        self.args_max: i64 = 1 << 20
        self.inline_bytes_max: i64 = 65536
        self._args: list[bytes] | None = None
        self._count = 0
        self._bulk = -1
        self._scanned = 0  # bytes of the line at `_pos` known not to end it
        self._last: list[bytes] | None = None

    def next(self) -> list[bytes] | None:
        """The next request, or None if more bytes are needed.

        Raises ProtocolError and QueryBufferExceeded.
        """
        self._last = None
        while self._args is not None or self._pos < len(self._data):
            begin = self._pos
            if self._args is None and self._data[begin] != 0x2A:
                argv = self._inline_request()
                if argv is None:
                    break
            else:
                if self._args is None and not self._multibulk_head():
                    break
                argv = self._read_args()
                if argv is None:
                    self._taken += self._pos - begin
                    break
            if argv:
                self._taken = 0
                self._last = argv
                return argv
        self._check_kept()
        return None

    def raw(self) -> bytes:
        """The request that `next` just returned, as the bytes of a multibulk.

        Call it before the next call of `next`, `feed` or `settle` (ValueError after one) and
        before changing the list.
        """
        if self._last is None:
            raise ValueError("the last request is gone")
        parts = [b"*%d\r\n" % len(self._last)]
        parts += [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in self._last]
        return b"".join(parts)

    def _kept_max(self) -> i64:
        if self.authenticated:
            return self.query_buffer_bytes_max
        return min(self.query_buffer_bytes_max, _UNAUTHENTICATED_BUFFER_MAX)

    def _forget_spans(self) -> None:
        self._last = None

    def _multibulk_head(self) -> bool:
        """Read `*<count>` and begin a list; False if its line is not complete."""
        line = self._line(b"\r", b"too big mbulk count string")
        if line is None:
            return False
        try:
            count = parse_int(line[1:])
        except ValueError:
            self._fail(b"invalid multibulk length")
        if count > self.args_max:
            self._fail(b"invalid multibulk length")
        if count > _UNAUTHENTICATED_ARGS_MAX and not self.authenticated:
            self._fail(b"unauthenticated multibulk length")
        self._count = count
        self._args = []
        return True

    def _read_args(self) -> list[bytes] | None:
        """Read arguments up to the announced number; None if more bytes are needed."""
        argv = self._args
        assert argv is not None
        while len(argv) < self._count:
            if self._bulk < 0 and not self._bulk_head():
                return None
            stop = self._pos + self._bulk
            if len(self._data) < stop + 2:
                return None
            argv.append(bytes(self._data[self._pos : stop]))
            self._pos = stop + 2
            self._bulk = -1
        self._args = None
        return argv

    def _bulk_head(self) -> bool:
        """Read `$<size>` into `_bulk`; False if its line is not complete."""
        line = self._line(b"\r", b"too big bulk count string")
        if line is None:
            return False
        if line[:1] != b"$":
            # An empty line: what stands in the place of `$` is the line end itself.
            self._fail(b"expected '$', got '%b'" % (line[:1] or b"\r"))
        try:
            size = parse_int(line[1:])
        except ValueError:
            self._fail(b"invalid bulk length")
        if not 0 <= size <= self.bulk_bytes_max:
            self._fail(b"invalid bulk length")
        if size > _UNAUTHENTICATED_BULK_MAX and not self.authenticated:
            self._fail(b"unauthenticated bulk length")
        self._bulk = size
        return True

    def _line(self, stop: bytes, too_big: bytes) -> bytes | None:
        """Read the line at `_pos` up to `stop`, by Redis' rule that a NUL before it hides it.

        None if more bytes are needed. A line that ends with CR must have one byte behind it.
        """
        data, start = self._data, self._pos
        window = min(len(data), start + self.inline_bytes_max + 1)
        end = data.find(stop, start + self._scanned, window)
        nul = data.find(b"\0", start + self._scanned, end if end >= 0 else window)
        if nul >= 0:
            self._scanned, end = nul - start, -1
        elif end < 0:
            self._scanned = window - start
        if end < 0:
            if len(data) - start > self.inline_bytes_max:
                self._fail(too_big)
            return None
        skipped = 2 if stop == b"\r" else 1
        if end + skipped > len(data):
            self._scanned = end - start
            return None
        self._scanned = 0
        self._pos = end + skipped
        return bytes(data[start:end])

    def _inline_request(self) -> list[bytes] | None:
        """A request typed as text; None if its line is not complete, [] if it has no words."""
        line = self._line(b"\n", b"too big inline request")
        if line is None:
            return None
        try:
            return split_inline(line.removesuffix(b"\r"))
        except ValueError:
            self._fail(b"unbalanced quotes in request")

    def _fail(self, text: bytes) -> NoReturn:
        """Raise, and read nothing more from this client."""
        self._drop()
        self._args = None
        self._bulk = -1
        raise ProtocolError(b"Protocol error: " + text)
