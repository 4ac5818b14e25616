"""StreamApplier: the stream of a primary, applied to this node.

It is what an append only file holds (persist/replay.py), but the node serves others meanwhile, so
what reacts to changes hears of them as if a client had made them: the node's own append only file,
WATCH, tracking, notifications, clients that wait. Transactions are applied whole at their EXEC, and
what they did goes to the sinks as one batch.

Offsets. `node.replication.offset` is that of the last byte that was *applied*, and lies between
commands and outside of transactions. The very bytes that were applied go to `Stream.feed`, for
those who follow this node; a link that breaks loses what was not applied, and the next one asks for
it again.

While a command is applied no time has come for anything (`Clock.loading`): the primary decides what
expires, and its command must find what it found there.

A command that cannot be applied, or fails, is a StreamError: this node would hold something else
than its primary from there on, so the caller takes everything anew. (Redis counts it and goes on.)
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import GATE_CUT, GATE_MONITOR, Context
from isthmus.node.engine.effect_log import REPLAY
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.spec import MAY_REPLICATE, SKIP_MONITOR, WRITE, CommandSpec
from isthmus.node.persist.replay import ReplayError, spec_for
from isthmus.wire.parser import ProtocolError, RequestParser
from isthmus.wire.scalars import i64

CLIENT_ID = -1
# A primary is trusted with its own data: what it took from a client we take from it.
BYTES_MAX = 1 << 40
ARGS_MAX = 1 << 31
CHANGES = WRITE | MAY_REPLICATE


class StreamError(Exception):
    """What came at `offset` cannot be applied, for `reason`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class StreamApplier:
    """Takes the bytes of a stream behind `node.replication.offset`."""

    def __init__(self, node: Any, db: int = 0) -> None:
        self.node = node
        self.ctx: Context = node.ctx
        self.databases: list[Any] = node.keyspace.databases
        self.client = ClientState(CLIENT_ID, self.databases[db], node.clock.now_ms)
        self.stage: Any = None if node.scripts is None else node.scripts.stage
        # Called when the primary asks how far we are.
        self.asked: Any = None
        self.commands = 0
        self.raw = bytearray()
        self.restart()

    def restart(self) -> None:
        """A new connection: what was not applied comes again, or never."""
        parser = RequestParser()
        parser.authenticated = True
        parser.query_buffer_bytes_max = parser.bulk_bytes_max = BYTES_MAX
        parser.inline_bytes_max = 1 << 20
        parser.args_max = ARGS_MAX
        self.parser = parser
        # Bytes of the stream that were not applied yet, and how many of them `parser` was given.
        self.raw = bytearray()
        self.queue: list[tuple[CommandSpec, list[bytes]]] = []
        self.queueing = False

    def feed(self, data: bytes) -> None:
        """Take what follows; `step` applies it."""
        self.raw += data
        self.parser.feed(data)

    def step(self, deadline_ns: i64) -> bool:
        """Apply commands until the time (of the monotonic clock) has come. True if some are left;
        raises StreamError."""
        clock = self.node.clock
        clock.refresh()
        done: i64 = 0
        count: i64 = 0
        try:
            while True:
                argv = self.take()
                if argv is None:
                    return False
                count += 1
                consumed = len(self.raw) - self.parser.pending
                if argv[0].lower() == b"replconf":
                    done = self.control(argv, done, consumed)
                else:
                    self.run(argv)
                    if not self.queueing:
                        done = consumed
                if count & 15 == 0 and clock.mono_ns() >= deadline_ns:
                    return True
        finally:
            self.commands += count
            self.commit(done)

    def take(self) -> list[bytes] | None:
        """The next command; raises StreamError."""
        try:
            return self.parser.next()
        except ProtocolError as error:
            raise StreamError(self.offset(), error.text.decode(errors="replace")) from None

    def offset(self) -> int:
        """Where the command that is being applied ends."""
        end: int = self.node.replication.offset
        return end + len(self.raw) - self.parser.pending

    def commit(self, count: int) -> None:
        """The first `count` bytes of `raw` have been applied."""
        if count:
            data = bytes(self.raw[:count])
            del self.raw[:count]
            self.node.replication.stream.feed(data)
            self.node.replication.stream.db = self.client.db.index

    def control(self, argv: list[bytes], done: int, consumed: int) -> int:
        """REPLCONF: the primary asks how far we are. Returns how much is applied and not told."""
        if self.queueing:
            return done
        if len(argv) == 3 and argv[1].lower() == b"getack" and self.asked is not None:
            self.commit(done)
            consumed -= done
            # As in Redis, the question itself does not count yet.
            self.asked()
        return consumed

    # -- commands -----------------------------------------------------------------------------

    def run(self, argv: list[bytes]) -> None:
        """Apply a command, or keep it until the end of its transaction; raises StreamError."""
        try:
            spec: CommandSpec = spec_for(0, argv)
        except ReplayError as error:
            raise StreamError(self.offset(), error.reason) from None
        name = spec.name
        if name == b"multi":
            if self.queueing:
                raise StreamError(self.offset(), "MULTI inside MULTI")
            self.queueing = True
        elif name == b"exec":
            if not self.queueing:
                raise StreamError(self.offset(), "EXEC without MULTI")
            self.queueing = False
            queue, self.queue = self.queue, []
            self.perform(queue)
        elif self.queueing:
            self.queue.append((spec, argv))
        elif name != b"ping":
            self.perform([(spec, argv)])

    def select(self, argv: list[bytes]) -> None:
        """SELECT."""
        index = int(argv[1]) if argv[1].isdigit() and len(argv[1]) < 10 else -1
        if not 0 <= index < len(self.databases):
            raise StreamError(self.offset(), f"database {argv[1][:80]!r} is not there")
        self.client.db = self.databases[index]

    def perform(self, calls: list[Any]) -> None:
        """Run commands, each its specification and its words, as one; tell who waits for what they
        did."""
        ctx = self.ctx
        log = ctx.log
        clock = self.node.clock
        gates, origin, denied, mark = ctx.gates, log.origin, ctx.deny_blocking, ctx.reply.mark()
        session, db, kept = ctx.session, ctx.db, ctx.spec
        ctx.gates = 0
        log.origin = REPLAY
        ctx.deny_blocking = True
        ctx.session = self.client
        ctx.now_ms = clock.now_ms
        clock.loading = True
        may_pause = False
        if self.stage is not None:
            # A script would stand still in the middle of a transaction.
            may_pause, self.stage.may_pause = self.stage.may_pause, False
        cut = ctx.keyspace.cut if gates & GATE_CUT else None
        try:
            for spec, argv in calls:
                if spec.name == b"select":
                    self.select(argv)
                    continue
                ctx.db = self.client.db
                ctx.spec = spec
                if cut is not None and spec.flags & CHANGES:
                    cut.before_command(ctx.db, spec, argv)
                spec.handler(ctx, argv)
                if gates & GATE_MONITOR and not spec.flags & SKIP_MONITOR:
                    self.node.monitors.feed(ctx, spec, argv)
                spec.calls += 1
                ctx.commands += 1
        except RedisError as error:
            name, text = ctx.spec.name.decode(), error.text.decode(errors="replace")
            raise StreamError(self.offset(), f"{name} failed: {text}") from None
        finally:
            clock.loading = False
            if self.stage is not None:
                self.stage.may_pause = may_pause
            ctx.reply.truncate(mark)
            # A cut may have begun or ended: only what was taken away comes back.
            ctx.gates |= gates
            log.origin = origin
            ctx.deny_blocking = denied
            ctx.db = db
            ctx.spec = kept
            self.settle()
            ctx.session = session

    def settle(self) -> None:
        """Hand what changed to the sinks, and serve those who waited for it."""
        ctx = self.ctx
        if not ctx.log.pending:
            return
        ctx.log.pending = False
        ctx.log.flush()
        if self.node.tracking.pending:
            self.node.tracking.broadcast()
        if ctx.keyspace.ready:
            self.node.blocking.serve()
