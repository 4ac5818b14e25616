"""The source of a migration, followed as a replica follows its primary (io).

What comes is put into two files without names, at the pace of the source, so that it never has to
hold back for us: the snapshot, and the stream behind it (`Spool`), which is taken from the front
while it grows at the end. A link that is lost is made anew and goes on behind what was received;
if the source does not have that any more, or has changed into another, the migration cannot go on.

`received` is the offset of the last byte that came; `applied`, which is what the source is told, is
that of the last command that the target has.
"""

from __future__ import annotations

import tempfile
from typing import IO

import trio

from isthmus.cli.sync import CONNECT_SECONDS_MAX, Server
from isthmus.node.replicate import replica
from isthmus.node.replicate.replica import Event, Introduction, ReplicaLink
from isthmus.wire.resp import pack

PIECE_BYTES = 256 << 10
ACK_SECONDS = 1.0
SILENCE_SECONDS_MAX = 60.0
AGAIN_SECONDS = (0.1, 0.2, 0.5, 1.0)
# How long a source may be away altogether.
AWAY_SECONDS_MAX = 300.0


class SourceFailed(Exception):
    """The source cannot be followed (any more); the text says why, and what to do."""


class Spool:
    """Bytes that wait on the disk: in at the end, out at the front."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="isthmus-")
        self.start = self.end = 0

    def append(self, data: bytes) -> None:
        """Take bytes; raises OSError."""
        self.file.seek(self.end)
        self.file.write(data)
        self.end += len(data)

    def take(self, most: int) -> bytes:
        """Give up to so many bytes back, oldest first."""
        if self.start == self.end:
            return b""
        self.file.seek(self.start)
        data = self.file.read(min(most, self.end - self.start))
        self.start += len(data)
        if self.start == self.end:
            self.file.truncate(0)
            self.start = self.end = 0
        return data

    def close(self) -> None:
        """Give the room back."""
        self.file.close()


class Source:
    """One source, its snapshot and its stream. `run` follows it until cancelled."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.payload: IO[bytes] = tempfile.TemporaryFile(prefix="isthmus-")
        self.payload_bytes = 0
        self.payload_size = -1
        self.whole = trio.Event()
        self.stream = Spool()
        self.more = trio.Event()
        self.replid = "?"
        self.received = self.applied = -1
        self.syncs = 0
        self.reconnects = 0
        self.connected = False
        self.refused = ""

    def close(self) -> None:
        """Give the disk back."""
        self.payload.close()
        self.stream.close()

    async def run(self) -> None:
        """Follow, connecting again where that may help; SourceFailed."""
        failures = 0
        away_since = trio.current_time()
        while True:
            try:
                await self.follow()
            except (OSError, trio.BrokenResourceError, trio.TooSlowError, EOFError) as error:
                problem = str(error) or "the link was lost"
            if self.connected:
                away_since, failures = trio.current_time(), 0
            self.connected = False
            if trio.current_time() - away_since > AWAY_SECONDS_MAX:
                raise SourceFailed(f"{self.server.name} has been away for too long: {problem}")
            self.reconnects += 1
            await trio.sleep(AGAIN_SECONDS[min(failures, len(AGAIN_SECONDS) - 1)])
            failures += 1

    async def follow(self) -> None:
        """One connection; ends by an error."""
        server = self.server
        with trio.fail_after(CONNECT_SECONDS_MAX):
            link = await trio.open_tcp_stream(server.host, server.port)
        user = server.user if server.user != "default" else ""
        me = Introduction(port=0, user=user, password=server.password or "")
        if self.whole.is_set():
            me = Introduction(
                port=0, user=user, password=server.password or "", replid=self.replid,
                offset=self.received + 1,
            )  # fmt: skip
        machine = ReplicaLink(me)
        async with link:
            await link.send_all(machine.begin())
            acked = trio.current_time()
            silent_since = acked
            while True:
                data = b""
                with trio.move_on_after(ACK_SECONDS):
                    data = bytes(await link.receive_some(PIECE_BYTES))
                    if not data:
                        raise EOFError(f"{server.name} closed the connection")
                now = trio.current_time()
                if data:
                    silent_since = now
                elif now - silent_since > SILENCE_SECONDS_MAX:
                    raise EOFError(f"{server.name} said nothing for {SILENCE_SECONDS_MAX:.0f} s")
                ack = now - acked >= ACK_SECONDS
                for event in machine.feed(data) if data else ():
                    ack |= await self.handle(link, event)
                if ack and self.connected:
                    acked = now
                    await link.send_all(pack([b"REPLCONF", b"ACK", b"%d" % max(self.applied, 0)]))

    async def handle(self, link: trio.SocketStream, event: Event) -> bool:
        """What the source said; True if it waits to hear how far we are."""
        if isinstance(event, replica.Stream):
            self.stream.append(event.data)
            self.received += len(event.data)
            self.more.set()
        elif isinstance(event, replica.Send):
            await link.send_all(event.data)
        elif isinstance(event, replica.FullSync):
            self.begin(event)
        elif isinstance(event, replica.PayloadBegins):
            self.payload_size = event.size
        elif isinstance(event, replica.Payload):
            self.payload.write(event.data)
            self.payload_bytes += len(event.data)
        elif isinstance(event, replica.PayloadEnds):
            self.payload.flush()
            self.connected = True
            self.whole.set()
            return True
        elif isinstance(event, replica.PartialSync):
            self.replid = event.replid
            self.connected = True
            return True
        elif isinstance(event, replica.Failed):
            if event.refused:
                raise SourceFailed(f"{self.server.name} cannot be followed: {event.reason}")
            raise EOFError(event.reason)
        return False

    def begin(self, sync: replica.FullSync) -> None:
        """A snapshot comes; the first, or another if no one was whole before."""
        if self.whole.is_set():
            raise SourceFailed(
                f"{self.server.name} no longer has what was missed while the link was cut: begin "
                "again with --policy replace (a larger repl-backlog-size lets it be away longer)"
            )
        self.syncs += 1
        self.replid, self.received = sync.replid, sync.offset
        self.applied = sync.offset
        self.payload.seek(0)
        self.payload.truncate(0)
        self.payload_bytes, self.payload_size = 0, -1
