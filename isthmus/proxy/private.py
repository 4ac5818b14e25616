"""Private links: one client's own connection to a node, for what needs a client of its own.

Most requests of all clients share one link to each node (backend.py). A command that waits, WATCH
and the transaction behind it, and subscriptions need state at the node that is one client's. They
go over a *line*: a link that is private to one client for as long as that state lives. Lines
without state are kept and used again.

An Errand is one client's errand over a line: some requests in a row, whose last reply is the
client's. It starts when all that its client asked before is answered: a node reads its connections
in any order. Nothing of it is repeated, but where a node said that it did none of it: a redirect,
before anything was carried out, sends the errand to the node named.

A line that is lost takes its state with it: what was under way is answered as of unknown outcome, a
watch counts as changed, and a subscriber's connection ends, since nobody can tell what it missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.proxy.backend import Backend, Link
from isthmus.proxy.pending import Pending
from isthmus.proxy.router import LOST, TRIES_MAX, UNREACHABLE, UNSERVED, Router
from isthmus.wire.frames import PRIVATE, PUSH
from isthmus.wire.link_hello import greeting
from isthmus.wire.scalars import i64

IDLE_LINES_PER_NODE_MAX = 32
ELSEWHERE = (b"-MOVED ", b"-ASK ")
NOT_DONE = (b"-EXECABORT", *ELSEWHERE)


class PrivateLink(Link):
    """A Link whose node keeps a client's state; what comes unasked goes to its line."""

    def __init__(self, backend: Backend, line: Line) -> None:
        Link.__init__(self, backend, line, b"")
        self.line = line

    def greet(self, proxy_id: str, password: bytes, epoch: int) -> None:
        """Send the hello; the pump must own the socket."""
        self.add_hello(PRIVATE, epoch, greeting(proxy_id, password))

    def hello(self) -> None:
        """A frame that is no reply: the node's hello, or a message for the client."""
        if self.up and self.frames.flags == PUSH:
            self.line.pushed(self.frames.payload())
            return
        backend = self.backend
        shared, made = backend.link, backend.links_made
        Link.hello(self)
        # The node's link is the shared one: this is not it.
        backend.link, backend.links_made = shared, made

    def closed(self) -> i64:
        """The socket is gone."""
        self.up = False
        pending, self.first, self.last = self.first, None, None
        self.waiting = 0
        while pending is not None:
            following = pending.behind
            pending.behind = None
            pending = following
        self.settle()
        self.line.gone()
        return 0


class Line:
    """A private link and the errand it is on; `holder` hears of what comes unasked."""

    def __init__(self, router: Router, backend: Backend) -> None:
        self.router = router
        self.backend = backend
        self.link: PrivateLink | None = None
        self.errand: Errand | None = None
        self.holder: Any = None
        # Of keys that are watched over it; -1: none are.
        self.slot = -1
        # What the node calls the client at the other end; 0 until it has said so.
        self.client_id = 0
        # Another client ended a wait over it, which may come late: not to be used again.
        self.spent = False
        # Whoever waits for it to be up.
        self.on_up: Callable[[bool], None] | None = None

    def opened(self, link: PrivateLink | None) -> None:
        """The node has said hello, or (None) could not be reached."""
        self.link = link
        if link is not None:
            asking = Pending()
            asking.gather = self
            self.ask([b"CLIENT", b"ID"], asking)
        ready, self.on_up = self.on_up, None
        if ready is not None:
            ready(link is not None)

    def ask(self, argv: list[bytes], part: Pending) -> None:
        """Send one request."""
        assert self.link is not None
        self.link.add_argv(argv, 0, part.protocol, self.router.epoch)
        self.link.push(part)

    def add(self, part: Pending, data: bytes) -> None:
        """The node has said what it calls this end."""
        part.gather = None
        # One that is busy with a script says that instead.
        if data[:1] == b":":
            self.client_id = int(data[1:-2])

    def pushed(self, data: bytes) -> None:
        """A message for the client."""
        if self.holder is not None:
            self.holder.send(data)

    def failed(self, part: Pending, data: bytes, epoch: int) -> None:
        """An error is a reply like others: the errand knows what to make of it."""
        part.gather.add(part, data)

    def gone(self) -> None:
        """The link is lost."""
        self.link = None
        errand, self.errand = self.errand, None
        holder, self.holder = self.holder, None
        if errand is not None:
            errand.lost()
        if holder is not None:
            holder.line_lost(self)

    def close(self) -> None:
        """End it: the node forgets the client's state."""
        self.holder = None
        self.errand = None
        if self.link is not None:
            self.link.pump.close(self.link)

    def rest(self) -> None:
        """It carries no state any more: keep it for the next client."""
        self.holder = None
        self.slot = -1
        idle = self.backend.idle
        if self.link is None or self.spent or len(idle) >= IDLE_LINES_PER_NODE_MAX:
            self.close()
        else:
            idle.append(self)


class Errand:
    """Requests in a row over a line; the last reply is that of `whole`.

    `line` is the one to use, if state is there already: then the errand cannot go elsewhere, and
    where a node sends it there the reply is `elsewhere`, if that is given. `done(line, reply)` is
    told the end of it and decides what becomes of the line; without it the line goes to rest.
    """

    def __init__(
        self, session: Any, whole: Pending, backend: Backend | None, requests: list[list[bytes]],
        *, line: Line | None = None, done: Callable[[Line, bytes], None] | None = None,
        elsewhere: bytes = b"",
    ) -> None:  # fmt: skip
        self.session = session
        self.whole = whole
        self.backend = backend
        self.requests = requests
        self.line = line
        self.done = done
        self.fixed = line is not None
        self.elsewhere = elsewhere
        self.replies: list[bytes] = []
        self.tries = 0
        # What the client's queue has for it.
        self.place = whole if whole.gather is None else whole.gather.whole

    def start(self) -> None:
        """Send it, over an idle line or a new one, once its client waits for nothing else."""
        session = self.session
        session.errands.add(self)
        if self.place.client is not None and session.first is not self.place:
            session.delayed.append(self)
            return
        if self.line is not None:
            self.send(self.line.link is not None)
            return
        if self.backend is None:
            self.end(UNSERVED)
            return
        idle = self.backend.idle
        while idle:
            line = idle.pop()
            if line.link is not None:
                self.line = line
                self.send(True)
                return
        self.line = Line(self.session.router, self.backend)
        self.line.on_up = self.send
        self.session.proxy.open_line(self.line)

    def send(self, up: bool) -> None:
        """The line is up, or could not be made."""
        line = self.line
        assert line is not None
        if not up:
            self.line = None
            self.end(UNREACHABLE)
            return
        if not self.session.open:
            line.close()
            return
        line.errand = self
        self.replies.clear()
        for argv in self.requests:
            part = Pending()
            part.gather = self
            part.route = self.whole.route
            part.protocol = self.whole.protocol
            line.ask(argv, part)

    def under_way(self) -> bool:
        """True if the node has it, and its client there is known."""
        line = self.line
        return line is not None and line.errand is self and line.client_id > 0

    def add(self, part: Pending, data: bytes) -> None:
        """The next reply has come."""
        part.gather = None
        self.replies.append(data)
        if len(self.replies) < len(self.requests):
            return
        line, self.line = self.line, None
        assert line is not None
        line.errand = None
        if data.startswith(NOT_DONE) and not self.fixed and self.redirected(line):
            return
        if self.fixed and self.elsewhere and any(r.startswith(ELSEWHERE) for r in self.replies):
            data = self.elsewhere
        self.end(data, line)

    def redirected(self, line: Line) -> bool:
        """Nothing was carried out: go to the node that a reply names. False if none does."""
        self.tries += 1
        for reply in self.replies:
            words = reply.split()
            if reply.startswith(ELSEWHERE) and len(words) == 3 and self.tries <= TRIES_MAX:
                target = self.session.router.by_address.get(words[2])
                if target is None:
                    return False
                line.rest()
                if reply.startswith(b"-ASK") and len(self.requests) == 1:
                    self.requests = [[b"ASKING"], *self.requests]
                self.backend = target
                self.start()
                return True
        return False

    def end(self, reply: bytes, line: Line | None = None) -> None:
        """Answer the client."""
        self.session.errands.discard(self)
        if line is not None:
            if self.done is not None:
                self.done(line, reply)
            else:
                line.rest()
        self.whole.finish(reply)

    def lost(self) -> None:
        """The line is lost: how far the errand came nobody knows."""
        self.line = None
        if self.session.open:
            self.session.router.unknown += 1
            self.end(LOST)

    def cancel(self) -> None:
        """The client is gone: a command that waits may not take anything for it any more."""
        # No cycle is left behind (merge.py).
        self.whole.gather = None
        if self.line is not None:
            self.line.on_up = _abandoned(self.line)
            self.line.close()


def _abandoned(line: Line) -> Callable[[bool], None]:
    def up(is_up: bool) -> None:
        if is_up:
            line.rest()

    return up
