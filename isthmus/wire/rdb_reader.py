"""RdbReader: the primitives of Redis' RDB format, read from any buffer (Tier C twin).

An RDB file, and a DUMP payload, is a sequence of these, without alignment:

    length      00xxxxxx                 a number below 64
                01xxxxxx +1              below 16384, big-endian
                80 +4, 81 +8             32 and 64 bits, big-endian
                11xxxxxx                 not a length: what follows is an encoded string
    string      length, its bytes; or encoded:
                C0 +1, C1 +2, C2 +4      a signed number, little-endian, spelt in decimal
                C3 length length bytes   LZF: compressed and real length, compressed bytes
    old double  a byte n, n characters; FD is NaN, FE and FF are the infinities
    double, milliseconds                 8 bytes, little-endian

The reader never trusts a length: it is compared with the bytes that are left before anything is
allocated, the real length of a compressed string also with what its compressed bytes could become
at best. So memory is bounded by the input's size times a small constant (88 for LZF).

Whatever is wrong raises RdbError with the offset at which what is wrong begins (`base` is added,
for buffers that are the middle of a file) and the reason. After an error the position is undefined.

It may not know values, files or the types of keys: that is node/values/rdb_decode.py and
node/persist/snapshot_read.py. The buffer must not change while a reader has it; `close` lets go.
"""

from __future__ import annotations

import struct
from typing import Any

from isthmus.wire.listpack_reader import read_intset, read_listpack, read_ziplist, read_zipmap
from isthmus.wire.lzf import RATIO_MAX, decompress

# What a length byte's low bits say if its high ones say "encoded".
INT8, INT16, INT32, LZF = 0, 1, 2, 3
LENGTH_MAX = (1 << 63) - 1


class RdbError(ValueError):
    """What was read is no valid RDB: at which offset, in bytes, and why."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class RdbReader:
    """Reads forward through a buffer; see the module essay."""

    def __init__(self, data: Any, base: int = 0) -> None:
        self._view = memoryview(data).cast("B")
        self.base = base
        self.size = len(self._view)
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return self.size - self.position

    def close(self) -> None:
        """Let go of the buffer; nothing can be read afterwards."""
        self._view = memoryview(b"")
        self.size = self.position = 0

    def error(self, reason: str, at: int = -1) -> RdbError:
        """An error, to be raised, at a position (by default the present one)."""
        return RdbError(self.base + (self.position if at < 0 else at), reason)

    def view(self, start: int, stop: int) -> memoryview:
        """What lies between two positions, without a copy."""
        return self._view[start:stop]

    def raw(self, count: int) -> bytes:
        """The next `count` bytes."""
        if not 0 <= count <= self.left:
            raise self.error(f"{count} bytes where {self.left} are left")
        self.position += count
        return bytes(self._view[self.position - count : self.position])

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        if not 0 <= count <= self.left:
            raise self.error(f"{count} bytes where {self.left} are left")
        self.position += count

    def byte(self) -> int:
        """One byte."""
        return self.raw(1)[0]

    def length_or_encoding(self) -> tuple[int, bool]:
        """A length (or any number of 64 bits), or (encoding, True)."""
        head = self.byte()
        if head < 0x40:
            return head, False
        if head < 0x80:
            return (head & 0x3F) << 8 | self.byte(), False
        if head == 0x80:
            return int.from_bytes(self.raw(4), "big"), False
        if head == 0x81:
            return int.from_bytes(self.raw(8), "big"), False
        if head >= 0xC0:
            return head & 0x3F, True
        raise self.error(f"0x{head:02x} begins no length", self.position - 1)

    def number(self) -> int:
        """An unsigned number of 64 bits that is written as a length."""
        at = self.position
        number, encoded = self.length_or_encoding()
        if encoded:
            raise self.error("an encoded string where a number should be", at)
        return number

    def length(self) -> int:
        """A length or a count that nothing vouches for yet; below 2^63."""
        at = self.position
        number = self.number()
        if number > LENGTH_MAX:
            raise self.error(f"{number} is no length", at)
        return number

    def count(self, bytes_min: int, what: str) -> int:
        """How many of `what` follow, each of which takes at least so many bytes."""
        at = self.position
        count = self.number()
        if count > self.left // bytes_min:
            raise self.error(f"a {what} of {count} elements in {self.left} bytes", at)
        return count

    def string(self) -> bytes:
        """A string, however it is encoded."""
        at = self.position
        size, encoded = self.length_or_encoding()
        if not encoded:
            if size > self.left:
                raise self.error(f"a string of {size} bytes where {self.left} are left", at)
            return self.raw(size)
        if size in (INT8, INT16, INT32):
            return b"%d" % int.from_bytes(self.raw(1 << size), "little", signed=True)
        if size != LZF:
            raise self.error(f"unknown encoding {size} of a string", at)
        packed, real = self.number(), self.number()
        if packed > self.left or real > RATIO_MAX * packed:
            raise self.error(
                f"a string of {real} bytes from {packed} compressed, {self.left} are left", at
            )
        try:
            return decompress(self.raw(packed), real)
        except ValueError as error:
            raise self.error(str(error), at) from None

    def skip_string(self) -> None:
        """Pass over a string without decompressing it."""
        at = self.position
        size, encoded = self.length_or_encoding()
        if encoded:
            if size not in (INT8, INT16, INT32, LZF):
                raise self.error(f"unknown encoding {size} of a string", at)
            if size == LZF:
                size = self.number()
                self.number()
            else:
                size = 1 << size
        if size > self.left:
            raise self.error(f"a string of {size} bytes where {self.left} are left", at)
        self.position += size

    def u64(self) -> int:
        """8 bytes as an unsigned number, little-endian."""
        return int.from_bytes(self.raw(8), "little")

    def i64(self) -> int:
        """8 bytes as a signed number, little-endian."""
        return int.from_bytes(self.raw(8), "little", signed=True)

    def i32(self) -> int:
        """4 bytes as a signed number, little-endian."""
        return int.from_bytes(self.raw(4), "little", signed=True)

    def double(self) -> float:
        """A double in 8 bytes, which may be no number."""
        value: float = struct.unpack("<d", self.raw(8))[0]
        return value

    def old_double(self) -> float:
        """A double spelt in decimal, which may be no number."""
        at = self.position
        size = self.byte()
        if size >= 253:
            return (float("nan"), float("inf"), float("-inf"))[size - 253]
        return read_double(self, self.raw(size), at)

    # -- packed blobs: strings whose bytes have a structure of their own ------------------------

    def listpack(self) -> list[bytes]:
        """The elements of a listpack."""
        return self._blob(read_listpack)

    def ziplist(self) -> list[bytes]:
        """The elements of a ziplist."""
        return self._blob(read_ziplist)

    def intset(self) -> list[bytes]:
        """The members of an intset."""
        return self._blob(read_intset)

    def zipmap(self) -> list[bytes]:
        """The keys and values of a zipmap."""
        return self._blob(read_zipmap)

    def _blob(self, read: Any) -> list[bytes]:
        at = self.position
        data = self.string()
        try:
            items: list[bytes] = read(data)
        except ValueError as error:
            raise self.error(str(error), at) from None
        return items


def read_double(reader: RdbReader, text: bytes, at: int) -> float:
    """A double as C prints and reads it; RdbError at position `at` for anything else."""
    try:
        # float() takes more than C does: underscores, and blanks around.
        if b"_" in text or text.strip() != text:
            raise ValueError
        return float(text)
    except ValueError:
        raise reader.error(f"{text[:40]!r} is no score", at) from None
