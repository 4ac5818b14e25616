"""Client-side caching: CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO.

Only the syntax and the replies are here; who tracks what, and the messages, are the engine's
(engine/tracking.py). Errors come in Redis' order: options first, then ON or OFF, then whether the
options agree with each other and with how the client tracks already.
"""

from __future__ import annotations

from isthmus.node.commands.client import COMMON
from isthmus.node.engine.args import bounded, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NOT_INTEGER, RedisError
from isthmus.node.engine.registry import INTEGER, MAP, OK, command
from isthmus.node.engine.tracking import Tracked
from isthmus.wire.scalars import INT64_MAX, INT64_MIN

NOT_TRACKING = (
    b"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
    b"OPTOUT mode enabled"
)
NO_OPTIN = b"ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
NO_OPTOUT = b"ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."


def read_options(ctx: Context, argv: list[bytes]) -> tuple[Tracked, list[bytes]]:
    """The options of CLIENT TRACKING: how to track, and the prefixes."""
    asked = Tracked()
    prefixes: list[bytes] = []
    at = 3
    while at < len(argv):
        word, more = argv[at].lower(), at + 1 < len(argv)
        if word == b"redirect" and more:
            at += 1
            if asked.redirect:
                raise RedisError(b"ERR A client can only redirect to a single other client")
            asked.redirect = bounded(argv[at], INT64_MIN, INT64_MAX, NOT_INTEGER)
            if asked.redirect not in ctx.node.clients:
                raise RedisError(b"ERR The client ID you want redirect to does not exist")
        elif word == b"prefix" and more:
            at += 1
            prefixes.append(argv[at])
        elif word in (b"bcast", b"optin", b"optout", b"noloop"):
            setattr(asked, word.decode(), True)
        else:
            raise syntax()
        at += 1
    return asked, prefixes


@command("CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] "
         "[BCAST] [OPTIN] [OPTOUT] [NOLOOP]", since="6.0.0", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def client_tracking(ctx: Context, argv: list[bytes]) -> None:
    """Switch on or off that this client is told when keys it read change."""
    asked, prefixes = read_options(ctx, argv)
    word = argv[2].lower()
    if word == b"on":
        ctx.node.tracking.enable(ctx.session, asked, prefixes)
    elif word == b"off":
        ctx.node.tracking.disable(ctx.session)
    else:
        raise syntax()
    ctx.reply.ok()


@command("CLIENT CACHING <YES | NO>", since="6.0.0", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=OK)  # fmt: skip
def client_caching(ctx: Context, argv: list[bytes]) -> None:
    """Track, or do not track, the keys of the next command or transaction."""
    how = ctx.node.tracking.clients.get(ctx.session)
    if how is None:
        raise RedisError(NOT_TRACKING)
    word = argv[2].lower()
    if word not in (b"yes", b"no"):
        raise syntax()
    if word == b"yes" and not how.optin:
        raise RedisError(NO_OPTIN)
    if word == b"no" and not how.optout:
        raise RedisError(NO_OPTOUT)
    how.caching = True
    ctx.reply.ok()


@command("CLIENT GETREDIR", since="6.0.0", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=INTEGER)  # fmt: skip
def client_getredir(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of the client that gets our messages; 0: none, -1: not tracking."""
    how = ctx.node.tracking.clients.get(ctx.session)
    ctx.reply.integer(-1 if how is None else how.redirect)


def flags_of(how: Tracked | None) -> list[bytes]:
    """How a client tracks, in the words of CLIENT TRACKINGINFO."""
    if how is None:
        return [b"off"]
    words = (
        (True, b"on"), (how.bcast, b"bcast"), (how.optin, b"optin"),
        (how.optin and how.caching, b"caching-yes"), (how.optout, b"optout"),
        (how.optout and how.caching, b"caching-no"), (how.noloop, b"noloop"),
        (how.broken, b"broken_redirect"),
    )  # fmt: skip
    return [word for holds, word in words if holds]


@command("CLIENT TRACKINGINFO", since="6.2.0", group="connection", flags=COMMON,
         categories="CONNECTION", complexity="O(1)", reply=MAP)  # fmt: skip
def client_trackinginfo(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how this connection tracks."""
    how = ctx.node.tracking.clients.get(ctx.session)
    reply = ctx.reply
    reply.map(3)
    reply.bulk(b"flags")
    flags = flags_of(how)
    reply.set(len(flags))
    for word in flags:
        reply.bulk(word)
    reply.bulk(b"redirect")
    reply.integer(-1 if how is None else how.redirect)
    reply.bulk(b"prefixes")
    prefixes = [] if how is None else sorted(how.prefixes)
    reply.array(len(prefixes))
    for prefix in prefixes:
        reply.bulk(prefix)
