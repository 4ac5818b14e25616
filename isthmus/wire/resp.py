r"""Commands as RESP, as files hold them: written whole, read strictly.

A file of commands is a row of records. A command is `*<count>\r\n` and for each argument
`$<size>\r\n<bytes>\r\n`; a line that begins with `#` and ends with a line feed is an annotation, no
command. The parser of client requests (parser.py) is lenient as Redis is to its clients, and waits
for more bytes; here what is there is all there is, and the question is what is wrong with it:

- RECORD, LINE: a command, an annotation (without its line end) was read;
- END: the data ends between two records;
- TORN: it ends inside one, and what there is of it is in order;
- BAD: what stands there can be no record, for `reason`.

After END, TORN and BAD nothing more is read: `start` is where the last whole record ended. Nothing
is allocated for a length before that many bytes were seen. Headers are read in the one spelling
Redis writes; digits it would never write, or another line end, are BAD.

This is the Python twin of `resp.pyx`.
"""

from __future__ import annotations

from typing import final

from isthmus.wire.digits import parse_int

__all__ = ["BAD", "END", "LINE", "RECORD", "TORN", "CommandReader", "pack", "pack_all"]

RECORD = 0
LINE = 1
END = 2
TORN = 3
BAD = 4
# Of an annotation, its line end included: redis-check-aof reads no longer ones.
LINE_BYTES_MAX = 1024
# A sign, 19 digits.
_NUMBER_DIGITS_MAX = 20


@final
class CommandReader:
    """Reads the records of a buffer from `position` on; see the module's first lines."""

    def __init__(self, data: bytes | bytearray | memoryview, position: int = 0) -> None:
        self._data = memoryview(data).cast("B")
        self._end = len(self._data)
        self.position = position
        self.start = position
        self.state = RECORD
        self.reason = ""
        self.line = b""
        if not 0 <= position <= self._end:
            raise ValueError("a position outside the data")

    def next(self) -> list[bytes] | None:
        """The arguments of the next record if it is a command; `state` says what it was."""
        if self.state >= END:
            return None
        self.start = self.position
        if self.start == self._end:
            self.state = END
            return None
        if self._data[self.start] == 0x23:
            self._annotation()
            return None
        return self._read()

    def _read(self) -> list[bytes] | None:
        at = self.start
        head = self._number(at, 0x2A)
        if head is None:
            return None
        count, at = head
        if count < 1:
            self._bad("a command without arguments")
            return None
        argv: list[bytes] = []
        for _ in range(count):
            head = self._number(at, 0x24)
            if head is None:
                return None
            size, at = head
            if size < 0:
                self._bad("an argument of negative size")
                return None
            stop = at + size
            if self._end - stop < 2:
                left = bytes(self._data[stop : stop + 1])
                if left and left != b"\r":
                    self._bad("an argument does not end where its size says")
                else:
                    self.state = TORN
                return None
            if bytes(self._data[stop : stop + 2]) != b"\r\n":
                self._bad("an argument does not end where its size says")
                return None
            argv.append(bytes(self._data[at:stop]))
            at = stop + 2
        self.position = at
        self.state = RECORD
        return argv

    def _number(self, at: int, kind: int) -> tuple[int, int] | None:
        """The number of the header at `at`, and where it ends; None and the state if it fails."""
        data, end = self._data, self._end
        if at == end:
            self.state = TORN
            return None
        if data[at] != kind:
            self._bad(f"'{chr(kind)}' expected, not byte 0x{data[at]:02x}")
            return None
        stop = at + 1
        while stop < end and stop - at <= _NUMBER_DIGITS_MAX + 1 and data[stop] in b"-0123456789":
            stop += 1
        digits = bytes(data[at + 1 : stop])
        if stop == end or (stop + 1 == end and data[stop] == 0x0D):
            # Cut off: what is there must be the beginning of a number.
            if self._begins(digits):
                self.state = TORN
            else:
                self._bad("a header without a number")
            return None
        if bytes(data[stop : stop + 2]) != b"\r\n":
            self._bad("a header without a number")
            return None
        try:
            return parse_int(digits), stop + 2
        except ValueError:
            self._bad("a header without a number")
            return None

    @staticmethod
    def _begins(digits: bytes) -> bool:
        try:
            return digits in (b"", b"-") or parse_int(digits) is not None
        except ValueError:
            return False

    def _annotation(self) -> None:
        start = self.start
        window = bytes(self._data[start : start + LINE_BYTES_MAX])
        size = window.find(b"\n")
        if size >= 0:
            self.line = window[:size].removesuffix(b"\r")
            self.position = start + size + 1
            self.state = LINE
        elif len(window) < LINE_BYTES_MAX:
            self.state = TORN
        else:
            self._bad("an annotation longer than 1024 bytes")

    def _bad(self, reason: str) -> None:
        self.state = BAD
        self.reason = reason


def pack(argv: list[bytes]) -> bytes:
    """One command as RESP."""
    return pack_all([argv])


def pack_all(commands: list[list[bytes]]) -> bytes:
    """Commands as RESP, one behind the other."""
    parts: list[bytes] = []
    for argv in commands:
        parts.append(b"*%d\r\n" % len(argv))
        for arg in argv:
            parts += (b"$%d\r\n" % len(arg), arg, b"\r\n")
    return b"".join(parts)
