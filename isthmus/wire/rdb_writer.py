"""RdbWriter: the primitives of RDB, Redis' snapshot format, written into one buffer.

    length  00xxxxxx | 01xxxxxx +1 | 80 +4 | 81 +8, big-endian: a length, or any number from 0 on
    string  length, bytes | C0 +1, C1 +2, C2 +4: the number it spells, little-endian
            | C3, length packed, length, packed bytes: LZF

As Redis does, a string of at most 11 bytes that is the canonical spelling of an int32 is kept as a
number, and one of more than 20 bytes is packed if `compress` is set and it is at least four bytes
shorter then.

Twin of rdb_writer.pyx; both write the same bytes.
"""

from __future__ import annotations

import struct

from isthmus.wire.digits import parse_int
from isthmus.wire.listpack import packed, whole
from isthmus.wire.lzf import compress

_PACKED_ABOVE_BYTES = 20
_NUMBER_DIGITS_MAX = 11


def length_bytes(value: int) -> bytes:
    """A length."""
    if value < 64:
        return bytes((value,))
    if value < 16384:
        return struct.pack(">H", 0x4000 | value)
    if value <= 0xFFFFFFFF:
        return b"\x80" + struct.pack(">I", value)
    return b"\x81" + struct.pack(">Q", value)


class RdbWriter:
    """Collects RDB in one buffer."""

    def __init__(self) -> None:
        self.compress = True
        self._out = bytearray()
        self._elements: list[bytes] = []
        self._pack_bytes = 0

    @property
    def size(self) -> int:
        """Bytes written and not taken."""
        return len(self._out)

    @property
    def pack_count(self) -> int:
        """Elements of the listpack that is being built."""
        return len(self._elements)

    def byte(self, value: int) -> int:
        """One byte."""
        self._out.append(value)
        return 0

    def length(self, value: int) -> int:
        """A length, or any number that is not negative."""
        self._out += length_bytes(value)
        return 0

    def raw(self, data: bytes) -> int:
        """Bytes as they are."""
        self._out += data
        return 0

    def number(self, value: int) -> int:
        """Eight bytes, little-endian."""
        self._out += struct.pack("<q", value)
        return 0

    def double(self, value: float) -> int:
        """Eight bytes of a double, little-endian."""
        self._out += struct.pack("<d", value)
        return 0

    def string(self, data: bytes) -> int:
        """A string: as a number or packed where that is shorter."""
        size = len(data)
        if 0 < size <= _NUMBER_DIGITS_MAX and data[0] <= 57:
            try:
                value = parse_int(data)
            except ValueError:
                value = 1 << 32
            for mark, form, limit in ((0xC0, "<b", 7), (0xC1, "<h", 15), (0xC2, "<i", 31)):
                if -(1 << limit) <= value < 1 << limit:
                    self._out.append(mark)
                    self._out += struct.pack(form, value)
                    return 0
        if self.compress and size > _PACKED_ABOVE_BYTES:
            shorter = compress(data)
            if shorter is not None:
                self._out.append(0xC3)
                self._out += length_bytes(len(shorter)) + length_bytes(size) + shorter
                return 0
        self._out += length_bytes(size)
        self._out += data
        return 0

    # -- listpacks ----------------------------------------------------------------------------

    def begin_listpack(self) -> int:
        """Begin a listpack; one at a time."""
        self._elements = []
        self._pack_bytes = 7
        return 0

    def _element(self, element: bytes) -> int:
        self._elements.append(element)
        self._pack_bytes += len(element)
        return 0

    def lp_text(self, data: bytes) -> int:
        """An element of the listpack; the canonical spelling of a number is kept as one."""
        return self._element(packed(data))

    def lp_number(self, value: int) -> int:
        """A number as an element of the listpack."""
        return self._element(packed(value))

    def listpack_size(self) -> int:
        """Bytes of the listpack so far, its end included."""
        return self._pack_bytes

    def end_listpack(self) -> int:
        """Write the listpack as a string."""
        elements, self._elements = self._elements, []
        return self.string(whole(elements))

    # -- the buffer ---------------------------------------------------------------------------

    def mark(self) -> int:
        """Where writing stands."""
        return len(self._out)

    def truncate(self, mark: int) -> int:
        """Take back what was written since mark."""
        if not 0 <= mark <= len(self._out):
            raise ValueError("no such mark")
        del self._out[mark:]
        return 0

    def take(self) -> bytes:
        """All that was written; the writer is empty then."""
        data = bytes(self._out)
        self._out.clear()
        return data
