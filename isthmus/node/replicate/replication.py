"""Replication: one node's place in the replication of its shard; the facade `node.replication`.

A node is a primary, whose effects make the stream, or a replica, which keeps the very bytes it was
sent as its own backlog. Both can serve those who follow them (primary.py). Ids are as in Redis:
`replid` names the stream from here on, `replid2` the one that was followed before `second_offset`,
so that replicas of an old primary go on with the new one without copying everything.

A node alone encodes nothing: the stream begins with the first replica, under a new id, for what
happened before is in no stream.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from isthmus.node.persist.aof_format import NO_DB
from isthmus.node.replicate.backlog import Backlog, Older
from isthmus.node.replicate.failover import Failover
from isthmus.node.replicate.primary import Primary
from isthmus.node.replicate.stream import Stream

PRIMARY, REPLICA = "primary", "replica"
NO_ID = "0" * 40
# At ten a second, a minute.
TIMES_MAX = 600
# Without a look at the time for so long, the process was stopped.
STILL_MS = 1000
SIZE = "repl-backlog-size"
STREAMING = "streaming"
READ_ONLY = b"READONLY You can't write against a read only replica."
STALE = b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."


class Replication:
    """Role, ids and the stream."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.role = PRIMARY
        self.replid = node.random_bytes(20).hex()
        self.replid2 = NO_ID
        self.second_offset = -1
        self.backlog = Backlog(node.config.integer(SIZE))
        # What puts a primary's changes into the backlog.
        self.stream = Stream(node, self.backlog)
        # What follows another node's stream (follow.py); None where a test leaves it out.
        self.follower: Any = None
        # True while effects are encoded: from the first replica on, and always in a cluster.
        self.recording = False
        # The stream is about to be another's: see `freeze`.
        self.frozen = False
        # (offset, Unix ms) of how far the stream was when, for a while.
        self._times: deque[tuple[int, int]] = deque(maxlen=TIMES_MAX)
        self._looked_ms = 0
        # Those who follow this node.
        self.primary = Primary(self)
        self.failover = Failover(self)
        node.config.on_change(SIZE, self._resized)

    @property
    def offset(self) -> int:
        """The offset of the last byte of the stream."""
        return self.backlog.end

    def has_stream(self) -> bool:
        """True if id and offset say what the data is: on a primary, once there is a stream; on a
        replica, once it has been in step with its primary."""
        return self.recording or (self.role == REPLICA and self.follower.in_step)

    def note_time(self, now_ms: int) -> None:
        """Note how far the stream is at this time (Unix ms), now and then.

        What is new after a long gap was written before it: the process stood still.
        """
        looked, self._looked_ms = self._looked_ms, now_ms
        if not self._times or self._times[-1][0] != self.offset:
            stood = 0 < looked < now_ms - STILL_MS
            self._times.append((self.offset, looked if stood else now_ms))

    def times_behind(self, offset: int) -> tuple[int, int]:
        """From when to when what is behind `offset` was written, Unix ms, as closely as is known;
        0 for what is not."""
        before = [when for place, when in self._times if place <= offset]
        last = self._times[-1][1] if self._times else 0
        return (before[-1] if before else 0), last

    def place(self) -> tuple[str, int] | None:
        """The stream that the data is of, and how far; None if it is of no stream."""
        if self.role == PRIMARY:
            return (self.replid, self.offset) if self.recording else None
        in_step = self.follower is not None and self.follower.in_step
        return (self.replid, self.offset) if in_step else None

    def full_resync(self) -> bytes:
        """What a replica is told before a snapshot of the data as it stands."""
        self.node.keyspace.log.flush()
        return b"+FULLRESYNC %s %d\r\n" % (self.replid.encode(), self.offset)

    def common(self, replid: str) -> int:
        """How far this node has the stream of that id; -1 if it does not know it."""
        if self.place() is None:
            return -1
        if replid == self.replid:
            return self.offset
        return self.second_offset - 1 if replid == self.replid2 else -1

    def figures(self) -> dict[str, str | int]:
        """The fields of INFO replication, as far as they are the same for both roles."""
        backlog = self.backlog
        active = self.has_stream()
        return {
            "master_failover_state": self.failover.state, "master_replid": self.replid,
            "master_replid2": self.replid2, "master_repl_offset": self.offset,
            "second_repl_offset": self.second_offset, "repl_backlog_active": int(active),
            "repl_backlog_size": self.node.config.integer(SIZE),
            "repl_backlog_first_byte_offset": backlog.start if active else 0,
            "repl_backlog_histlen": backlog.end + 1 - backlog.start if active else 0,
        }  # fmt: skip

    def _resized(self, text: str) -> None:
        self.backlog.bytes_max = self.node.config.integer(SIZE)
        self.backlog.trim()

    def keep_on_disk(self, older: Older, megabytes: int) -> None:
        """Let `older` have what the backlog has no memory for, up to so much."""
        self.backlog.older = older
        self.backlog.older_bytes_max = megabytes << 20

    def new_id(self) -> None:
        """Go on under another id, which nobody has followed yet."""
        self.replid = self.node.random_bytes(20).hex()
        self.replid2, self.second_offset = NO_ID, -1

    # -- a primary ----------------------------------------------------------------------------

    def record(self) -> None:
        """Encode effects from now on."""
        if not self.recording and self.role == PRIMARY:
            self.node.keyspace.log.flush()
            self.node.keyspace.log.attach(self.stream)
            self.recording = True
            self.stream.db = NO_DB

    def begin_stream(self) -> None:
        """Encode effects from now on, if they are not yet: under an id that is nobody's so far."""
        if self.role == PRIMARY and not self.recording:
            self.record()
            self.new_id()
            self.backlog.restart(self.backlog.end)

    def end_stream(self) -> None:
        """Encode effects no longer, for nobody has been there to follow them."""
        if self.recording:
            self._stop_recording()
            self.new_id()
            self.backlog.restart(self.backlog.end)

    def _stop_recording(self) -> None:
        self.node.keyspace.log.flush()
        self.node.keyspace.log.detach(self.stream)
        self.recording = False

    def message(self, db: int, argv: list[bytes]) -> None:
        """A message was published: replicas hear of it in its place among the changes.

        It is no change of data: it is in the log as an event without a name, which other sinks pass
        over.
        """
        if self.recording:
            self.stream.messages = True
            self.node.keyspace.log.note(db, b"", b"", b"")
            self.node.keyspace.log.batch[-1].argv[1:] = [argv[0].upper(), *argv[1:]]

    def freeze(self, on: bool) -> None:
        """Let the stream end where it is, but for what clients write: nothing expires, and nothing
        is said beside changes."""
        self.frozen = on
        self.node.keyspace.frozen = on

    def become_primary(self) -> None:
        """Lead: a new id, and the old one for those who followed up to here."""
        if self.role == PRIMARY:
            return
        self.role = PRIMARY
        self.replid2, self.second_offset = self.replid, self.offset + 1
        self.replid = self.node.random_bytes(20).hex()
        self.primary.let_go("this node leads from now on")
        self.record()

    # -- a replica ----------------------------------------------------------------------------

    def follow(self, host: str, port: int, node_id: str = "", epoch: int = 0) -> None:
        """Follow the primary at that address; in a cluster as a node of a shard at an epoch."""
        self.follower.follow(host, port, node_id, epoch)

    def unfollow(self) -> None:
        """Follow nobody: become a primary."""
        self.follower.unfollow()

    @property
    def state(self) -> str:
        """Of a replica: connecting, syncing or streaming."""
        return str(self.follower.state)

    def silent_ms(self) -> int:
        """Of a replica: for how long its primary has said nothing; -1 if it never did."""
        return int(self.follower.silent_ms())

    def refusal(self) -> bytes | None:
        """Why a client's command that writes may not run here; None if it may."""
        if self.role == REPLICA and self.node.config.boolean("replica-read-only"):
            return READ_ONLY
        return None

    def staleness(self) -> bytes | None:
        """Why a command that looks at data may not run here; None if it may."""
        if (
            self.role == REPLICA
            and self.follower.state != STREAMING
            and not self.node.config.boolean("replica-serve-stale-data")
        ):
            return STALE
        return None

    def become_replica(self) -> None:
        """Follow: effects are no longer encoded, for the stream is somebody else's."""
        if self.role == REPLICA:
            return
        self.role = REPLICA
        if self.recording:
            self._stop_recording()
        self.primary.regate()

    def restart_stream(self, replid: str, offset: int) -> None:
        """A full sync brought the data as of `offset` of stream `replid`: go on from there.

        Those who follow this node have something else; they have to sync anew.
        """
        self.replid, self.replid2, self.second_offset = replid, NO_ID, -1
        self.backlog.restart(offset)
        self.primary.let_go("the data set is another one")

    def rename_stream(self, replid: str) -> None:
        """The primary goes on under another id with the same bytes (a partial sync said so)."""
        if replid != self.replid:
            self.replid2, self.second_offset = self.replid, self.offset + 1
            self.replid = replid
            self.primary.let_go("the stream has another id")
