"""CutStream: a cut sent to a client (io), as a replica asks for it that wants the snapshot only.

`REPLCONF rdb-only 1`, `REPLCONF capa eof` and SYNC are what `redis-cli --rdb` and `isthmus export`
send. The answer is no RESP reply but

    $EOF:<40 characters>\r\n | snapshot | the same 40 characters

and the connection ends. A client that reads slowly slows the cut down: no more than `WAITING_BYTES`
are handed to its connection before it has taken them.
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


class CutStream:
    """One client that gets a cut; `head` are the bytes before the entries."""

    def __init__(
        self, cut: Cut, client: Any, head: bytes, mark: bytes, by_loop: bool = False
    ) -> None:
        self.cut = cut
        self.client = client
        self.path = f"client {client.address}"
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
        """Send everything; raises CutFailed, or CutCancelled if the client is gone."""
        try:
            self.client.peer.send(self.greeting + b"$EOF:" + self.mark + b"\r\n")
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
            self.client.peer.send(self.mark)
        finally:
            self.cut.end()
            if self.client.peer is not None:
                self.client.peer.close_soon()

    async def write(self, piece: bytes) -> None:
        """Hand a piece to the connection, when it has taken enough of what was before."""
        self.check()
        while self.client.peer.pending_output() > WAITING_BYTES:
            await trio.sleep(LOOK_SECONDS)
            self.check()
        self.client.peer.send(piece)
        self.size += len(piece)
        self.crc = extend(self.crc, piece)

    def check(self) -> None:
        """Raise if there is no use in going on."""
        if self.cut.failure:
            raise CutFailed(self.cut.failure)
        if self.cancelled or self.client.peer is None or not self.client.peer.open:
            raise CutCancelled
