"""Publish and subscribe: channels, patterns, shard channels.

Who listens is kept by engine/pubsub.py. The subscribing commands answer once for each name, with a
push in RESP3; these answers are written even while CLIENT REPLY is OFF, as pushes always are. In a
cluster PUBLISH reaches every node and SPUBLISH the nodes of the shard (node/cluster/bus.py); their
replies count the receivers of this node only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from isthmus.node.commands.client import write_help
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.pubsub import PubSub, confirm
from isthmus.node.engine.registry import ARRAY, INTEGER, command, container
from isthmus.node.engine.spec import FAST, LOADING, MAY_REPLICATE, NOSCRIPT, PUBSUB, SENTINEL, STALE

LISTEN = PUBSUB | NOSCRIPT | LOADING | STALE

HELP = (
    b"PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CHANNELS [<pattern>]",
    b"    The channels somebody listens to, or those of them that match a glob-style pattern.",
    b"NUMPAT",
    b"    How many different patterns clients listen to.",
    b"NUMSUB [<channel> ...]",
    b"    How many clients listen to each channel; patterns do not count.",
    b"SHARDCHANNELS [<pattern>]",
    b"    As CHANNELS, for shard channels.",
    b"SHARDNUMSUB [<shardchannel> ...]",
    b"    As NUMSUB, for shard channels.",
    b"HELP",
    b"    This text.",
)


def answer(ctx: Context, word: bytes, name: bytes | None, count: int) -> None:
    """Write the answer about one subscription."""
    session = ctx.session
    if session.reply_off or session.reply_skip:
        encoder = ctx.node.encoder
        confirm(encoder, word, name, count, session.protocol)
        ctx.node.push(session, encoder.take())
    else:
        confirm(ctx.reply, word, name, count, session.protocol)


def end(
    ctx: Context, word: bytes, names: Iterable[bytes],
    leave: Callable[[ClientState, bytes], bool], count: Callable[[ClientState], int],
) -> None:  # fmt: skip
    """End the subscriptions to names, and answer each; no name is answered as well."""
    session = ctx.session
    any_name = False
    for name in names:
        any_name = True
        leave(session, name)
        answer(ctx, word, name, count(session))
    if not any_name:
        answer(ctx, word, None, count(session))


def shard_count(ctx: Context) -> Callable[[ClientState], int]:
    pubsub = ctx.node.pubsub
    return lambda client: len(pubsub.of(client).shards)


@command("SUBSCRIBE channel [channel ...]", since="2.0.0", group="pubsub", flags=LISTEN | SENTINEL,
         complexity="O(N) where N is the number of channels", reply=ARRAY)  # fmt: skip
def subscribe(ctx: Context, argv: list[bytes]) -> None:
    """Listen to channels."""
    pubsub = ctx.node.pubsub
    for name in argv[1:]:
        pubsub.subscribe(ctx.session, name)
        answer(ctx, b"subscribe", name, pubsub.count(ctx.session))


@command("PSUBSCRIBE pattern [pattern ...]", since="2.0.0", group="pubsub",
         flags=LISTEN | SENTINEL, complexity="O(N) where N is the number of patterns",
         reply=ARRAY)  # fmt: skip
def psubscribe(ctx: Context, argv: list[bytes]) -> None:
    """Listen to every channel that matches one of the patterns."""
    pubsub = ctx.node.pubsub
    for name in argv[1:]:
        pubsub.subscribe_pattern(ctx.session, name)
        answer(ctx, b"psubscribe", name, pubsub.count(ctx.session))


@command("SSUBSCRIBE shardchannel [shardchannel ...]", since="7.0.0", group="pubsub", flags=LISTEN,
         keys="idx:1>range:-1,1,0(NOT_KEY)",
         complexity="O(N) where N is the number of shard channels", reply=ARRAY)  # fmt: skip
def ssubscribe(ctx: Context, argv: list[bytes]) -> None:
    """Listen to shard channels."""
    if ctx.deny_blocking:
        raise RedisError(b"ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
    pubsub = ctx.node.pubsub
    for name in argv[1:]:
        pubsub.subscribe_shard(ctx.session, name)
        answer(ctx, b"ssubscribe", name, len(pubsub.of(ctx.session).shards))


@command("UNSUBSCRIBE [channel [channel ...]]", since="2.0.0", group="pubsub",
         flags=LISTEN | SENTINEL, complexity="O(N) where N is the number of channels",
         reply=ARRAY)  # fmt: skip
def unsubscribe(ctx: Context, argv: list[bytes]) -> None:
    """Stop listening to channels, or to all of them."""
    pubsub = ctx.node.pubsub
    names = argv[1:] or list(pubsub.of(ctx.session).channels)
    end(ctx, b"unsubscribe", names, pubsub.unsubscribe, pubsub.count)


@command("PUNSUBSCRIBE [pattern [pattern ...]]", since="2.0.0", group="pubsub",
         flags=LISTEN | SENTINEL, complexity="O(N) where N is the number of patterns",
         reply=ARRAY)  # fmt: skip
def punsubscribe(ctx: Context, argv: list[bytes]) -> None:
    """Stop listening to patterns, or to all of them."""
    pubsub = ctx.node.pubsub
    names = argv[1:] or list(pubsub.of(ctx.session).patterns)
    end(ctx, b"punsubscribe", names, pubsub.unsubscribe_pattern, pubsub.count)


@command("SUNSUBSCRIBE [shardchannel [shardchannel ...]]", since="7.0.0", group="pubsub",
         flags=LISTEN, keys="idx:1>range:-1,1,0(NOT_KEY)",
         complexity="O(N) where N is the number of shard channels", reply=ARRAY)  # fmt: skip
def sunsubscribe(ctx: Context, argv: list[bytes]) -> None:
    """Stop listening to shard channels, or to all of them."""
    pubsub = ctx.node.pubsub
    names = argv[1:] or list(pubsub.of(ctx.session).shards)
    end(ctx, b"sunsubscribe", names, pubsub.unsubscribe_shard, shard_count(ctx))


def replicate(ctx: Context, argv: list[bytes]) -> None:
    """Let replicas publish it as well, as in Redis; in a cluster the bus brings it to everybody."""
    if ctx.node.replication is not None and ctx.cluster is None:
        ctx.node.replication.message(ctx.db.index, argv)


@command("PUBLISH channel message", since="2.0.0", group="pubsub",
         flags=PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE | SENTINEL,
         complexity="O(N+M) with N subscribers of the channel and M patterns in use",
         reply=INTEGER)  # fmt: skip
def publish(ctx: Context, argv: list[bytes]) -> None:
    """Send a message to a channel; reply how often it was sent."""
    pubsub: PubSub = ctx.node.pubsub
    count = pubsub.publish(argv[1], argv[2])
    if pubsub.forward is not None:
        pubsub.forward(argv[1], argv[2], False)
    replicate(ctx, argv)
    ctx.reply.integer(count)


@command("SPUBLISH shardchannel message", since="7.0.0", group="pubsub",
         flags=PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE,
         keys="idx:1>range:0,1,0(NOT_KEY)",
         complexity="O(N) with N subscribers of the shard channel", reply=INTEGER)  # fmt: skip
def spublish(ctx: Context, argv: list[bytes]) -> None:
    """Send a message to a shard channel; reply how many received it."""
    pubsub: PubSub = ctx.node.pubsub
    count = pubsub.publish_shard(argv[1], argv[2])
    if pubsub.forward is not None:
        pubsub.forward(argv[1], argv[2], True)
    replicate(ctx, argv)
    ctx.reply.integer(count)


container("PUBSUB", since="2.8.0", group="pubsub")


def write_names(ctx: Context, names: Iterable[bytes], argv: list[bytes]) -> None:
    """Reply with the names that match the pattern in argv, if there is one."""
    if len(argv) > 3:
        text = b"ERR unknown subcommand or wrong number of arguments for '"
        raise RedisError(text + argv[1] + b"'. Try PUBSUB HELP.")
    chosen = [name for name in names if len(argv) == 2 or glob_match(argv[2], name)]
    ctx.reply.array(len(chosen))
    for name in chosen:
        ctx.reply.bulk(name)


def write_counts(ctx: Context, listeners: dict[bytes, dict[ClientState, None]],
                 names: list[bytes]) -> None:  # fmt: skip
    """Reply with names, each followed by the number of its listeners."""
    ctx.reply.array(2 * len(names))
    for name in names:
        ctx.reply.bulk(name)
        ctx.reply.integer(len(listeners.get(name, ())))


@command("PUBSUB CHANNELS [pattern]", since="2.8.0", group="pubsub",
         flags=PUBSUB | LOADING | STALE, complexity="O(N) where N is the number of channels",
         reply=ARRAY)  # fmt: skip
def pubsub_channels(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the channels that have listeners."""
    write_names(ctx, ctx.node.pubsub.channels, argv)


@command("PUBSUB SHARDCHANNELS [pattern]", since="7.0.0", group="pubsub",
         flags=PUBSUB | LOADING | STALE, complexity="O(N) where N is the number of shard channels",
         reply=ARRAY)  # fmt: skip
def pubsub_shardchannels(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the shard channels that have listeners."""
    write_names(ctx, ctx.node.pubsub.shards, argv)


@command("PUBSUB NUMSUB [channel [channel ...]]", since="2.8.0", group="pubsub",
         flags=PUBSUB | LOADING | STALE, complexity="O(N) where N is the number of channels named",
         reply=ARRAY)  # fmt: skip
def pubsub_numsub(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of listeners of each channel."""
    write_counts(ctx, ctx.node.pubsub.channels, argv[2:])


@command("PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]", since="7.0.0", group="pubsub",
         flags=PUBSUB | LOADING | STALE,
         complexity="O(N) where N is the number of shard channels named", reply=ARRAY)  # fmt: skip
def pubsub_shardnumsub(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of listeners of each shard channel."""
    write_counts(ctx, ctx.node.pubsub.shards, argv[2:])


@command("PUBSUB NUMPAT", since="2.8.0", group="pubsub", flags=PUBSUB | LOADING | STALE,
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def pubsub_numpat(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of different patterns in use."""
    ctx.reply.integer(len(ctx.node.pubsub.patterns))


@command("PUBSUB HELP", since="6.2.0", group="pubsub", flags=LOADING | STALE, complexity="O(1)",
         reply=ARRAY)  # fmt: skip
def pubsub_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of PUBSUB."""
    write_help(ctx, HELP)
