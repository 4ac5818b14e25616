"""A cut of the data, sent as it is taken (io): to replicas, or to a client that wants just that.

What is sent is no RESP reply but

    $EOF:<40 characters>\\r\\n | snapshot | the same 40 characters

`redis-cli --rdb` and `isthmus export` ask for it (`CutStream`) with `REPLCONF rdb-only 1`,
`REPLCONF capa eof` and SYNC, and then the connection ends. Who reads slowly slows the cut down: no
more than `WAITING_BYTES` are handed to a connection before it has taken them.
"""

from __future__ import annotations

from typing import Any

import trio

from isthmus.node.persist.cut import Cut
from isthmus.node.persist.cut_file import CutCancelled, CutFailed, next_piece
from isthmus.node.persist.snapshot_format import end_mark
from isthmus.wire.crc64 import extend

WAITING_BYTES = 1 << 20
PIECE_BYTES = 128 * 1024
LOOK_SECONDS = 0.002


class SentCut:
    """A cut on its way to connections; `head` are the bytes before the entries.

    `send` hands bytes on, `gone` says that nobody is there any more; `sent` is called when all is
    out, `over` however it ended.
    """

    def __init__(self, cut: Cut, path: str, head: bytes, mark: bytes, by_loop: bool) -> None:
        self.cut = cut
        self.path = path
        self.head = head
        # What is said before it.
        self.greeting = b""
        self.mark = mark
        self.by_loop = by_loop
        self.size = 0
        self.crc = 0
        self.cancelled = False
        self.peak_bytes = 0

    async def write_beside(self) -> None:
        """Send everything; raises CutFailed, or CutCancelled if everybody is gone."""
        try:
            await self.send(self.greeting + b"$EOF:" + self.mark + b"\r\n")
            await self.write(self.head)
            while True:
                await next_piece(self.cut, PIECE_BYTES, self.by_loop)
                self.check()
                held = self.cut.pending_bytes() + self.cut.kept_bytes
                self.peak_bytes = max(self.peak_bytes, held)
                finished = self.cut.finished
                for piece in self.cut.take():
                    await self.write(piece)
                if finished:
                    break
            end = end_mark()
            crc = extend(self.crc, end)
            await self.write(end + crc.to_bytes(8, "little"))
            await self.send(self.mark)
        finally:
            self.cut.end()
            self.over()
        self.sent()

    async def write(self, piece: bytes) -> None:
        """Send a piece of the snapshot."""
        await self.send(piece)
        self.size += len(piece)
        self.crc = extend(self.crc, piece)

    def check(self) -> None:
        """Raise if there is no use in going on."""
        if self.cut.failure:
            raise CutFailed(self.cut.failure)
        if self.cancelled or self.gone():
            raise CutCancelled

    async def send(self, piece: bytes) -> None:
        """Hand bytes to every connection, when it has taken enough of what was before."""
        raise NotImplementedError

    def gone(self) -> bool:
        """True if nobody is there any more."""
        raise NotImplementedError

    def sent(self) -> None:
        """All is handed on, up to the mark at its end."""

    def over(self) -> None:
        """Nothing more is sent."""


class CutStream(SentCut):
    """A cut for one client, whose connection ends behind it."""

    def __init__(
        self, cut: Cut, client: Any, head: bytes, mark: bytes, by_loop: bool = False
    ) -> None:
        super().__init__(cut, f"client {client.address}", head, mark, by_loop)
        self.client = client

    async def send(self, piece: bytes) -> None:
        self.check()
        while self.client.peer.pending_output() > WAITING_BYTES:
            await trio.sleep(LOOK_SECONDS)
            self.check()
        self.client.peer.send(piece)

    def gone(self) -> bool:
        return self.client.peer is None or not self.client.peer.open

    def over(self) -> None:
        if self.client.peer is not None:
            self.client.peer.close_soon()
