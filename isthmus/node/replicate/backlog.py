"""Backlog: the latest part of a replication stream, by offset.

A stream is all bytes that a data set's changes were encoded to since its replication id was made;
the offset of a byte is its place in it. The first byte is at offset 1, as in Redis: `end` is the
offset of the last byte there is, so a replica that has everything has `end` as well, and asks for
`end + 1`. `start` is the offset of the oldest byte still here.

Bytes are kept in chunks of about `CHUNK_BYTES`; the oldest goes when the others are enough. With
`older`, a place for what memory has no room for (segments.py), it goes there instead, and
`start` is the oldest byte there. A full sync under way says by `keep_from` from where on it will
need the stream: nothing behind that is given up, however much it becomes.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from isthmus.wire.scalars import i64

CHUNK_BYTES = 64 * 1024
# Nobody needs anything to be kept.
NOTHING = (1 << 63) - 1


class Older(Protocol):
    """Where the part of a stream goes that memory has no room for."""

    start: int
    size: int

    def append(self, offset: int, data: bytearray) -> None: ...

    def read(self, offset: int, bytes_max: int) -> bytes: ...

    def trim(self, bytes_max: int, keep_from: int) -> None: ...

    def clear(self) -> None: ...


class Backlog:
    """Bytes `start`..`end` of a stream; the oldest go once there are more than `bytes_max`."""

    def __init__(
        self, bytes_max: int, older: Older | None = None, older_bytes_max: int = 0
    ) -> None:
        self.bytes_max = bytes_max
        self.older = older
        self.older_bytes_max = older_bytes_max
        self.start = 1
        self.end = 0
        self.keep_from = NOTHING
        # (offset of its first byte, bytes), oldest first; only the last one grows.
        self.chunks: deque[tuple[int, bytearray]] = deque()
        # The one that grows.
        self.last = bytearray()
        # The end at which the oldest chunk can be spared.
        self.due = NOTHING

    def restart(self, end: i64) -> None:
        """Hold nothing; the next byte is at `end` + 1."""
        self.chunks.clear()
        if self.older is not None:
            self.older.clear()
        self.end = end
        self.start = end + 1
        self.due = NOTHING

    def append(self, data: bytes) -> None:
        """Take what follows."""
        last = self.last
        if len(last) >= CHUNK_BYTES or not self.chunks:
            last = self.last = bytearray()
            self.chunks.append((self.end + 1, last))
            self.reckon()
        last += data
        self.end += len(data)
        if self.end >= self.due:
            self.trim()

    def reckon(self) -> None:
        """See when the oldest chunk can be spared."""
        many = len(self.chunks) > 1
        self.due = self.chunks[1][0] + self.bytes_max - 1 if many else NOTHING

    def trim(self) -> None:
        """Let memory go of what it has no room for."""
        chunks, older = self.chunks, self.older
        while len(chunks) > 1 and self.end - chunks[1][0] + 1 >= self.bytes_max:
            if older is None and chunks[1][0] > self.keep_from:
                break
            first, data = chunks.popleft()
            if older is not None:
                older.append(first, data)
        if older is not None and older.size:
            older.trim(self.older_bytes_max, self.keep_from)
        if older is not None and older.size:
            self.start = older.start
        elif chunks:
            self.start = chunks[0][0]
        self.reckon()

    def holds(self, offset: i64) -> bool:
        """True if everything from `offset` on is here (`end` + 1: nothing is missing)."""
        return self.start <= offset <= self.end + 1

    def memory(self) -> int:
        """Bytes that are in memory."""
        return self.end - self.chunks[0][0] + 1 if self.chunks else 0

    def read(self, offset: i64, bytes_max: i64) -> bytes:
        """Bytes from `offset` on, some of them; none if there are no more."""
        chunks = self.chunks
        if not chunks or offset > self.end:
            return b""
        if offset < chunks[0][0]:
            return b"" if self.older is None else self.older.read(offset, bytes_max)
        first, data = chunks[-1]
        if offset < first:
            low, high = 0, len(chunks) - 1
            while high - low > 1:
                middle = (low + high) // 2
                if chunks[middle][0] <= offset:
                    low = middle
                else:
                    high = middle
            first, data = chunks[low]
        at = offset - first
        # One copy; nothing of the view is left, or the chunk could not grow.
        with memoryview(data) as view:
            return bytes(view[at : at + bytes_max])
