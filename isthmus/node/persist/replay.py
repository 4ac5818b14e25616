"""AofReplay: runs the commands of an AOF through the command layer, as their client would have.

An AOF of ours holds canonical effects, one of Redis any write command in any form, so both go the
way of a request: look up, count the arguments, call the function. What a request passes before that
(permissions, memory, redirection, pauses) is for clients and left out; replies are thrown away,
nothing is counted, nothing blocks, no key and no field expires meanwhile (`Clock.loading`).

- A transaction is collected and done at its EXEC; one without an end has changed nothing.
- A command that fails is passed over, as Redis does, and counted: `first_failure` is for the log.
- A command that is unknown, has the wrong number of arguments, names a database that is not there,
  or could never have come into an AOF (SHUTDOWN, CONFIG SET, SUBSCRIBE) is a ReplayError: who loads
  must stop, since what follows would be applied to something else than what it was written for.

Effects of what is replayed have the origin REPLAY, for sinks that must not write them again.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.effect_log import REPLAY, EffectLog
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import ADMIN, MAY_REPLICATE, READONLY, WRITE, CommandSpec
from isthmus.wire.scalars import i64

CLIENT_ID = -1
NAME_BYTES_MAX = 64
REPLAYABLE = WRITE | READONLY | MAY_REPLICATE
# They change no data and were heard when they were new.
SILENT = frozenset({b"publish", b"spublish"})
# They neither read nor write by their flags. The last ones only old servers wrote.
ADMITTED = frozenset(
    {b"select", b"multi", b"exec", b"ping", b"echo", b"script|load", b"script|flush"}
)


class ReplayError(Exception):
    """A command at `offset` of the file that cannot be applied, for `reason`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class DatabaseMissing(ReplayError):
    """What follows is for a database that this node has not."""


def spec_for(offset: i64, argv: list[bytes]) -> CommandSpec:
    """The command that argv calls, if it may stand in an AOF; raises ReplayError."""
    commands: dict[bytes, CommandSpec] = COMMANDS
    spec: CommandSpec | None = commands.get(argv[0])
    if spec is None or spec.handler is None:
        spec = resolve(offset, argv)
    count = len(argv)
    if count != spec.arity and (spec.arity >= 0 or count < -spec.arity):
        raise ReplayError(offset, f"wrong number of arguments for {shown(spec.name)}")
    # PFDEBUG is for administrators, and writes.
    usual = spec.flags & WRITE or (spec.flags & REPLAYABLE and not spec.flags & ADMIN)
    if not usual and spec.name not in ADMITTED:
        raise ReplayError(offset, f"{shown(spec.name)} does not belong in an AOF")
    return spec


def resolve(offset: i64, argv: list[bytes]) -> CommandSpec:
    """A command in mixed case, or a sub-command; raises ReplayError."""
    spec: CommandSpec | None = COMMANDS.get(argv[0].lower())
    if spec is not None and spec.handler is None:
        spec = spec.subcommands.get(argv[1].lower()) if len(argv) > 1 else None
    if spec is None:
        name = b" ".join(argv[:2]) if argv[0].lower() in COMMANDS else argv[0]
        raise ReplayError(offset, f"unknown command {shown(name)}")
    return spec


class AofReplay:
    """Applies commands to a node; `begin`, then for each file `begin_file` and `run`, then `end`.

    Between calls the node may answer other clients: all that concerns the command being run is put
    back behind each.
    """

    def __init__(self, node: Any) -> None:
        self.node = node
        self.ctx: Context = node.ctx
        self.databases: list[Any] = node.keyspace.databases
        self.client = ClientState(CLIENT_ID, self.databases[0], node.clock.now_ms)
        self.queue: list[tuple[i64, CommandSpec, list[bytes]]] = []
        self.queueing = False
        self.commands = 0
        self.failed = 0
        # (offset, name, text of the error)
        self.first_failure: tuple[int, bytes, bytes] | None = None
        self.may_pause = False

    def begin(self) -> None:
        """From now on nothing expires, and scripts do not give the loop back."""
        self.node.clock.loading = True
        if self.node.scripts is not None:
            self.may_pause = self.node.scripts.stage.may_pause
            self.node.scripts.stage.may_pause = False

    def end(self) -> None:
        """All files are loaded, or given up."""
        self.drop_transaction()
        self.node.clock.loading = False
        if self.node.scripts is not None:
            self.node.scripts.stage.may_pause = self.may_pause

    def begin_file(self) -> None:
        """A file begins with database 0 and outside a transaction."""
        self.drop_transaction()
        self.client.db = self.databases[0]

    def selected(self) -> int:
        """The database that is selected now."""
        return int(self.client.db.index)

    def drop_transaction(self) -> bool:
        """Forget a transaction that has no end. True if there was one."""
        was, self.queueing = self.queueing, False
        self.queue = []
        return was

    def run(self, offset: i64, argv: list[bytes]) -> None:
        """Apply the command that stands at `offset`; raises ReplayError."""
        spec: CommandSpec = spec_for(offset, argv)
        self.commands += 1
        if not spec.flags & REPLAYABLE:
            if spec.name == b"multi" or spec.name == b"exec":
                self.control(offset, spec.name)
                return
        elif spec.name in SILENT:
            return
        if self.queueing:
            self.queue.append((offset, spec, argv))
        else:
            self.perform(offset, spec, argv)

    def control(self, offset: i64, name: bytes) -> None:
        """MULTI and EXEC."""
        if name == b"multi":
            if self.queueing:
                raise ReplayError(offset, "MULTI inside MULTI")
            self.queueing = True
            return
        if not self.queueing:
            raise ReplayError(offset, "EXEC without MULTI")
        self.queueing = False
        queue, self.queue = self.queue, []
        for queued_at, spec, argv in queue:
            self.perform(queued_at, spec, argv)

    def select(self, offset: i64, argv: list[bytes]) -> None:
        """SELECT. Redis passes over one that fails, and puts what follows into another database."""
        index = int(argv[1]) if argv[1].isdigit() and len(argv[1]) < 10 else -1
        if not 0 <= index < len(self.databases):
            count = len(self.databases)
            raise DatabaseMissing(offset, f"database {shown(argv[1])}, and there are {count}")
        self.client.db = self.databases[index]

    def perform(self, offset: i64, spec: CommandSpec, argv: list[bytes]) -> None:
        """Run one command now, and leave the context as it was."""
        if spec.name == b"select":
            self.select(offset, argv)
            return
        ctx = self.ctx
        log: EffectLog = ctx.log
        gates, origin, denied, mark = ctx.gates, log.origin, ctx.deny_blocking, ctx.reply.mark()
        session, db, kept = ctx.session, ctx.db, ctx.spec
        ctx.gates = 0
        log.origin = REPLAY
        ctx.deny_blocking = True
        ctx.session = self.client
        ctx.db = self.client.db
        ctx.spec = spec
        ctx.now_ms = ctx.clock.now_ms
        try:
            spec.handler(ctx, argv)
        except RedisError as error:
            self.failed += 1
            if self.first_failure is None:
                self.first_failure = offset, spec.name, error.text
        finally:
            ctx.reply.truncate(mark)
            ctx.gates = gates
            log.origin = origin
            ctx.deny_blocking = denied
            ctx.session = session
            ctx.db = db
            ctx.spec = kept
        if log.batch:
            log.flush()


def shown(name: bytes) -> str:
    """A name from a file as it may stand in a message."""
    text = repr(name[:NAME_BYTES_MAX])[1:]
    return text if len(name) <= NAME_BYTES_MAX else text + "..."
