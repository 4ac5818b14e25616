"""Backlog: the latest part of a replication stream, by offset.

A stream is all bytes that a data set's changes were encoded to since its replication id was made;
the offset of a byte is its place in it. The first byte is at offset 1, as in Redis: `end` is the
offset of the last byte there is, so a replica that has everything has `end` as well, and asks for
`end + 1`. `start` is the offset of the oldest byte still here.
"""

from __future__ import annotations

from collections import deque

from isthmus.wire.scalars import i64

CHUNK_BYTES = 64 * 1024


class Backlog:
    """Bytes `start`..`end` of a stream; the oldest go once there are more than `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.start = 1
        self.end = 0
        # (offset of its first byte, bytes), oldest first; only the last one grows.
        self.chunks: deque[tuple[int, bytearray]] = deque()

    def restart(self, end: int) -> None:
        """Hold nothing; the next byte is at `end` + 1."""
        self.chunks.clear()
        self.end = end
        self.start = end + 1

    def append(self, data: bytes) -> None:
        """Take what follows."""
        if not self.chunks or len(self.chunks[-1][1]) >= CHUNK_BYTES:
            self.chunks.append((self.end + 1, bytearray()))
        self.chunks[-1][1].extend(data)
        self.end += len(data)
        while len(self.chunks) > 1 and self.end - self.chunks[1][0] + 1 >= self.bytes_max:
            self.chunks.popleft()
            self.start = self.chunks[0][0]

    def holds(self, offset: i64) -> bool:
        """True if everything from `offset` on is here (`end` + 1: nothing is missing)."""
        return self.start <= offset <= self.end + 1

    def read(self, offset: i64, bytes_max: i64) -> bytes:
        """Bytes from `offset` on, some of them; none if there are no more."""
        for first, data in self.chunks:
            if first <= offset < first + len(data):
                at = offset - first
                return bytes(data[at : at + bytes_max])
        return b""
