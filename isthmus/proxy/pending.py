"""Pending requests, and the queue that keeps each client's replies in order.

A Pending stands in two queues: `Client.first ... next` (the order in which the client asked, and
gets its replies) and its link's `first ... behind` (the order in which the node answers). The
replies of one node overtake those of another; the client's queue puts them back: a reply that comes
before its turn waits in `data`, and whoever completes the head of the queue calls `flush`.

A Pending without a client is part of another (`gather` says of which), or its reply is unwanted.

Invariant: replies leave only from the head. While a client's own requests are being read
(`working`), what is due goes to the shared writer, behind what was written there before; otherwise
into the socket's queue.

Nothing here knows of topology or nodes.
"""

from __future__ import annotations

from typing import Any

from isthmus.proxy.route import Route
from isthmus.wire.parser import Feed
from isthmus.wire.pump import Peer
from isthmus.wire.scalars import i64

# A client that has asked for so much is read again when half of it has been answered.
PENDING_PER_CLIENT_MAX = 16384


class Pending:
    """One request on its way to one node, or one that other requests make up."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.next: Pending | None = None
        self.behind: Pending | None = None
        self.route: Route = None  # type: ignore[assignment]
        self.argv: list[bytes] = []
        # Set if the request is for one node whatever the topology says of its keys.
        self.backend: Any = None
        self.gather: Any = None
        self.data = b""
        self.slot = -1
        self.protocol = 2
        self.flags = 0
        self.tries = 0
        self.done = False
        self.retried = False
        self.sequence = 0
        self.deadline_ms = 0

    def owner(self) -> Client | None:
        """The client that waits for this, or for what it is a part of."""
        if self.gather is not None:
            whole: Client | None = self.gather.whole.client
            return whole
        return self.client

    def finish(self, data: bytes) -> i64:
        """The reply is here: pass it on to whoever waits for it."""
        if self.gather is not None:
            self.gather.add(self, data)
        elif self.client is not None:
            self.client.finish(self, data)
        return 0


class Client(Peer):
    """A client's socket with the requests it has not been answered yet."""

    def __init__(self, parser: Feed) -> None:
        Peer.__init__(self, parser)
        self.first: Pending | None = None
        self.last: Pending | None = None
        self.waiting = 0
        self.parked = 0
        # A slot went to another node while requests were under way: those are answered first.
        self.draining = False
        self.working = False
        # Not read any further until the queue is shorter; closed when it is empty.
        self.held = False
        self.ending = False
        self.attention = False

    def enqueue(self, pending: Pending) -> i64:
        """Put a request at the end of the queue."""
        if self.last is None:
            self.first = pending
        else:
            self.last.next = pending
        self.last = pending
        self.waiting += 1
        return 0

    def finish(self, pending: Pending, data: bytes) -> i64:
        """Give a request its reply, and send what is due."""
        pending.data = data
        pending.done = True
        if pending is self.first and not self.working:
            self.flush()
        return 0

    def flush(self) -> i64:
        """Send the replies at the head of the queue."""
        pending = self.first
        while pending is not None and pending.done:
            if self.working:
                self.reply.raw(pending.data)
            else:
                self.send(pending.data)
            following = pending.next
            pending.next = None
            pending = following
            self.waiting -= 1
        self.first = pending
        if pending is None:
            self.last = None
        if self.attention and not self.working:
            self.attend()
        return 0

    def attend(self) -> i64:
        """The queue became shorter: read on, or close."""
        if self.ending:
            if self.first is None:
                self.close_soon()
        elif self.released():
            self.resume()
        return 0

    def drain(self) -> i64:
        """Answer what is under way before anything more is taken up."""
        if self.first is not None:
            self.draining = self.held = self.attention = True
        return 0

    def released(self) -> bool:
        """True, once, if a client that was held may be read again."""
        if not self.held or self.parked or self.waiting > PENDING_PER_CLIENT_MAX // 2:
            return False
        if self.draining and self.first is not None:
            return False
        self.draining = self.held = self.attention = False
        return self.open

    def resume(self) -> i64:
        """Take up the requests that had to wait in the parser. The shared writer is empty."""
        self.process()
        self.parser.settle()
        data = self.reply.take()
        if data:
            self.send(data)
        return 0
