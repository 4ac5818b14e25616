"""Commands about the connection itself: AUTH, HELLO, PING, ECHO, SELECT, QUIT, RESET.

Who connects is the user `default`; if that user needs no password, a client counts as authenticated
from the start (engine/acl.py). HELLO switches the protocol before it writes its own
reply, so the reply already has the new form.
"""

from __future__ import annotations

from isthmus.node.engine.args import bounded, syntax
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import (
    DB_INDEX_OUT_OF_RANGE,
    NOPROTO,
    WRONGPASS,
    RedisError,
    wrong_arity,
)
from isthmus.node.engine.registry import ARRAY, BULK, MAP, OK, SIMPLE, command
from isthmus.node.engine.spec import (
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_AUTH,
    NOSCRIPT,
    NOT_QUEUED,
    SENTINEL,
    STALE,
)
from isthmus.wire.scalars import INT64_MAX, INT64_MIN

# What we tell clients we are compatible with; they choose their commands by it.
REDIS_VERSION = b"7.4.0"
INT32_MAX = 2**31 - 1

HELLO_NOAUTH = (
    b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    b"<proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
    b"protocol version at the same time"
)
NO_PASSWORD = (
    b"ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?"
)
BAD_NAME = b"ERR Client names cannot contain spaces, newlines or special characters."


def is_printable(text: bytes) -> bool:
    """True if text may stand in a line of CLIENT LIST: visible ASCII only, no space."""
    return all(33 <= byte <= 126 for byte in text)


def authenticate(ctx: Context, word: bytes, user: bytes, password: bytes) -> None:
    """Log the caller in, who said `word` (AUTH, HELLO); raises WRONGPASS."""
    if not ctx.node.acl.login(ctx, user, password, word):
        raise RedisError(WRONGPASS)


@command("AUTH [username] password", since="1.0.0", group="connection",
         flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def auth(ctx: Context, argv: list[bytes]) -> None:
    """Log the connection in with a password, or a user name and a password."""
    if len(argv) > 3:
        raise syntax()
    if len(argv) == 2:
        if ctx.node.acl.default.nopass:
            raise RedisError(NO_PASSWORD)
        authenticate(ctx, argv[0], b"default", argv[1])
    else:
        authenticate(ctx, argv[0], argv[1], argv[2])
    ctx.reply.ok()


@command("HELLO [protover [AUTH username password] [SETNAME clientname]]", since="6.0.0",
         group="connection", categories="CONNECTION", complexity="O(1)", reply=MAP,
         flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY)  # fmt: skip
def hello(ctx: Context, argv: list[bytes]) -> None:
    """Shake hands: choose the protocol, log in, name the connection; reply with who we are."""
    session = ctx.session
    version = session.protocol
    if len(argv) > 1:
        error = b"ERR Protocol version is not an integer or out of range"
        version = bounded(argv[1], INT64_MIN, INT64_MAX, error)
        if version not in (2, 3):
            raise RedisError(NOPROTO)
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    at = 2
    while at < len(argv):
        word, left = argv[at].upper(), len(argv) - at - 1
        if word == b"AUTH" and left >= 2:
            credentials = argv[at + 1], argv[at + 2]
            at += 3
        elif word == b"SETNAME" and left >= 1:
            name = argv[at + 1]
            if not is_printable(name):
                raise RedisError(BAD_NAME)
            at += 2
        else:
            raise RedisError(b"ERR Syntax error in HELLO option '" + argv[at] + b"'")
    if credentials is not None:
        authenticate(ctx, argv[0], *credentials)
    if not session.authenticated:
        raise RedisError(HELLO_NOAUTH)
    if name is not None:
        session.name = name
    session.protocol = version
    ctx.reply.protocol = version
    write_hello(ctx)


def write_hello(ctx: Context) -> None:
    """The reply of HELLO, in the protocol just chosen."""
    reply = ctx.reply
    reply.map(7)
    reply.bulk(b"server")
    reply.bulk(b"redis")
    reply.bulk(b"version")
    reply.bulk(REDIS_VERSION)
    reply.bulk(b"proto")
    reply.integer(ctx.session.protocol)
    reply.bulk(b"id")
    reply.integer(ctx.session.id)
    reply.bulk(b"mode")
    reply.bulk(b"standalone" if ctx.cluster is None else b"cluster")
    reply.bulk(b"role")
    reply.bulk(b"master")
    reply.bulk(b"modules")
    reply.empty_array()


@command("PING [message]", since="1.0.0", group="connection", flags=FAST | SENTINEL,
         categories="CONNECTION", complexity="O(1)", reply=SIMPLE | BULK | ARRAY,
         tips="REQUEST_POLICY:ALL_SHARDS,RESPONSE_POLICY:ALL_SUCCEEDED")  # fmt: skip
def ping(ctx: Context, argv: list[bytes]) -> None:
    """Reply PONG, or with the message."""
    if len(argv) > 2:
        raise wrong_arity(b"ping")
    if ctx.session.subscriber and ctx.session.protocol == 2:
        # A subscriber reads arrays only.
        ctx.reply.array(2)
        ctx.reply.bulk(b"pong")
        ctx.reply.bulk(argv[1] if len(argv) == 2 else b"")
    elif len(argv) == 2:
        ctx.reply.bulk(argv[1])
    else:
        ctx.reply.simple(b"PONG")


@command("ECHO message", since="1.0.0", group="connection", flags=LOADING | STALE | FAST,
         categories="CONNECTION", complexity="O(1)", reply=BULK)  # fmt: skip
def echo(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the message."""
    ctx.reply.bulk(argv[1])


def int32(text: bytes) -> int:
    """A C int, as Redis reads it."""
    value = bounded(text, INT64_MIN, INT64_MAX, b"ERR value is not an integer or out of range")
    if not -INT32_MAX - 1 <= value <= INT32_MAX:
        raise RedisError(
            b"ERR value is out of range, value must between -2147483648 and 2147483647"
        )
    return value


@command("SELECT index", since="1.0.0", group="connection", flags=LOADING | STALE | FAST,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def select(ctx: Context, argv: list[bytes]) -> None:
    """Work on the numbered database from now on."""
    index = int32(argv[1])
    if ctx.cluster is not None and index != 0:
        raise RedisError(b"ERR SELECT is not allowed in cluster mode")
    if not 0 <= index < len(ctx.keyspace.databases):
        raise RedisError(DB_INDEX_OUT_OF_RANGE)
    ctx.session.db = ctx.db = ctx.keyspace.databases[index]
    ctx.reply.ok()


@command("QUIT", since="1.0.0", group="connection", arity=-1,
         flags=ALLOW_BUSY | NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | NOT_QUEUED,
         categories="CONNECTION", complexity="O(1)", reply=OK, doc_flags="DEPRECATED")  # fmt: skip
def quit_(ctx: Context, argv: list[bytes]) -> None:
    """Close the connection after the reply."""
    ctx.reply.ok()
    ctx.session.close()


def restart(ctx: Context, session: ClientState) -> None:
    """Put a connection back to how it was when it was accepted; it keeps its library's name."""
    session.leave_multi()
    ctx.node.leave_modes(session)
    session.db = ctx.db = ctx.keyspace.databases[0]
    session.protocol = 2
    ctx.reply.protocol = 2
    session.name = b""
    session.readonly = session.asking = session.no_evict = session.no_touch = False
    session.reply_off = False
    session.reply_skip = 0
    ctx.node.acl.welcome(session)


@command("RESET", since="6.2.0", group="connection",
         flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NOT_QUEUED,
         categories="CONNECTION", complexity="O(1)", reply=SIMPLE)  # fmt: skip
def reset(ctx: Context, argv: list[bytes]) -> None:
    """Put the connection back to how it was when it was accepted."""
    restart(ctx, ctx.session)
    ctx.reply.simple(b"RESET")
