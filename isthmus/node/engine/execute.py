"""execute: from a request to its reply; the gates every command passes.

The order of the checks is Redis' own, because clients see it: unknown command, arity,
authentication, permissions, cluster redirection, memory, subscriber mode, a script that takes long,
a pause, transaction queueing, then the command itself. An error inside an open transaction marks
it, so that EXEC refuses. Whatever a command wrote before it raised RedisError is taken back, so a
request has exactly one reply.

What is rare costs nothing while it is not used: modes of the client and of the process are two
integers of bits (`gates`), and all that a command left to be done behind its reply (effects for
sinks, clients whose keys are ready, messages to the client itself) shows in `log.pending`.
"""

from __future__ import annotations

from isthmus.node.engine import access
from isthmus.node.engine.acl_check import denied
from isthmus.node.engine.client import (
    GATE_ACL,
    GATE_NO_TOUCH,
    GATE_PUBSUB,
    GATE_TRACK,
    ClientState,
)
from isthmus.node.engine.context import (
    GATE_BUSY,
    GATE_CLUSTER,
    GATE_CUT,
    GATE_DISK,
    GATE_DUTY,
    GATE_ENDED,
    GATE_LOADING,
    GATE_MEMORY,
    GATE_MONITOR,
    GATE_MOVE,
    GATE_PAUSE,
    GATE_REPLICA,
    GATE_REPLICAS,
    Context,
)
from isthmus.node.engine.errors import (
    CLUSTERDOWN,
    CROSSSLOT,
    IS_LOADING,
    MONITOR_ONLY,
    NO_REPLICAS,
    NOAUTH,
    OOM,
    RedisError,
    wrong_arity,
)
from isthmus.node.engine.registry import COMMANDS, protection
from isthmus.node.engine.spec import (
    ALLOW_BUSY,
    DENYOOM,
    LOADING,
    MAY_REPLICATE,
    PROTECTED,
    READONLY,
    SKIP_MONITOR,
    STALE,
    WRITE,
    CommandSpec,
)
from isthmus.wire.scalars import i64

UNKNOWN_ARGS_BYTES_MAX = 128
# What a queued argument costs beside its bytes, about.
REQUEST_BYTES = 48
# Every HTTP request brings one of these: somebody makes a browser talk to us. As in Redis, the
# connection is dropped without a reply, before a body can be taken for commands.
HTTP_WORDS = (b"post", b"host:")
# What slot_of says of no keys, and of keys that cannot be served together.
NO_SLOT, SEVERAL_SLOTS = -1, -2


def execute(ctx: Context, session: ClientState, argv: list[bytes]) -> None:
    """Run one request of session and write its reply."""
    spec: CommandSpec | None
    word = argv[0]
    if word == ctx.word:
        # A pipeline is often of one command; hashing its name costs more than comparing it.
        spec = ctx.word_spec
    else:
        commands: dict[bytes, CommandSpec] = COMMANDS
        spec = commands.get(word)
        if spec is not None and spec.handler is not None:
            ctx.word = word
            ctx.word_spec = spec
    if spec is None or spec.handler is None:
        spec = resolve(ctx, session, argv)
        if spec is None:
            return
    count = len(argv)
    if count != spec.arity and (spec.arity >= 0 or count < -spec.arity):
        refuse(ctx, session, spec, wrong_arity(spec.name).text)
        return
    ctx.session = session
    ctx.db = session.db
    session.last_command = spec.name
    ctx.now_ms = ctx.clock.now_ms
    if session.gates or ctx.gates:
        mark = ctx.reply.mark()
        unmarked = session.gates & GATE_NO_TOUCH
        if unmarked:
            access.hold(True)
        try:
            if admit(ctx, session, spec, argv):
                call(ctx, spec, argv)
        finally:
            # Also behind a fault of ours: the process would leave no marks any more.
            if unmarked:
                access.hold(False)
        if session.gates & GATE_TRACK:
            ctx.node.tracking.done(session, spec)
        if session.reply_off or session.reply_skip:
            mute(ctx, session, mark)
    else:
        call(ctx, spec, argv)
    if ctx.log.pending:
        finish(ctx, session)


def finish(ctx: Context, session: ClientState) -> None:
    """Do what the command left to be done behind its reply."""
    if ctx.gates & GATE_BUSY:
        # Part of it belongs to a paused script, behind whose end it is done.
        return
    ctx.log.pending = False
    if ctx.clock.late:
        ctx.clock.refresh()
    ctx.log.flush()
    if ctx.node.tracking.pending:
        ctx.node.tracking.broadcast()
    if ctx.own_pushes:
        ctx.reply.raw(b"".join(ctx.own_pushes))
        ctx.own_pushes = []
    if ctx.keyspace.ready:
        # Served next, others may send something to this client, whose reply is not out yet.
        session.held = []
        ctx.node.blocking.serve()
        held = session.held
        session.held = None
        if held:
            ctx.reply.raw(b"".join(held))


def call(ctx: Context, spec: CommandSpec, argv: list[bytes]) -> None:
    """Run a command that passed the gates; its errors become its reply."""
    mark = ctx.reply.mark()
    ctx.spec = spec
    # A command that waited is shown when it came, not each time it is tried again.
    monitored: i64 = 0
    if ctx.gates:
        if ctx.session.blocked is None:
            monitored = ctx.gates & GATE_MONITOR
            if monitored and spec.flags & SKIP_MONITOR:
                ctx.node.monitors.announce(ctx, spec, argv)
        # PFCOUNT is no command that writes, and notes its result in the value.
        if ctx.gates & GATE_CUT and spec.flags & (WRITE | MAY_REPLICATE):
            ctx.keyspace.cut.before_command(ctx.db, spec, argv)
    try:
        spec.handler(ctx, argv)
    except RedisError as error:
        ctx.reply.truncate(mark)
        spec.failed += 1
        ctx.fail(error.text)
    except BaseException:
        # A fault of ours; half a reply would spoil the error that follows.
        ctx.reply.truncate(mark)
        raise
    if ctx.session.gates and ctx.session.gates & GATE_TRACK and spec.flags & READONLY:
        ctx.node.tracking.remember(ctx, spec, argv)
    if monitored:
        ctx.node.monitors.feed(ctx, spec, argv)
    now = ctx.clock.mono_ns()
    nanos = now - ctx.mark_ns
    # Counted when it is done: INFO does not see itself, CONFIG RESETSTAT sees itself afterwards.
    spec.calls += 1
    ctx.commands += 1
    if ctx.session.blocked is None or not ctx.session.blocked.again:
        spec.nanos += nanos
        spec.histogram.note(nanos)
    ctx.mark_ns = now
    if nanos > ctx.slow_ns:
        ctx.node.observe_slow(spec, argv, nanos)


def resolve(ctx: Context, session: ClientState, argv: list[bytes]) -> CommandSpec | None:
    """Find a sub-command or a command in mixed case; if there is none, replies and returns None."""
    name = argv[0].lower()
    spec = COMMANDS.get(name)
    if spec is None:
        if name in HTTP_WORDS:
            session.close_now = True
            session.close()
            return None
        refuse(ctx, session, None, unknown_command(argv))
        return None
    if spec.handler is not None:
        return spec
    if len(argv) < 2:
        if spec.alone is not None:
            return spec.alone
        refuse(ctx, session, spec, wrong_arity(spec.name).text)
        return None
    sub = spec.subcommands.get(argv[1].lower())
    if sub is None:
        shown = printable(argv[1][:UNKNOWN_ARGS_BYTES_MAX])
        text = b"ERR unknown subcommand '" + shown + b"'. Try " + name.upper() + b" HELP."
        refuse(ctx, session, None, text)
    return sub


def unknown_command(argv: list[bytes]) -> bytes:
    """Redis' text for a command it does not know: the name and the first arguments, cut short."""
    shown = b""
    for arg in argv[1:]:
        if len(shown) >= UNKNOWN_ARGS_BYTES_MAX:
            break
        shown += b"'" + arg[: UNKNOWN_ARGS_BYTES_MAX - len(shown)] + b"' "
    name = argv[0][:UNKNOWN_ARGS_BYTES_MAX]
    return (
        b"ERR unknown command '"
        + printable(name)
        + b"', with args beginning with: "
        + printable(shown)
    )


def printable(text: bytes) -> bytes:
    """Client bytes as they may stand in an error line."""
    return text.replace(b"\r", b" ").replace(b"\n", b" ").replace(b"\0", b"")


def refuse(ctx: Context, session: ClientState, spec: CommandSpec | None, text: bytes) -> None:
    """Reply an error before the command ran; an open transaction will not execute any more."""
    if session.in_multi:
        session.multi_failed = True
    if spec is not None:
        spec.rejected += 1
    if spec is not None and spec.name == b"exec":
        # An EXEC that cannot even begin ends the transaction all the same.
        session.leave_multi()
        text = b"EXECABORT Transaction discarded because of: " + text.removeprefix(b"ERR ")
    mark = ctx.reply.mark()
    ctx.fail(text)
    if session.reply_off or session.reply_skip:
        mute(ctx, session, mark)


def mute(ctx: Context, session: ClientState, mark: int) -> None:
    """CLIENT REPLY OFF or SKIP: take the reply back."""
    ctx.reply.truncate(mark)
    if session.reply_skip:
        session.reply_skip -= 1
        session.regate()


def admit(ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes]) -> bool:
    """True if the command may run now; otherwise its reply has been written."""
    if ctx.gates & GATE_ENDED and session.id in ctx.node.scripts.finished:
        # It has run.
        return True
    if spec.flags & PROTECTED:
        text = protection(ctx, session, spec)
        if text is not None:
            refuse(ctx, session, spec, text)
            return False
    if not session.authenticated and not spec.no_auth and not ctx.node.acl.open:
        refuse(ctx, session, spec, NOAUTH)
        return False
    if session.in_multi and spec.no_multi:
        refuse(ctx, session, spec, b"ERR Command not allowed inside a transaction")
        return False
    if session.gates & GATE_ACL:
        if denied(session.user, spec, argv):
            refuse(ctx, session, spec, ctx.node.acl.refusal(ctx, session, spec, argv))
            return False
    if ctx.gates & GATE_CLUSTER:
        if spec.one_key or spec.key_specs:
            text = redirection(ctx, session, spec, argv)
            if text is not None:
                refuse(ctx, session, spec, text)
                return False
        elif session.in_multi and spec.name == b"exec" and misplaced(ctx, session, spec):
            return False
    if session.gates & GATE_PUBSUB or ctx.gates & ~GATE_CLUSTER:
        text = obstacle(ctx, session, spec, argv)
        if text is not None:
            if text:
                refuse(ctx, session, spec, text)
            else:
                ctx.node.blocking.postpone(session, argv)
            return False
    if session.in_multi and not spec.not_queued:
        if session.multi_failed:
            # It will not be executed: nothing more is kept.
            ctx.reply.simple(b"QUEUED")
            return False
        session.queued_bytes += sum(map(len, argv)) + REQUEST_BYTES * len(argv)
        if session.queued_bytes > ctx.config.integer("client-query-buffer-limit"):
            session.queue = []
            refuse(ctx, session, spec, b"ERR transaction exceeds client-query-buffer-limit")
            return False
        session.queue.append((spec, argv))
        ctx.reply.simple(b"QUEUED")
        return False
    return True


def flags_of(ctx: Context, spec: CommandSpec, argv: list[bytes]) -> i64:
    """The flags of a request: for a script that declares its own, they say more than EVAL's."""
    scripts = ctx.node.scripts
    if scripts is None or spec.group != "scripting":
        return spec.flags
    return int(scripts.flags_of(spec, argv))


def some_has(
    ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes], flags: i64
) -> bool:
    """True if the request, or one that EXEC would run, has one of these flags."""
    if spec.name == b"exec":
        return any(flags_of(ctx, *each) & flags for each in session.queue)
    return flags_of(ctx, spec, argv) & flags != 0


def some_lacks(
    ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes], flag: i64
) -> bool:
    """True if the request, or one that EXEC would run, has not this flag."""
    if spec.name == b"exec":
        return not all(flags_of(ctx, *each) & flag for each in session.queue)
    return not flags_of(ctx, spec, argv) & flag


def obstacle(
    ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes]
) -> bytes | None:
    """The error for what keeps the process or the client from running the command now; None if
    nothing does, an empty text if it must wait."""
    if ctx.gates & GATE_MEMORY:
        enough = ctx.node.memory.make_room(ctx, session)
        if ctx.own_pushes and not (session.reply_off or session.reply_skip):
            # What the client is told of evicted keys comes before the reply, as in Redis.
            ctx.reply.raw(b"".join(ctx.own_pushes))
            ctx.own_pushes = []
        # A transaction is refused as a whole at EXEC, when one of its commands may not run.
        if not enough and some_has(ctx, session, spec, argv, DENYOOM):
            return OOM
    text: bytes | None
    # As in Redis, PING tells too that nothing can be kept on disk.
    if ctx.gates & GATE_DISK and (
        spec.name == b"ping" or some_has(ctx, session, spec, argv, WRITE)
    ):
        text = ctx.node.persistence.refusal()
        if text is not None:
            return text
    if ctx.gates & GATE_REPLICA and some_has(ctx, session, spec, argv, WRITE):
        text = ctx.node.replication.refusal()
        if text is not None:
            return text
    if ctx.gates & GATE_DUTY:
        text = ctx.node.duty.refusal(session, spec)
        if text is not None:
            return text
    if ctx.gates & GATE_REPLICAS and some_has(ctx, session, spec, argv, WRITE):
        return NO_REPLICAS
    if session.gates & GATE_PUBSUB:
        text = ctx.node.pubsub.refusal(session, spec)
        if text is not None:
            return text
    if ctx.gates & GATE_REPLICA and some_lacks(ctx, session, spec, argv, STALE):
        text = ctx.node.replication.staleness()
        if text is not None:
            return text
    if ctx.gates & GATE_LOADING and some_lacks(ctx, session, spec, argv, LOADING):
        return IS_LOADING
    if ctx.gates & GATE_BUSY and not spec.flags & ALLOW_BUSY:
        text = ctx.node.scripts.refusal(session, spec)
        if text is not None:
            return text
    if ctx.gates & GATE_MONITOR and session in ctx.node.monitors.clients:
        if spec.flags & (READONLY | WRITE | MAY_REPLICATE):
            return MONITOR_ONLY
    if ctx.gates & GATE_PAUSE and session.replica is None:
        if not ctx.node.blocking.pause_writes_only or some_has(
            ctx, session, spec, argv, WRITE | MAY_REPLICATE
        ):
            return b""
    if ctx.gates & GATE_MOVE:
        text = ctx.node.moves.obstacle(session, spec, argv)
        if text is not None:
            return text
    if ctx.gates & GATE_CUT and ctx.keyspace.cut.must_wait(ctx.db, session, spec, argv):
        return b""
    return None


def slot_of(ctx: Context, spec: CommandSpec, argv: list[bytes]) -> i64:
    """The slot of the keys in argv; NO_SLOT without any, SEVERAL_SLOTS if they are of different
    ones."""
    if spec.one_key:
        ctx.db.table_of(argv[spec.first_key])
        return ctx.db.last_slot
    slot = NO_SLOT
    for position in spec.key_positions(argv):
        ctx.db.table_of(argv[position])
        if slot not in (NO_SLOT, ctx.db.last_slot):
            return SEVERAL_SLOTS
        slot = ctx.db.last_slot
    return slot


def redirection(
    ctx: Context, session: ClientState, spec: CommandSpec, argv: list[bytes]
) -> bytes | None:
    """The error for keys this node does not serve, or None."""
    slot = slot_of(ctx, spec, argv)
    if slot < 0:
        return CROSSSLOT if slot == SEVERAL_SLOTS else None
    view = ctx.cluster
    mine: bytearray = view.mine
    if not mine[slot] and not (
        session.readonly and view.copied[slot] and not some_has(ctx, session, spec, argv, WRITE)
    ):
        return bytes(view.redirect_error(slot))
    return None if view.state_ok else CLUSTERDOWN


def misplaced(ctx: Context, session: ClientState, spec: CommandSpec) -> bool:
    """True, and the error replied, if a transaction has keys of several slots, or some that went to
    another node after they were queued. As in Redis the error is not EXECABORT, and the transaction
    is over."""
    if session.multi_failed:
        return False
    text = None
    slot = NO_SLOT
    for queued, argv in session.queue:
        if queued.one_key or queued.key_specs:
            here = slot_of(ctx, queued, argv)
            if here >= 0 and slot not in (NO_SLOT, here):
                text = CROSSSLOT
                break
            slot = max(slot, here)
            text = text or redirection(ctx, session, queued, argv)
    if text is None:
        return False
    session.leave_multi()
    spec.rejected += 1
    ctx.fail(text)
    return True
