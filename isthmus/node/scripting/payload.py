"""The payload of FUNCTION DUMP and RESTORE: Redis' own, so that either can read the other's.

    for each library: byte 0xF5, string code
    two bytes: RDB version, little-endian; eight bytes: CRC-64 of all before, little-endian

A string is a length and its bytes. A length: 00xxxxxx six bits; 01xxxxxx and a byte, 14 bits;
0x80 and four bytes, 0x81 and eight, big-endian. 0xC3, compressed length, length, data is a string
packed with LZF; 0xC0, 0xC1, 0xC2 are integers of one, two and four bytes instead of text. What is
written here is not packed. What is read comes from a client: every length is checked against what
is there, and what unpacks against its limit.

The checksum is the CRC-64 of Jones: polynomial 0xAD93D23594C935A9, bits reflected, starting from 0.
"""

from __future__ import annotations

import struct

VERSION = 12
_LIBRARY = 0xF5
_OLD_LIBRARY = 0xF6
_FOOTER_BYTES = 10
UNPACKED_BYTES_MAX = 64 << 20
WRONG_FOOTER = b"ERR DUMP payload version or checksum are wrong"
WRONG_TYPE = b"ERR given type is not a function"
WRONG_DATA = b"ERR Failed loading library data"


class PayloadError(Exception):
    """A payload that cannot be restored; `text` is the reply."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


def _table() -> tuple[int, ...]:
    # The polynomial with its bits reversed, as a reflected CRC shifts to the right.
    polynomial = int(f"{0xAD93D23594C935A9:064b}"[::-1], 2)
    rows = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


_ROWS = _table()


def crc64(data: bytes) -> int:
    """The checksum of a payload."""
    value = 0
    rows = _ROWS
    for byte in data:
        value = rows[(value ^ byte) & 0xFF] ^ value >> 8
    return value


def _length(size: int) -> bytes:
    if size < 1 << 6:
        return bytes((size,))
    if size < 1 << 14:
        return struct.pack(">H", 0x4000 | size)
    if size < 1 << 32:
        return b"\x80" + struct.pack(">I", size)
    return b"\x81" + struct.pack(">Q", size)


def dump(codes: list[bytes]) -> bytes:
    """The libraries as one payload."""
    body = b"".join([bytes((_LIBRARY,)) + _length(len(code)) + code for code in codes])
    body += struct.pack("<H", VERSION)
    return body + struct.pack("<Q", crc64(body))


class _Reader:
    """Takes a payload apart; IndexError and struct.error at its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise PayloadError(WRONG_DATA)
        self.at += count
        return self.data[self.at - count : self.at]

    def length(self) -> tuple[int, bool]:
        """A length, or (kind, True) for a string in another form."""
        first = self.take(1)[0]
        kind = first >> 6
        if kind == 0:
            return first, False
        if kind == 1:
            return (first & 63) << 8 | self.take(1)[0], False
        if kind == 3:
            return first & 63, True
        if first == 0x80:
            return int.from_bytes(self.take(4), "big"), False
        if first == 0x81:
            return int.from_bytes(self.take(8), "big"), False
        raise PayloadError(WRONG_DATA)

    def string(self) -> bytes:
        size, special = self.length()
        if not special:
            return self.take(size)
        if size < 3:
            return b"%d" % int.from_bytes(self.take(1 << size), "little", signed=True)
        if size > 3:
            raise PayloadError(WRONG_DATA)
        (packed, odd), (full, odder) = self.length(), self.length()
        if odd or odder or full > UNPACKED_BYTES_MAX:
            raise PayloadError(WRONG_DATA)
        return unpack(self.take(packed), full)


def unpack(data: bytes, size: int) -> bytes:
    """LZF: literal runs (000nnnnn, n+1 bytes) and copies of earlier output
    (nnnooooo, or 111ooooo n; then a byte of offset). Raises PayloadError."""
    out = bytearray()
    at = 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        count = control >> 5
        if count == 7:
            count += data[at] if at < len(data) else 0
            at += 1
        if at >= len(data):
            raise PayloadError(WRONG_DATA)
        start = len(out) - ((control & 31) << 8 | data[at]) - 1
        at += 1
        count += 2
        if start < 0 or len(out) + count > size:
            raise PayloadError(WRONG_DATA)
        # A copy may reach into what it writes itself.
        while count > 0:
            piece = out[start : start + count]
            out += piece
            start += len(piece)
            count -= len(piece)
    if len(out) != size:
        raise PayloadError(WRONG_DATA)
    return bytes(out)


def restore(data: bytes) -> list[bytes]:
    """The libraries' codes in a payload; raises PayloadError."""
    if len(data) < _FOOTER_BYTES:
        raise PayloadError(WRONG_FOOTER)
    version, checksum = struct.unpack("<HQ", data[-_FOOTER_BYTES:])
    # A sum of zero means that none was made.
    if version > VERSION or (checksum and crc64(data[:-8]) != checksum):
        raise PayloadError(WRONG_FOOTER)
    reader = _Reader(data[:-_FOOTER_BYTES])
    codes = []
    while reader.at < len(reader.data):
        kind = reader.take(1)[0]
        if kind == _OLD_LIBRARY:
            raise PayloadError(b"ERR Pre-release function format not supported.")
        if kind != _LIBRARY:
            raise PayloadError(WRONG_TYPE)
        codes.append(reader.string())
    return codes
