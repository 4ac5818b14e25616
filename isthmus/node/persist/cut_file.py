"""CutFile: a cut written to a file (io), beside commands or while everything waits.

The file is written under a temporary name in the same folder and takes its own name only when it is
complete and on the disk: whoever looks sees the old file or the new one. Writing happens in a
thread while commands run, a piece at a time; no more than `PIECES_WAITING_MAX` pieces wait for it,
and behind that the cut stands still. What was written is handed to the disk now and then, so that
the sync at the end does not take long.

    header | functions | entries as the cut writes them | end mark | CRC-64 of all of it

Errors of the disk are raised as OSError; the temporary file is removed then.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Awaitable, Callable

import trio

from isthmus.node.persist.cut import Cut
from isthmus.node.persist.snapshot_format import end_mark
from isthmus.wire.crc64 import extend

PIECE_BYTES = 512 * 1024
PIECES_WAITING_MAX = 2
LOOK_SECONDS = 0.002
SLICE_NS = 500_000
WHOLE_SLICE_NS = 2_000_000
# As Redis does: no more than this is left for the last sync.
WRITEBACK_BYTES = 4 * 1024 * 1024
SYNC_FILE_RANGE_WRITE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_RANGE = getattr(_LIBC, "sync_file_range", None)
if _SYNC_RANGE is not None:
    _SYNC_RANGE.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


async def next_piece(cut: Cut, size: int, by_loop: bool) -> None:
    """Wait until a cut has `size` bytes to be taken, is finished or failed.

    `by_loop`: it is walked between the turns of the loop; else here.
    """
    while not cut.finished and cut.ready_bytes + cut.out.size < size:
        if by_loop:
            await trio.sleep(LOOK_SECONDS)
        else:
            cut.step(SLICE_NS)
            await trio.lowlevel.checkpoint()


class CutCancelled(Exception):
    """Nobody wants the file any more; what was written is removed."""


class CutFailed(Exception):
    """The cut could not be taken; the text says why."""


def sync_folder(path: str) -> None:
    """Make a change of names in the folder last; raises OSError."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CutFile:
    """One file; `head` are the bytes before the entries."""

    def __init__(
        self, cut: Cut, path: str, head: bytes, *, checksum: bool = True, writeback: bool = True,
        by_loop: bool = False,
    ) -> None:  # fmt: skip
        self.cut = cut
        self.path = path
        self.temporary = os.path.join(
            os.path.dirname(path), f"temp-{os.getpid()}-{os.path.basename(path)}"
        )
        self.size = 0
        self.crc = 0
        self.checksum = checksum
        self.writeback = writeback
        self.synced = 0
        self.head = head
        self.descriptor = -1
        self.cancelled = False
        self.by_loop = by_loop
        # The most bytes of the cut that waited at any time.
        self.peak_bytes = 0

    def open(self) -> None:
        """Make the temporary file; raises OSError."""
        self.descriptor = os.open(
            self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
        )
        self.write(self.head)

    def write(self, piece: bytes) -> None:
        """Append a piece; raises OSError."""
        self.write_all([piece])

    def write_all(self, pieces: list[bytes]) -> None:
        """Append pieces; raises OSError."""
        if self.checksum:
            for piece in pieces:
                self.crc = extend(self.crc, piece)
        total = sum(map(len, pieces))
        # One call: a thread that comes back from the system waits for its turn each time.
        done = os.writev(self.descriptor, pieces) if total else 0
        if done < total:
            view = memoryview(b"".join(pieces))[done:]
            while view:
                view = view[os.write(self.descriptor, view) :]
        self.size += total
        if self.writeback and self.size - self.synced >= WRITEBACK_BYTES:
            if _SYNC_RANGE is not None:
                _SYNC_RANGE(
                    self.descriptor, self.synced, self.size - self.synced, SYNC_FILE_RANGE_WRITE
                )
            else:
                os.fdatasync(self.descriptor)
            self.synced = self.size

    def complete(self) -> None:
        """Write the end, sync, and take the name; raises OSError."""
        end = end_mark()
        if self.checksum:
            self.crc = extend(self.crc, end)
        self.checksum, checked = False, self.checksum
        self.write(end + (self.crc if checked else 0).to_bytes(8, "little"))
        os.fsync(self.descriptor)
        os.close(self.descriptor)
        self.descriptor = -1
        os.replace(self.temporary, self.path)
        sync_folder(os.path.dirname(self.path))

    def abandon(self) -> None:
        """Remove what was written, if it did not take its name."""
        self.cut.end()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        try:
            os.unlink(self.temporary)
        except FileNotFoundError:
            pass

    def check_cut(self) -> None:
        """Raise if the cut failed or is not wanted any more."""
        if self.cut.failure:
            raise CutFailed(self.cut.failure)
        if self.cancelled:
            raise CutCancelled

    def take(self) -> list[bytes]:
        """What the cut has written."""
        pending = self.cut.pending_bytes()
        self.peak_bytes = max(self.peak_bytes, pending + self.cut.kept_bytes)
        return self.cut.take()

    def write_at_once(self) -> None:
        """Write everything while nothing else happens; raises OSError."""
        try:
            self.open()
            while self.cut.step(WHOLE_SLICE_NS):
                if self.cut.out.size >= PIECE_BYTES:
                    self.write_all(self.take())
            self.check_cut()
            self.write_all(self.take())
            self.complete()
        except BaseException:
            self.abandon()
            raise

    async def write_beside(self) -> None:
        """Write everything while commands run; raises OSError, CutFailed or CutCancelled."""
        send, receive = trio.open_memory_channel[list[bytes]](PIECES_WAITING_MAX)
        try:
            await trio.to_thread.run_sync(self.open)
            await self._walk_and_write(send, receive)
            self.check_cut()
            await trio.to_thread.run_sync(self.complete)
        except BaseException:
            self.abandon()
            raise

    async def _walk_and_write(
        self,
        send: trio.MemorySendChannel[list[bytes]],
        receive: trio.MemoryReceiveChannel[list[bytes]],
    ) -> None:
        problem: OSError | None = None

        async def write_pieces() -> None:
            nonlocal problem
            try:
                async with receive:
                    async for pieces in receive:
                        await trio.to_thread.run_sync(self.write_all, pieces)
            except OSError as error:
                problem = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_pieces)
            async with send:
                try:
                    await self._walk(send.send)
                except trio.BrokenResourceError:
                    # The disk refused; the reason is in `problem`.
                    pass
        if problem is not None:
            raise problem

    async def _walk(self, send: Callable[[list[bytes]], Awaitable[None]]) -> None:
        cut = self.cut
        while True:
            await next_piece(cut, PIECE_BYTES, self.by_loop)
            if cut.failure or self.cancelled:
                # Told by check_cut, outside of the nursery, which would make a group of it.
                return
            # It may come to its end while the last piece is being sent.
            finished = cut.finished
            await send(self.take())
            if finished:
                return
