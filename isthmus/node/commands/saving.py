"""Commands that ask for data to be kept on disk: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, WAITAOF.

What they ask for is done by `node.persistence` (node/persist), which commands do not import; here
the arguments are read and the outcome is told. SAVE alone makes everybody wait. WAITAOF waits for a
sync of the append only file like a blocking command for a key: it is executed again when there was
one.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.commands.replication import (
    WAIT_TIPS,
    offset_of,
    refuse_at_replica,
    timeout_ms,
    wait_for_acks,
)
from isthmus.node.engine.args import bounded, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NOT_POSITIVE, RedisError
from isthmus.node.engine.registry import ARRAY, INTEGER, OK, SIMPLE, command
from isthmus.node.engine.spec import (
    ADMIN,
    BLOCKING,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NOSCRIPT,
    STALE,
)
from isthmus.wire.scalars import INT64_MAX

NO_DISK = b"ERR This process keeps nothing on disk"
WAITS_FOR_SYNC = b"aof"


def disk(ctx: Context) -> Any:
    """What keeps data in this process; RedisError where nothing does (in tools)."""
    if ctx.node.persistence is None:
        raise RedisError(NO_DISK)
    return ctx.node.persistence


@command("SAVE", since="1.0.0", group="server",
         flags=NO_ASYNC_LOADING | ADMIN | NOSCRIPT | NO_MULTI, reply=OK,
         complexity="O(N) where N is the total number of keys in all databases")  # fmt: skip
def save(ctx: Context, argv: list[bytes]) -> None:
    """Write a snapshot of all databases; nothing else is done meanwhile."""
    disk(ctx).snapshots.save_now()
    ctx.reply.ok()


@command("BGSAVE [SCHEDULE]", since="1.0.0", group="server",
         flags=NO_ASYNC_LOADING | ADMIN | NOSCRIPT, complexity="O(1)", reply=SIMPLE)  # fmt: skip
def bgsave(ctx: Context, argv: list[bytes]) -> None:
    """Begin to write a snapshot of all databases beside everything else."""
    if len(argv) > 2 or (len(argv) == 2 and argv[1].lower() != b"schedule"):
        raise syntax()
    begun = disk(ctx).snapshots.save_beside(len(argv) == 2)
    ctx.reply.simple(b"Background saving started" if begun else b"Background saving scheduled")


@command("BGREWRITEAOF", since="1.0.0", group="server", flags=NO_ASYNC_LOADING | ADMIN | NOSCRIPT,
         complexity="O(1)", reply=SIMPLE)  # fmt: skip
def bgrewriteaof(ctx: Context, argv: list[bytes]) -> None:
    """Begin to write the append only file anew, as short as it can be."""
    begun = disk(ctx).aof.rewrite_asked()
    word = b"started" if begun else b"scheduled"
    ctx.reply.simple(b"Background append only file rewriting " + word)


@command("LASTSAVE", since="1.0.0", group="server", flags=LOADING | STALE | FAST,
         categories="ADMIN,DANGEROUS", complexity="O(1)", reply=INTEGER,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def lastsave(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the Unix time of the last snapshot; of the start, if there is none."""
    kept = ctx.node.persistence
    ctx.reply.integer(ctx.node.started_ms // 1000 if kept is None else kept.snapshots.last_save_s)


@command("WAITAOF numlocal numreplicas timeout", since="7.2.0", group="generic", flags=BLOCKING,
         categories="CONNECTION", complexity="O(1)", reply=ARRAY, tips=WAIT_TIPS)  # fmt: skip
def waitaof(ctx: Context, argv: list[bytes]) -> None:
    """Reply with who has the writes so far in a file: this server, and how many replicas."""
    refuse_at_replica(ctx, b"WAITAOF")
    error = b"ERR value is out of range, value must between 0 and 1"
    local = bounded(argv[1], 0, 1, error)
    replicas = bounded(argv[2], 0, INT64_MAX, NOT_POSITIVE)
    deadline = timeout_ms(ctx, argv[3])
    kept = ctx.node.persistence
    enabled = kept is not None and kept.aof.enabled
    if local and not enabled:
        raise RedisError(
            b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
        )
    synced = enabled and kept.aof.synced_for(ctx.session)
    acked = 0
    if ctx.node.replication is not None:
        acked = ctx.node.replication.primary.count_acked_aof(offset_of(ctx))
    reply = b"*2\r\n:%d\r\n:%d\r\n" % (synced, acked)
    enough = synced >= local and acked >= replicas
    if enough or not wait_for_acks(ctx, WAITS_FOR_SYNC, argv, deadline, reply):
        ctx.reply.array(2)
        ctx.reply.integer(int(synced))
        ctx.reply.integer(acked)
