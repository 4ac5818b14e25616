"""Backends: the nodes a proxy knows, and the one data link to each.

All clients share the link of a node. It answers request frames in order, so the requests under way
stand in a plain queue (`first ... behind`) and each reply belongs to the first of them. A reply is
not read: its bytes go to its client's socket as they are, unless it is an error (its first byte
is `-`), which the owner of the link looks at, or belongs to a request that is put together.

Epochs: the hello and every reply frame carry the epoch of the topology the node holds. It can only
grow on one link; replies of an older one than the node has shown before, or than it must know of
to be believed (`distrust`), are not passed on (the client is told that the outcome is unknown).

A node that serves nothing any more keeps its link until what is under way is answered (`retire`).

Limits: `LINK_PENDING_MAX` requests and `LINK_BYTES_MAX` bytes wait for one node; beyond, requests
are refused at once (the router does). A node that breaks the format loses its link, and with it
every answer that was under way.
"""

from __future__ import annotations

from typing import Any

from isthmus.proxy.pending import Pending
from isthmus.wire.frames import ERROR, HELLO, FrameError, FramePeer, FrameReader
from isthmus.wire.link_hello import greeting, read_greeting
from isthmus.wire.logs import log
from isthmus.wire.scalars import i64

LINK_PENDING_MAX = 65536
LINK_BYTES_MAX = 64 << 20
# What waits for a node is bounded before it is queued; only one huge request comes on top.
LINK_OUTPUT_BYTES_MAX = 1 << 32
UNKNOWN = b"-ERR outcome unknown: the shard answered by an outdated topology\r\n"
DASH = 0x2D
FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Backend:
    """One node as the topology names it."""

    def __init__(self, identity: str, shard: i64, address: str, link_address: str) -> None:
        self.id = identity
        self.shard = shard
        self.address = address.encode()
        self.link_address = link_address
        self.link: Link | None = None
        self.lost_ms = 0
        self.links_made = 0
        self.links_lost = 0
        # Private links without state, to be used again (private.py).
        self.idle: list[Any] = []
        # Called when the link is gone, so that its keeper makes another.
        self.wake: Any = None


class Link(FramePeer):
    """The connection to one node; `backend.link` from the node's hello until it is closed."""

    def __init__(self, backend: Backend, owner: Any, password: bytes) -> None:
        frames = FrameReader()
        FramePeer.__init__(self, frames)
        self.frames = frames
        self.backend = backend
        self.owner = owner
        self.first: Pending | None = None
        self.last: Pending | None = None
        self.waiting = 0
        self.epoch = 0
        self.up = False
        self.retired = self.doubted = False
        self.problem = ""
        # Called once: when the node has said hello, or the link ended without.
        self.settled: Any = None
        self.output_bytes_max = LINK_OUTPUT_BYTES_MAX

    def greet(self, proxy_id: str, password: bytes, epoch: int) -> None:
        """Send the hello; the pump must own the socket."""
        self.add_hello(0, epoch, greeting(proxy_id, password))

    def distrust(self, epoch: int) -> None:
        """Believe no reply by a topology older than `epoch`."""
        self.epoch = max(self.epoch, epoch)
        self.doubted = True

    def retire(self) -> None:
        """Take no more requests, and close when those under way are answered."""
        self.retired = True
        self.problem = "its shard has another node"
        if self.backend.link is self:
            self.backend.link = None
        if self.waiting == 0:
            self.pump.close(self)

    def push(self, pending: Pending) -> i64:
        """Note that the request just added to a frame is this one."""
        pending.sequence = self.sequence
        if self.last is None:
            self.first = pending
        else:
            self.last.behind = pending
        self.last = pending
        self.waiting += 1
        return 0

    def process(self) -> i64:
        """Hand out the replies that have come."""
        frames = self.frames
        try:
            while self.open and frames.next():
                if self.up and frames.flags == 0:
                    self.replies()
                else:
                    self.hello()
        except FrameError as error:
            self.give_up(str(error))
        except FAULTS as fault:
            self.give_up(repr(fault))
        if self.retired and self.waiting == 0 and self.open:
            self.pump.close(self)
        return 0

    def replies(self) -> i64:
        frames = self.frames
        frames.open_replies()
        stale = frames.epoch < self.epoch
        self.epoch = max(self.epoch, frames.epoch)
        count: i64 = frames.count
        while count > 0:
            count -= 1
            kind: i64 = frames.next_reply()
            pending = self.first
            if pending is None or pending.sequence != frames.sequence:
                raise FrameError("a reply to no request")
            self.first = pending.behind
            if self.first is None:
                self.last = None
            self.waiting -= 1
            pending.behind = None
            client = pending.client
            if stale:
                pending.finish(UNKNOWN)
            elif kind == DASH:
                self.owner.failed(pending, frames.reply(), frames.epoch)
            elif client is None:
                if pending.gather is not None:
                    pending.gather.add(pending, frames.reply())
            elif client.first is pending:
                following = pending.next
                client.first = following
                client.waiting -= 1
                frames.reply_to(client)
                if following is None:
                    client.last = None
                else:
                    pending.next = None
                    if following.done:
                        client.flush()
                if client.attention:
                    client.attend()
            else:
                pending.data = frames.reply()
                pending.done = True
        return 0

    def hello(self) -> None:
        """The node's answer to our hello."""
        frames = self.frames
        if self.up or not frames.flags & HELLO:
            raise FrameError("a frame out of place")
        if frames.flags & ERROR:
            raise FrameError("refused: " + frames.payload()[:256].decode("utf-8", "replace"))
        identity, _ = read_greeting(frames.payload())
        if identity != self.backend.id:
            raise FrameError(f"node {identity} answers where {self.backend.id} should")
        self.epoch = frames.epoch
        self.up = True
        self.backend.links_made += 1
        self.backend.link = self
        self.settle()

    def settle(self) -> None:
        if self.settled is not None:
            self.settled()
            self.settled = None

    def give_up(self, why: str) -> None:
        self.problem = why
        if self.up:
            log("link_broken", level="ERROR", node=self.backend.id, why=why)
        self.pump.close(self)

    def closed(self) -> i64:
        """The socket is gone: every request under way is without an answer."""
        backend = self.backend
        if self.up:
            self.up = False
            if backend.link is self:
                backend.link = None
            backend.links_lost += 1
            if self.owner.refresh is not None:
                self.owner.refresh()
            backend.lost_ms = self.owner.now_ms
            log("link_lost", level="WARN", node=backend.id, pending=self.waiting, why=self.problem)
        pending, self.first, self.last = self.first, None, None
        self.waiting = 0
        while pending is not None:
            following = pending.behind
            pending.behind = None
            self.owner.lost(pending)
            pending = following
        self.settle()
        if backend.wake is not None:
            backend.wake()
        return 0
