"""What is asked of servers and not of keys: their parameters, slow calls, spikes, memory, replicas.

Every shard's primary is asked, and what they say is put together where that has a meaning: sums
are added, lists are merged by time, what is to be done is done everywhere. A report for people is
that of each shard under its name. A request that every node refuses is refused in a node's words.

The nodes are asked in protocol 3, in which replies tell a map from a list, and the client is
answered in its own.

WAIT and WAITAOF ask the shards that the client has written to, over lines: a node's shared link
may not wait. Their reply is the least of what these say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.spec import RedisError
from isthmus.proxy.merge import AllShards, AnyOf, all_ok, elements, first, integer, merged
from isthmus.proxy.merge import total as added_up
from isthmus.proxy.pending import Pending
from isthmus.proxy.private import Errand
from isthmus.proxy.route import Route
from isthmus.proxy.router import UNSERVED
from isthmus.wire.reply import ReplyWriter

Argv = list[bytes]
SLOWLOG_ENTRIES = 10
SAMPLES_MAX = 160
# Whose value is tied to how the proxy reaches the nodes, or to one of them.
NOT_HERE = frozenset(b"requirepass masterauth masteruser port tls-port bind replicaof".split())


# -- replies as values ----------------------------------------------------------------------------


def read(data: bytes) -> Any:
    """The value of a reply in protocol 3."""
    return _read(data, 0)[0]


def _read(data: bytes, at: int) -> tuple[Any, int]:
    stop = data.index(b"\r\n", at)
    kind, text, at = data[at : at + 1], data[at + 1 : stop], stop + 2
    if kind == b":":
        return int(text), at
    if kind == b",":
        return float(text), at
    if kind in b"+_#(":
        return (None if kind == b"_" else text), at
    if kind in b"$=":
        end = at + int(text)
        # Text names its format in four bytes.
        return data[at + 4 * (kind == b"=") : end], end + 2
    if kind not in b"*~%":
        raise ValueError(f"a reply of an unknown kind: {kind!r}")
    found = []
    for _ in range(int(text) * (2 if kind == b"%" else 1)):
        value, at = _read(data, at)
        found.append(value)
    if kind == b"%":
        return dict(zip(found[::2], found[1::2], strict=True)), at
    return found, at


class Text(bytes):
    """Text for people."""


def write(out: ReplyWriter, value: Any) -> None:
    """Write a value as the reply that `read` reads."""
    if isinstance(value, Text):
        out.verbatim(b"txt", bytes(value))
    elif isinstance(value, bytes):
        out.bulk(value)
    elif isinstance(value, float):
        out.double(value)
    elif isinstance(value, int):
        out.integer(value)
    elif isinstance(value, dict):
        out.map(len(value))
        for name, below in value.items():
            write(out, name)
            write(out, below)
    elif isinstance(value, list):
        out.array(len(value))
        for each in value:
            write(out, each)
    else:
        out.null()


Combine = Callable[[Argv, list[Any]], Any]


class Together(AllShards):
    """The same request to every shard; `make` makes one value of theirs."""

    def __init__(self, router: Any, whole: Pending, make: Combine) -> None:
        super().__init__(router, whole, self.made)
        self.make = make

    def part(self, argv: Argv) -> Pending:
        """A part, which is asked for in protocol 3."""
        part = super().part(argv)
        part.protocol = 3
        return part

    def made(self, replies: list[list[bytes]]) -> bytes:
        """The reply for the client."""
        values = [read(row[0]) for row in replies]
        out = ReplyWriter(self.whole.protocol)
        write(out, self.make(self.whole.argv, values))
        return out.take()


def together(make: Combine) -> Callable[[Any, Pending], None]:
    """A handler that asks every shard and makes one value of what they say."""

    def ask(session: Any, whole: Pending) -> None:
        Together(session.router, whole, make).start(whole.argv)

    return ask


# -- what they make together ----------------------------------------------------------------------


def slow_calls(argv: Argv, shards: list[list[Any]]) -> list[Any]:
    """The newest entries of all, each with a number of its own."""
    count = int(argv[2]) if len(argv) > 2 else SLOWLOG_ENTRIES
    found = [
        [entry[0] * len(shards) + place, *entry[1:]]
        for place, entries in enumerate(shards)
        for entry in entries
    ]
    found.sort(key=lambda entry: -entry[1])
    return found if count < 0 else found[:count]


def latest(argv: Argv, shards: list[list[Any]]) -> list[Any]:
    """By event: its latest spike on any shard, and the worst."""
    found: dict[bytes, list[Any]] = {}
    for event, at_s, ms, worst_ms in (row for rows in shards for row in rows):
        seen = found.setdefault(event, [event, at_s, ms, worst_ms])
        seen[1:3] = max(seen[1:3], [at_s, ms])
        seen[3] = max(seen[3], worst_ms)
    return list(found.values())


def history(argv: Argv, shards: list[list[Any]]) -> list[Any]:
    """The spikes of all; of those in one second the worst."""
    worst: dict[int, int] = {}
    for at_s, ms in (row for rows in shards for row in rows):
        worst[at_s] = max(ms, worst.get(at_s, 0))
    return [[at_s, worst[at_s]] for at_s in sorted(worst)][-SAMPLES_MAX:]


def histogram(argv: Argv, shards: list[dict[bytes, Any]]) -> dict[bytes, Any]:
    """By command: the calls of all shards, and how many of them took at most so long."""
    names = dict.fromkeys(name for shard in shards for name in shard)
    found: dict[bytes, Any] = {}
    for name in names:
        seen = [shard[name] for shard in shards if name in shard]
        levels = [one[b"histogram_usec"] for one in seen]
        bounds = sorted({bound for level in levels for bound in level})
        counts = {bound: sum(up_to(level, bound) for level in levels) for bound in bounds}
        found[name] = {b"calls": sum(one[b"calls"] for one in seen), b"histogram_usec": counts}
    return found


def up_to(level: dict[int, int], bound: int) -> int:
    """How many calls a histogram has up to a bound; its own bounds need not have that one."""
    return max((calls for micros, calls in level.items() if micros <= bound), default=0)


def figures(argv: Argv, shards: list[dict[bytes, Any]]) -> dict[bytes, Any]:
    """MEMORY STATS: sums; what is a proportion is worked out anew."""
    found = sums(shards)
    used = found[b"total.allocated"]
    keys = found[b"keys.count"]
    for name, part, of, scale in (
        (b"dataset.percentage", b"dataset.bytes", used - found[b"startup.allocated"], 100),
        (b"peak.percentage", b"total.allocated", found[b"peak.allocated"], 100),
        (b"allocator-fragmentation.ratio", b"allocator.active", found[b"allocator.allocated"], 1),
        (b"allocator-rss.ratio", b"allocator.resident", found[b"allocator.active"], 1),
        (b"fragmentation", b"allocator.resident", used, 1),
    ):
        found[name] = scale * found[part] / of if of > 0 else 0.0
    found[b"rss-overhead.ratio"] /= len(shards)
    found[b"keys.bytes-per-key"] = found[b"dataset.bytes"] // keys if keys else 0
    return found


def sums(rows: list[dict[bytes, Any]]) -> dict[bytes, Any]:
    """Maps of numbers and of such maps, added up."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        found[name] = sums(values) if isinstance(values[0], dict) else sum(values)
    return found


def least(argv: Argv, shards: list[int]) -> int:
    """The smallest number."""
    return min(shards)


class Reports(AnyOf):
    """The texts of the shards that have one, each under the name of its shard."""

    def __init__(self, router: Any, whole: Pending) -> None:
        super().__init__(router, whole, first)

    def outcome(self) -> bytes:
        """One text, or an error if there is none."""
        texts = [read(row[0]) if row[0] else b"" for row in self.replies]
        told = [text for text in texts if text]
        if not told:
            return self.error
        joined = told[0]
        if len(set(told)) > 1 or len(told) < len(texts):
            joined = b"\n".join(
                b"Shard %d:\n%b" % (place, text) for place, text in enumerate(texts) if text
            )
        out = ReplyWriter(self.whole.protocol)
        write(out, Text(joined))
        return out.take()

    def part(self, argv: Argv) -> Pending:
        """A part, which is asked for in protocol 3."""
        part = super().part(argv)
        part.protocol = 3
        return part


def reports(session: Any, whole: Pending) -> None:
    """A handler for reports."""
    Reports(session.router, whole).start(whole.argv)


# -- parameters and counters ----------------------------------------------------------------------


def config_set(session: Any, whole: Pending) -> None:
    """CONFIG SET at every shard's primary."""
    for name in whole.argv[2::2]:
        if name.lower() in NOT_HERE:
            text = b"ERR CONFIG SET failed (possibly related to argument '%b') - %b"
            why = b"it cannot be set through the proxy"
            whole.finish(b"-" + RedisError(text % (name.lower(), why)).text + b"\r\n")
            return
    AllShards(session.router, whole, all_ok).start(whole.argv)


def config_resetstat(session: Any, whole: Pending) -> None:
    """CONFIG RESETSTAT, here and at every shard's primary."""
    session.proxy.reset_counters()
    AllShards(session.router, whole, all_ok).start(whole.argv)


# -- waiting for replicas, and waking who waits ---------------------------------------------------


def over_lines(session: Any, gather: AllShards, backends: list[Any]) -> None:
    """Send a request to these nodes over lines; without one the reply is an error."""
    whole = gather.whole
    if not backends:
        whole.finish(UNSERVED)
        return
    parts = [gather.part(whole.argv) for _ in backends]
    for place, part in enumerate(parts):
        gather.replies.append([b""])
        gather.places[part] = place, 0
    for part, backend in zip(parts, backends, strict=True):
        Errand(session, part, backend, [whole.argv]).start()
    session.drain()


def kill_script(session: Any, whole: Pending) -> None:
    """SCRIPT KILL and FUNCTION KILL: the shared link may be waiting for the script itself."""
    over_lines(session, AnyOf(session.router, whole, first), list(session.router.shards))


class LeastOf(AllShards):
    """From shards that a client has written to: the least of each number."""

    def __init__(self, router: Any, whole: Pending) -> None:
        super().__init__(router, whole, self.made)

    def made(self, replies: list[list[bytes]]) -> bytes:
        """The reply: a number, or a list of them."""
        rows = [row[0] for row in replies]
        if not rows[0].startswith(b"*"):
            return b":%d\r\n" % min(integer(row) for row in rows)
        columns = zip(*(map(integer, elements(row)) for row in rows), strict=True)
        found = [b":%d\r\n" % min(column) for column in columns]
        return b"*%d\r\n" % len(found) + b"".join(found)


def wait(session: Any, route: Route, argv: Argv) -> None:
    """WAIT and WAITAOF."""
    over_lines(session, LeastOf(session.router, session.whole(route, argv)), session.wrote_to())


class Unblock(AllShards):
    """CLIENT UNBLOCK at the nodes where a client waits."""

    def ask(self, lines: list[Any], argv: Argv) -> None:
        """Send it; without a line nobody waits."""
        if not lines:
            self.whole.finish(b":0\r\n")
        for place, line in enumerate(lines):
            part = self.part([*argv[:2], b"%d" % line.client_id, *argv[3:]])
            part.backend = line.backend
            self.replies.append([b""])
            self.places[part] = place, 0
            # What is sent may reach the node when the line has another client.
            line.spent = True
        for part in list(self.places):
            self.router.submit(part, None)


def one_if_any(replies: list[list[bytes]]) -> bytes:
    """1 if one of the numbers is not 0."""
    return b":%d\r\n" % any(integer(row[0]) for row in replies)


def client_unblock(session: Any, whole: Pending) -> None:
    """CLIENT UNBLOCK client-id [TIMEOUT | ERROR]."""
    argv = whole.argv
    known = argv[2].isdigit() and (len(argv) == 3 or argv[3].lower() in (b"timeout", b"error"))
    if not known or len(argv) > 4:
        # A node says what is wrong with it.
        whole.backend = session.router.any_backend()
        if whole.backend is None:
            whole.finish(UNSERVED)
        else:
            session.router.submit(whole, None)
        return
    other = session.proxy.sessions.get(int(argv[2]))
    errands = () if other is None else other.errands
    lines = [errand.line for errand in errands if errand.under_way()]
    Unblock(session.router, whole, one_if_any).ask(lines, argv)


EVERYWHERE = merged(all_ok)
HANDLERS: dict[bytes, Callable[[Any, Pending], None]] = {
    b"client|unblock": client_unblock,
    b"config|set": config_set,
    b"config|resetstat": config_resetstat,
    b"lastsave": together(least),
    b"latency|latest": together(latest),
    b"latency|history": together(history),
    b"latency|histogram": together(histogram),
    b"latency|reset": merged(added_up),
    b"latency|graph": reports,
    b"latency|doctor": reports,
    b"memory|stats": together(figures),
    b"memory|doctor": reports,
    b"memory|malloc-stats": reports,
    b"memory|purge": EVERYWHERE,
    b"pfselftest": EVERYWHERE,
    b"script|kill": kill_script,
    b"function|kill": kill_script,
    b"slowlog|get": together(slow_calls),
    b"slowlog|len": merged(added_up),
    b"slowlog|reset": EVERYWHERE,
}
TIED_HANDLERS: dict[bytes, Callable[[Any, Route, Argv], None]] = {
    b"wait": wait,
    b"waitaof": wait,
}
