"""RDB files made by hand, for tests: any value, any version, with a right or a wrong end."""

from __future__ import annotations

from pathlib import Path

from isthmus.wire.crc64 import crc64
from tests.persist.samples import EARLY, GOOD
from tests.support.blobs import length, string

FRAME_BYTES = 10
DUE_MS = 4_000_000_000_123
LIBRARY = b"#!lua name=sample\nredis.register_function('f', function() return 1 end)"


def entry(key: bytes, payload: bytes, expire_ms: int = -1) -> bytes:
    """A key whose value is that of a DUMP payload."""
    due = b"\xfc" + expire_ms.to_bytes(8, "little") if expire_ms >= 0 else b""
    return due + payload[:1] + string(key) + payload[1:-FRAME_BYTES]


def file_of(*parts: bytes, version: int = 12) -> bytes:
    """A whole file of these records."""
    body = b"REDIS%04d" % version + b"".join(parts) + b"\xff"
    return body + crc64(body).to_bytes(8, "little") if version >= 5 else body


def head(db: int = 0, keys: int = 0, volatile: int = 0) -> bytes:
    """The beginning of a database."""
    return b"\xfe" + length(db) + b"\xfb" + length(keys) + length(volatile)


def aux(name: bytes, value: bytes) -> bytes:
    """A fact about the file."""
    return b"\xfa" + string(name) + string(value)


def library(code: bytes = LIBRARY) -> bytes:
    """A library of functions."""
    return b"\xf5" + string(code)


def everything() -> dict[bytes, bytes]:
    """A payload of every type and encoding, by a key for each."""
    return {f"{name}:key".encode(): payload for name, payload in {**GOOD, **EARLY}.items()}


def write_everything(path: Path) -> dict[bytes, bytes]:
    """A file with all of them, every other one with an expiry; what is in it."""
    found = everything()
    records = [
        entry(key, payload, DUE_MS if at % 2 else -1)
        for at, (key, payload) in enumerate(found.items())
    ]
    facts = aux(b"redis-ver", b"8.0.2") + aux(b"ctime", b"1700000000") + library()
    due = len(found) // 2
    path.write_bytes(file_of(facts, head(0, len(found), due), *records))
    return found
