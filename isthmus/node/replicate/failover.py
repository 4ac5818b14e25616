"""FAILOVER on a node that stands alone: it and one of its replicas swap their roles (pure).

    state (as in INFO)     entered by                        left by
    no-failover            the start
    waiting-for-sync       FAILOVER: clients that write      a replica acknowledged everything;
                           wait, the stream stands still     ABORT; the time is up: with FORCE it
                                                             goes on, else it is given up
    failover-in-progress   that: this node follows the       PSYNC was answered; it was refused,
                           replica, and asks it by PSYNC     or ABORT: this node leads again
                           id offset FAILOVER to lead

Nothing is lost without FORCE: from the moment at which clients wait nobody adds to the stream, and
the replica has all of it before it is asked. While the roles are swapped both sides follow, so
there are never two who take writes. Clients that waited run their command when it is over, and are
told READONLY then, if the roles have changed.

The other side is `admit`: a replica that is asked by PSYNC ... FAILOVER leads from there on, if the
one who asks has the very stream that it follows.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.errors import RedisError
from isthmus.node.replicate.primary import ONLINE, AttachedReplica
from isthmus.wire.logs import log

NONE, WAITING, IN_PROGRESS = "no-failover", "waiting-for-sync", "failover-in-progress"
# A pause that ends with the failover, whenever that is; a century, in ms.
UNTIL_OVER_MS = 100 * 365 * 86_400_000
LEADS_ALREADY = b"ERR PSYNC FAILOVER can't be sent to a master."
OTHER_STREAM = b"ERR PSYNC FAILOVER replid must match my replid."


class Failover:
    """The failover that this node has been told to make; `node.replication.failover`."""

    def __init__(self, replication: Any) -> None:
        self.replication = replication
        self.node = replication.node
        self.state = NONE
        self.host, self.port = "", 0
        self.force = False
        # When it is given up, or forced (Unix ms); 0: never.
        self.deadline_ms = 0
        # How long a pause of clients had to go, and how, when ours began.
        self.paused_before: tuple[int, bool] = (0, False)

    # -- the primary's side -------------------------------------------------------------------

    def begin(self, host: bytes, port: int, timeout_ms: int, force: bool) -> None:
        """Begin; host is empty if any replica will do. Raises RedisError."""
        if host:
            self._check(self._find(host, port))
        self.host, self.port, self.force = host.decode(errors="replace"), port, force
        node = self.node
        now_ms = node.clock.now_ms
        self.deadline_ms = now_ms + timeout_ms if timeout_ms else 0
        self.state = WAITING
        blocking = node.blocking
        self.paused_before = blocking.pause_until_ms, blocking.pause_writes_only
        blocking.pause(now_ms + UNTIL_OVER_MS, True)
        self.replication.freeze(True)
        log("failover_begins", host=self.host, port=port, timeout_ms=timeout_ms, force=force)

    def _find(self, host: bytes, port: int) -> AttachedReplica | None:
        for replica in self.replication.primary.replicas.values():
            if (replica.host, replica.port) == (host, port):
                found: AttachedReplica = replica
                return found
        return None

    def _check(self, replica: AttachedReplica | None) -> None:
        if replica is None:
            raise RedisError(b"ERR FAILOVER target HOST and PORT is not a replica.")
        if replica.state != ONLINE:
            raise RedisError(b"ERR FAILOVER target replica is not online.")

    def look(self) -> None:
        """Something was acknowledged, or time has passed: swap the roles if it is time to."""
        if self.state != WAITING:
            return
        if self.deadline_ms and self.node.clock.now_ms >= self.deadline_ms:
            if self.force:
                self._swap("forced")
            else:
                self._give_up("no replica caught up in time")
            return
        if self.node.keyspace.log.held:
            # A script that began before stands still in the middle of its changes.
            return
        self.node.keyspace.log.flush()
        heir = self._heir()
        if heir is not None:
            self.host, self.port = heir.host.decode(errors="replace"), heir.port
            self._swap("caught up")

    def _heir(self) -> AttachedReplica | None:
        """A replica that may be asked and has everything."""
        for replica in self.replication.primary.replicas.values():
            wanted = not self.host or (replica.host.decode(errors="replace"), replica.port) == (
                self.host, self.port)  # fmt: skip
            if wanted and replica.state == ONLINE and replica.acked >= self.replication.offset:
                heir: AttachedReplica = replica
                return heir
        return None

    def _swap(self, why: str) -> None:
        self.state = IN_PROGRESS
        log("failover_swaps", host=self.host, port=self.port, why=why,
            offset=self.replication.offset)  # fmt: skip
        self.replication.follow(self.host, self.port)

    def answered(self) -> None:
        """The new primary took our PSYNC: it leads."""
        if self.state == IN_PROGRESS:
            log("failover_done", level="WARN", host=self.host, port=self.port)
            self.node.config.tell("replicaof", f"{self.host} {self.port}")
            self._over()

    def abort(self, why: str) -> None:
        """Give up; the primary is the one who was it before."""
        if self.state == IN_PROGRESS:
            self.replication.unfollow()
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        if self.state != NONE:
            log("failover_aborted", level="WARN", host=self.host, port=self.port, why=why)
            self._over()

    def keeps_pause(self) -> bool:
        """CLIENT UNPAUSE: it ends what clients asked for, and not what a failover needs."""
        self.paused_before = 0, False
        return self.state != NONE

    def _over(self) -> None:
        self.state = NONE
        self.replication.freeze(False)
        blocking = self.node.blocking
        blocking.unpause()
        until_ms, writes_only = self.paused_before
        if until_ms > self.node.clock.now_ms:
            # A pause that a client had asked for goes on.
            blocking.pause(until_ms, writes_only)

    # -- the replica's side -------------------------------------------------------------------

    def admit(self, replid: str) -> None:
        """PSYNC ... FAILOVER: lead from now on; raises RedisError."""
        replication = self.replication
        log("failover_asked", replid=replid)
        if replication.role == "primary":
            raise RedisError(LEADS_ALREADY)
        if replid != replication.replid:
            raise RedisError(OTHER_STREAM)
        replication.unfollow()
        self.node.config.tell("replicaof", "")
