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
from isthmus.node.persist.cut_file import CutFile
from isthmus.node.persist.cut_stream import LOOK_SECONDS, SentCut
from isthmus.node.persist.snapshot import STREAM, Job
from isthmus.node.replicate.primary import SENDING, WINDOW_BYTES, AttachedReplica, Primary
from isthmus.wire.logs import log


class DirectSync(SentCut):
    """A cut that goes to replicas as it is taken."""

    def __init__(
        self, cut: Cut, primary: Primary, replicas: list[AttachedReplica], head: bytes, mark: bytes,
        by_loop: bool,
    ) -> None:  # fmt: skip
        super().__init__(cut, " ".join(map(primary.name, replicas)), head, mark, by_loop)
        self.primary = primary
        self.replicas = replicas

    def there(self) -> list[AttachedReplica]:
        """Those who are still connected."""
        return [one for one in self.replicas if one.state == SENDING and one.peer() is not None]

    async def send(self, piece: bytes) -> None:
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

    def gone(self) -> bool:
        return not self.there()

    def sent(self) -> None:
        for replica in self.there():
            self.primary.sent(replica)


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
