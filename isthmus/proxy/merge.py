"""Requests that concern several nodes: taken apart, sent, and their replies put together.

A Gather stands between one *whole* Pending (in its client's queue) and its *parts* (in the links'
queues). When the last part is answered it makes the reply. If any part failed, the reply is the
error of the first that did; the other parts may have been carried out: what spans slots is not
atomic (DESIGN.md).

Replies of our own nodes are trusted to be well-formed RESP; a ValueError or IndexError here means
that a node is broken, and costs that node its link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from isthmus.node.spec import errors
from isthmus.proxy.pending import Pending
from isthmus.proxy.router import Router
from isthmus.wire.frames import SPLIT
from isthmus.wire.scalars import i64, parse_int
from isthmus.wire.slots import SLOTS, key_slot

DASH = 0x2D
DOLLAR = 0x24
BAD_CURSOR = b"ERR invalid cursor"


class Gather:
    """Collects the replies of parts; a subclass says what they make together."""

    def __init__(self, router: Router, whole: Pending) -> None:
        self.router = router
        self.whole = whole
        self.left = 0
        self.error = b""

    def part(self, argv: list[bytes]) -> Pending:
        """A new part; it is counted, and must be submitted or finished."""
        part = Pending()
        part.gather = self
        part.route = self.whole.route
        part.protocol = self.whole.protocol
        part.argv = argv
        self.left += 1
        return part

    def add(self, part: Pending, data: bytes) -> None:
        """A part has its reply."""
        if data[0] == DASH:
            self.error = self.error or data
        elif not self.error:
            self.take(part, data)
        # The gather knows its parts; a part that knew it for longer than it must would make a
        # cycle, and only the cyclic collector, which stops the process, would free either.
        part.gather = None
        self.left -= 1
        if self.left == 0:
            self.whole.finish(self.outcome())

    def outcome(self) -> bytes:
        """The reply, once every part has one."""
        return self.error or self.result()

    def take(self, part: Pending, data: bytes) -> None:
        """Note the reply of a part that succeeded."""
        raise TypeError("a Gather must say what it takes")

    def result(self) -> bytes:
        """The reply, once every part has succeeded."""
        raise TypeError("a Gather must say what it makes")


class Split(Gather):
    """One of the six, by the nodes of its keys."""

    def __init__(self, router: Router, whole: Pending) -> None:
        super().__init__(router, whole)
        self.step = whole.route.key_step
        self.sum = 0
        self.values: list[bytes] = []
        self.kind = whole.route.name
        self.places: dict[Pending, list[int]] = {}

    def start(self) -> None:
        """Send all parts."""
        argv = self.whole.argv
        if self.kind == b"mget":
            self.values = [b""] * len(argv)
        self.divide(range(1, len(argv), self.step), None)

    def divide(self, positions: Iterable[int], before: Pending | None) -> None:
        """Send a part to each node for the keys at `positions`, in the place of part `before`."""
        argv, slots = self.whole.argv, self.router.slots
        groups: dict[Any, Pending] = {}
        slot: i64
        for position in positions:
            slot = key_slot(argv[position])
            place: Any = slots[slot]
            if place is None:
                place = slot
            part: Pending | None = groups.get(place)
            if part is None:
                part = groups[place] = self.part([argv[0]])
                part.slot = slot
                self.places[part] = []
                if before is not None:
                    part.tries = before.tries
                    part.deadline_ms = before.deadline_ms
            if slot != part.slot:
                part.flags = SPLIT
            part.argv.append(argv[position])
            if self.step == 2:
                part.argv.append(argv[position + 1])
            self.places[part].append(position)
        for part in groups.values():
            self.router.submit(part, None)

    def divide_again(self, part: Pending) -> None:
        """The topology has changed under a part: send its keys where they belong now."""
        self.divide(self.places.pop(part), part)
        self.left -= 1

    def take(self, part: Pending, data: bytes) -> None:
        if self.kind == b"mget":
            for position, value in zip(self.places[part], elements(data), strict=True):
                self.values[position] = value
        elif self.kind != b"mset":
            self.sum += int(data[1:-2])

    def result(self) -> bytes:
        if self.kind == b"mget":
            return b"*%d\r\n" % (len(self.values) - 1) + b"".join(self.values)
        return b"+OK\r\n" if self.kind == b"mset" else b":%d\r\n" % self.sum


class AllShards(Gather):
    """The same requests to every shard; `combine` gets their replies shard by shard."""

    def __init__(
        self, router: Router, whole: Pending, combine: Callable[[list[list[bytes]]], bytes]
    ) -> None:
        super().__init__(router, whole)
        self.combine = combine
        self.replies: list[list[bytes]] = []
        self.places: dict[Pending, tuple[int, int]] = {}

    def start(self, *requests: list[bytes]) -> None:
        """Send all parts; without shards the reply is an error."""
        if not self.router.shards:
            self.whole.finish(b"-" + errors.SLOT_NOT_SERVED + b"\r\n")
            return
        for i, backend in enumerate(self.router.shards):
            self.replies.append([b""] * len(requests))
            for k, argv in enumerate(requests):
                part = self.part(argv)
                part.backend = backend
                self.places[part] = i, k
        for part in list(self.places):
            self.router.submit(part, None)

    def take(self, part: Pending, data: bytes) -> None:
        i, k = self.places[part]
        self.replies[i][k] = data

    def result(self) -> bytes:
        return self.combine(self.replies)


def elements(data: bytes) -> list[bytes]:
    """The elements of a flat array, each as its bytes."""
    found = []
    stop: i64
    size: i64
    at: i64 = data.index(b"\r\n") + 2
    while at < len(data):
        stop = data.index(b"\r\n", at) + 2
        if data[at] == DOLLAR:
            size = int(data[at + 1 : stop - 2])
            if size >= 0:
                stop += size + 2
        found.append(data[at:stop])
        at = stop
    return found


def integer(data: bytes) -> int:
    """The value of an integer reply."""
    return int(data[1:-2])


def total(replies: list[list[bytes]]) -> bytes:
    """The sum of integers."""
    return b":%d\r\n" % sum(integer(row[0]) for row in replies)


def all_ok(replies: list[list[bytes]]) -> bytes:
    """Every shard has said OK."""
    return b"+OK\r\n"


def joined(replies: list[list[bytes]]) -> bytes:
    """One array of the elements of all."""
    count = 0
    bodies = []
    for row in replies:
        head, _, body = row[0].partition(b"\r\n")
        count += int(head[1:])
        bodies.append(body)
    return b"*%d\r\n" % count + b"".join(bodies)


def weighted(replies: list[list[bytes]], chance: float) -> bytes:
    """One of the keys (row: RANDOMKEY, DBSIZE), each shard as likely as it has keys."""
    keys = [
        (row[0], integer(row[1])) for row in replies if row[0][:1] == b"$" and row[0][1] != DASH
    ]
    at = chance * sum(count for _, count in keys)
    for key, count in keys:
        at -= count
        if at < 0:
            return key
    return keys[-1][0] if keys else replies[0][0]


# -- the commands that concern every shard --------------------------------------------------------


def dbsize(session: Any, whole: Pending) -> None:
    """The number of keys of all shards."""
    AllShards(session.router, whole, total).start(whole.argv)


def flush(session: Any, whole: Pending) -> None:
    """FLUSHALL and FLUSHDB."""
    AllShards(session.router, whole, all_ok).start(whole.argv)


def keys(session: Any, whole: Pending) -> None:
    """The keys of all shards that match."""
    AllShards(session.router, whole, joined).start(whole.argv)


def randomkey(session: Any, whole: Pending) -> None:
    """A key, each of the cluster's as likely as Redis makes it in one server."""
    chance = session.proxy.chance()
    gather = AllShards(session.router, whole, lambda replies: weighted(replies, chance))
    gather.start(whole.argv, [b"DBSIZE"])


def scan(session: Any, whole: Pending) -> None:
    """One step of SCAN: a request for the slot in its cursor, like any other.

    Nodes walk slots in order, and no further over a link than their own go in one run; so the
    cursor leads through all slots of the cluster, whoever has them by then (commands/scan.py).
    """
    try:
        cursor = parse_int(whole.argv[1])
    except ValueError:
        cursor = -1
    if cursor < 0:
        whole.finish(b"-" + BAD_CURSOR + b"\r\n")
        return
    whole.slot = cursor & (SLOTS - 1)
    session.router.submit(whole, None)


def everywhere(session: Any, whole: Pending) -> None:
    """What every shard must have done (SCRIPT LOAD, FUNCTION LOAD ...): their common reply."""
    AllShards(session.router, whole, first).start(whole.argv)


def first(replies: list[list[bytes]]) -> bytes:
    """The reply of any shard: all say the same."""
    return replies[0][0]


def all_true(replies: list[list[bytes]]) -> bytes:
    """Arrays of 0 and 1: 1 where every shard has it."""
    columns = zip(*(elements(row[0]) for row in replies), strict=True)
    found = [b":1\r\n" if all(v == b":1\r\n" for v in column) else b":0\r\n" for column in columns]
    return b"*%d\r\n" % len(found) + b"".join(found)


def union(replies: list[list[bytes]]) -> bytes:
    """One array of the different elements of all."""
    found = dict.fromkeys(element for row in replies for element in elements(row[0]))
    return b"*%d\r\n" % len(found) + b"".join(found)


def counts(replies: list[list[bytes]]) -> bytes:
    """Arrays of name, number ...: the numbers of all added up."""
    rows = [elements(row[0]) for row in replies]
    out = []
    for at in range(0, len(rows[0]), 2):
        out += [rows[0][at], b":%d\r\n" % sum(integer(row[at + 1]) for row in rows)]
    return b"*%d\r\n" % len(out) + b"".join(out)


def merged(combine: Callable[[list[list[bytes]]], bytes]) -> Callable[[Any, Pending], None]:
    """A handler that asks every shard and combines what they say."""

    def ask(session: Any, whole: Pending) -> None:
        AllShards(session.router, whole, combine).start(whole.argv)

    return ask


class AnyOf(AllShards):
    """It is enough if one shard succeeds (SCRIPT KILL: one of them runs the script)."""

    def add(self, part: Pending, data: bytes) -> None:
        """A part has its reply; a success counts also behind another's error."""
        if data[0] != DASH:
            self.take(part, data)
        super().add(part, data)

    def outcome(self) -> bytes:
        """A success if there is one."""
        return next((row[0] for row in self.replies if row[0]), self.error)


HANDLERS: dict[bytes, Callable[[Any, Pending], None]] = {
    b"dbsize": dbsize,
    b"flushall": flush,
    b"flushdb": flush,
    b"keys": keys,
    b"randomkey": randomkey,
    b"scan": scan,
    b"pubsub|channels": merged(union),
    b"pubsub|shardchannels": merged(union),
    b"pubsub|numsub": merged(counts),
    b"pubsub|shardnumsub": merged(counts),
    b"pubsub|numpat": merged(total),
    b"script|load": everywhere,
    b"script|flush": everywhere,
    b"script|exists": merged(all_true),
    b"function|load": everywhere,
    b"function|delete": everywhere,
    b"function|flush": everywhere,
    b"function|restore": everywhere,
}
