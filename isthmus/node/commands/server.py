"""Commands on the server as a whole: TIME, FLUSHDB, FLUSHALL, SWAPDB, LOLWUT, SHUTDOWN.

Flushing takes the tables out at once and frees them in slices between requests, so SYNC and ASYNC
are the same. SHUTDOWN asks the process to stop in an orderly way; it sends no reply, the connection
just closes. If the snapshot that it implies cannot be written it is refused, and nothing stops.
"""

from __future__ import annotations

from isthmus.node.commands.connection import INT32_MAX, REDIS_VERSION
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import DB_INDEX_OUT_OF_RANGE, RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.registry import ARRAY, BULK, OK, command
from isthmus.node.engine.spec import (
    ADMIN,
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_MULTI,
    NOSCRIPT,
    READONLY,
    SENTINEL,
    STALE,
    WRITE,
)
from isthmus.node.values.keys import flush, flush_all, swap

# How long a client waits for memory to be freed.
FLUSH_NS = 2_000_000
FLUSH_TIPS = "REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:ALL_SUCCEEDED"

ISTHMUS = b"""\
  ~  ~    ~   ~~   ~     ~   ~  ~~    ~   ~    ~  ~   ~~    ~
    ~   ~     ~      ~~    ~      ~     ~    ~~     ~     ~
 _.--^^--.._      ~      ~     ~     ~     ~      ~    _.-^^--.
/  n   A    `-.._    ~     ~      ~     ~     ~   _..-'   A  n \\
|    A    n     `-..__    ~    ~     ~     __..-''   n   A     |
|  n    A   n  A   n  ````---....---'''''  n   A  n    A    n  |
|    A    n     _..--'' ~    ~     ~   ``--.._    n   A   n    |
\\  n    A  _..-'    ~     ~     ~     ~     ~ `-.._   n  A    /
 `--..--''    ~       ~      ~     ~     ~      ~   ``--..--'
   ~     ~      ~~       ~      ~     ~~     ~     ~      ~
  ~   ~     ~      ~  ~      ~     ~     ~      ~~     ~    ~

A narrow strip of land, and everything that crosses crosses here.
"""


@command("TIME", since="2.6.0", group="server", flags=LOADING | STALE | FAST, complexity="O(1)",
         reply=ARRAY, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def time_(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the Unix time: seconds, and microseconds of the second."""
    # In a transaction or a script time stands still.
    now_us = ctx.now_ms * 1000 if ctx.deny_blocking else ctx.clock.wall_us()
    seconds, micros = divmod(now_us, 1_000_000)
    ctx.reply.array(2)
    ctx.reply.bulk(b"%d" % seconds)
    ctx.reply.bulk(b"%d" % micros)


def is_sync(argv: list[bytes]) -> bool:
    """True unless ASYNC is said; a syntax error for anything else than that or SYNC."""
    if len(argv) > 2 or (len(argv) == 2 and argv[1].lower() not in (b"sync", b"async")):
        raise syntax()
    return not argv[1:] or argv[1].lower() == b"sync"


def flushed(ctx: Context, at_once: bool) -> None:
    """Databases were emptied: tell who tracks keys, and the client."""
    keyspace = ctx.keyspace
    if at_once:
        # A client may look at once how much memory that gave back. Of much data the rest is freed
        # bit by bit even so; nobody waits longer than this for it.
        freed = keyspace.freed_values
        keyspace.free_for(FLUSH_NS)
        keyspace.freed_values = freed
    ctx.node.tracking.flushed(at_once)
    ctx.reply.ok()


@command("FLUSHDB [ASYNC | SYNC]", since="1.0.0", group="server", flags=WRITE,
         categories="KEYSPACE,DANGEROUS", complexity="O(1), and the memory is freed bit by bit",
         reply=OK, tips=FLUSH_TIPS)  # fmt: skip
def flushdb(ctx: Context, argv: list[bytes]) -> None:
    """Delete every key of the selected database."""
    at_once = is_sync(argv)
    flush(ctx.db)
    flushed(ctx, at_once)


@command("FLUSHALL [ASYNC | SYNC]", since="1.0.0", group="server", flags=WRITE,
         categories="KEYSPACE,DANGEROUS", complexity="O(1), and the memory is freed bit by bit",
         reply=OK, tips=FLUSH_TIPS)  # fmt: skip
def flushall(ctx: Context, argv: list[bytes]) -> None:
    """Delete every key of every database."""
    at_once = is_sync(argv)
    flush_all(ctx.db)
    if ctx.node.persistence is not None and not ctx.clock.loading:
        ctx.node.persistence.snapshots.flushed()
    flushed(ctx, at_once)


def numbered(ctx: Context, text: bytes, error: bytes) -> Database:
    """The database with a number; `error` if the text is none."""
    index = bounded(text, -INT32_MAX - 1, INT32_MAX, error)
    if not 0 <= index < len(ctx.keyspace.databases):
        raise RedisError(DB_INDEX_OUT_OF_RANGE)
    found: Database = ctx.keyspace.databases[index]
    return found


@command("SWAPDB index1 index2", since="4.0.0", group="server", flags=WRITE | FAST,
         categories="KEYSPACE,DANGEROUS", reply=OK,
         complexity="O(N) in the number of watched keys of both databases")  # fmt: skip
def swapdb(ctx: Context, argv: list[bytes]) -> None:
    """Exchange two databases, for every client at once."""
    if ctx.cluster is not None:
        raise RedisError(b"ERR SWAPDB is not allowed in cluster mode")
    for text, error in (
        (argv[1], b"ERR invalid first DB index"),
        (argv[2], b"ERR invalid second DB index"),
    ):
        bounded(text, -INT32_MAX - 1, INT32_MAX, error)
    first = numbered(ctx, argv[1], b"ERR invalid first DB index")
    second = numbered(ctx, argv[2], b"ERR invalid second DB index")
    if first is not second:
        swap(first, second)
    ctx.reply.ok()


@command("LOLWUT [VERSION version]", since="5.0.0", group="server", flags=READONLY | FAST,
         complexity="O(1)", reply=BULK)  # fmt: skip
def lolwut(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a small piece of art, and the version."""
    if len(argv) >= 3 and argv[1].lower() == b"version":
        integer(argv[2])
    ctx.reply.verbatim(b"txt", ISTHMUS + b"\nRedis ver. " + REDIS_VERSION + b"\n")


@command("SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", since="1.0.0", group="server",
         flags=ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | SENTINEL | ALLOW_BUSY,
         complexity="O(1)", reply=OK)  # fmt: skip
def shutdown(ctx: Context, argv: list[bytes]) -> None:
    """Stop the server."""
    words = [word.lower() for word in argv[1:]]
    if not set(words) <= {b"nosave", b"save", b"now", b"force", b"abort"}:
        raise syntax()
    if (b"save" in words and b"nosave" in words) or (b"abort" in words and len(words) > 1):
        raise syntax()
    if b"abort" in words:
        raise RedisError(b"ERR No shutdown in progress.")
    scripts = ctx.node.scripts
    if scripts is not None and scripts.busy and b"nosave" not in words:
        raise RedisError(scripts.busy_text())
    save = True if b"save" in words else False if b"nosave" in words else None
    if ctx.node.server is None or not ctx.node.server.shutdown(save, b"force" in words):
        raise RedisError(b"ERR Errors trying to SHUTDOWN. Check logs.")
