"""redis.call: a script's commands, from Lua's arguments to the bytes of the reply.

The checks are those Redis makes for scripts, in its order, with its texts: unknown command, arity,
NOSCRIPT, permissions of the caller's user, read-only scripts, memory, cluster slots. Then the
command runs as any other, on behalf of the client that called the script: effects, events and
tracking need nothing special. It may not block. The reply goes back as RESP, which sandbox.lua
turns into Lua values.

Nothing here may raise towards Lua; see runtime.py.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from isthmus.node.engine.client import GATE_ACL, ClientState
from isthmus.node.engine.context import (
    GATE_CLUSTER,
    GATE_DISK,
    GATE_MONITOR,
    GATE_REPLICA,
    GATE_REPLICAS,
    Context,
)
from isthmus.node.engine.errors import NO_REPLICAS, OOM
from isthmus.node.engine.execute import call as run_command
from isthmus.node.engine.monitors import shown
from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import (
    ADMIN,
    DENYOOM,
    MAY_REPLICATE,
    NOSCRIPT,
    SKIP_MONITOR,
    STALE,
    WRITE,
    CommandSpec,
)
from isthmus.node.scripting.runtime import Runtime
from isthmus.wire.logs import log
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import format_float, i64

# Faults of ours in a command; anything else is no business of a script's.
FAULTS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
UNKNOWN = b"ERR Unknown Redis command called from script"
WRONG_ARITY = b"ERR Wrong number of args calling Redis command from script"
NOT_ALLOWED = b"ERR This Redis command is not allowed from script"
IS_STALE = b"ERR Can not execute the command on a stale replica"
READ_ONLY = b"ERR Write commands are not allowed from read-only scripts."
CLUSTER_DOWN = b"ERR Script attempted to execute a command while the cluster is down"
NOT_LOCAL = b"ERR Script attempted to access a non local key in a cluster node"
OTHER_SLOT = b"ERR Script attempted to access keys that do not hash to the same slot"
ACL_WRONG_ARITY = b"Wrong number of args for redis.acl_check_cmd()"
ACL_UNKNOWN = b"Invalid command passed to redis.acl_check_cmd()"
# Integers that a double holds exactly enough for Redis to print them as such.
_INTEGER_MAX = 1 << 62
_LARGE_REPLY_BYTES = 4096


class Run:
    """One run of a script or function: on whose behalf, and what it may."""

    __slots__ = (
        "session", "name", "argv", "started_ns", "is_eval", "read_only", "allow_oom", "cross_slot",
        "protocol", "slot", "out_of_memory", "wrote", "killed", "failed", "target",
        "tail_line", "keys", "arguments",
    )  # fmt: skip

    def __init__(
        self, session: ClientState, name: bytes, argv: list[bytes], keys_count: i64,
        started_ns: i64, is_eval: bool,
    ) -> None:  # fmt: skip
        self.session = session
        self.name = name
        self.argv = argv
        self.started_ns = started_ns
        self.is_eval = is_eval
        self.keys = argv[3 : 3 + keys_count]
        self.arguments = argv[3 + keys_count :]
        # What the runtime is given to run; and the line if none is known.
        self.target: Any = None
        self.tail_line = 0
        self.read_only = False
        self.allow_oom = False
        self.cross_slot = True
        self.protocol = 2
        self.slot = -1
        self.out_of_memory = False
        self.wrote = False
        self.killed = False
        # Its reply holds an error.
        self.failed = False


def spelt(value: Any) -> bytes | None:
    """A Lua value as an argument; None if it is neither text nor number."""
    if type(value) is bytes:
        return value
    if type(value) is int:
        if -_INTEGER_MAX < value < _INTEGER_MAX:
            return b"%d" % value
        return format_float(float(value))
    if type(value) is float:
        # What 0/0 gives on the usual machines is a negative one, and C prints the sign.
        return format_float(value) if value == value else b"-nan"
    return None


def find(argv: Sequence[bytes]) -> tuple[CommandSpec | None, bytes]:
    """The command if there is one, and an error if it cannot be called so."""
    spec = COMMANDS.get(argv[0])
    if spec is None:
        spec = COMMANDS.get(argv[0].lower())
        if spec is None:
            return None, UNKNOWN
    if spec.handler is None:
        if len(argv) < 2:
            return (spec.alone, b"") if spec.alone is not None else (spec, WRONG_ARITY)
        sub = spec.subcommands.get(argv[1].lower())
        if sub is None:
            return None, UNKNOWN
        spec = sub
    return spec, b"" if spec.arity_fits(len(argv)) else WRONG_ARITY


class Calls:
    """The commands of the script that runs now (`run`)."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.node: Any = ctx.node
        self.runtime: Runtime = None  # type: ignore[assignment]
        self.run: Run | None = None
        self.writer = ReplyWriter()
        self.stashed: list[Any] = []

    def stash(self, *args: Any) -> None:
        """Some of the arguments of the call that follows, which then brings none itself."""
        self.stashed.extend(args)

    def call(self, *args: Any) -> Any:
        """The reply in RESP; True if no script runs, None if Lua has no memory for it, False if an
        argument is neither text nor number."""
        run = self.run
        if run is None:
            return True
        if not self.runtime.spare(0):
            return None
        if self.stashed:
            args = tuple(self.stashed)
            self.stashed.clear()
        argv: list[bytes] = []
        for arg in args:
            if type(arg) is not bytes:
                arg = spelt(arg)
                if arg is None:
                    return False
            argv.append(arg)
        ctx = self.ctx
        writer = self.writer
        house = ctx.reply
        writer.protocol = run.protocol
        ctx.reply = writer
        try:
            self.execute(run, argv)
        except MemoryError:
            # The script's own doing, most likely; there is no memory for a report either.
            writer.clear()
            return None
        except FAULTS as fault:
            writer.clear()
            trace = "".join(traceback.format_exception(fault))
            log("command_fault", level="ERROR", client=run.session.id, command=argv[0], trace=trace)
            ctx.fail(b"ERR internal error, see the log of the server")
        finally:
            ctx.reply = house
        data = writer.take()
        # The bytes, and the tables and strings Lua makes of them.
        size = len(data)
        if size > _LARGE_REPLY_BYTES and not self.runtime.room_for(3 * size):
            return None
        if not self.runtime.spare(size):
            return None
        return data

    def execute(self, run: Run, argv: list[bytes]) -> None:
        ctx = self.ctx
        spec, wrong = find(argv)
        if spec is None:
            ctx.fail(wrong)
            return
        text = wrong or self.refusal(run, spec, argv)
        if text:
            spec.rejected += 1
            ctx.fail(text)
            return
        if spec.flags & WRITE:
            run.wrote = True
        # SELECT in a script acts on what the script does from there on.
        ctx.db = run.session.db
        ctx.mark_ns = ctx.clock.mono_ns()
        if ctx.gates & GATE_MONITOR:
            self.monitored(spec, argv)
        else:
            run_command(ctx, spec, argv)

    def monitored(self, spec: CommandSpec, argv: list[bytes]) -> None:
        """Run a command, shown to monitors as a script's."""
        ctx = self.ctx
        if not spec.flags & (SKIP_MONITOR | ADMIN):
            self.node.monitors.show(ctx, shown(spec, argv), from_script=True)
        ctx.gates &= ~GATE_MONITOR
        try:
            run_command(ctx, spec, argv)
        finally:
            ctx.gates |= GATE_MONITOR

    def refusal(self, run: Run, spec: CommandSpec, argv: list[bytes]) -> bytes | None:
        """The error for a command that this run may not call, or None."""
        flags = spec.flags
        # DEBUG can allow the others, but never a script within a script.
        if flags & NOSCRIPT and (not self.node.scripts_call_all or spec.group == "scripting"):
            return NOT_ALLOWED
        ctx = self.ctx
        if ctx.gates & GATE_REPLICA and not flags & STALE:
            if self.node.replication.staleness() is not None:
                return IS_STALE
        if run.session.gates & GATE_ACL:
            text: bytes | None = self.node.acl.script_refusal(ctx, spec, argv)
            if text is not None:
                return text
        # What may write, like PUBLISH, would break a pause of writes, which lets these scripts run.
        if flags & (WRITE | MAY_REPLICATE) and run.read_only:
            return READ_ONLY
        if flags & WRITE and ctx.gates & GATE_REPLICA:
            text = self.node.replication.refusal()
            if text is not None:
                return text
        if flags & WRITE and ctx.gates & GATE_DISK and not run.wrote:
            text = self.node.persistence.refusal()
            if text is not None:
                return text
        if flags & WRITE and ctx.gates & GATE_REPLICAS and not run.wrote:
            return NO_REPLICAS
        if run.out_of_memory and flags & DENYOOM and not run.allow_oom and not run.wrote:
            return OOM
        if ctx.gates & GATE_CLUSTER and spec.key_specs:
            return self.slot_refusal(run, spec, argv)
        return None

    def slot_refusal(self, run: Run, spec: CommandSpec, argv: list[bytes]) -> bytes | None:
        """The error for keys of other nodes, or of other slots than the ones before."""
        db = run.session.db
        slot = -1
        for position in spec.key_positions(argv):
            db.table_of(argv[position])
            if slot >= 0 and db.last_slot != slot:
                return (
                    b"ERR Command '" + spec.name + b"' in script attempted to access keys that "
                    b"don't hash to the same slot"
                )
            slot = db.last_slot
        if slot < 0:
            return None
        view = self.ctx.cluster
        if not view.state_ok:
            return CLUSTER_DOWN
        if not view.mine[slot] and not (run.session.readonly and view.copied[slot]):
            return NOT_LOCAL
        if run.cross_slot:
            return None
        if run.slot < 0:
            run.slot = slot
        return OTHER_SLOT if run.slot != slot else None

    def note_error(self, text: bytes, counted: bool) -> None:
        """The script's reply has an error in it; those of commands are counted already."""
        if self.run is not None:
            self.run.failed = True
        if not counted:
            ctx, house = self.ctx, self.ctx.reply
            ctx.reply = self.writer
            ctx.fail(text if b" " in text[:32] else b"ERR")
            self.writer.clear()
            ctx.reply = house

    def may(self, *args: Any) -> Any:
        """redis.acl_check_cmd: True or False, or the text of an error."""
        run = self.run
        argv = [spelt(arg) or b"" for arg in args]
        if run is None:
            return ACL_UNKNOWN
        spec, wrong = find(argv)
        if spec is None or wrong:
            return ACL_WRONG_ARITY if wrong == WRONG_ARITY else ACL_UNKNOWN
        return self.node.acl.check(run.session.user, spec, argv) is None
