"""ROLE, WAIT, REPLICAOF, FAILOVER, REPLCONF, PSYNC, SYNC: what clients and replicas say of copies.

Who follows this node, and what it is sent, is known to `node.replication` (node/replicate), which a
node built by a test may not have: it is a primary that nobody follows then.
"""

from __future__ import annotations

from isthmus.node.commands.connection import INT32_MAX
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ANY, ARRAY, INTEGER, OK, SIMPLE, command
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
NOT_AT_REPLICA = (
    b" cannot be used with replica instances. Please also note that since Redis 4.0 if a replica "
    b"is configured to be writable (which is not the default) writes to replicas are just local "
    b"and are not propagated."
)
PORT_MAX = 65535
# A name or an address.
FACT_BYTES_MAX = 255
BAD_INTEGER = b"ERR value is not an integer or out of range"
NOT_YET = b"ERR this node has no replication"
LINK_STATES = {"connecting": b"connect", "syncing": b"sync", "streaming": b"connected"}
NO_SYNC = b"ERR this server sends no replica anything"
RDB_ONLY = b"rdb-only"
# What a client that wants parts of a snapshot gets.
NO_DATA, WITH_FUNCTIONS = b"no-data", b"with-functions"
RDB_ONLY_RANGE = b"ERR value is out of range, value must between 0 and 1"
NO_FAILOVER = "no-failover"
NO_REPLICAS = b"ERR FAILOVER requires connected replicas."


@command("ROLE", since="2.8.12", group="server", flags=NOSCRIPT | LOADING | STALE | FAST | SENTINEL,
         categories="ADMIN,DANGEROUS", complexity="O(1)", reply=ARRAY)  # fmt: skip
def role(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the role of this server.

    A primary names its offset and its replicas; a replica its primary, the link, its offset.
    """
    replication = ctx.node.replication
    if replication is not None and replication.role == "replica":
        follower = replication.follower
        ctx.reply.array(5)
        ctx.reply.bulk(b"slave")
        host, port = follower.address()
        ctx.reply.bulk(host.encode())
        ctx.reply.integer(port)
        state = LINK_STATES[follower.state]
        ctx.reply.bulk(b"handshake" if state == b"connect" and follower.connected else state)
        ctx.reply.integer(replication.offset if state == b"connected" else -1)
        return
    replicas = [] if replication is None else replication.primary.online()
    ctx.reply.array(3)
    ctx.reply.bulk(b"master")
    ctx.reply.integer(0 if replication is None else replication.offset)
    ctx.reply.array(len(replicas))
    for replica in replicas:
        ctx.reply.array(3)
        ctx.reply.bulk(replica.host)
        ctx.reply.bulk(b"%d" % replica.port)
        ctx.reply.bulk(b"%d" % replica.acked)


def timeout_ms(ctx: Context, text: bytes) -> int:
    """The time (Unix ms) at which a timeout in ms from now is over; 0 for none."""
    ms = integer(text, b"ERR timeout is not an integer or out of range")
    if ms < 0:
        raise RedisError(b"ERR timeout is negative")
    if ms > INT64_MAX - ctx.now_ms:
        raise RedisError(b"ERR timeout is out of range")
    return ctx.now_ms + ms if ms else 0


def refuse_at_replica(ctx: Context, name: bytes) -> None:
    """Raise the error of commands that wait for replicas, at a replica."""
    replication = ctx.node.replication
    if replication is not None and replication.role == "replica":
        raise RedisError(b"ERR " + name + NOT_AT_REPLICA)


def offset_of(ctx: Context) -> int:
    """How much of the stream has what this client wrote.

    A client of a proxy wrote over a link of many and waits over one of its own: all that was
    written until it asked.
    """
    session = ctx.session
    replication = ctx.node.replication
    if session.linked and session.blocked is None and replication is not None:
        session.write_offset = replication.backlog.end
    return int(session.write_offset)


@command("WAIT numreplicas timeout", since="3.0.0", group="generic", flags=BLOCKING,
         categories="CONNECTION", complexity="O(1)", reply=INTEGER, tips=WAIT_TIPS)  # fmt: skip
def wait(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how many replicas have the writes so far, when there are enough or time is up."""
    replication = ctx.node.replication
    refuse_at_replica(ctx, b"WAIT")
    wanted = integer(argv[1])
    deadline = timeout_ms(ctx, argv[2])
    offset = offset_of(ctx)
    acked = 0 if replication is None else replication.primary.count_acked(offset)
    if acked >= wanted or not wait_for_acks(ctx, b"replicas", argv, deadline, b":%d\r\n" % acked):
        ctx.reply.integer(acked)


def wait_for_acks(
    ctx: Context, kind: bytes, argv: list[bytes], deadline: int, reply: bytes
) -> bool:
    """Let the client wait until replicas have said more; False where nobody may wait."""
    if not ctx.block(kind, [], argv, deadline, reply):
        return False
    first = ctx.session.blocked.timeout_reply is reply
    # What it is told when its time is up is what is so by then.
    ctx.session.blocked.timeout_reply = reply
    if first and ctx.node.replication is not None:
        ctx.node.replication.primary.ask_acks()
    return True


def become(ctx: Context, argv: list[bytes]) -> None:
    """REPLICAOF: a primary may stay one."""
    if ctx.cluster is not None:
        raise RedisError(b"ERR REPLICAOF not allowed in cluster mode.")
    replication = ctx.node.replication
    if replication is not None and replication.failover.state != NO_FAILOVER:
        raise RedisError(b"ERR REPLICAOF not allowed while failing over.")
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
         reply=OK | SIMPLE)  # fmt: skip
def replicaof(ctx: Context, argv: list[bytes]) -> None:
    """Follow the primary at an address, or become one."""
    become(ctx, argv)


@command("SLAVEOF <host port | NO ONE>", since="1.0.0", group="server", arity=3,
         flags=NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE, complexity="O(1)", reply=OK | SIMPLE,
         doc_flags="DEPRECATED")  # fmt: skip
def slaveof(ctx: Context, argv: list[bytes]) -> None:
    """The older name of REPLICAOF."""
    become(ctx, argv)


@command("FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", since="6.2.0",
         group="server", flags=ADMIN | NOSCRIPT | STALE, complexity="O(1)", reply=OK)  # fmt: skip
def failover(ctx: Context, argv: list[bytes]) -> None:
    """Give the role of the primary to a replica that has everything, and follow it."""
    if ctx.cluster is not None:
        raise RedisError(b"ERR FAILOVER not allowed in cluster mode.")
    replication = ctx.node.replication
    idle = replication is None or replication.failover.state == NO_FAILOVER
    if len(argv) == 2 and argv[1].lower() == b"abort":
        if idle:
            raise RedisError(b"ERR No failover in progress.")
        replication.failover.abort("a client asked for that")
        ctx.reply.ok()
        return
    host, port, timeout, force = failover_words(argv)
    if not idle:
        raise RedisError(b"ERR FAILOVER already in progress.")
    if replication is not None and replication.role == "replica":
        raise RedisError(b"ERR FAILOVER is not valid when server is a replica.")
    if replication is None or not replication.primary.replicas:
        raise RedisError(NO_REPLICAS)
    if force and not (timeout and host):
        raise RedisError(
            b"ERR FAILOVER with force option requires both a timeout and target HOST and IP."
        )
    replication.failover.begin(host, port, timeout, force)
    ctx.reply.ok()


def failover_words(argv: list[bytes]) -> tuple[bytes, int, int, bool]:
    """Host and port, the time in ms (0 for none), and whether it is forced then."""
    host, port, timeout, force = b"", 0, 0, False
    at = 1
    while at < len(argv):
        word, left = argv[at].lower(), len(argv) - at - 1
        if word == b"timeout" and left >= 1 and not timeout:
            timeout = integer(argv[at + 1])
            if timeout <= 0:
                raise RedisError(b"ERR FAILOVER timeout must be greater than 0")
            at += 2
        elif word == b"to" and left >= 2 and not host:
            port = bounded(argv[at + 2], -INT32_MAX - 1, INT32_MAX, BAD_INTEGER)
            host = argv[at + 1]
            at += 3
        elif word == b"force" and not force:
            force = True
            at += 1
        else:
            raise syntax()
    return host, port, timeout, force


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
        elif word == b"rdb-filter-only":
            session.sync_wishes = session.sync_wishes - {WITH_FUNCTIONS} | {NO_DATA} | parts(value)
        elif word == b"ack":
            acknowledged(ctx, argv, at)
            return
        elif word == b"isthmus-tail":
            stream = ctx.node.replication
            replid = value.decode("ascii", "replace").lower()
            ctx.reply.integer(-1 if stream is None else stream.common(replid))
            return
        elif word == b"getack":
            # Meant for replicas; a primary says nothing, as in Redis.
            return
        elif word in (b"listening-port", b"isthmus-epoch"):
            # As read, so that nothing else than a number is kept.
            most = PORT_MAX if word == b"listening-port" else INT64_MAX
            number = bounded(value, 0, most, BAD_INTEGER)
            session.sync_facts = {**session.sync_facts, word: b"%d" % number}
        elif word in (b"ip-address", b"version", b"isthmus-node", b"isthmus-move"):
            if len(value) > FACT_BYTES_MAX:
                raise RedisError(b"ERR REPLCONF %s provided by replica instance is too long: "
                                 b"%d bytes" % (word, len(value)))  # fmt: skip
            session.sync_facts = {**session.sync_facts, word: value}
        else:
            raise RedisError(b"ERR Unrecognized REPLCONF option: " + argv[at])
    ctx.reply.ok()


def parts(text: bytes) -> set[bytes]:
    """The parts of a snapshot that a client wants instead of all of it."""
    for word in text.split():
        if word.lower() != b"functions":
            raise RedisError(b"ERR Unsupported rdb-filter-only option: " + word)
    return {WITH_FUNCTIONS} if text.strip() else set()


def acknowledged(ctx: Context, argv: list[bytes], at: int) -> None:
    """ACK offset [FACK offset]: no reply, whatever it says."""
    numbers: list[int | None] = [None, None]
    for place, word in ((0, b"ack"), (1, b"fack")):
        here = at + 2 * place
        if here + 1 < len(argv) and argv[here].lower() == word:
            try:
                numbers[place] = integer(argv[here + 1])
            except RedisError:
                return
    if numbers[0] is not None and ctx.node.replication is not None:
        ctx.node.replication.primary.acknowledge(ctx.session, numbers[0], numbers[1])


def snapshot_only(ctx: Context, argv: list[bytes]) -> bool:
    """Send a snapshot, and end the connection, if the client asked for no more; True if so.

    PSYNC is told of id and offset before it, SYNC of nothing, as in Redis.
    """
    wishes = ctx.session.sync_wishes
    node = ctx.node
    if node.persistence is None or node.replication is None:
        raise RedisError(NO_SYNC)
    if not wishes >= {b"eof", RDB_ONLY}:
        return False
    if not ctx.block(b"snapshot", [], argv, 0):
        raise RedisError(NO_SYNC)
    told = ctx.spec.name == b"psync"
    node.persistence.snapshots.send_to(ctx.session, node.replication.full_resync if told else bytes)
    return True


@command("SYNC", since="1.0.0", group="server",
         flags=NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT, complexity="",
         reply=ANY)  # fmt: skip
def sync(ctx: Context, argv: list[bytes]) -> None:
    """Send the data as it stands, and all changes behind it."""
    if not snapshot_only(ctx, argv):
        ctx.node.replication.primary.sync(ctx.session)


@command("PSYNC replicationid offset", since="2.8.0", group="server", arity=-3,
         flags=NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT, complexity="",
         reply=ANY)  # fmt: skip
def psync(ctx: Context, argv: list[bytes]) -> None:
    """Go on with the stream of changes from an offset, or send the data as it stands before it."""
    offset = integer(argv[2])
    replication = ctx.node.replication
    if len(argv) > 3 and argv[3].lower() == b"failover" and replication is not None:
        if ctx.cluster is not None:
            raise RedisError(b"ERR FAILOVER not allowed in cluster mode.")
        replication.failover.admit(argv[1].decode("ascii", "replace").lower())
    if not snapshot_only(ctx, argv):
        replid = argv[1].decode("ascii", "replace").lower()
        ctx.node.replication.primary.psync(ctx.session, replid, offset)
