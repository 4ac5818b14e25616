"""CLIENT: names, lists, and ends of connections.

What CLIENT LIST shows is what the engine knows of a connection; its memory is that of
engine/client_memory.py. Killing goes through the server, which owns the sockets; a client that
kills itself still gets its reply. Pausing and unblocking are engine/blocking.py's.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.commands.connection import BAD_NAME, is_printable
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ARRAY, BULK, INTEGER, NULL, OK, command, container
from isthmus.node.engine.spec import ADMIN, LOADING, NOSCRIPT, SENTINEL, STALE
from isthmus.wire.scalars import INT64_MAX, INT64_MIN

COMMON = NOSCRIPT | LOADING | STALE | SENTINEL
EVERYWHERE = "REQUEST_POLICY:ALL_NODES,RESPONSE_POLICY:ALL_SUCCEEDED"
CLIENT_TYPES = (b"normal", b"master", b"replica", b"slave", b"pubsub")

HELP = (
    b"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CACHING (YES|NO)",
    b"    Whether the keys that the next command reads are tracked (OPTIN, OPTOUT).",
    b"GETREDIR",
    b"    To which connection messages about changed keys are sent.",
    b"GETNAME",
    b"    The name of this connection.",
    b"ID",
    b"    The number of this connection.",
    b"INFO",
    b"    One line about this connection.",
    b"KILL <ip:port>",
    b"    Close the connection that comes from <ip:port>.",
    b"KILL <option> <value> [<option> <value> [...]]",
    b"    Close every connection for which all options hold:",
    b"    * ADDR <ip:port>, LADDR <ip:port>: its far end, its near end",
    b"    * ID <client-id>: its number",
    b"    * MAXAGE <seconds>: it has been open at least so long",
    b"    * SKIPME (YES|NO): spare the connection that asks (default: yes)",
    b"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB): what it is used for",
    b"    * USER <username>: who logged in on it",
    b"LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <client-id> [...]]",
    b"    One line about each connection, or about those chosen.",
    b"NO-EVICT (ON|OFF)",
    b"    Keep this connection when connections are closed to save memory.",
    b"NO-TOUCH (ON|OFF)",
    b"    Leave the access times of keys alone.",
    b"PAUSE <timeout> [WRITE|ALL]",
    b"    Let clients wait for <timeout> milliseconds: those that write, or all (the default).",
    b"REPLY (ON|OFF|SKIP)",
    b"    Send replies, send none, or leave out the next one.",
    b"SETINFO (LIB-NAME|LIB-VER) <value>",
    b"    Tell which client library this is.",
    b"SETNAME <name>",
    b"    Name this connection.",
    b"TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
    b"    Be told when keys that this connection has read change.",
    b"TRACKINGINFO",
    b"    How this connection is told of changed keys.",
    b"UNBLOCK <client-id> [TIMEOUT|ERROR]",
    b"    End the wait of a connection, as if its time were up or with an error.",
    b"UNPAUSE",
    b"    End a pause.",
    b"HELP",
    b"    This text.",
)

container("CLIENT", since="2.4.0", group="connection", flags=SENTINEL)


def write_help(ctx: Context, lines: tuple[bytes, ...]) -> None:
    """A HELP reply: its lines as simple strings."""
    ctx.reply.array(len(lines))
    for line in lines:
        ctx.reply.simple(line)


@command("CLIENT HELP", since="5.0.0", group="connection", flags=LOADING | STALE | SENTINEL,
         categories="CONNECTION", complexity="O(1)", reply=ARRAY)  # fmt: skip
def client_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of CLIENT."""
    write_help(ctx, HELP)


@command("CLIENT ID", since="5.0.0", group="connection", flags=COMMON, categories="CONNECTION",
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def client_id(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of this connection; numbers only grow."""
    ctx.reply.integer(ctx.session.id)


@command("CLIENT GETNAME", since="2.6.9", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=BULK | NULL)  # fmt: skip
def client_getname(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the name of this connection."""
    if ctx.session.name:
        ctx.reply.bulk(ctx.session.name)
    else:
        ctx.reply.null()


@command("CLIENT SETNAME connection-name", since="2.6.9", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=OK, tips=EVERYWHERE)  # fmt: skip
def client_setname(ctx: Context, argv: list[bytes]) -> None:
    """Name this connection; an empty name takes the name away."""
    if not is_printable(argv[2]):
        raise RedisError(BAD_NAME)
    ctx.session.name = argv[2]
    ctx.reply.ok()


@command("CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>", since="7.2.0", group="connection",
         flags=COMMON, categories="CONNECTION", complexity="O(1)", reply=OK, arity=4,
         tips=EVERYWHERE)  # fmt: skip
def client_setinfo(ctx: Context, argv: list[bytes]) -> None:
    """Note the name or the version of the client's library."""
    option = argv[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise RedisError(b"ERR Unrecognized option '" + argv[2] + b"'")
    if not is_printable(argv[3]):
        raise RedisError(
            b"ERR " + argv[2] + b" cannot contain spaces, newlines or special characters."
        )
    if option == b"lib-name":
        ctx.session.lib_name = argv[3]
    else:
        ctx.session.lib_version = argv[3]
    ctx.reply.ok()


def flags_of(ctx: Context, client: ClientState) -> bytes:
    """The letters of CLIENT LIST's flags field."""
    how = ctx.node.tracking.clients.get(client)
    dirty = any(db.version(key) != version for (db, key), version in client.watched.items())
    letters = (
        (client.replica is not None, b"S"), (is_primary(ctx, client), b"M"),
        (client in ctx.node.monitors.clients, b"O"), (client.subscriber, b"P"),
        (client.in_multi, b"x"), (client.blocked is not None, b"b"), (how is not None, b"t"),
        (how is not None and how.broken, b"R"), (how is not None and how.bcast, b"B"),
        (dirty, b"d"), (client.closing, b"c"), (client.close_now, b"A"),
        (client.address.startswith(b"/"), b"U"),
        (client.readonly, b"r"), (client.no_evict, b"e"), (client.no_touch, b"T"),
    )  # fmt: skip
    return b"".join(letter for holds, letter in letters if holds) or b"N"


def line_of(ctx: Context, client: ClientState, argv: list[bytes] | None = None) -> bytes:
    """The line of CLIENT LIST about a client, without its end; argv: what the caller is running."""
    last = client.last_command
    held = ctx.node.client_memory.bytes_of(client, argv if client is ctx.session else None)
    mine = ctx.node.pubsub.of(client)
    how = ctx.node.tracking.clients.get(client)
    idle_ms = 0 if client is ctx.session else max(0, ctx.now_ms - client.active_ms)
    return b" ".join((
        b"id=%d" % client.id, b"addr=" + client.address, b"laddr=" + client.local_address,
        b"fd=%d" % client.fd, b"name=" + client.name,
        b"age=%d" % (max(0, ctx.now_ms - client.created_ms) // 1000),
        b"idle=%d" % (idle_ms // 1000),
        b"flags=" + flags_of(ctx, client), b"db=%d" % client.db.index,
        b"sub=%d psub=%d ssub=%d" % (len(mine.channels), len(mine.patterns), len(mine.shards)),
        b"multi=%d" % (len(client.queue) if client.in_multi else -1),
        b"watch=%d" % len(client.watched),
        b"qbuf=%d qbuf-free=0" % held.input, b"argv-mem=%d" % held.argv,
        b"multi-mem=%d" % held.queued,
        # Replies are written into one buffer for all: none is the client's own (client_memory.py).
        b"rbs=0 rbp=0 obl=0", b"oll=%d omem=%d" % (held.output > 0, held.output),
        b"tot-mem=%d" % held.total, b"events=" + (b"rw" if held.output else b"r"),
        b"cmd=" + last,
        b"user=" + client.user_name(), b"redir=%d" % (-1 if how is None else how.redirect),
        b"resp=%d" % client.protocol,
        b"lib-name=" + client.lib_name, b"lib-ver=" + client.lib_version,
    ))  # fmt: skip


def kind_of(ctx: Context, client: ClientState) -> bytes:
    """The type of a connection: what its output limits depend on, too."""
    if is_primary(ctx, client):
        return b"master"
    kind: bytes = ctx.node.output_limits.kind(client)
    return kind


def is_primary(ctx: Context, client: ClientState) -> bool:
    """True for the link to the primary that this node follows."""
    replication = ctx.node.replication
    if replication is None or replication.follower is None:
        return False
    return client is replication.follower.client


def client_type(text: bytes) -> bytes:
    """A word of TYPE in lower case; raises the error for an unknown one."""
    kind = text.lower()
    if kind not in CLIENT_TYPES:
        raise RedisError(b"ERR Unknown client type '" + text + b"'")
    return b"replica" if kind == b"slave" else kind


@command("CLIENT INFO", since="6.2.0", group="connection", flags=COMMON, categories="CONNECTION",
         complexity="O(1)", reply=BULK, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def client_info(ctx: Context, argv: list[bytes]) -> None:
    """Reply with one line about this connection."""
    ctx.reply.verbatim(b"txt", line_of(ctx, ctx.session, argv) + b"\n")


@command("CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
         since="2.4.0", group="connection", flags=COMMON | ADMIN, categories="CONNECTION",
         complexity="O(N) where N is the number of client connections", reply=BULK,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def client_list(ctx: Context, argv: list[bytes]) -> None:
    """Reply with one line about each connection."""
    word = argv[2].lower() if len(argv) > 2 else b""
    chosen = list(ctx.node.clients.values())
    if word == b"type" and len(argv) == 4:
        kind = client_type(argv[3])
        chosen = [client for client in chosen if kind_of(ctx, client) == kind]
    elif word == b"id" and len(argv) > 3:
        ids = [bounded(text, INT64_MIN, INT64_MAX, b"ERR Invalid client ID") for text in argv[3:]]
        chosen = [ctx.node.clients[number] for number in ids if number in ctx.node.clients]
    elif len(argv) > 2:
        raise syntax()
    text = b"".join(line_of(ctx, client, argv) + b"\n" for client in chosen)
    ctx.reply.verbatim(b"txt", text)


class KillFilter:
    """The parsed options of CLIENT KILL; the last of each kind counts."""

    def __init__(self, ctx: Context, argv: list[bytes]) -> None:
        self.id = 0
        self.max_age_s = 0
        self.kind = self.address = self.local_address = b""
        self.user: Any = None
        self.skip_me = True
        if len(argv) % 2:
            # Redis reads the pairs first and meets the lone word last.
            argv = [*argv, b""]
            self._read(ctx, argv[:-2])
            raise syntax()
        self._read(ctx, argv)

    def _read(self, ctx: Context, argv: list[bytes]) -> None:
        for at in range(2, len(argv), 2):
            word, value = argv[at].lower(), argv[at + 1]
            if word == b"id":
                self.id = bounded(value, 1, INT64_MAX, b"ERR client-id should be greater than 0")
            elif word == b"maxage":
                error = b"ERR maxage is not an integer or out of range"
                self.max_age_s = bounded(value, INT64_MIN, INT64_MAX, error)
                if self.max_age_s <= 0:
                    raise RedisError(b"ERR maxage should be greater than 0")
            elif word == b"type":
                self.kind = client_type(value)
            elif word == b"addr":
                self.address = value
            elif word == b"laddr":
                self.local_address = value
            elif word == b"user":
                self.user = ctx.node.acl.users.get(value)
                if self.user is None:
                    raise RedisError(b"ERR No such user '" + value + b"'")
            elif word == b"skipme" and value.lower() in (b"yes", b"no"):
                self.skip_me = value.lower() == b"yes"
            else:
                raise syntax()

    def matches(self, ctx: Context, client: ClientState) -> bool:
        """True if every option holds for client."""
        return (
            (not self.id or client.id == self.id)
            and (not self.address or client.address == self.address)
            and (not self.local_address or client.local_address == self.local_address)
            and self.kind in (b"", kind_of(ctx, client))
            and (self.user is None or client.user is self.user)
            and (not self.max_age_s or (ctx.now_ms - client.created_ms) // 1000 >= self.max_age_s)
            and not (self.skip_me and client is ctx.session)
        )


def kill(ctx: Context, client: ClientState) -> None:
    """End a connection: the caller's after its reply, any other at once."""
    if is_primary(ctx, client):
        # It is made anew.
        ctx.node.replication.follower.reconnect("CLIENT KILL")
        return
    client.close()
    if client is not ctx.session:
        client.close_now = True
        if ctx.node.server is not None:
            ctx.node.server.kill(client)


@command("CLIENT KILL <ip:port | [ID client-id | TYPE <NORMAL | MASTER | REPLICA | PUBSUB> | "
         "USER username | ADDR ip:port | LADDR ip:port | SKIPME yes/no | MAXAGE maxage ...]>",
         since="2.4.0", group="connection", flags=COMMON | ADMIN, categories="CONNECTION", arity=-3,
         complexity="O(N) where N is the number of client connections",
         reply=OK | INTEGER)  # fmt: skip
def client_kill(ctx: Context, argv: list[bytes]) -> None:
    """Close connections: the one from an address, or all that options describe."""
    clients = list(ctx.node.clients.values())
    if len(argv) == 3:
        for client in clients:
            if client.address == argv[2]:
                kill(ctx, client)
                ctx.reply.ok()
                return
        raise RedisError(b"ERR No such client")
    chosen = KillFilter(ctx, argv)
    victims = [client for client in clients if chosen.matches(ctx, client)]
    for client in victims:
        kill(ctx, client)
    ctx.reply.integer(len(victims))


@command("CLIENT REPLY <ON | OFF | SKIP>", since="3.2.0", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def client_reply(ctx: Context, argv: list[bytes]) -> None:
    """Switch replies on or off, or leave out the next one."""
    session = ctx.session
    word = argv[2].lower()
    if word == b"on":
        session.reply_off = False
        session.reply_skip = 0
        ctx.reply.ok()
    elif word == b"off":
        session.reply_off = True
    elif word == b"skip":
        if not session.reply_off:
            # Commands that pass the gates count this one too.
            session.reply_skip = 2 if session.gates or ctx.gates else 1
    else:
        raise syntax()
    session.regate()


def switch(text: bytes) -> bool:
    """ON or OFF; raises a syntax error."""
    word = text.lower()
    if word not in (b"on", b"off"):
        raise syntax()
    return word == b"on"


@command("CLIENT NO-EVICT <ON | OFF>", since="7.0.0", group="connection", flags=COMMON | ADMIN,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def client_no_evict(ctx: Context, argv: list[bytes]) -> None:
    """Keep this connection when connections are closed to save memory."""
    ctx.session.no_evict = switch(argv[2])
    ctx.reply.ok()


@command("CLIENT NO-TOUCH <ON | OFF>", since="7.2.0", group="connection",
         flags=NOSCRIPT | LOADING | STALE, categories="CONNECTION", complexity="O(1)",
         reply=OK)  # fmt: skip
def client_no_touch(ctx: Context, argv: list[bytes]) -> None:
    """Leave the access times of the keys this connection uses alone."""
    ctx.session.no_touch = switch(argv[2])
    ctx.session.regate()
    ctx.reply.ok()


@command("CLIENT PAUSE timeout [WRITE | ALL]", since="3.0.0", group="connection",
         flags=COMMON | ADMIN, categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def client_pause(ctx: Context, argv: list[bytes]) -> None:
    """Let all clients wait, or those that write, for some milliseconds."""
    if len(argv) > 4:
        raise wrong_form(argv)
    mode = argv[3].lower() if len(argv) == 4 else b"all"
    if mode not in (b"write", b"all"):
        raise RedisError(b"ERR CLIENT PAUSE mode must be WRITE or ALL")
    ms = integer(argv[2], b"ERR timeout is not an integer or out of range")
    if ms < 0:
        raise RedisError(b"ERR timeout is negative")
    if ms > INT64_MAX - ctx.now_ms:
        raise RedisError(b"ERR timeout is out of range")
    ctx.node.blocking.pause(ctx.now_ms + ms, mode == b"write")
    ctx.reply.ok()


@command("CLIENT UNPAUSE", since="6.2.0", group="connection", flags=COMMON | ADMIN,
         categories="CONNECTION", complexity="O(N) Where N is the number of paused clients",
         reply=OK)  # fmt: skip
def client_unpause(ctx: Context, argv: list[bytes]) -> None:
    """End a pause; clients that waited go on."""
    replication = ctx.node.replication
    if replication is None or not replication.failover.keeps_pause():
        ctx.node.blocking.unpause()
    ctx.reply.ok()


@command("CLIENT UNBLOCK client-id [TIMEOUT | ERROR]", since="5.0.0", group="connection",
         flags=COMMON | ADMIN, categories="CONNECTION", reply=INTEGER,
         complexity="O(log N) where N is the number of client connections")  # fmt: skip
def client_unblock(ctx: Context, argv: list[bytes]) -> None:
    """End the wait of a client, as if its time were up or with an error; reply 1 if it waited."""
    if len(argv) > 4:
        raise wrong_form(argv)
    reason = argv[3].lower() if len(argv) == 4 else b"timeout"
    if reason not in (b"timeout", b"error"):
        raise RedisError(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    client = ctx.node.clients.get(integer(argv[2]))
    woken = client is not None and ctx.node.blocking.unblock(client, reason == b"error")
    ctx.reply.integer(int(woken))


def wrong_form(argv: list[bytes]) -> RedisError:
    """The error for a sub-command with more arguments than it has."""
    return RedisError(
        b"ERR unknown subcommand or wrong number of arguments for '" + argv[1]
        + b"'. Try " + argv[0].upper() + b" HELP."
    )  # fmt: skip
