"""Segments: the part of a stream that memory has no room for, on disk (io).

A replica whose link is slow, or was cut for long, can go on as long as what it misses is kept. The
backlog moves its oldest chunks here: into files of about `SEGMENT_BYTES`, of which the oldest goes
when the others are enough. The files have no names: with the process they are gone, however it
ends, and so is the memory that they continue.

Writing goes to the system's cache and is never synced. If the disk refuses, what was here is given
up, which costs a full sync at worst, and the stream goes on.
"""

from __future__ import annotations

import os
from collections import deque

from isthmus.wire.logs import log

SEGMENT_BYTES = 8 * 1024 * 1024


class Segment:
    """One file: the stream from offset `start` on."""

    __slots__ = ("descriptor", "size", "start")

    def __init__(self, start: int, descriptor: int) -> None:
        self.start = start
        self.descriptor = descriptor
        self.size = 0


class Segments:
    """Consecutive parts of a stream, oldest first, in files of a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: deque[Segment] = deque()
        self.size = 0
        self.start = 0

    def append(self, offset: int, data: bytearray) -> None:
        """Take the bytes from `offset` on, which follow those that are here."""
        try:
            last = self.files[-1] if self.files else None
            if last is None or last.size >= SEGMENT_BYTES:
                last = Segment(offset, nameless_file(self.folder))
                self.files.append(last)
                self.start = self.files[0].start
            view = memoryview(data)
            while view:
                done = os.pwrite(last.descriptor, view, last.size)
                view = view[done:]
                last.size += done
                self.size += done
        except OSError as error:
            log("backlog_on_disk_lost", level="WARN", why=str(error), bytes=self.size)
            self.clear()

    def read(self, offset: int, bytes_max: int) -> bytes:
        """Bytes from `offset` on, some of them; none if they cannot be read."""
        files = self.files
        low, high = 0, len(files)
        while high - low > 1:
            middle = (low + high) // 2
            if files[middle].start <= offset:
                low = middle
            else:
                high = middle
        if not files or offset < files[low].start:
            return b""
        found = files[low]
        place = offset - found.start
        try:
            return os.pread(found.descriptor, max(0, min(bytes_max, found.size - place)), place)
        except OSError as error:
            log("backlog_on_disk_unread", level="ERROR", why=str(error))
            return b""

    def trim(self, bytes_max: int, keep_from: int) -> None:
        """Give up the oldest files that are more than enough and end before `keep_from`."""
        files = self.files
        while files and self.size - files[0].size >= bytes_max:
            first = files[0]
            if first.start + first.size > keep_from:
                break
            self.size -= first.size
            os.close(first.descriptor)
            files.popleft()
        self.start = files[0].start if files else 0

    def clear(self) -> None:
        """Give up everything."""
        for segment in self.files:
            os.close(segment.descriptor)
        self.files.clear()
        self.size = 0


def nameless_file(folder: str) -> int:
    """A new file that no folder lists; raises OSError."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Some file systems know no such files: it has a name for a moment.
        path = os.path.join(folder, f"temp-{os.getpid()}-backlog.aof")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return descriptor
