"""Session: one client connection of a proxy, from bytes to requests under way.

    mode          entered by                      left by            admits
    unauthorised  --password set, connecting      AUTH, HELLO AUTH   commands flagged NO_AUTH
    normal        (start)                                            what route.py does not refuse
    silent        CLIENT REPLY OFF | SKIP         CLIENT REPLY ON    everything, no replies
    held          too many requests under way,    replies            nothing (input waits)
                  one of them parked, or a slot
                  went to another node
    transaction   MULTI                           EXEC DISCARD       queues; see tied.py
    subscriber    SUBSCRIBE ... in RESP2          the last UN...     (P|S)(UN)SUBSCRIBE PING QUIT
    ending        QUIT, CLIENT KILL, an error     (end)              nothing; closes when all
                                                                     before it is answered

A request is forwarded as the bytes it came in; its arguments are looked at for the name, the number
and the keys, and kept until the reply, in case it must be sent again.

A protocol error is answered, behind the replies that are still due, and ends the connection. A
fault of ours is logged and ends only this connection.
"""

from __future__ import annotations

import traceback
from typing import Any

from isthmus.node.spec import (
    BLOCKING,
    WRITE,
    RedisError,
    errors,
    printable,
    unknown_command,
    wrong_arity,
)
from isthmus.proxy import tied
from isthmus.proxy.merge import Split
from isthmus.proxy.pending import PENDING_PER_CLIENT_MAX, Client, Pending
from isthmus.proxy.route import (
    ANY,
    CONTAINER,
    CROSS_SLOT,
    FORWARD,
    LOCAL,
    NO_KEYS,
    SCATTER,
    SPLIT,
    TIED,
    Route,
)
from isthmus.proxy.router import UNSERVED
from isthmus.wire.logs import log
from isthmus.wire.parser import ProtocolError, QueryBufferExceeded, RequestParser
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64
from isthmus.wire.slots import SLOTS, key_slot

# What a client wrote is remembered by parts of 256 slots.
PART_SHIFT = 8
FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Session(Client):
    """A Client whose requests are routed."""

    def __init__(self, proxy: Any, number: i64) -> None:
        requests = RequestParser()
        Client.__init__(self, requests)
        self.requests = requests
        self.proxy = proxy
        self.router = proxy.router
        self.routes: dict[bytes, Route] = proxy.routes
        self.out: ReplyWriter = None  # type: ignore[assignment]
        self.id = number
        self.address = self.local_address = b""
        self.created_ms = self.active_ms = self.router.now_ms
        self.commands = 0
        self.library = self.library_version = b""
        self.last_command = b"NULL"
        self.output_bytes_max = proxy.output_bytes_max
        self.errands: set[Any] = set()
        # Those that wait for the replies of what was asked before them.
        self.delayed: list[Any] = []
        # By parts of the slots: 1 if it has written there.
        self.written = bytearray(SLOTS >> PART_SHIFT)
        self.feed: Any = None
        self.shard_feeds: dict[str, Any] = {}
        self.watch_line: Any = None
        self.restart()

    def restart(self) -> None:
        """Be as right after connecting (but for the name of the library, as in Redis)."""
        self.protocol = 2
        self.name = b""
        self.no_evict = self.no_touch = self.reply_off = False
        self.reply_skip = 0
        self.transaction: tied.Transaction | None = None
        self.watch_lost = False
        # By line ("" for channels and patterns): how many.
        self.subscriptions: dict[bytes, int] = {}
        self.close_lines()
        self.authenticated = not self.proxy.password
        self.requests.authenticated = self.authenticated
        self.regate()

    def regate(self) -> None:
        """Recompute `gates`: False means that nothing special has to be looked at."""
        self.gates = (
            not self.authenticated
            or self.reply_off
            or self.reply_skip > 0
            or self.transaction is not None
            or any(self.subscriptions.values())
        )

    def process(self) -> i64:
        """Route the requests that are complete."""
        while True:
            self.working = True
            try:
                self.run()
            except ProtocolError as error:
                self.answer_error(b"ERR " + error.text)
                self.end()
            except QueryBufferExceeded:
                log("client_query_buffer_exceeded", level="WARN", client=self.id)
                self.reply.clear()
                self.pump.close(self)
            except FAULTS as fault:
                trace = "".join(traceback.format_exception(fault))
                log("session_fault", level="ERROR", client=self.id, trace=trace)
                self.reply.clear()
                self.pump.close(self)
            if self.open and self.first is not None and self.first.done:
                self.flush()
            self.working = False
            if not self.attention:
                return 0
            if self.ending or not self.released():
                self.attend()
                return 0

    def run(self) -> i64:
        requests = self.requests
        routes = self.routes
        slot: i64
        self.active_ms = self.router.now_ms
        while True:
            if self.ending:
                return 0
            if self.parked or self.draining or self.waiting >= PENDING_PER_CLIENT_MAX:
                self.held = self.attention = True
                return 0
            argv = requests.next()
            if argv is None:
                return 0
            self.commands += 1
            route: Route | None = routes.get(argv[0])
            if route is None or route.kind != FORWARD or self.gates:
                self.dispatch(argv)
                continue
            if not route.fits(len(argv)):
                self.answer_error(wrong_arity(route.name).text)
                continue
            slot = key_slot(argv[route.first_key]) if route.single else route.slot(argv)
            if slot >= 0:
                self.forward(route, argv, slot)
            else:
                self.unroutable(route, argv, slot)

    def forward(self, route: Route, argv: list[bytes], slot: i64) -> i64:
        """Send a request to the node of its slot, as it came."""
        pending = Pending()
        pending.route = route
        pending.argv = argv
        pending.slot = slot
        pending.protocol = self.protocol
        route.calls += 1
        if route.write:
            self.written[slot >> PART_SHIFT] = 1
        if not self.gates or not self.muted():
            pending.client = self
            self.enqueue(pending)
        self.router.submit(pending, self.requests)
        return 0

    # -- everything that is not plainly forwarded ------------------------------------------------

    def dispatch(self, argv: list[bytes]) -> None:
        """Route a request by its kind."""
        route = self.resolve(argv)
        if route is None:
            return
        if not self.authenticated and not route.open_to_all:
            self.answer_error(errors.NOAUTH)
            return
        if not route.fits(len(argv)):
            self.unqueued()
            self.answer_error(wrong_arity(route.name).text)
            return
        self.last_command = route.name
        kind = route.kind
        if self.transaction is not None and route.name not in tied.NOT_QUEUED:
            tied.queue(self, route, argv)
            return
        if self.protocol == 2 and any(self.subscriptions.values()):
            problem = tied.refused_to_subscriber(self, route)
            if problem:
                self.answer_error(problem)
                return
        if kind == FORWARD or kind == SPLIT:
            slot = route.slot(argv)
            if slot >= 0:
                self.forward(route, argv, slot)
            elif kind == SPLIT and slot == CROSS_SLOT and self.divisible(route, argv):
                if route.write:
                    for position in route.spec.key_positions(argv):
                        self.note_write(key_slot(argv[position]))
                Split(self.router, self.whole(route, argv)).start()
            else:
                self.unroutable(route, argv, slot)
        elif kind == LOCAL:
            route.calls += 1
            self.answer(route, argv)
        elif kind == SCATTER:
            if route.spec.flags & WRITE:
                self.written = bytearray(b"\1" * len(self.written))
            route.handler(self, self.whole(route, argv))
        elif kind == ANY:
            self.ask_any(route, argv)
        elif kind == TIED:
            route.handler(self, route, argv)
        else:
            self.refuse(route)

    def note_write(self, slot: i64) -> None:
        """Something may be written to a slot."""
        if slot >= 0:
            self.written[slot >> PART_SHIFT] = 1

    def wrote_to(self) -> list[Any]:
        """The nodes that may have what this client wrote; all if it wrote nothing."""
        slots, written = self.router.slots, self.written
        found = dict.fromkeys(slots[slot] for slot in range(SLOTS) if written[slot >> PART_SHIFT])
        found.pop(None, None)
        return list(found or self.router.shards)

    def resolve(self, argv: list[bytes]) -> Route | None:
        """The route of a request; None if its name is not one, which has been answered."""
        name = argv[0].lower()
        route = self.routes.get(name)
        if route is None:
            self.unqueued()
            self.answer_error(self.or_noauth(unknown_command(argv)))
        elif route.kind == CONTAINER:
            if len(argv) < 2:
                if route.alone is not None:
                    return route.alone
                self.unqueued()
                self.answer_error(self.or_noauth(wrong_arity(route.name).text))
                return None
            sub = route.subcommands.get(argv[1].lower())
            if sub is None:
                shown = printable(argv[1][:128])
                text = b"ERR unknown subcommand '%b'. Try %b HELP." % (shown, name.upper())
                self.unqueued()
                self.answer_error(self.or_noauth(text))
            return sub
        return route

    def unqueued(self) -> None:
        """A request that is none: a transaction with it will not be executed."""
        if self.transaction is not None:
            self.transaction.failed = True

    def or_noauth(self, text: bytes) -> bytes:
        return text if self.authenticated else errors.NOAUTH

    def divisible(self, route: Route, argv: list[bytes]) -> bool:
        """False for an MSET whose last key has no value."""
        return (len(argv) - 1) % route.key_step == 0

    def unroutable(self, route: Route, argv: list[bytes], slot: i64) -> None:
        """Answer a request whose keys do not tell one node."""
        if slot == NO_KEYS:
            # The arguments are wrong (a count of keys that is no number): any node says how.
            self.ask_any(route, argv)
        elif route.kind == SPLIT:
            self.answer_error(wrong_arity(route.name).text)
        else:
            self.answer_error(errors.CROSSSLOT)

    def refuse(self, route: Route) -> None:
        name = route.name.replace(b"|", b" ")
        self.answer_error(b"ERR '%b' is not available through the proxy in this version" % name)

    def whole(self, route: Route, argv: list[bytes]) -> Pending:
        """A request in the queue that others will make up."""
        route.calls += 1
        pending = Pending()
        pending.route = route
        pending.argv = argv
        pending.protocol = self.protocol
        if not self.muted():
            pending.client = self
            self.enqueue(pending)
        return pending

    def ask_any(self, route: Route, argv: list[bytes]) -> None:
        """Let any node answer."""
        pending = self.whole(route, argv)
        pending.backend = self.router.any_backend()
        if pending.backend is None:
            pending.finish(UNSERVED)
        else:
            self.router.submit(pending, None)

    # -- answers of the proxy's own --------------------------------------------------------------

    def answer(self, route: Route, argv: list[bytes]) -> None:
        """Run a handler of the proxy's own; its reply takes its place in the queue."""
        direct = self.first is None
        out = self.out = self.reply if direct else self.router.scratch
        silent = self.reply_off or self.reply_skip > 0
        out.protocol = self.protocol
        mark = out.mark()
        try:
            route.handler(self, argv)
        except RedisError as error:
            out.truncate(mark)
            out.error(error.text)
            self.router.error_replies += 1
        # CLIENT REPLY ON answers although it came in silence, OFF and SKIP do not.
        if (silent and self.muted()) or self.reply_off or (not silent and self.reply_skip > 0):
            out.truncate(mark)
        elif not direct:
            pending = Pending()
            pending.client = self
            pending.route = route
            pending.data = out.take()
            pending.done = True
            self.enqueue(pending)

    def answer_error(self, text: bytes) -> None:
        """Reply with an error in this request's place."""
        self.router.error_replies += 1
        if self.muted():
            return
        out = self.reply if self.first is None else self.router.scratch
        out.error(text)
        if self.first is not None:
            pending = Pending()
            pending.client = self
            pending.data = out.take()
            pending.done = True
            self.enqueue(pending)

    def answer_bytes(self, data: bytes) -> None:
        """Reply with these bytes in this request's place."""
        if self.muted():
            return
        if self.first is None:
            self.reply.raw(data)
            return
        pending = Pending()
        pending.client = self
        pending.data = data
        pending.done = True
        self.enqueue(pending)

    # -- lines ------------------------------------------------------------------------------------

    def attend(self) -> i64:
        """The queue became shorter: it may be the turn of an errand."""
        if self.delayed and self.delayed[0].place is self.first:
            delayed, self.delayed = self.delayed, []
            for errand in delayed:
                errand.start()
        return Client.attend(self)

    def waits(self) -> bool:
        """True if a command of this client waits at a node."""
        return any(
            errand.under_way() and errand.whole.route.spec.flags & BLOCKING
            for errand in self.errands
        )

    def line_lost(self, line: Any) -> None:
        """A line with state of this client is gone."""
        if line is self.watch_line:
            self.watch_line = None
            self.watch_lost = True
        elif self.open:
            log("subscriber_cut_off", level="WARN", client=self.id, node=line.backend.id)
            self.close_soon()

    def close_lines(self) -> None:
        """Give up what nodes keep for this client."""
        lines = [self.feed, self.watch_line, *self.shard_feeds.values()]
        self.feed = self.watch_line = None
        self.shard_feeds = {}
        for line in lines:
            if line is not None:
                line.close()

    def muted(self) -> bool:
        """True if the reply of the present request is not wanted; counts a SKIP down."""
        if self.reply_skip > 0 and not self.reply_off:
            self.reply_skip -= 1
            self.regate()
            return True
        return self.reply_off

    def end(self) -> None:
        """Take no more requests; close when all are answered."""
        self.ending = self.attention = True

    def closed(self) -> i64:
        """The connection is gone; what is under way for it will be dropped when it is answered."""
        self.proxy.forget(self)
        self.close_lines()
        for errand in list(self.errands):
            errand.cancel()
        self.errands.clear()
        self.delayed.clear()
        pending = self.first
        self.first = self.last = None
        while pending is not None:
            # Not left as one long chain, which would be freed by deep recursion.
            following = pending.next
            pending.next = None
            pending.client = None
            pending = following
        return 0
