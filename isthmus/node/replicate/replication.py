"""Replication: one node's place in the replication of its shard; the facade `node.replication`.

A node is a primary, whose effects make the stream, or a replica, which keeps the very bytes it was
sent as its own backlog. Both can serve those who follow them. Ids are as in Redis: `replid` names
the stream from here on, `replid2` the one that was followed up to `second_offset`, so that replicas
of an old primary go on with the new one without copying everything.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.effect_log import Effect
from isthmus.node.persist.aof_format import NO_DB, encode_batch
from isthmus.node.replicate.backlog import Backlog

PRIMARY, REPLICA = "primary", "replica"
NO_ID = "0" * 40
STREAMING = "streaming"
READ_ONLY = b"READONLY You can't write against a read only replica."
STALE = (
    b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
)


class Replication:
    """Role, ids and the stream. As a sink of the effect log it encodes what a primary does."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.role = PRIMARY
        self.replid = node.random_bytes(20).hex()
        self.replid2 = NO_ID
        self.second_offset = -1
        self.backlog = Backlog(node.config.integer("repl-backlog-size"))
        # The database selected at the end of the stream; NO_DB: the next effect says which.
        self.db = NO_DB
        # What follows another node's stream (follow.py); None where a test leaves it out.
        self.follower: Any = None
        # True while effects are encoded: from the first replica on, and always in a cluster.
        self.recording = False

    @property
    def offset(self) -> int:
        """The offset of the last byte of the stream."""
        return self.backlog.end

    # -- a primary ----------------------------------------------------------------------------

    def record(self) -> None:
        """Encode effects from now on."""
        if not self.recording and self.role == PRIMARY:
            self.node.keyspace.log.flush()
            self.node.keyspace.log.attach(self)
            self.recording = True
            self.db = NO_DB

    def effects(self, batch: list[Effect]) -> None:
        """Changes of data: into the stream."""
        data, self.db = encode_batch(batch, self.db)
        if data:
            self.feed(data)

    def feed(self, data: bytes) -> None:
        """The stream goes on with `data`: keep it, and send it to those who follow."""
        self.backlog.append(data)

    def become_primary(self) -> None:
        """Lead: a new id, and the old one for those who followed up to here."""
        if self.role == PRIMARY:
            return
        self.role = PRIMARY
        self.replid2, self.second_offset = self.replid, self.offset + 1
        self.replid = self.node.random_bytes(20).hex()
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
            self.node.keyspace.log.flush()
            self.node.keyspace.log.detach(self)
            self.recording = False

    def restart_stream(self, replid: str, offset: int) -> None:
        """A full sync brought the data as of `offset` of stream `replid`: go on from there.

        Those who follow this node have something else; they have to sync anew.
        """
        self.replid, self.replid2, self.second_offset = replid, NO_ID, -1
        self.backlog.restart(offset)

    def rename_stream(self, replid: str) -> None:
        """The primary goes on under another id with the same bytes (a partial sync said so)."""
        if replid != self.replid:
            self.replid2, self.second_offset = self.replid, self.offset + 1
            self.replid = replid
