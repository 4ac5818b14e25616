"""CutFile: a cut written to a file (io), beside commands or while everything waits.

The file is written under a temporary name in the same folder and takes its own name only when it is
complete and on the disk: whoever looks sees the old file or the new one. Writing happens in a
thread while commands run. In a server the loop walks the cut between its turns and hands pieces to
the thread without any task of ours in between (cut.py, piece_writer.py); elsewhere a task walks it,
and no more than `PIECES_WAITING_MAX` pieces wait for the thread. Where too much waits the cut
stands still. What was written is handed to the disk now and then, so that the sync at the end does
not take long.

    header | functions | entries as the cut writes them | end mark | CRC-64 of all of it

Errors of the disk are raised as OSError; the temporary file is removed then.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from isthmus.node.persist.cut import Cut
from isthmus.node.persist.piece_writer import PieceWriter
from isthmus.node.persist.snapshot_format import end_mark
from isthmus.node.persist.writeback import WRITEBACK_BYTES, write_back
from isthmus.wire.crc64 import extend

PIECE_BYTES = 512 * 1024
PIECES_WAITING_MAX = 2
LOOK_SECONDS = 0.002
SLICE_NS = 500_000
WHOLE_SLICE_NS = 2_000_000


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

    @property
    def peak_bytes(self) -> int:
        """The most bytes of the cut that waited at any time."""
        return self.cut.peak_bytes

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
            write_back(self.descriptor, self.synced, self.size - self.synced)
            self.synced = self.size

    def last_piece(self) -> bytes:
        """What follows the entries."""
        end = end_mark()
        self.checksum, checked = False, self.checksum
        return end + (extend(self.crc, end) if checked else 0).to_bytes(8, "little")

    def complete(self) -> None:
        """Write the end, sync, and take the name; raises OSError."""
        self.write(self.last_piece())
        os.fsync(self.descriptor)
        self.publish()

    def publish(self) -> None:
        """Let the file, which is on the disk, take its name; raises OSError."""
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

    def write_at_once(self) -> None:
        """Write everything while nothing else happens; raises OSError."""
        try:
            self.open()
            while self.cut.step(WHOLE_SLICE_NS):
                if self.cut.out.size >= PIECE_BYTES:
                    self.write_all(self.cut.take())
            self.check_cut()
            self.write_all(self.cut.take())
            self.complete()
        except BaseException:
            self.abandon()
            raise

    async def write_beside(self) -> None:
        """Write everything while commands run; raises OSError, CutFailed or CutCancelled."""
        try:
            await trio.to_thread.run_sync(self.open)
            if self.by_loop:
                await self._write_walked()
                await trio.to_thread.run_sync(self.publish)
            else:
                await self._walk_and_write()
                await trio.to_thread.run_sync(self.complete)
        except BaseException:
            self.abandon()
            raise

    async def _write_walked(self) -> None:
        """The loop walks the cut, and hands what it writes to a thread; both without us."""
        cut = self.cut
        ended = self._end_of_walk()
        writer = PieceWriter(self.descriptor, self.size, self.crc, self.checksum, self.writeback)
        problem: OSError | None = None

        async def write_pieces() -> None:
            nonlocal problem
            try:
                await trio.to_thread.run_sync(writer.run)
            except OSError as error:
                problem = error
                cut.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_pieces)
            try:
                for piece in cut.take():
                    writer.put(piece)
                cut.taker = writer
                await ended.wait()
                if problem is None and not cut.failure and not self.cancelled:
                    for piece in cut.take():
                        writer.put(piece)
                    self.crc = writer.crc
                    writer.put(self.last_piece())
                    writer.close()
            finally:
                if not writer.closed:
                    writer.stop()
        self.size = writer.size
        if problem is not None:
            raise problem
        self.check_cut()

    def _end_of_walk(self) -> trio.Event:
        """Set when the cut is finished, or has failed."""
        ended = trio.Event()
        before = self.cut.on_finished

        def finished() -> None:
            if before is not None:
                before()
            ended.set()

        self.cut.on_finished = finished
        if self.cut.finished:
            ended.set()
        return ended

    async def _walk_and_write(self) -> None:
        send, receive = trio.open_memory_channel[list[bytes]](PIECES_WAITING_MAX)
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
        self.check_cut()

    async def _walk(self, send: Callable[[list[bytes]], Awaitable[None]]) -> None:
        cut = self.cut
        while True:
            await next_piece(cut, PIECE_BYTES, self.by_loop)
            if cut.failure or self.cancelled:
                # Told by check_cut, outside of the nursery, which would make a group of it.
                return
            # It may come to its end while the last piece is being sent.
            finished = cut.finished
            await send(self.cut.take())
            if finished:
                return
