"""PieceWriter: pieces of a file, written by a thread that the loop never waits for (io).

The loop hands pieces over with `put` and sees in `waiting` how many bytes the thread has still to
write; the thread is in `run` until `close`. Nothing else passes between them. In the compiled form
`run` holds the interpreter's lock at its beginning and at its end only: a thread that takes the
lock for each piece makes the loop wait until the system has let the thread run, which is a
millisecond on a busy machine, and a hundred times a second.

    put     loop     queue a piece, and take it into the checksum; at most PIECES_MAX may wait
    close   loop     no more pieces come
    run     thread   write until closed, then sync; raises OSError for the first that failed
    stop    loop     as close, but what waits is not written, and nothing is synced

Behind an error what comes is counted as written and dropped: the file is lost then. Twin of
piece_writer.pyx.
"""

from __future__ import annotations

import os
from queue import SimpleQueue

from isthmus.node.persist.writeback import WRITEBACK_BYTES, write_back
from isthmus.wire.crc64 import extend
from isthmus.wire.scalars import i64

PIECES_MAX = 1024


class PieceWriter:
    """Writes to a descriptor of which `size` bytes with checksum `crc` are written already."""

    def __init__(
        self, descriptor: int, size: int, crc: int, checksum: bool, writeback: bool
    ) -> None:
        self.descriptor = descriptor
        self.size = size
        self.crc = crc
        self.checksum = checksum
        self.writeback = writeback
        self.stopped = False
        self.closed = False
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._begun = size
        self._written = size

    def put(self, piece: bytes) -> i64:
        """Queue a piece; raises OverflowError if too many wait."""
        if self._queue.qsize() >= PIECES_MAX:
            raise OverflowError("too many pieces wait to be written")
        if self.checksum:
            self.crc = extend(self.crc, piece)
        self.size += len(piece)
        self._queue.put(piece)
        return 0

    def waiting(self) -> i64:
        """Bytes that are queued and not written."""
        return self.size - self._written

    def close(self) -> None:
        """No more pieces come."""
        if not self.closed:
            self.closed = True
            self._queue.put(None)

    def stop(self) -> None:
        """Write nothing more."""
        self.stopped = True
        self.close()

    def run(self) -> None:
        """Write until closed, and sync; called in a thread."""
        problem: OSError | None = None
        synced = self._begun
        while (piece := self._queue.get()) is not None:
            try:
                view = memoryview(piece)
                while view and problem is None and not self.stopped:
                    view = view[os.write(self.descriptor, view) :]
            except OSError as error:
                problem = error
            self._written += len(piece)
            if self.writeback and self._written - synced >= WRITEBACK_BYTES and problem is None:
                write_back(self.descriptor, synced, self._written - synced)
                synced = self._written
        if problem is not None:
            raise problem
        if not self.stopped:
            os.fsync(self.descriptor)
