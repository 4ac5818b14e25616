"""Leadership: for how long this node may speak for its shard, and its votes for others (pure).

A node is a *voter* of every shard it holds a copy of, and the *holder* of one while the topology
says that it is the primary. The protocol is isthmus/wire/lease.py's; here it meets the topology:
epochs are learned from it, a primary asks the voters it names, and anybody who knows a newer epoch
ends the lease at once, before the topology that says why has come.

Frames go out through `send(voter, frame)`, where the voter WITNESS is the coordinator; `now` is
nanoseconds of CLOCK_BOOTTIME. With a coordinator that knows no leases (`lease_ms` 0) and with a
single copy the lease never ends.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.node.cluster.view import ClusterView, ShardInfo
from isthmus.wire.lease import FOREVER, RENEW_MS, WITNESS, Frame, Holder, Voter

Send = Callable[[str, Frame], None]


class Leadership:
    """One node's votes, and its own lease."""

    def __init__(self, node_id: str, started_ns: int, send: Send) -> None:
        self.node_id = node_id
        self._send = send
        self._started_ns = started_ns
        self._voter: Voter | None = None
        self._holder: Holder | None = None
        self._lease_ms = 0
        # The shard and epoch it leads, by the topology; -1: none.
        self.shard = -1
        self.epoch = 0
        # The newest epoch of the shard that anybody told of; above `epoch`: somebody else leads.
        self.known = 0
        self.until_ns = 0
        # Renewals sent, and refused by a voter: for INFO.
        self.asked = 0
        self.refused = 0
        # Whose requests are a sign of life of this node's primary, under which epoch; and the last.
        self._followed: tuple[str, int, int] | None = None
        self.heard_ns = 0

    def learn(self, view: ClusterView, now: int) -> None:
        """A topology was taken over."""
        if view.lease_ms and view.lease_ms != self._lease_ms:
            # Another length from here on: what was promised before may last longer than we knew.
            started = self._started_ns if self._voter is None else now
            self._lease_ms = view.lease_ms
            self._voter = Voter(view.lease_ms, started)
            self._holder = Holder(self.node_id, view.lease_ms, min(RENEW_MS, view.lease_ms // 4))
        if self._voter is not None:
            for shard in view.shards:
                self._voter.learn(shard.number, shard.epoch)
        mine = view.my_shard
        followed = None if mine is None else (mine.primary.id, mine.number, mine.epoch)
        if followed != self._followed:
            self._followed, self.heard_ns = followed, 0
        if mine is None or mine.primary.id != self.node_id or view.fenced:
            self.stop()
        else:
            self._lead(mine, now)

    def _lead(self, shard: ShardInfo, now: int) -> None:
        self.shard, self.epoch = shard.number, shard.epoch
        if self._holder is None:
            self.until_ns = FOREVER
            return
        if self.known > shard.epoch:
            return  # a newer one is on its way to us
        self._holder.configure(shard.number, shard.epoch, shard.voters)
        self.tick(now)

    def stop(self) -> None:
        """Lead nothing."""
        self.shard, self.until_ns = -1, 0
        if self._holder is not None:
            self._holder.stop()

    def holds(self, now: int) -> bool:
        """True if this node may acknowledge writes, and answer reads, of its shard."""
        return now < self.until_ns

    def release(self) -> None:
        """Give the lease up, so that another may have it at once."""
        if self._holder is not None and self.shard >= 0:
            for voter, frame in self._holder.release():
                self._out(voter, frame, 0)
        self.until_ns = 0

    def tick(self, now: int) -> None:
        """Ask for what has to be renewed."""
        holder = self._holder
        if holder is None or self.shard < 0:
            return
        for voter, frame in holder.requests(now):
            self.asked += 1
            self._out(voter, frame, now)
        self.until_ns = holder.held_until()

    def next_ns(self) -> int:
        """When `tick` has something to do."""
        if self._holder is None or self.shard < 0:
            return FOREVER
        return self._holder.next_ns()

    def hear(self, sender: str, frame: Frame, now: int) -> None:
        """A frame about leases came from another voter; raises ValueError."""
        kind = frame.get("type")
        if kind == "grant":
            self._answered(sender, frame, now)
        elif kind in ("lease", "release"):
            if frame.get("node") != sender:
                raise ValueError("a node asks in the name of another")
            answer = None if self._voter is None else self._voter.answer(frame, now)
            if answer is not None:
                self._send(sender, answer)
            if (sender, frame.get("shard"), frame.get("epoch")) == self._followed:
                self.heard_ns = now
        else:
            raise ValueError("not about leases")

    def silent_ms(self, now: int) -> int:
        """For how long the shard's primary has asked for nothing; -1 if it never did."""
        return max(0, now - self.heard_ns) // 1_000_000 if self.heard_ns else -1

    def _out(self, voter: str, frame: Frame, now: int) -> None:
        """Send a frame of the holder; to the node's own voter directly."""
        if voter != self.node_id:
            self._send(voter, frame)
            return
        assert self._voter is not None
        answer = self._voter.answer(frame, now)
        if answer is not None:
            self._answered(voter, answer, now)

    def _answered(self, voter: str, frame: Frame, now: int) -> None:
        holder = self._holder
        if holder is None:
            return
        known = holder.answered(voter, frame, now)
        if frame.get("granted") is not True:
            self.refused += 1
        if frame.get("shard") == self.shard and known > self.epoch:
            # Somebody else is the primary, whatever our topology says.
            self.known = max(self.known, known)
            holder.stop()
        self.until_ns = holder.held_until()


__all__ = ["WITNESS", "Leadership"]
