"""Commands that are tied to one client: transactions, waiting, subscriptions.

A transaction is queued here and sent as a whole, over a line, when EXEC comes: its node is known
only by its keys, which must all be of one slot. What a node would refuse when it is queued (an
unknown command, a wrong number of arguments) is refused here in the same words; what only the node
can tell ends in its EXECABORT. WATCH holds a line until EXEC, DISCARD or UNWATCH. If the slot goes
to another shard meanwhile, that counts as a change of what is watched.

Subscriptions to channels and patterns all go to one node (nodes pass on what is published to each
other), those to shard channels to the node of the slot. Their messages come over these lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.node.spec import errors
from isthmus.proxy.pending import Pending
from isthmus.proxy.private import Errand, Line
from isthmus.proxy.route import CROSS_SLOT, FORWARD, NO_KEYS, SPLIT, TIED, Route
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

Argv = list[bytes]
# As client-query-buffer-limit of a node.
TRANSACTION_BYTES_MAX = 1 << 28
TRANSACTION_REQUESTS_MAX = 1 << 20
REQUEST_BYTES = 48
# Those the proxy answers itself, but which mean the same in a node's transaction.
HARMLESS = frozenset({b"ping", b"echo", b"time", b"lolwut", b"select"})
NOT_QUEUED = frozenset({b"multi", b"exec", b"discard", b"watch", b"reset", b"quit"})
SUBSCRIBER_COMMANDS = frozenset(
    b"subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe ping quit reset".split()
)
NULL_ARRAY = {2: b"*-1\r\n", 3: b"_\r\n"}


class Transaction:
    """Requests between MULTI and EXEC; `failed` once one of them was refused."""

    def __init__(self) -> None:
        self.requests: list[Argv] = []
        self.slot = NO_KEYS
        self.bytes = 0
        self.failed = False


def queue(session: Any, route: Route, argv: Argv) -> None:
    """A request inside a transaction."""
    transaction: Transaction = session.transaction
    problem = refusal(session, transaction, route, argv)
    if problem:
        transaction.failed = True
        session.answer_error(problem)
        return
    transaction.requests.append(argv)
    session.answer_bytes(b"+QUEUED\r\n")


def refusal(session: Any, transaction: Transaction, route: Route, argv: Argv) -> bytes:
    """Why a request cannot be queued; empty if it can."""
    if route.spec.no_multi:
        return b"ERR Command not allowed inside a transaction"
    keyed = route.kind in (FORWARD, SPLIT, TIED) and route.name != b"unwatch"
    if not keyed and route.name not in HARMLESS:
        name = route.name.replace(b"|", b" ")
        return b"ERR '%b' is not available inside a transaction through the proxy" % name
    if keyed:
        slot: i64 = route.slot(argv)
        if slot == CROSS_SLOT or (slot >= 0 and transaction.slot not in (NO_KEYS, slot)):
            return errors.CROSSSLOT
        if slot >= 0:
            transaction.slot = slot
    transaction.bytes += sum(map(len, argv)) + REQUEST_BYTES * len(argv)
    if transaction.bytes > TRANSACTION_BYTES_MAX or (
        len(transaction.requests) >= TRANSACTION_REQUESTS_MAX
    ):
        transaction.requests = []
        return b"ERR the transaction is too large for the proxy"
    return b""


def multi(session: Any, route: Route, argv: Argv) -> None:
    """MULTI."""
    if session.transaction is not None:
        session.answer_error(b"ERR MULTI calls can not be nested")
        return
    session.transaction = Transaction()
    session.regate()
    session.answer_bytes(b"+OK\r\n")


def discard(session: Any, route: Route, argv: Argv) -> None:
    """DISCARD."""
    if session.transaction is None:
        session.answer_error(b"ERR DISCARD without MULTI")
        return
    leave(session)
    unwatch(session, route, argv)


def leave(session: Any) -> None:
    session.transaction = None
    session.regate()


def exec_(session: Any, route: Route, argv: Argv) -> None:
    """EXEC."""
    transaction: Transaction | None = session.transaction
    if transaction is None:
        session.answer_error(b"ERR EXEC without MULTI")
        return
    leave(session)
    line, session.watch_line = session.watch_line, None
    lost, session.watch_lost = session.watch_lost, False
    router = session.router
    backend = router.slots[transaction.slot] if transaction.slot >= 0 else router.any_backend()
    if line is not None:
        line.holder = None
        if transaction.slot >= 0 and line.backend is not backend:
            # The slot of the watched keys has gone to another shard, or it is another slot.
            moved = line.slot == transaction.slot
            lost, transaction.failed = lost or moved, transaction.failed or not moved
        backend = line.backend
    if transaction.failed:
        forget(line)
        session.answer_error(errors.EXECABORT)
    elif lost:
        forget(line)
        session.answer_bytes(NULL_ARRAY[session.protocol])
    elif not transaction.requests and line is None:
        session.answer_bytes(b"*0\r\n")
    else:
        requests = [[b"MULTI"], *transaction.requests, [b"EXEC"]]
        nothing = NULL_ARRAY[session.protocol]
        session.note_write(transaction.slot)
        whole = session.whole(route, argv)
        Errand(session, whole, backend, requests, line=line, elsewhere=nothing).start()
        session.drain()


def forget(line: Line | None) -> None:
    """Drop a line that watches."""
    if line is not None:
        line.close()


def watch(session: Any, route: Route, argv: Argv) -> None:
    """WATCH."""
    if session.transaction is not None:
        session.answer_error(b"ERR WATCH inside MULTI is not allowed")
        return
    slot: i64 = route.slot(argv)
    backend = session.router.slots[slot] if slot >= 0 else None
    line: Line | None = session.watch_line
    if line is not None and line.slot == slot >= 0 and line.backend is not backend:
        # It has gone to another shard: what was watched counts as changed, as it does when EXEC
        # finds that out.
        session.answer_bytes(b"+OK\r\n")
        return
    if slot < 0 or (line is not None and line.backend is not backend):
        session.answer_error(errors.CROSSSLOT)
        return

    def done(line: Line, reply: bytes) -> None:
        if reply[:1] == b"-" and session.watch_line is not line:
            line.rest()
        else:
            line.holder = session
            line.slot = slot
            session.watch_line = line

    errand = Errand(session, session.whole(route, argv), backend, [argv], line=line, done=done)
    errand.start()
    session.drain()


def unwatch(session: Any, route: Route, argv: Argv) -> None:
    """UNWATCH."""
    line, session.watch_line = session.watch_line, None
    session.watch_lost = False
    forget(line)
    session.answer_bytes(b"+OK\r\n")


def wait_for_keys(session: Any, route: Route, argv: Argv) -> None:
    """A command that may wait for a key."""
    slot: i64 = route.slot(argv)
    if slot < 0:
        session.unroutable(route, argv, slot)
        return
    backend = session.router.slots[slot]
    session.note_write(slot)
    Errand(session, session.whole(route, argv), backend, [argv]).start()
    session.drain()


def read_streams(session: Any, route: Route, argv: Argv) -> None:
    """XREAD and XREADGROUP: they wait only if they say so."""
    words = [arg.upper() for arg in argv[1:8]]
    slot: i64 = route.slot(argv)
    if b"BLOCK" in words or slot < 0:
        wait_for_keys(session, route, argv)
    else:
        session.forward(route, argv, slot)


# -- subscriptions --------------------------------------------------------------------------------


def told(session: Any, route: Route, argv: Argv) -> Pending:
    """A request that is answered also after CLIENT REPLY OFF: by messages, and no reply."""
    session.muted()
    route.calls += 1
    pending = Pending()
    pending.client = session
    pending.route = route
    pending.argv = argv
    pending.protocol = session.protocol
    session.enqueue(pending)
    return pending


def subscribe(session: Any, route: Route, argv: Argv) -> None:
    """(P)SUBSCRIBE and (P)UNSUBSCRIBE."""
    line: Line | None = session.feed
    backend = line.backend if line is not None else session.router.any_backend()

    def done(line: Line, reply: bytes) -> None:
        line.holder = session
        session.feed = line
        note(session, reply, b"")

    errand = Errand(session, told(session, route, argv), backend, [argv], line=line, done=done)
    errand.start()
    session.drain()


def subscribe_shard(session: Any, route: Route, argv: Argv) -> None:
    """SSUBSCRIBE and SUNSUBSCRIBE of channels of one slot."""
    slot: i64 = key_slot(argv[1]) if len(argv) > 1 else NO_KEYS
    if any(key_slot(channel) != slot for channel in argv[1:]):
        session.answer_error(errors.CROSSSLOT)
        return
    backend = session.router.slots[slot] if slot >= 0 else session.router.any_backend()
    if slot < 0 and session.shard_feeds:
        backend = next(iter(session.shard_feeds.values())).backend
    name = backend.id if backend is not None else ""

    def done(line: Line, reply: bytes) -> None:
        line.holder = session
        session.shard_feeds[name] = line
        note(session, reply, name.encode())

    line = session.shard_feeds.get(name)
    errand = Errand(session, told(session, route, argv), backend, [argv], line=line, done=done)
    errand.start()
    session.drain()


def note(session: Any, reply: bytes, feed: bytes) -> None:
    """Read off the last confirmation how many subscriptions there are now."""
    at = reply.rfind(b":")
    if reply[:1] != b"-" and at > 0:
        session.subscriptions[feed] = int(reply[at + 1 : -2])
        session.regate()


def refused_to_subscriber(session: Any, route: Route) -> bytes:
    """Redis' error for what a RESP2 subscriber may not ask; empty if it may."""
    if route.name in SUBSCRIBER_COMMANDS:
        return b""
    return (
        b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
        b"allowed in this context" % route.name
    )


HANDLERS: dict[bytes, Callable[[Any, Route, Argv], None]] = {
    b"multi": multi,
    b"exec": exec_,
    b"discard": discard,
    b"watch": watch,
    b"unwatch": unwatch,
    b"xread": read_streams,
    b"xreadgroup": read_streams,
    b"subscribe": subscribe,
    b"unsubscribe": subscribe,
    b"psubscribe": subscribe,
    b"punsubscribe": subscribe,
    b"ssubscribe": subscribe_shard,
    b"sunsubscribe": subscribe_shard,
    **dict.fromkeys(
        b"blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax bzmpop".split(), wait_for_keys
    ),
}
