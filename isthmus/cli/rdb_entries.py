"""Entries: the keys of an RDB file as spans of its bytes, found without decoding a value (pure).

`entries` walks a file as node/persist/snapshot_read.py does (its essay has the format) but passes
over values by their lengths alone, which is an order of magnitude faster than building them. It is
what an import is made of: a value's bytes in a file are the bytes of a DUMP payload, so

    payload = type byte | body, as it stands in the file | u16 version | u64 CRC-64

The version in a payload is the lowest that its type needs, not the file's: a server refuses
payloads of versions it does not know, though it knows the type.

What is found is trusted as far as lengths go (none is believed beyond the end of the file) and the
checksum at the end; whether a value makes sense is judged by the server that it is sent to. An
error is RdbError with its offset. `Summary` counts on the way, and is whole only after the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from isthmus.wire.crc64 import crc64, extend
from isthmus.wire.rdb_reader import RdbReader

VERSION_MAX = 12
SUM_BYTES = 1 << 22
FRAME_BYTES = 10
SLOT_INFO, FUNCTION, FUNCTION_EARLY, MODULE_AUX = 0xF4, 0xF5, 0xF6, 0xF7
IDLE, FREQ, AUX, RESIZE, EXPIRE_MS, EXPIRE_S, SELECT, END = range(0xF8, 0x100)
MODULE_TYPES = (6, 7)
# Type -> its name, and the first version of the format that has it.
TYPES = {
    0: ("string", 1), 1: ("list", 1), 2: ("set", 1), 3: ("zset", 1), 4: ("hash", 1),
    5: ("zset", 8), 6: ("module", 8), 7: ("module", 8), 9: ("hash", 2), 10: ("list", 2),
    11: ("set", 2), 12: ("zset", 2), 13: ("hash", 4), 14: ("list", 7), 15: ("stream", 9),
    16: ("hash", 10), 17: ("zset", 10), 18: ("list", 10), 19: ("stream", 10), 20: ("set", 11),
    21: ("stream", 11), 22: ("hash", 12), 23: ("hash", 12), 24: ("hash", 12), 25: ("hash", 12),
}  # fmt: skip
_BLOBS = (0, 9, 10, 11, 12, 13, 16, 17, 20, 23)
_STREAMS = (15, 19, 21)


class Entry(NamedTuple):
    """A key: where its value stands, and what is said of it; -1 for what is not."""

    db: int
    key: bytes
    kind: int
    start: int
    stop: int
    expire_ms: int
    idle_s: int
    freq: int

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self.stop - self.start


class Summary:
    """What a walk met."""

    def __init__(self) -> None:
        self.version = 0
        self.aux: dict[str, str] = {}
        self.functions: list[bytes] = []
        self.keys: Counter[int] = Counter()
        self.volatile: Counter[int] = Counter()
        self.types: Counter[str] = Counter()
        self.announced: Counter[int] = Counter()
        self.checksum = 0


def entries(data: Any, summary: Summary) -> Iterator[Entry]:
    """The keys of a file; RdbError where it is not right, at the end if the checksum is not."""
    return _Walk(RdbReader(data), summary).run()


class _Walk:
    """The state of one walk."""

    def __init__(self, reader: RdbReader, summary: Summary) -> None:
        self.reader = reader
        self.summary = summary
        self.db = 0
        self.crc = 0
        self.summed = 0
        self.said = [-1, -1, -1]

    def run(self) -> Iterator[Entry]:
        """The keys."""
        reader, summary = self.reader, self.summary
        self.head()
        while True:
            kind = reader.byte()
            if kind == END:
                break
            if kind >= SLOT_INFO:
                self.opcode(kind)
                continue
            at = reader.position - 1
            if kind not in TYPES or kind in MODULE_TYPES:
                what = "a value of a module" if kind in MODULE_TYPES else f"unknown type {kind}"
                raise reader.error(f"{what} at the key {reader.string()[:80]!r}", at)
            key = reader.string()
            start = reader.position
            skip_value(reader, kind)
            expire, idle, freq = self.said
            self.said = [-1, -1, -1]
            summary.keys[self.db] += 1
            summary.types[TYPES[kind][0]] += 1
            if expire >= 0:
                summary.volatile[self.db] += 1
            if reader.position - self.summed > SUM_BYTES:
                self.sum_up()
            yield Entry(self.db, key, kind, start, reader.position, expire, idle, freq)
        self.end()

    def head(self) -> None:
        """The magic and the version."""
        reader = self.reader
        magic = reader.raw(min(9, reader.size))
        if magic[:5] != b"REDIS" or len(magic) < 9 or not magic[5:].isdigit():
            raise reader.error("no RDB: it does not begin with REDIS and a version", 0)
        self.summary.version = int(magic[5:])
        if not 1 <= self.summary.version <= VERSION_MAX:
            raise reader.error(
                f"RDB version {self.summary.version}; versions 1 to {VERSION_MAX} can be read", 5
            )

    def sum_up(self) -> None:
        """Bring the checksum up to date."""
        self.crc = extend(self.crc, self.reader.view(self.summed, self.reader.position))
        self.summed = self.reader.position

    def end(self) -> None:
        """The checksum, and nothing behind it."""
        self.sum_up()
        self.summary.checksum = self.crc
        if self.summary.version >= 5:
            at = self.reader.position
            written = self.reader.u64()
            if written not in (0, self.crc):
                raise self.reader.error(
                    f"the checksum is {written:016x}, that of the bytes is {self.crc:016x}", at
                )
        if self.reader.left:
            raise self.reader.error(f"{self.reader.left} bytes behind the end")

    def opcode(self, code: int) -> None:
        """What is no key."""
        reader, summary = self.reader, self.summary
        at = reader.position - 1
        if code == EXPIRE_MS:
            self.said[0] = max(reader.i64(), 0)
        elif code == EXPIRE_S:
            self.said[0] = max(reader.i32(), 0) * 1000
        elif code == IDLE:
            self.said[1] = min(reader.length(), 0x7FFFFFFF)
        elif code == FREQ:
            self.said[2] = reader.byte()
        elif code == SELECT:
            self.db = reader.length()
        elif code == RESIZE:
            summary.announced[self.db] += reader.length()
            reader.length()
        elif code == SLOT_INFO:
            for _ in range(3):
                reader.number()
        elif code == AUX:
            name = reader.string().decode("utf-8", "replace")
            summary.aux[name] = reader.string().decode("utf-8", "replace")
        elif code == FUNCTION:
            summary.functions.append(reader.string())
        elif code == MODULE_AUX:
            _skip_module(reader)
        else:
            raise reader.error("functions in the format of a Redis that was not final", at)


def skip_value(reader: RdbReader, kind: int) -> None:
    """Pass over a value by its lengths; RdbError if it does not end in time."""
    if kind in _BLOBS:
        reader.skip_string()
    elif kind in (1, 2, 14):
        for _ in range(reader.count(1, "value")):
            reader.skip_string()
    elif kind == 4:
        for _ in range(2 * reader.count(2, "hash")):
            reader.skip_string()
    elif kind == 5:
        for _ in range(reader.count(9, "sorted set")):
            reader.skip_string()
            reader.skip(8)
    elif kind == 3:
        for _ in range(reader.count(2, "sorted set")):
            reader.skip_string()
            size = reader.byte()
            reader.skip(size if size < 253 else 0)
    elif kind == 18:
        for _ in range(reader.count(2, "list")):
            reader.number()
            reader.skip_string()
    elif kind == 25:
        reader.skip(8)
        reader.skip_string()
    elif kind in (22, 24):
        reader.skip(8 if kind == 24 else 0)
        for _ in range(reader.count(3, "hash")):
            reader.number()
            reader.skip_string()
            reader.skip_string()
    else:
        _skip_stream(reader, _STREAMS.index(kind) + 1)


def _skip_stream(reader: RdbReader, version: int) -> None:
    for _ in range(2 * reader.count(2, "stream")):
        reader.skip_string()
    for _ in range(3 if version == 1 else 8):
        reader.number()
    for _ in range(reader.count(5, "stream's groups")):
        reader.skip_string()
        for _ in range(2 if version == 1 else 3):
            reader.number()
        for _ in range(reader.count(25, "pending list")):
            reader.skip(24)
            reader.number()
        for _ in range(reader.count(10, "group's consumers")):
            reader.skip_string()
            reader.skip(16 if version == 3 else 8)
            reader.skip(16 * reader.count(16, "consumer's pending list"))


def _skip_module(reader: RdbReader) -> None:
    """Data that a module has beside keys: codes and what they announce."""
    for _ in range(3):
        reader.number()
    while (code := reader.number()) != 0:
        if code in (1, 2):
            reader.number()
        elif code in (3, 4):
            reader.skip(4 if code == 3 else 8)
        elif code == 5:
            reader.skip_string()
        else:
            raise reader.error(f"data of a module with an unknown code {code}")


def framed(body: bytes, version: int) -> bytes:
    """What DUMP puts behind a value, or FUNCTION DUMP behind libraries."""
    body += version.to_bytes(2, "little")
    return body + crc64(body).to_bytes(8, "little")


def payload(data: Any, entry: Entry) -> bytes:
    """An entry's value as RESTORE takes it."""
    body = bytes((entry.kind,)) + bytes(data[entry.start : entry.stop])
    return framed(body, TYPES[entry.kind][1])
