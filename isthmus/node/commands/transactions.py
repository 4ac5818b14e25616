"""Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.

Between MULTI and EXEC execute() queues requests (see engine/execute.py); EXEC runs them without
anything in between, since one loop runs one command at a time. WATCH remembers the version of each
key; EXEC gives up when one of them has moved, by a command or by expiry.
"""

from __future__ import annotations

from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import EXECABORT, RedisError
from isthmus.node.engine.registry import ARRAY, NULL, OK, command
from isthmus.node.engine.spec import (
    ALLOW_BUSY,
    FAST,
    LOADING,
    NOSCRIPT,
    NOT_QUEUED,
    SKIP_SLOWLOG,
    STALE,
    CommandSpec,
)


@command("MULTI", since="1.2.0", group="transactions", categories="TRANSACTION",
         flags=NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED, complexity="O(1)",
         reply=OK)  # fmt: skip
def multi(ctx: Context, argv: list[bytes]) -> None:
    """Begin to queue commands for EXEC."""
    session = ctx.session
    if session.in_multi:
        raise RedisError(b"ERR MULTI calls can not be nested")
    session.in_multi = True
    session.regate()
    ctx.reply.ok()


@command("DISCARD", since="2.0.0", group="transactions", categories="TRANSACTION",
         flags=NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED,
         complexity="O(N) in the number of queued commands", reply=OK)  # fmt: skip
def discard(ctx: Context, argv: list[bytes]) -> None:
    """Drop the queued commands and forget the watched keys."""
    if not ctx.session.in_multi:
        raise RedisError(b"ERR DISCARD without MULTI")
    ctx.session.leave_multi()
    ctx.reply.ok()


@command("EXEC", since="1.2.0", group="transactions", categories="TRANSACTION",
         flags=NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | NOT_QUEUED,
         complexity="That of the queued commands", reply=ARRAY | NULL)  # fmt: skip
def exec_(ctx: Context, argv: list[bytes]) -> None:
    """Run the queued commands; reply with null if a watched key has changed."""
    session = ctx.session
    scripts = ctx.node.scripts
    if scripts is not None and scripts.finished and scripts.take_finished(ctx):
        return
    if not session.in_multi:
        raise RedisError(b"ERR EXEC without MULTI")
    if session.multi_failed:
        session.leave_multi()
        raise RedisError(EXECABORT)
    queue = session.queue
    unchanged = all(db.version(key) == was for (db, key), was in session.watched.items())
    session.leave_multi()
    if not unchanged:
        ctx.reply.null_array()
        return
    if scripts is not None and any(spec.group == "scripting" for spec, _ in queue):
        # A script may take long: then all of the transaction stands still.
        scripts.host(ctx, argv, lambda queued: run_queue(ctx, session, queued), queue)
    else:
        run_queue(ctx, session, queue)


def run_queue(
    ctx: Context, session: ClientState, queue: list[tuple[CommandSpec, list[bytes]]]
) -> None:
    """Run what was queued; one reply for all."""
    ctx.reply.array(len(queue))
    ctx.deny_blocking = True
    # Each command takes its own time from the clock; EXEC's is that of all.
    started_ns = ctx.mark_ns
    try:
        for spec, queued in queue:
            if session.restricted and refused(ctx, spec, queued):
                continue
            ctx.run(ctx, spec, queued)
            # SELECT and HELLO inside the transaction act on what follows.
            ctx.db = session.db
            ctx.reply.protocol = session.protocol
    finally:
        ctx.deny_blocking = False
        ctx.mark_ns = started_ns


def refused(ctx: Context, spec: CommandSpec, argv: list[bytes]) -> bool:
    """True, and an error replied, if the user lost the permission after the command was queued."""
    text = ctx.node.acl.exec_refusal(ctx, spec, argv)
    if text is not None:
        ctx.fail(text)
    return text is not None


@command("WATCH key [key ...]", since="2.2.0", group="transactions", categories="TRANSACTION",
         flags=NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED,
         keys="idx:1>range:-1,1,0(RO)", complexity="O(1) for every key", reply=OK)  # fmt: skip
def watch(ctx: Context, argv: list[bytes]) -> None:
    """Make the next EXEC fail if any of the keys changes before it."""
    session = ctx.session
    if session.in_multi:
        raise RedisError(b"ERR WATCH inside MULTI is not allowed")
    for key in argv[1:]:
        if (ctx.db, key) not in session.watched:
            session.watched[ctx.db, key] = ctx.db.watch(key)
    ctx.reply.ok()


@command("UNWATCH", since="2.2.0", group="transactions", categories="TRANSACTION",
         flags=NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, complexity="O(1)",
         reply=OK)  # fmt: skip
def unwatch(ctx: Context, argv: list[bytes]) -> None:
    """Forget the watched keys."""
    ctx.session.unwatch()
    ctx.reply.ok()
