"""LinkSession: a node's end of the data link (isthmus/wire/frames.py), one for each proxy.

All clients of a proxy share this connection, so it has one ClientState of its own: always
authenticated (the hello was), database 0, and in each frame the protocol the frame names. State of
a single client (transactions, waiting, subscriptions) does not come here but over a *private* link,
which the proxy's hello asks for: that one is one client's at a time, and may watch, wait and
subscribe. What such a client is sent without asking goes in push frames.

Modes:

    mode      entered by        left by                     takes
    new       (start)           a hello that is accepted    a hello, nothing else
    serving   the node's hello  an error, the end           request frames

A paused server (CLIENT PAUSE) pauses the whole link: what it carries waits in order.

Another node opens the same link to relay what was published there (node/cluster/bus.py): a relay
frame is delivered to subscribers and not answered, a talk frame is handed to `node.hear`.

A fault of ours while a command runs is logged, answered to that request, and the link goes on: it
carries other clients' requests. A frame that breaks the format closes the link.

A request of a SPLIT frame may name keys of several slots (the part of an MGET that concerns this
node). Every slot must be served here, or the request is answered with a redirect and not run.

The epoch in a request's header is not compared with ours: whether this node serves a slot is
decided by its own topology, key by key. Replies carry our epoch, so a proxy can tell one from
before a change of topology.
"""

from __future__ import annotations

import traceback

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_CLUSTER
from isthmus.node.engine.errors import CLUSTERDOWN
from isthmus.node.engine.execute import execute
from isthmus.node.engine.node import Node
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import CommandSpec
from isthmus.node.server.session import COMMAND_FAULTS, TURN_OUTPUT_BYTES_MAX
from isthmus.wire.frames import (
    ERROR,
    HELLO,
    PRIVATE,
    RELAY,
    REPLY_BYTES_MAX,
    SPLIT,
    TALK,
    FrameError,
    FrameReader,
    ReplyFrame,
    hello_frame,
    late_frame,
    push_frame,
)
from isthmus.wire.link_hello import greeting, read_greeting
from isthmus.wire.logs import log
from isthmus.wire.parser import ProtocolError, QueryBufferExceeded, RequestParser
from isthmus.wire.pump import Peer
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

# A request frame of more is answered in several reply frames.
REPLIES_PER_FRAME_MAX = 1024
TOO_LARGE = b"ERR the reply is too large for the proxy"


class LinkSession(Peer):
    """A Peer that runs the requests of a proxy's clients on a Node."""

    def __init__(self, node: Node, state: ClientState) -> None:
        frames = FrameReader()
        Peer.__init__(self, frames)
        self.frames = frames
        self.requests = RequestParser()
        self.requests.authenticated = True
        self.output = ReplyFrame()
        self.node = node
        self.ctx = node.ctx
        self.state = state
        state.peer = self
        state.shared = state.linked = True
        self.proxy_id = ""
        self.left = 0
        self.sequence = 0
        self.protocol = 2
        self.split = False
        # A request that waits has been taken off the frame; its reply comes by reply_late.
        self.owed = False

    def process(self) -> i64:
        """Run the frames that are complete; 1 if some requests are left for the next turn."""
        ctx = self.ctx
        if self.state.blocked is not None:
            return 0
        self.state.active_ms = ctx.clock.now_ms
        ctx.mark_ns = ctx.clock.mono_ns()
        try:
            return self.run()
        except FrameError as error:
            self.abandon(str(error))
        except (ProtocolError, QueryBufferExceeded) as error:
            self.abandon(repr(error))
        return 0

    def run(self) -> i64:
        frames = self.frames
        while True:
            if self.left == 0:
                if not frames.next():
                    return 0
                if not self.proxy_id:
                    if not self.greet():
                        return 0
                    continue
                if frames.flags == RELAY:
                    self.relay()
                    continue
                if frames.flags == TALK:
                    self.node.hear(self.proxy_id, frames.payload())
                    continue
                if frames.flags & ~SPLIT:
                    raise FrameError("a frame that is no request")
                self.left = frames.count
                self.sequence = frames.sequence
                self.protocol = frames.protocol
                self.split = frames.flags & SPLIT != 0
                frames.open_requests(self.requests)
            if self.left:
                self.answer()
            if self.state.blocked is not None:
                self.requests.settle()
                return 0
            if self.left == 0 and self.requests.pending:
                raise FrameError("more bytes than requests in a frame")
            if self.left or self.reply.size > TURN_OUTPUT_BYTES_MAX:
                self.requests.settle()
                return 1

    def relay(self) -> i64:
        """Hand what was published on another node to the subscribers of this one."""
        requests = self.requests
        pubsub = self.node.pubsub
        # Nobody is being served: whoever gets a message, gets it now.
        self.ctx.session = None  # type: ignore[assignment]
        self.frames.open_requests(requests)
        for _ in range(self.frames.count):
            argv = requests.next()
            if argv is None or len(argv) != 3:
                raise FrameError("a relay frame that does not hold what it announced")
            if argv[0] == b"SPUBLISH":
                pubsub.publish_shard(argv[1], argv[2])
            else:
                pubsub.publish(argv[1], argv[2])
            pubsub.relayed += 1
        if self.node.cluster is not None:
            self.node.cluster.published_received = pubsub.relayed
        if requests.pending:
            raise FrameError("more bytes than requests in a frame")
        return 0

    def answer(self) -> i64:
        """Run requests of the present frame and write one reply frame."""
        requests = self.requests
        reply = self.reply
        output = self.output
        state = self.state
        room = min(self.left, REPLIES_PER_FRAME_MAX)
        start = reply.size
        state.protocol = self.protocol
        output.begin(reply, room)
        while output.count < room:
            argv = state.postponed
            if argv is None:
                argv = requests.next()
            else:
                state.postponed = None
            if argv is None:
                raise FrameError("fewer requests in a frame than it announced")
            reply.protocol = self.protocol
            if self.split:
                self.run_split(argv)
            else:
                self.run_one(argv)
            if state.blocked is not None:
                self.owed = state.postponed is None
                break
            output.note()
            if reply.size - start > TURN_OUTPUT_BYTES_MAX:
                break
        self.left -= output.count
        if output.count == 0:
            reply.truncate(start)
            return 0
        output.finish(self.protocol, self.epoch(), self.sequence)
        return 0

    def push(self, data: bytes) -> None:
        """Send the client of a private link what it did not ask for."""
        self.send(push_frame(self.protocol, self.epoch(), data))

    def reply_late(self, data: bytes) -> None:
        """Send the reply of the request that waited."""
        if self.owed:
            self.owed = False
            self.left -= 1
            self.send(late_frame(self.protocol, self.epoch(), self.sequence, data))

    def run_one(self, argv: list[bytes]) -> i64:
        reply = self.reply
        mark = reply.size
        self.state.commands += 1
        try:
            execute(self.ctx, self.state, argv)
        except COMMAND_FAULTS as fault:
            reply.truncate(mark)
            trace = "".join(traceback.format_exception(fault))
            log("command_fault", level="ERROR", proxy=self.proxy_id, trace=trace)
            self.ctx.fail(b"ERR internal error, see the log of the server")
        if reply.size - mark > REPLY_BYTES_MAX:
            reply.truncate(mark)
            self.ctx.fail(TOO_LARGE)
        return 0

    def run_split(self, argv: list[bytes]) -> i64:
        """Run a request whose keys may be of several slots, all of them served here."""
        ctx = self.ctx
        spec: CommandSpec | None = COMMANDS.get(argv[0])
        gates = ctx.gates
        if spec is None or not gates & GATE_CLUSTER or spec.key_step < 1 or spec.last_key != -1:
            return self.run_one(argv)
        view = ctx.cluster
        mine = view.mine
        at: i64 = spec.first_key
        while at < len(argv):
            slot: i64 = key_slot(argv[at])
            if not mine[slot] or not view.state_ok:
                ctx.fail(CLUSTERDOWN if mine[slot] else view.redirect_error(slot))
                return 0
            at += spec.key_step
        ctx.gates = gates & ~GATE_CLUSTER
        try:
            self.run_one(argv)
        finally:
            ctx.gates = gates
        return 0

    def greet(self) -> bool:
        """Answer the proxy's hello. False if it was refused."""
        node = self.node
        if self.frames.flags & ~PRIVATE != HELLO:
            raise FrameError("the first frame is no hello")
        self.state.shared = not self.frames.flags & PRIVATE
        try:
            identity, password = read_greeting(self.frames.payload())
        except FrameError as error:
            return self.refuse(str(error))
        if not node.acl.knows(b"default", password):
            node.auth_failures += 1
            return self.refuse("wrong password")
        self.proxy_id = identity
        self.state.name = b"proxy:" + identity.encode()
        self.state.authenticated = True
        self.state.regate()
        self.send(hello_frame(0, self.epoch(), greeting(self.id())))
        return True

    def refuse(self, why: str) -> bool:
        log("link_refused", level="WARN", address=self.state.address, why=why)
        self.send(hello_frame(ERROR, self.epoch(), why.encode()))
        self.close_soon()
        return False

    def id(self) -> str:
        """This node's id, as the topology names it."""
        cluster = self.node.cluster
        return str(self.node.run_id if cluster is None else cluster.my_id)

    def epoch(self) -> int:
        """The epoch of the topology this node holds."""
        cluster = self.node.cluster
        return 0 if cluster is None else int(cluster.epoch)

    def abandon(self, why: str) -> None:
        """The proxy broke the format: nothing it sends can be trusted to be what it seems."""
        log("link_broken", level="ERROR", address=self.state.address, proxy=self.proxy_id, why=why)
        self.reply.clear()
        self.pump.close(self)

    def closed(self) -> i64:
        """The connection is gone."""
        self.node.forget_client(self.state)
        self.state.peer = None
        return 0
