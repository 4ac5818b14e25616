"""Session: one client connection of a node, from bytes to replies.

All state of the connection is in its ClientState; the modes and what each admits:

    mode          entered by                    left by             runs
    unauthorised  requirepass set, connecting   AUTH, HELLO AUTH    commands flagged NO_AUTH
    normal        (start)                                           everything
    multi         MULTI                         EXEC DISCARD RESET  queues all but NOT_QUEUED
    silent        CLIENT REPLY OFF | SKIP       CLIENT REPLY ON     everything, no replies
    subscriber    SUBSCRIBE ... in RESP2        the last UN...      (P|S)(UN)SUBSCRIBE PING ...
    blocked       a command that waits          engine/blocking.py  nothing; input is received
    closing       QUIT, CLIENT KILL, an error   (end)               nothing

execute() checks the mode through `ClientState.gates`. A protocol error is answered and closes the
connection; a fault of ours while a command runs is logged with its traceback, answered, and closes
only this connection, because the rest of the data is not in doubt. Broken invariants are not
caught.
"""

from __future__ import annotations

import traceback
from typing import Any

from isthmus.node.engine import access
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_MEMORY
from isthmus.node.engine.execute import execute
from isthmus.node.engine.lookahead import BATCH, Lookahead
from isthmus.node.engine.node import Node
from isthmus.wire.logs import log
from isthmus.wire.parser import ProtocolError, QueryBufferExceeded, RequestParser
from isthmus.wire.pump import Peer, Ticker
from isthmus.wire.scalars import i64

# A turn of one connection ends when this much is waiting to be sent.
TURN_OUTPUT_BYTES_MAX = 1 << 20
# So does one that has run so many requests.
TURN_REQUESTS_MAX = 1024
ATTACK_LOG_EVERY_MS = 60_000
COMMAND_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class NodeTicker(Ticker):
    """Once per turn: what changed in the last turn goes to the sinks, and the clock is read."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.ctx = node.ctx
        self.clock = node.clock
        self.log = node.keyspace.log
        self.lookahead = Lookahead()
        # What the node does for its shard; None outside a cluster.
        self.duty: Any = None
        for name in ("proto-max-bulk-len", "client-query-buffer-limit"):
            node.config.on_change(name, self.limit_input)

    def limit_input(self, _text: str) -> None:
        """How much a request may be has changed, also for who is connected."""
        for client in self.node.clients.values():
            if isinstance(client.peer, Session):
                client.peer.limit_input()

    def tick(self) -> i64:
        """One turn of the loop begins."""
        now_ms: i64 = self.clock.refresh()
        # The timer does so too, but seldom while nobody asks for anything.
        access.set_clock(now_ms // 1000)
        ctx = self.ctx
        # Whatever happens now, happens on behalf of no client.
        ctx.session = None  # type: ignore[assignment]
        if self.log.batch:
            self.log.flush()
        if ctx.gates and ctx.gates & GATE_MEMORY:
            self.node.memory.turn_ns = 0
        if ctx.wake_ms <= now_ms:
            self.node.blocking.expire(now_ms)
        if self.duty is not None:
            self.duty.turn()
        return 0

    def commit(self) -> i64:
        """The turn ends, and what changed in it is to be made last before anybody hears of it."""
        if self.duty is None:
            return 1 if self.node.persistence.commit() else 0
        kept = self.node.persistence
        if not kept.commit() or (self.duty.must_sync and not kept.sync()):
            return 0
        return int(self.duty.commit())

    def background(self, ready: i64) -> i64:
        """A turn is over: a consistent cut goes on."""
        cut = self.node.keyspace.cut
        return 0 if cut is None else cut.between_turns(ready)

    def feed(self) -> i64:
        """A turn ends in which the stream went on, or a replica took some of it."""
        self.node.replication.primary.turn()
        if self.node.moves is not None:
            self.node.moves.turn()
        return 0

    def ahead(self, peers: list[Peer]) -> i64:
        """Sessions with one request each: their keys are fetched together."""
        requests: list[list[bytes]] = []
        session: Session | None = None
        for peer in peers:
            if isinstance(peer, Session):
                session = peer
                if len(session.batch) == 1:
                    requests.append(session.batch[0])
        if session is not None and len(requests) > 1:
            self.lookahead.stage(session.state.db, requests)
        return 0


class Session(Peer):
    """A Peer that runs Redis requests on a Node."""

    def __init__(self, node: Node, state: ClientState) -> None:
        parser = RequestParser()
        Peer.__init__(self, parser)
        self.requests = parser
        self.node = node
        self.ctx = node.ctx
        self.state = state
        state.peer = self
        node.output_limits.apply(state)
        self.lookahead = node.lookahead
        self.batch: list[list[bytes]] = []
        self.place = 0
        self.problem: Exception | None = None
        parser.authenticated = state.authenticated
        self.limit_input()

    def limit_input(self) -> None:
        """Take over the parameters that say how much a request may be."""
        config = self.node.config
        self.requests.bulk_bytes_max = config.integer("proto-max-bulk-len")
        self.requests.query_buffer_bytes_max = config.integer("client-query-buffer-limit")

    def prepare(self) -> i64:
        """Parse the first batch; an error is for process() to tell."""
        if (
            self.place < len(self.batch)
            or self.problem is not None
            or self.state.blocked is not None
            or self.state.postponed is not None
        ):
            return 0
        try:
            self.fill()
        except (ProtocolError, QueryBufferExceeded) as problem:
            self.problem = problem
        return 1

    def process(self) -> i64:
        """Run the requests that are complete; 1 if some are left for the next turn."""
        ctx = self.ctx
        if self.state.blocked is not None:
            return 0
        self.state.active_ms = ctx.clock.now_ms
        ctx.mark_ns = ctx.clock.mono_ns()
        try:
            return self.run()
        except ProtocolError as error:
            self.reply.protocol = self.state.protocol
            self.ctx.fail(b"ERR " + error.text)
            self.stop()
        except QueryBufferExceeded:
            self.overflowed()
            self.pump.close(self)
        except COMMAND_FAULTS as fault:
            self.report(fault)
        return 0

    def run(self) -> i64:
        left: i64 = TURN_REQUESTS_MAX
        if self.state.postponed is not None:
            self.batch = [self.state.postponed, *self.batch[self.place :]]
            self.state.postponed = None
            self.place = 0
        while left > 0:
            if self.place == len(self.batch):
                self.fill()
                if not self.batch:
                    return 0
            left -= len(self.batch) - self.place
            if not self.run_batch():
                return 0 if self.state.closing or self.state.blocked is not None else 1
        return 1

    def fill(self) -> i64:
        """Parse the next batch; an error waits until the requests before it have run."""
        requests = self.requests
        self.batch = []
        self.place = 0
        if self.problem is not None:
            raise self.problem
        # Whoever may still be refused is taken at one request at a time: AUTH changes the limits.
        room: i64 = BATCH if self.state.authenticated else 1
        argv = requests.next()
        if argv is None:
            return 0
        batch = [argv]
        self.batch = batch
        room -= 1
        try:
            while room > 0:
                argv = requests.next()
                if argv is None:
                    break
                batch.append(argv)
                room -= 1
        except (ProtocolError, QueryBufferExceeded) as problem:
            self.problem = problem
        if len(batch) > 1:
            self.lookahead.stage(self.state.db, batch)
        return 0

    def run_batch(self) -> i64:
        """Run the batch; 0 if this connection is over or has written enough for one turn."""
        reply = self.reply
        state = self.state
        ctx = self.ctx
        batch = self.batch
        limit: i64 = reply.size + TURN_OUTPUT_BYTES_MAX
        ahead = self.lookahead if len(batch) > 1 and self.place == 0 else None
        while self.place < len(batch):
            argv = batch[self.place]
            if ahead is not None:
                ahead.prime(state.db, argv, self.place)
            self.place += 1
            reply.protocol = state.protocol
            execute(ctx, state, argv)
            state.commands += 1
            if state.closing:
                self.batch = []
                self.place = 0
                if state.close_now:
                    self.hang_up()
                else:
                    self.stop()
                return 0
            if reply.size > limit or state.blocked is not None:
                return 0
        if self.requests.authenticated != state.authenticated:
            self.requests.authenticated = state.authenticated
        return 1

    def push(self, data: bytes) -> None:
        """Send what the client did not ask for."""
        self.send(data)

    def reply_late(self, data: bytes) -> None:
        """Send the reply of the request that waited."""
        self.send(data)

    def overflowed(self) -> i64:
        """More input than the client may send, or than there is memory for."""
        log("client_query_buffer_exceeded", level="WARN", client=self.state.id,
            address=self.state.address)  # fmt: skip
        return 0

    def hang_up(self) -> None:
        """Somebody speaks HTTP: close without a word, and say so in the log, but not for each."""
        node = self.node
        if self.ctx.now_ms - node.attack_logged_ms >= ATTACK_LOG_EVERY_MS:
            node.attack_logged_ms = self.ctx.now_ms
            log("possible_attack", level="WARN", client=self.state.id, address=self.state.address,
                why="POST or Host: was sent as a command, as from a web browser")  # fmt: skip
        self.pump.close(self)

    def stop(self) -> None:
        """Run nothing more; close when the replies are out."""
        self.state.close()
        self.closing = True

    def report(self, fault: BaseException) -> None:
        """A fault of ours: say so in the log and to the client."""
        trace = "".join(traceback.format_exception(fault))
        if self.node.config.boolean("hide-user-data-from-log"):
            # What the exception says may quote a client's argument; where it was raised does not.
            trace = "".join(traceback.format_tb(fault.__traceback__)) + type(fault).__name__
        log(
            "command_fault",
            level="ERROR",
            client=self.state.id,
            command=self.state.last_command,
            trace=trace,
        )
        if not self.state.reply_off:
            # In a stream, to a replica or of slots that move, it would be taken for a change.
            self.ctx.fail(b"ERR internal error, see the log of the server")
        self.stop()

    def closed(self) -> i64:
        """The connection is gone."""
        self.node.forget_client(self.state)
        self.state.peer = None
        return 0
