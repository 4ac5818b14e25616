"""The payload of FUNCTION DUMP and RESTORE: Redis' own, so that either can read the other's.

    for each library: byte 0xF5, string code
    two bytes: RDB version, little-endian; eight bytes: CRC-64 of all before, little-endian

Strings are those of snapshots (wire/rdb_writer.py). What is read comes from a client: every length
is checked against what is there, and what unpacks against what could become of it.
"""

from __future__ import annotations

import struct

from isthmus.wire.crc64 import crc64
from isthmus.wire.rdb_reader import RdbError, RdbReader
from isthmus.wire.rdb_writer import RdbWriter

VERSION = 12
_LIBRARY = 0xF5
_OLD_LIBRARY = 0xF6
_FOOTER_BYTES = 10
WRONG_FOOTER = b"ERR DUMP payload version or checksum are wrong"
WRONG_TYPE = b"ERR given type is not a function"
WRONG_DATA = b"ERR Failed loading library data"


class PayloadError(Exception):
    """A payload that cannot be restored; `text` is the reply."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


def dump(codes: list[bytes]) -> bytes:
    """The libraries as one payload."""
    out = RdbWriter()
    for code in codes:
        out.byte(_LIBRARY)
        out.string(code)
    out.raw(struct.pack("<H", VERSION))
    body = out.take()
    return body + struct.pack("<Q", crc64(body))


def restore(data: bytes) -> list[bytes]:
    """The libraries' codes in a payload; raises PayloadError."""
    if len(data) < _FOOTER_BYTES:
        raise PayloadError(WRONG_FOOTER)
    version, checksum = struct.unpack("<HQ", data[-_FOOTER_BYTES:])
    if version > VERSION or crc64(data[:-8]) != checksum:
        raise PayloadError(WRONG_FOOTER)
    reader = RdbReader(data[:-_FOOTER_BYTES])
    codes = []
    while reader.left:
        kind = reader.byte()
        if kind == _OLD_LIBRARY:
            raise PayloadError(b"ERR Pre-release function format not supported.")
        if kind != _LIBRARY:
            raise PayloadError(WRONG_TYPE)
        try:
            codes.append(reader.string())
        except RdbError:
            raise PayloadError(WRONG_DATA) from None
    return codes
