"""Leases of shards: who may acknowledge writes, and until when (pure).

A shard's primary acknowledges writes only while a majority of the shard's *voters* has granted it
the lease: all copies of the shard, and the coordinator as *witness* if the copies are even in
number (`voters_of`). The protocol, which a randomized model in tests/wire holds to its promise that
no two nodes hold one shard at any time:

1. The holder asks all voters every `renew_ms`, and while it has no lease every `RETRY_MS`, with a
   number. It counts a grant from the moment it
   *sent* the request, and for `lease_ms` less a margin for clocks that run at different speeds.
2. A voter grants (epoch, node) unless it knows a newer epoch of the shard, or has granted the lease
   to another node and that has not run out by its own clock. It grants nothing for a shard of which
   no topology told it in this run: it may have forgotten a newer epoch.
3. A voter that started, or started again, grants nothing for one whole `lease_ms`, for it may have
   forgotten a promise.
4. A shard of a single copy has one voter, its primary: there is nobody the lease protects it from,
   and it never ends.
5. While a change of the set of copies is not confirmed by the primary, the shard has two sets of
   voters, of the copies before and now, and the holder needs a majority of each: else an old holder
   and a new one could rest on majorities that do not meet. (`joint` of a shard in the topology.)
   It is confirmed when the present primary has said that it *holds* the lease with both sets: only
   then does nobody rest on the older one alone.
6. A holder that gives the lease up says so; a voter then forgets exactly that grant.

Times are nanoseconds of CLOCK_BOOTTIME, which goes on while a machine sleeps; each process reads
its own and none is compared with another's. What this module may not do: read a clock, send
anything.

Frames, the same on the link to the coordinator and on the lanes between nodes:

    {"type": "lease", "shard": int, "epoch": int, "node": id, "number": int}
    {"type": "grant", "shard": int, "epoch": int, "number": int, "granted": bool, "known": int}
    {"type": "release", "shard": int, "epoch": int, "node": id}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

Frame = dict[str, Any]
LEASE_MS: Final = 2000
RENEW_MS: Final = 500
# Clocks of machines that keep any time at all differ by far less than this part of a lease.
MARGIN_PERCENT: Final = 5
RETRY_MS: Final = 100
WITNESS: Final = "witness"  # the coordinator's name among voters; no node has it
FOREVER: Final = 2**63 - 1
SHARDS_MAX: Final = 16384
_MS: Final = 1_000_000
_REQUESTS_MAX: Final = 64


def voters_of(copies: Iterable[str]) -> frozenset[str]:
    """The voters of a shard that has these copies: an odd number, so that majorities are small."""
    nodes = frozenset(copies)
    return nodes if len(nodes) % 2 else nodes | {WITNESS}


def voter_sets(shard: Mapping[str, Any]) -> tuple[frozenset[str], ...]:
    """The sets of voters of a shard as a topology frame has it; a majority of each is needed."""
    now = voters_of((shard["primary"], *shard["replicas"]))
    before = shard.get("joint") or ()
    return (now, voters_of(before)) if before else (now,)


class Answer(NamedTuple):
    """What a voter says to a request: whether it grants, and the newest epoch it knows."""

    granted: bool
    known: int


@dataclass(slots=True)
class _Promise:
    """What a voter knows of one shard: the newest epoch, and its last grant."""

    known: int
    told: bool = False  # by a topology in this run
    epoch: int = 0
    node: str = ""
    until_ns: int = 0


class Voter:
    """One process as a voter, for all shards it may be asked about."""

    def __init__(self, lease_ms: int, now: int) -> None:
        """`now` is when the process started."""
        self._lease_ns = lease_ms * _MS
        self._silent_until_ns = now + self._lease_ns
        self._promises: dict[int, _Promise] = {}

    def learn(self, shard: int, epoch: int) -> None:
        """A topology says that the shard's primary is of this epoch."""
        promise = self._promises.setdefault(shard, _Promise(epoch))
        promise.told = True
        promise.known = max(promise.known, epoch)

    def ask(self, shard: int, epoch: int, node: str, now: int) -> Answer:
        """`node` asks for the lease of `shard` under `epoch`."""
        promise = self._promises.get(shard)
        if promise is None:
            return Answer(False, 0)
        # An epoch is made by the coordinator only, so a newer one is true whoever brings it; and
        # once it is known the holder of an older one may not renew.
        promise.known = max(promise.known, epoch)
        taken = promise.node != node and now < promise.until_ns
        if epoch < promise.known or taken or now < self._silent_until_ns:
            return Answer(False, promise.known)
        promise.epoch, promise.node = epoch, node
        promise.until_ns = max(promise.until_ns, now + self._lease_ns)
        return Answer(True, promise.known)

    def release(self, shard: int, epoch: int, node: str) -> None:
        """The holder gives the lease up: forget the grant of exactly this epoch and node."""
        promise = self._promises.get(shard)
        if promise is not None and (promise.epoch, promise.node) == (epoch, node):
            promise.node, promise.until_ns = "", 0

    def answer(self, frame: Mapping[str, Any], now: int) -> Frame | None:
        """The `grant` for a `lease` frame, none for a `release`. Raises ValueError."""
        shard, epoch, node = _number(frame, "shard"), _number(frame, "epoch"), frame.get("node")
        if not isinstance(node, str) or not node or node == WITNESS:
            raise ValueError("node is no id")
        if frame.get("type") == "release":
            self.release(shard, epoch, node)
            return None
        number = _number(frame, "number")
        granted, known = self.ask(shard, epoch, node, now)
        return {
            "type": "grant",
            "shard": shard,
            "epoch": epoch,
            "number": number,
            "granted": granted,
            "known": known,
        }


class Holder:
    """One node as (would-be) holder of one shard's lease.

    `configure` says under which epoch and with which voters it asks; before that, after `release`
    and while it is no primary it asks nobody and holds nothing. Its own vote is a request like the
    others: the caller takes it to the node's own `Voter`.
    """

    def __init__(self, node: str, lease_ms: int = LEASE_MS, renew_ms: int = RENEW_MS) -> None:
        self._node = node
        self._lease_ns = lease_ms * _MS * (100 - MARGIN_PERCENT) // 100
        self._renew_ns = renew_ms * _MS
        self._sets: tuple[frozenset[str], ...] = ()
        self._number = 0
        self._asked_ns: int | None = None
        self._sent: dict[int, int] = {}  # request -> when it was sent
        self._until: dict[str, int] = {}  # voter -> when its grant ends
        self._held_until = 0
        self.shard = -1
        self.epoch = 0

    def configure(self, shard: int, epoch: int, sets: Iterable[frozenset[str]]) -> None:
        """Be the primary of `shard` under `epoch`, with these sets of voters (`voter_sets`).

        The same epoch again keeps the grants that there are; another one begins without any.
        """
        if (shard, epoch) != (self.shard, self.epoch):
            self.stop()
        self.shard, self.epoch = shard, epoch
        self._sets = tuple(sets)
        self._count()

    def stop(self) -> None:
        """Hold nothing and ask nobody, until configured again."""
        self._sets = ()
        self._sent.clear()
        self._until.clear()
        self._asked_ns = None
        self._held_until = 0

    def release(self) -> list[tuple[str, Frame]]:
        """Give the lease up: stop, and what to tell which voter."""
        voters = sorted(frozenset().union(*self._sets))
        self.stop()
        frame = {"type": "release", "shard": self.shard, "epoch": self.epoch, "node": self._node}
        return [(voter, dict(frame)) for voter in voters]

    def requests(self, now: int) -> list[tuple[str, Frame]]:
        """The frames to send now, with their voters; empty if none are due."""
        if not self._sets or self.alone:
            return []
        if self._asked_ns is not None and now - self._asked_ns < self._pause_ns(now):
            return []
        self._asked_ns = now
        # Unlike any number of an earlier process of this node whose answers may still come.
        self._number = max(self._number + 1, now)
        self._sent[self._number] = now
        if len(self._sent) > _REQUESTS_MAX:
            del self._sent[next(iter(self._sent))]
        frame = {
            "type": "lease",
            "shard": self.shard,
            "epoch": self.epoch,
            "node": self._node,
            "number": self._number,
        }
        return [(voter, dict(frame)) for voter in sorted(frozenset().union(*self._sets))]

    def next_ns(self) -> int:
        """When the next requests are due; FOREVER if none ever will be."""
        if not self._sets or self.alone:
            return FOREVER
        return 0 if self._asked_ns is None else self._asked_ns + self._pause_ns(self._asked_ns)

    def _pause_ns(self, now: int) -> int:
        """How long to wait before asking again."""
        return self._renew_ns if now < self._held_until else min(self._renew_ns, RETRY_MS * _MS)

    def granted(self, voter: str, number: int, now: int) -> None:
        """`voter` granted request `number`; an answer nobody waits for changes nothing."""
        sent = self._sent.get(number)
        if sent is None:
            return
        until = sent + self._lease_ns
        if until > max(now, self._until.get(voter, 0)):
            self._until[voter] = until
            self._count()

    def answered(self, voter: str, frame: Mapping[str, Any], now: int) -> int:
        """A `grant` frame came from `voter`; the newest epoch that it knows. Raises ValueError.

        An epoch above ours means that we are no primary any more, though nobody told us yet.
        """
        shard, epoch, number = (_number(frame, name) for name in ("shard", "epoch", "number"))
        if frame.get("granted") is True and (shard, epoch) == (self.shard, self.epoch):
            self.granted(voter, number, now)
        return _number(frame, "known")

    def held_until(self) -> int:
        """The time until which writes may be acknowledged; 0 (or any past time) if they may not.

        It can move earlier only through `configure`, `stop` and `release`.
        """
        return self._held_until

    @property
    def alone(self) -> bool:
        """Whether the only voter is this node itself."""
        return bool(self._sets) and all(voters == {self._node} for voters in self._sets)

    def _count(self) -> None:
        """Find the end of the majority of each set, and of these the first."""
        ends = [self._end(voters) for voters in self._sets]
        self._held_until = min(ends, default=0)

    def _end(self, voters: frozenset[str]) -> int:
        if voters == {self._node}:
            return FOREVER
        ends = sorted((self._until.get(voter, 0) for voter in voters), reverse=True)
        return ends[len(ends) // 2]  # with that many grants or more unexpired, a majority


def _number(frame: Mapping[str, Any], name: str) -> int:
    value = frame.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is no number")
    return value
