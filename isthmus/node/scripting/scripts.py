"""Scripts: `node.scripts`, what the commands of EVAL, SCRIPT, FUNCTION and FCALL ask.

EVAL keeps what it compiled by the SHA-1 of the text. Scripts that came by EVAL alone are at most
500, the ones not used for longest go first; SCRIPT LOAD keeps one until SCRIPT FLUSH. A text may
begin with `#!lua flags=...`.

A run that takes long (stage.py). Its client waits like one that is blocked; when the run has ended,
the client's request is executed again, finds the reply in `finished`, and gets it in its place
among its other replies. Until `busy-reply-threshold` everybody else's requests wait, from then on
they are answered BUSY, but for commands flagged ALLOW_BUSY: a script that has not written can be
killed.
"""

from __future__ import annotations

import hashlib
import traceback
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from isthmus.node.engine.check import check
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import (
    GATE_BUSY,
    GATE_ENDED,
    GATE_MEMORY,
    GATE_REPLICA,
    NEVER_NS,
    Context,
)
from isthmus.node.engine.effect import replays
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.spec import DENYOOM, MAY_REPLICATE, STALE, WRITE, CommandSpec
from isthmus.node.scripting import payload
from isthmus.node.scripting.calls import FAULTS, Calls, Run
from isthmus.node.scripting.functions import FLAGS, Function, LibraryError, Registry
from isthmus.node.scripting.runtime import (
    MEMORY_BYTES_MAX,
    Compiled,
    CompileError,
    Failure,
    Runtime,
)
from isthmus.node.scripting.stage import Stage
from isthmus.wire.logs import log
from isthmus.wire.scalars import i64
from isthmus.wire.slots import key_slot

EVALUATED_MAX = 500
SCRIPT_BYTES = 128
LOAD_NS_MAX = 500_000_000
CHUNK = b"@user_script"
BUSY_SCRIPT = (
    b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
)
BUSY_FUNCTION = (
    b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
)
NO_SCRIPT = b"NOSCRIPT No matching script. Please use EVAL."
NOT_BUSY = b"NOTBUSY No scripts in execution right now."
UNKILLABLE = (
    b"UNKILLABLE Sorry the script already executed write commands against the dataset. You can "
    b"either wait the script termination or kill the server in a hard way using the SHUTDOWN "
    b"NOSAVE command."
)
OUT_OF_MEMORY = (
    b"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
)
NO_CLUSTER = b"ERR Can not run script on cluster, 'no-cluster' flag is set."
WRITES_IN_RO = b"ERR Can not execute a script with write flag using *_ro command."
EVALS = (b"eval", b"eval_ro")
EVALSHAS = (b"evalsha", b"evalsha_ro")
FCALLS = (b"fcall", b"fcall_ro")
MEMORYLESS = frozenset({b"allow-oom", b"no-writes"})
LEVELS = ("DEBUG", "DEBUG", "INFO", "WARN")
VERBOSITY = {"debug": 0, "verbose": 1, "notice": 2, "warning": 3, "nothing": 4}


class Script:
    """One text of EVAL; `flags` is None if it has no shebang line."""

    __slots__ = ("text", "compiled", "flags", "kept")

    def __init__(self, text: bytes, compiled: Compiled, flags: frozenset[bytes] | None) -> None:
        self.text = text
        self.compiled = compiled
        self.flags = flags
        self.kept = False


def shebang(text: bytes) -> tuple[frozenset[bytes] | None, bytes]:
    """The flags a script asks for, None without a shebang line; and its body. Raises RedisError."""
    if not text.startswith(b"#!"):
        return None, text
    end = text.find(b"\n")
    if end < 0:
        raise RedisError(b"ERR Invalid script shebang")
    engine, *words = text[:end].split()
    if engine != b"#!lua":
        raise RedisError(b"ERR Unexpected engine in script shebang: " + engine)
    flags: set[bytes] = set()
    for word in words:
        if not word.startswith(b"flags="):
            raise RedisError(b"ERR Unknown lua shebang option: " + word)
        for flag in filter(None, word[6:].split(b",")):
            if flag not in FLAGS:
                raise RedisError(b"ERR Unexpected flag in script shebang: " + flag)
            flags.add(flag)
    return frozenset(flags), text[end:]


def flags_of(text: bytes) -> frozenset[bytes] | None:
    """The flags of a script that may be wrong."""
    try:
        return shebang(text)[0]
    except RedisError:
        return None


@replays(b"FUNCTION")
def replay_function(db: Database, argv: list[bytes]) -> None:
    """FUNCTION LOAD REPLACE code, FUNCTION DELETE name, FUNCTION FLUSH."""
    scripts: Scripts | None = db.keyspace.libraries
    if scripts is None:
        return
    if argv[1] == b"LOAD":
        scripts.load_library(argv[3], True)
    elif argv[1] == b"DELETE":
        scripts.delete_library(argv[2])
    else:
        check(argv[1] == b"FLUSH", "an effect of FUNCTION that nobody makes")
        scripts.flush_libraries()


class Finished:
    """The outcome of a run that had been paused."""

    __slots__ = ("reply", "pushes", "nanos")

    def __init__(self, reply: bytes, pushes: list[bytes], nanos: int) -> None:
        self.reply = reply
        self.pushes = pushes
        self.nanos = nanos


class Scripts:
    """See the module's first lines. The Lua state is made when the first script comes."""

    def __init__(self, node: Any, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self.node = node
        self.ctx: Context = node.ctx
        self.memory_bytes_max = memory_bytes_max
        self.calls = Calls(self.ctx)
        self.stage = Stage(self.ctx)
        self.scripts: dict[bytes, Script] = {}
        self.evaluated: OrderedDict[bytes, None] = OrderedDict()
        self.evicted = 0
        self.scripts_bytes = 0
        self.registry = Registry()
        self.finished: dict[int, Finished] = {}
        # The paused run's client, request and beginning; and whether others are answered BUSY.
        self.paused: tuple[ClientState, list[bytes], int] | None = None
        self.busy = False
        # Set by the server: somebody shall call `step` until nothing is paused.
        self.wake: Callable[[], None] | None = None
        self._runtime: Runtime | None = None
        # When a library that is being loaded must be done; what is only compiled has all the time.
        self._load_until_ns = NEVER_NS
        node.scripts = self
        node.keyspace.libraries = self

    # -- what Lua asks ------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """The Lua state."""
        if self._runtime is None:
            asked: dict[str, Callable[..., Any]] = {
                "tick": self.tick, "call": self.calls.call,
                "stash": self.calls.stash, "may": self.calls.may,
                "note_error": self.calls.note_error, "log": self.write_log, "running": self.running,
                "set_protocol": self.set_protocol, "is_flag": lambda flag: flag in FLAGS,
            }  # fmt: skip
            self._runtime = Runtime(asked, self.memory_bytes_max)
            self.calls.runtime = self._runtime
        return self._runtime

    def tick(self) -> int:
        """Called by Lua every few thousand instructions: 0, or why what runs shall end (1 SCRIPT
        KILL, 2 FUNCTION KILL, 3 loading takes too long)."""
        run = self.calls.run
        if run is None:
            return 3 if self.ctx.clock.mono_ns() > self._load_until_ns else 0
        if self.stage.due() and not run.killed:
            self.stage.pause()
        if not run.killed and not self.stage.abandoned:
            return 0
        return 1 if run.is_eval else 2

    def running(self) -> bool:
        """True inside a script or function."""
        return self.calls.run is not None

    def set_protocol(self, version: int) -> None:
        """redis.setresp."""
        if self.calls.run is not None:
            self.calls.run.protocol = version

    def write_log(self, level: int, text: bytes) -> None:
        """redis.log."""
        if level >= VERBOSITY[self.ctx.config.text("loglevel")]:
            log("script_says", level=LEVELS[level], text=text)

    # -- the cache ----------------------------------------------------------------------------

    def add(self, text: bytes, keep: bool) -> tuple[bytes, Script]:
        """Compile and remember a script; its SHA-1 in hex. Raises RedisError."""
        sha = hashlib.sha1(text).hexdigest().encode()
        script = self.scripts.get(sha)
        if script is None:
            flags, body = shebang(text)
            try:
                compiled = self.runtime.compile(body, CHUNK)
            except CompileError as error:
                raise RedisError(
                    b"ERR Error compiling script (new function): " + error.text
                ) from None
            script = Script(text, compiled, flags)
            self.scripts[sha] = script
            self.scripts_bytes += SCRIPT_BYTES + len(text)
            if not keep:
                self.evict()
                self.evaluated[sha] = None
            self.report()
        if keep and not script.kept:
            script.kept = True
            self.evaluated.pop(sha, None)
        elif not script.kept:
            self.evaluated.move_to_end(sha)
        return sha, script

    def evict(self) -> None:
        """Make room for one more script of EVAL."""
        while len(self.evaluated) >= EVALUATED_MAX:
            sha, _ = self.evaluated.popitem(last=False)
            self.scripts_bytes -= SCRIPT_BYTES + len(self.scripts.pop(sha).text)
            self.evicted += 1

    def find(self, sha: bytes) -> tuple[bytes, Script]:
        """A script by its SHA-1 in any case; raises RedisError."""
        script = self.scripts.get(sha)
        if script is None:
            sha = sha.lower()
            script = self.scripts.get(sha)
            if script is None:
                raise RedisError(NO_SCRIPT)
        if not script.kept:
            self.evaluated.move_to_end(sha)
        return sha, script

    def flush(self) -> None:
        """Forget every script of EVAL."""
        self.scripts.clear()
        self.evaluated.clear()
        self.scripts_bytes = 0
        self.drop_garbage()

    def drop_garbage(self) -> None:
        self.report()
        if self._runtime is not None:
            self._runtime.tidy()

    def report(self) -> None:
        """Tell what the texts take, which counts against maxmemory; the Lua state does not."""
        self.node.memory.report("scripts", self.scripts_bytes + self.registry.bytes)

    # -- running ------------------------------------------------------------------------------

    def eval(
        self, ctx: Context, argv: list[bytes], keys_count: i64, by_sha: bool, read_only: bool
    ) -> None:
        """EVAL and its kin; argv[3:] are keys and arguments. Raises RedisError."""
        if self.finished and self.take_finished(ctx):
            return
        sha, script = self.find(argv[1]) if by_sha else self.add(argv[1], False)
        run = Run(ctx.session, sha, argv, keys_count, ctx.clock.mono_ns(), True)
        run.read_only = read_only
        if script.flags is not None:
            self.restrict(ctx, run, script.flags, read_only)
        elif ctx.gates & (GATE_MEMORY | GATE_REPLICA):
            self.refuse_stale(ctx)
            if ctx.gates & GATE_MEMORY:
                run.out_of_memory = not self.node.memory.make_room(ctx, ctx.session)
        run.target = script.compiled
        run.tail_line = script.compiled.tail_line
        self.perform(ctx, run)

    def fcall(self, ctx: Context, argv: list[bytes], keys_count: int, read_only: bool) -> None:
        """FCALL and FCALL_RO. Raises RedisError."""
        function = self.function(argv[1])
        run = Run(ctx.session, function.name, argv, keys_count, ctx.clock.mono_ns(), False)
        self.restrict(ctx, run, frozenset(function.flags), read_only)
        run.target = function.callback
        run.tail_line = function.library.tail_line
        self.perform(ctx, run)

    def function(self, name: bytes) -> Function:
        """A function by its name in any case; raises RedisError."""
        found = self.registry.functions.get(name.lower())
        if found is None:
            raise RedisError(b"ERR Function not found")
        return found

    def restrict(
        self, ctx: Context, run: Run, flags: frozenset[bytes], read_only: bool
    ) -> None:  # fmt: skip
        """Apply the flags of a script that has some; raises RedisError if it may not run now."""
        if b"no-cluster" in flags and ctx.cluster is not None:
            raise RedisError(NO_CLUSTER)
        if b"allow-stale" not in flags:
            self.refuse_stale(ctx)
        run.allow_oom = b"allow-oom" in flags or b"no-writes" in flags
        if ctx.gates & GATE_MEMORY and not run.allow_oom:
            run.out_of_memory = not self.node.memory.make_room(ctx, run.session)
            if run.out_of_memory:
                raise RedisError(OUT_OF_MEMORY)
        run.read_only = b"no-writes" in flags
        if read_only and not run.read_only:
            raise RedisError(WRITES_IN_RO)
        run.cross_slot = b"allow-cross-slot-keys" in flags
        if run.keys and not run.cross_slot:
            run.slot = key_slot(run.keys[0])

    def refuse_stale(self, ctx: Context) -> None:
        """Raise RedisError at a replica whose data is old, and may not be shown."""
        if ctx.gates & GATE_REPLICA:
            text = self.node.replication.staleness()
            if text is not None:
                raise RedisError(text)

    def flags_of(self, spec: CommandSpec, argv: list[bytes]) -> int:
        """The flags of a request: what its script declares in place of what EVAL may do."""
        if spec.name in FCALLS:
            function = self.registry.functions.get(argv[1].lower())
            flags = None if function is None else frozenset(function.flags)
        elif spec.name in EVALS:
            script = self.scripts.get(hashlib.sha1(argv[1]).hexdigest().encode())
            flags = script.flags if script is not None else flags_of(argv[1])
        elif spec.name in EVALSHAS:
            script = self.scripts.get(argv[1].lower())
            flags = None if script is None else script.flags
        else:
            flags = None
        if flags is None:
            return spec.flags
        found = spec.flags & ~(STALE | DENYOOM | WRITE | MAY_REPLICATE)
        if b"no-writes" not in flags:
            found |= WRITE
        if not flags & MEMORYLESS:
            found |= DENYOOM
        if b"allow-stale" in flags:
            found |= STALE
        return found

    def perform(self, ctx: Context, run: Run) -> None:
        """Run a script on the stage, or where we are if that is the stage (EXEC)."""
        if self.stage.running:
            self.run(run)
        else:
            self.host(ctx, run.argv, self.run, run)

    def host(
        self, ctx: Context, argv: list[bytes], body: Callable[[Any], None], argument: Any
    ) -> None:
        """Put the body of the command argv on the stage; if it is paused, the client waits."""
        session, spec, started_ns = ctx.session, ctx.spec, ctx.clock.mono_ns()
        stage = self.stage
        if stage.play(body, argument):
            ctx.reply.raw(stage.writer.take())
            return
        # A command counts once, when it is done.
        spec.calls -= 1
        ctx.commands -= 1
        self.paused = session, argv, started_ns
        self.node.blocking.suspend(session, argv)
        ctx.gates |= GATE_BUSY
        ctx.log.held = True
        ctx.session, ctx.spec, ctx.db = session, spec, session.db
        ctx.mark_ns = ctx.clock.mono_ns()
        if self.wake is not None:
            self.wake()

    def run(self, run: Run) -> None:
        """Run a script and write its reply."""
        ctx = self.ctx
        session, spec = run.session, ctx.spec
        mark_ns, denied, db = ctx.mark_ns, ctx.deny_blocking, session.db
        ctx.deny_blocking = True
        self.calls.run = run
        runtime = self.calls.runtime
        try:
            if run.is_eval:
                result = runtime.eval(run.target, session.protocol, run.keys, run.arguments)
            else:
                result = runtime.fcall(run.target, session.protocol, run.keys, run.arguments)
        finally:
            self.calls.run = None
            ctx.deny_blocking = denied
            session.db = db
            ctx.db = db
            ctx.spec = spec
            ctx.mark_ns = mark_ns
            runtime.tidy()
        if type(result) is bytes:
            ctx.reply.raw(result)
            if run.failed:
                spec.failed += 1
            return
        assert isinstance(result, Failure)
        chunk = CHUNK if run.is_eval else b"@user_function"
        line = result.line or run.tail_line
        text = result.text + b" script: " + run.name
        if line:
            text += b", on %b:%d." % (result.source or chunk, line)
        spec.failed += 1
        if result.counted:
            ctx.reply.error(text)
        else:
            ctx.fail(text)

    # -- long runs ----------------------------------------------------------------------------

    def refusal(self, session: ClientState, spec: CommandSpec) -> bytes | None:
        """What a client is told while a script is paused; empty if it shall wait."""
        if session.id in self.finished:
            return None
        if not self.busy:
            return b""
        return self.busy_text()

    def busy_text(self) -> bytes:
        """What is told while something runs for too long."""
        run = self.calls.run
        return BUSY_SCRIPT if run is None or run.is_eval else BUSY_FUNCTION

    def step(self) -> bool:
        """Go on with the paused run for a slice. False when nothing is paused any more."""
        if self.paused is None:
            return False
        _session, _argv, started_ns = self.paused
        ctx = self.ctx
        try:
            ended = self.stage.resume()
        except FAULTS as fault:
            trace = "".join(traceback.format_exception(fault))
            log("script_fault", level="ERROR", trace=trace)
            self.stage.writer.clear()
            self.stage.writer.error(b"ERR internal error, see the log of the server")
            ended = True
        if ended:
            self.end()
            return False
        elapsed_ms = (ctx.clock.mono_ns() - started_ns) // 1_000_000
        if not self.busy and elapsed_ms >= ctx.config.integer("busy-reply-threshold"):
            self.busy = True
            log("script_slow", level="WARN", elapsed_ms=elapsed_ms)
            # They were waiting; now they are told.
            self.node.blocking.resume_postponed()
        return True

    def end(self) -> None:
        """A paused run has ended: everybody goes on."""
        assert self.paused is not None
        session, _argv, started_ns = self.paused
        ctx, blocking = self.ctx, self.node.blocking
        self.paused = None
        self.busy = False
        ctx.gates &= ~GATE_BUSY
        ctx.log.held = False
        pushes, ctx.own_pushes = ctx.own_pushes, []
        reply = self.stage.writer.take()
        # Nobody's command now.
        ctx.session = None  # type: ignore[assignment]
        ctx.settle()
        ctx.log.pending = False
        if self.node.tracking.pending:
            self.node.tracking.broadcast()
        if blocking.suspended(session):
            nanos = ctx.clock.mono_ns() - started_ns
            self.finished[session.id] = Finished(reply, pushes, nanos)
            ctx.gates |= GATE_ENDED
            blocking.release(session)
            blocking.resume(session)
        for client_id in [known for known in self.finished if known not in self.node.clients]:
            del self.finished[client_id]
        if not self.finished:
            ctx.gates &= ~GATE_ENDED
        blocking.serve()
        blocking.resume_postponed()

    def take_finished(self, ctx: Context) -> bool:
        """Reply what the client's paused run ended with. False if it has none."""
        done = self.finished.pop(ctx.session.id, None)
        if done is None:
            return False
        if not self.finished:
            ctx.gates &= ~GATE_ENDED
        ctx.reply.raw(done.reply)
        ctx.mark_ns -= done.nanos
        if done.pushes:
            ctx.own_pushes.extend(done.pushes)
            ctx.log.pending = True
        return True

    def kill(self, is_eval: bool) -> None:
        """SCRIPT KILL or FUNCTION KILL; raises RedisError."""
        run = self.calls.run
        if run is None:
            raise RedisError(NOT_BUSY)
        if run.wrote:
            raise RedisError(UNKILLABLE)
        if run.is_eval != is_eval:
            raise RedisError(self.busy_text())
        run.killed = True

    # -- libraries ----------------------------------------------------------------------------

    def load_library(self, code: bytes, replace: bool) -> bytes:
        """FUNCTION LOAD; the library's name. Raises RedisError."""
        self._load_until_ns = self.ctx.clock.mono_ns() + LOAD_NS_MAX
        try:
            return self.registry.load(self.runtime, code, replace)
        except LibraryError as error:
            raise RedisError(error.text) from None
        finally:
            self._load_until_ns = NEVER_NS
            self.drop_garbage()

    def delete_library(self, name: bytes) -> bool:
        """FUNCTION DELETE. False if there is none of that name."""
        found = self.registry.remove(name)
        self.report()
        return found

    def registry_of(self, codes: list[bytes]) -> Registry:
        """Libraries of a snapshot, which may come to be used by `take_registry`; raises
        ValueError."""
        self._load_until_ns = self.ctx.clock.mono_ns() + LOAD_NS_MAX
        try:
            return Registry().restored(self.runtime, codes, b"flush")
        except LibraryError as error:
            raise ValueError(error.text.decode(errors="replace")) from None
        finally:
            self._load_until_ns = NEVER_NS

    def take_registry(self, registry: Registry) -> None:
        """Have these libraries instead of those that were there."""
        self.registry = registry
        self.report()
        self.drop_garbage()

    def flush_libraries(self) -> None:
        """FUNCTION FLUSH."""
        self.registry = Registry()
        self.drop_garbage()

    def dump_libraries(self) -> bytes:
        """FUNCTION DUMP."""
        return payload.dump(self.library_codes())

    def library_codes(self) -> list[bytes]:
        """The code of every library."""
        return [library.code for library in self.registry.libraries.values()]

    def restore_libraries(self, data: bytes, policy: bytes) -> None:
        """FUNCTION RESTORE; raises RedisError and then changes nothing."""
        self._load_until_ns = self.ctx.clock.mono_ns() + LOAD_NS_MAX
        try:
            codes = payload.restore(data)
            self.registry = self.registry.restored(self.runtime, codes, policy)
        except (payload.PayloadError, LibraryError) as error:
            raise RedisError(error.text) from None
        finally:
            self._load_until_ns = NEVER_NS
            self.drop_garbage()

    # -- what INFO and MEMORY tell ------------------------------------------------------------

    @property
    def functions_count(self) -> int:
        """Functions of all libraries."""
        return sum(len(library.functions) for library in self.registry.libraries.values())

    @property
    def vm_bytes(self) -> int:
        """Bytes of the Lua state."""
        return 0 if self._runtime is None else self._runtime.used_bytes()
