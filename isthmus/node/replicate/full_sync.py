r"""Full syncs: a cut of the data, sent to every replica that waits for one (io).

Those who said `REPLCONF capa eof` are sent the cut as it is taken, all the same bytes:

    $EOF:<40 characters>\r\n | snapshot | the same 40 characters

The slowest of them sets the pace. The others, and all of them with `repl-diskless-sync no`, wait
until the cut is in a file, which has no name any more once all have it open, and read that, each at
its own pace (primary.py):

    $<length>\r\n | snapshot

It is one job among those that take cuts (persist/snapshot.py), and begins when the one before it is
over. What a replica is sent behind it is the stream from the very moment of the cut.
"""

from __future__ import annotations

import os
from typing import Any

import trio

from isthmus.node.persist.cut import Cut
from isthmus.node.persist.cut_file import CutCancelled, CutFailed, CutFile, next_piece
from isthmus.node.persist.snapshot import STREAM, Job
from isthmus.node.persist.snapshot_format import end_mark
from isthmus.node.replicate.primary import SENDING, WINDOW_BYTES, AttachedReplica, Primary
from isthmus.wire.crc64 import extend
from isthmus.wire.logs import log

PIECE_BYTES = 128 * 1024
LOOK_SECONDS = 0.002


class DirectSync:
    """A cut that goes to replicas as it is taken; `head` are the bytes before the entries."""

    def __init__(
        self, cut: Cut, primary: Primary, replicas: list[AttachedReplica], head: bytes, mark: bytes,
        by_loop: bool,
    ) -> None:  # fmt: skip
        self.cut = cut
        self.primary = primary
        self.replicas = replicas
        self.path = " ".join(map(primary.name, replicas))
        self.head = head
        self.mark = mark
        self.by_loop = by_loop
        self.size = 0
        self.crc = 0
        self.cancelled = False
        self.peak_bytes = 0

    async def write_beside(self) -> None:
        """Send everything; raises CutFailed, or CutCancelled if all are gone."""
        try:
            await self.send(b"$EOF:" + self.mark + b"\r\n")
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
        for replica in self.there():
            self.primary.sent(replica)

    def there(self) -> list[AttachedReplica]:
        """Those who are still connected."""
        return [one for one in self.replicas if one.state == SENDING and one.peer() is not None]

    async def write(self, piece: bytes) -> None:
        """Send a piece of the snapshot."""
        await self.send(piece)
        self.size += len(piece)
        self.crc = extend(self.crc, piece)

    async def send(self, piece: bytes) -> None:
        """Hand a piece to all connections, when each has taken enough of what was before."""
        self.check()
        for replica in self.there():
            # Its greeting is handed on at the end of a turn of the loop, before all else.
            while (peer := replica.peer()) is not None and (
                replica.greeting or peer.pending_output() > WINDOW_BYTES
            ):
                await trio.sleep(LOOK_SECONDS)
                self.check()
            if peer is not None:
                peer.send(piece)

    def check(self) -> None:
        """Raise if there is no use in going on."""
        if self.cut.failure:
            raise CutFailed(self.cut.failure)
        if self.cancelled or not self.there():
            raise CutCancelled


class FullSyncs:
    """Makes the jobs that bring data to replicas."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.primary: Primary = node.replication.primary
        self.primary.ask_cut = self.ask
        self.files = 0

    def ask(self) -> None:
        """A replica waits for a cut."""
        self.node.persistence.snapshots.stream(self.next_job)

    def next_job(self) -> Job | None:
        """Begin a cut for those who wait now; None if nobody does, or the data is in between."""
        primary = self.primary
        if self.node.keyspace.log.held:
            # A script stands still in the middle of its changes: they are asked for again later.
            primary.cut_asked = False
            return None
        replicas = primary.take_waiting()
        if not replicas:
            return None
        snapshots = self.node.persistence.snapshots
        by_loop = snapshots.background is not None
        if replicas[0].state == SENDING:
            mark = self.node.random_bytes(20).hex().encode()
            head = snapshots.head(False)
            direct = DirectSync(snapshots.new_cut(), primary, replicas, head, mark, by_loop)
            return Job(direct, STREAM, lambda problem: self.over(replicas, problem))
        folder = os.path.dirname(snapshots.path())
        self.files += 1
        # Named as all temporary files of snapshots are, for a start removes what is left of them.
        path = os.path.join(folder, f"temp-{os.getpid()}-replicas-{self.files}.rdb")
        file: CutFile = snapshots.new_file(path, False)

        def done(problem: str | None) -> None:
            self.over(replicas, problem)
            if problem is None:
                self.open_for(replicas, path, file.size)

        return Job(file, STREAM, done)

    def open_for(self, replicas: list[AttachedReplica], path: str, size: int) -> None:
        """Give every replica the file."""
        for replica in replicas:
            if replica.peer() is None:
                continue
            try:
                file = open(path, "rb")
            except OSError as error:
                # It comes again, when there may be descriptors or a folder again.
                self.primary.cut_off(replica, f"the file of its full sync: {error}")
            else:
                self.primary.saved(replica, file, size)
        try:
            os.unlink(path)
        except OSError as error:
            log("cut_not_removed", level="ERROR", file=path, why=str(error))

    def over(self, replicas: list[AttachedReplica], problem: str | None) -> None:
        """The cut has been written or not: those who got half of it are cut off."""
        if problem is not None:
            for replica in replicas:
                if replica.peer() is not None:
                    self.primary.cut_off(replica, f"the cut of the data failed: {problem}")
