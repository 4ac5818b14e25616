"""ROLE, WAIT, REPLICAOF, FAILOVER: what a primary without replicas answers.

There is no replication yet. What can be said truthfully in that state is said as Redis says it: a
primary has no replicas, nobody acknowledged a write. WAIT for replicas that are not there waits
until its time is up. What would need another server is refused.
"""

from __future__ import annotations

from isthmus.node.commands.connection import INT32_MAX
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ANY, ARRAY, INTEGER, OK, command
from isthmus.node.engine.spec import (
    ADMIN,
    ALLOW_BUSY,
    BLOCKING,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NOSCRIPT,
    SENTINEL,
    STALE,
)
from isthmus.wire.scalars import INT64_MAX

WAIT_TIPS = "REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:AGG_MIN"
PORT_MAX = 65535
NOT_YET = b"ERR this node has no replication"
LINK_STATES = {"connecting": b"connect", "syncing": b"sync", "streaming": b"connected"}
NOT_FOLLOWED = (
    b"ERR this version has no replicas: SYNC sends a snapshot to who says REPLCONF capa eof and "
    b"REPLCONF rdb-only 1 before, as redis-cli --rdb does"
)
RDB_ONLY = b"rdb-only"
RDB_ONLY_RANGE = b"ERR value is out of range, value must between 0 and 1"
NO_REPLICAS = b"ERR FAILOVER requires connected replicas."


@command("ROLE", since="2.8.12", group="server", flags=NOSCRIPT | LOADING | STALE | FAST | SENTINEL,
         categories="ADMIN,DANGEROUS", complexity="O(1)", reply=ARRAY)  # fmt: skip
def role(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the role of this server: a primary, its offset, its replicas; or a replica, its
    primary, the state of the link, its offset."""
    replication = ctx.node.replication
    if replication is not None and replication.role == "replica":
        follower = replication.follower
        ctx.reply.array(5)
        ctx.reply.bulk(b"slave")
        ctx.reply.bulk(follower.target.host.encode())
        ctx.reply.integer(follower.target.port)
        ctx.reply.bulk(LINK_STATES[follower.state])
        ctx.reply.integer(replication.offset)
        return
    ctx.reply.array(3)
    ctx.reply.bulk(b"master")
    ctx.reply.integer(0)
    ctx.reply.empty_array()


def timeout_ms(ctx: Context, text: bytes) -> int:
    """The time (Unix ms) at which a timeout in ms from now is over; 0 for none."""
    ms = integer(text, b"ERR timeout is not an integer or out of range")
    if ms < 0:
        raise RedisError(b"ERR timeout is negative")
    if ms > INT64_MAX - ctx.now_ms:
        raise RedisError(b"ERR timeout is out of range")
    return ctx.now_ms + ms if ms else 0


@command("WAIT numreplicas timeout", since="3.0.0", group="generic", flags=BLOCKING,
         categories="CONNECTION", complexity="O(1)", reply=INTEGER, tips=WAIT_TIPS)  # fmt: skip
def wait(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how many replicas have the writes so far, when there are enough or time is up."""
    wanted = integer(argv[1])
    deadline = timeout_ms(ctx, argv[2])
    if wanted <= 0 or not ctx.block(b"replicas", [], argv, deadline, b":0\r\n"):
        ctx.reply.integer(0)


def become(ctx: Context, argv: list[bytes]) -> None:
    """REPLICAOF: a primary may stay one."""
    if ctx.cluster is not None:
        raise RedisError(b"ERR REPLICAOF not allowed in cluster mode.")
    replication = ctx.node.replication
    if argv[1].lower() == b"no" and argv[2].lower() == b"one":
        if replication is not None:
            replication.unfollow()
            ctx.config.tell("replicaof", "")
        ctx.reply.ok()
        return
    port = bounded(argv[2], 0, PORT_MAX, b"ERR Invalid master port")
    if replication is None:
        raise RedisError(NOT_YET)
    host = argv[1].decode("utf-8", "surrogateescape")
    target = replication.follower.target
    if target is not None and (target.host, target.port) == (host, port):
        ctx.reply.simple(b"OK Already connected to specified master")
        return
    replication.follow(host, port)
    ctx.config.tell("replicaof", f"{host} {port}")
    ctx.reply.ok()


@command("REPLICAOF <host port | NO ONE>", since="5.0.0", group="server", arity=3,
         flags=NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE, complexity="O(1)",
         reply=OK)  # fmt: skip
def replicaof(ctx: Context, argv: list[bytes]) -> None:
    """Follow the primary at an address, or become one."""
    become(ctx, argv)


@command("SLAVEOF <host port | NO ONE>", since="1.0.0", group="server", arity=3,
         flags=NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE, complexity="O(1)", reply=OK,
         doc_flags="DEPRECATED")  # fmt: skip
def slaveof(ctx: Context, argv: list[bytes]) -> None:
    """The older name of REPLICAOF."""
    become(ctx, argv)


@command("FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", since="6.2.0",
         group="server", flags=ADMIN | NOSCRIPT | STALE, complexity="O(1)", reply=OK)  # fmt: skip
def failover(ctx: Context, argv: list[bytes]) -> None:
    """Give the role of the primary to a replica; there is none."""
    if ctx.cluster is not None:
        raise RedisError(b"ERR FAILOVER not allowed in cluster mode.")
    if len(argv) == 2 and argv[1].lower() == b"abort":
        raise RedisError(b"ERR No failover in progress.")
    seen: set[bytes] = set()
    at = 1
    while at < len(argv):
        word, left = argv[at].lower(), len(argv) - at - 1
        if word in seen:
            raise syntax()
        seen.add(word)
        if word == b"timeout" and left >= 1:
            if integer(argv[at + 1]) <= 0:
                raise RedisError(b"ERR FAILOVER timeout must be greater than 0")
            at += 2
        elif word == b"to" and left >= 2:
            bounded(argv[at + 2], -INT32_MAX - 1, INT32_MAX, b"ERR value is not an integer or out "
                    b"of range")  # fmt: skip
            at += 3
        elif word == b"force":
            at += 1
        else:
            raise syntax()
    raise RedisError(NO_REPLICAS)


@command("REPLCONF", since="3.0.0", group="server", arity=-1,
         flags=ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY, complexity="O(1)", reply=OK,
         doc_flags="SYSCMD")  # fmt: skip
def replconf(ctx: Context, argv: list[bytes]) -> None:
    """Note what the client that will ask for SYNC can do and wants."""
    if len(argv) % 2 == 0:
        raise syntax()
    session = ctx.session
    for at in range(1, len(argv), 2):
        word, value = argv[at].lower(), argv[at + 1]
        if word == b"capa":
            session.sync_wishes |= {value.lower()}
        elif word == b"rdb-only":
            wanted = bounded(value, 0, 1, RDB_ONLY_RANGE)
            session.sync_wishes -= {RDB_ONLY}
            if wanted:
                session.sync_wishes |= {RDB_ONLY}
        elif word in (b"listening-port", b"ip-address", b"version"):
            # Facts about a replica; there are none yet.
            pass
        else:
            raise RedisError(b"ERR Unrecognized REPLCONF option: " + argv[at])
    ctx.reply.ok()


@command("SYNC", since="1.0.0", group="server",
         flags=NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT, complexity="",
         reply=ANY)  # fmt: skip
def sync(ctx: Context, argv: list[bytes]) -> None:
    """Send a snapshot of the data as it stands, and end the connection."""
    wishes = ctx.session.sync_wishes
    if not wishes >= {b"eof", RDB_ONLY} or ctx.node.persistence is None:
        raise RedisError(NOT_FOLLOWED)
    if not ctx.block(b"snapshot", [], argv, 0):
        raise RedisError(NOT_FOLLOWED)
    ctx.node.persistence.snapshots.send_to(ctx.session)
