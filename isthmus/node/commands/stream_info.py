"""XINFO: what there is to know about a stream, its groups and their consumers.

Names come in the order of their bytes, as they lie in Redis' radix trees. The tree itself is not
ours: its keys are our blocks, and its nodes are counted as Redis would have made them. A counter
that cannot be told is null.
"""

from __future__ import annotations

from isthmus.node.commands.client import write_help
from isthmus.node.commands.stream_groups import bad_subcommand, no_such_group
from isthmus.node.engine.args import integer
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NO_SUCH_KEY, RedisError
from isthmus.node.engine.registry import ARRAY, MAP, command, container
from isthmus.node.engine.spec import LOADING, READONLY, STALE
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id
from isthmus.node.values.streams import UNKNOWN, Consumer, Group, StreamValue

HELP = (
    b"XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CONSUMERS <key> <groupname>",
    b"    Show consumers of <groupname>.",
    b"GROUPS <key>",
    b"    Show the stream consumer groups.",
    b"STREAM <key> [FULL [COUNT <count>]",
    b"    Show information about the stream.",
    b"HELP",
    b"    Prints this help.",
)
FULL_COUNT = 10
READ_KEYS = "idx:2>range:0,1,0(RO|ACCESS)"

container("XINFO", since="5.0.0", group="stream")


@command("XINFO HELP", since="5.0.0", group="stream", flags=LOADING | STALE, categories="STREAM",
         complexity="O(1)", reply=ARRAY)  # fmt: skip
def xinfo_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of XINFO."""
    write_help(ctx, HELP)


def stream_of(ctx: Context, key: bytes) -> StreamValue:
    """The stream at key, which must be there."""
    value: StreamValue | None = ctx.read(key, StreamValue)
    if value is None:
        raise RedisError(NO_SUCH_KEY)
    return value


def write_number(ctx: Context, name: bytes, number: int) -> None:
    ctx.reply.bulk(name)
    ctx.reply.integer(number)


def write_known(ctx: Context, name: bytes, number: int) -> None:
    """A counter that may not be known."""
    ctx.reply.bulk(name)
    if number == UNKNOWN:
        ctx.reply.null()
    else:
        ctx.reply.integer(number)


def write_text(ctx: Context, name: bytes, text: bytes) -> None:
    ctx.reply.bulk(name)
    ctx.reply.bulk(text)


@command("XINFO CONSUMERS key group", since="5.0.0", group="stream", flags=READONLY,
         categories="STREAM", keys=READ_KEYS, complexity="O(1)", tips="NONDETERMINISTIC_OUTPUT",
         reply=ARRAY)  # fmt: skip
def xinfo_consumers(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the consumers of a group."""
    group = stream_of(ctx, argv[2]).groups.get(argv[3])
    if group is None:
        raise no_such_group(argv[2], argv[3])
    ctx.reply.array(len(group.consumers))
    for name in sorted(group.consumers):
        consumer = group.consumers[name]
        inactive = consumer.active_ms if consumer.active_ms == -1 else (
            ctx.now_ms - consumer.active_ms
        )  # fmt: skip
        ctx.reply.map(4)
        write_text(ctx, b"name", name)
        write_number(ctx, b"pending", len(consumer.pending))
        write_number(ctx, b"idle", max(ctx.now_ms - consumer.seen_ms, 0))
        write_number(ctx, b"inactive", inactive)


@command("XINFO GROUPS key", since="5.0.0", group="stream", flags=READONLY, categories="STREAM",
         keys=READ_KEYS, complexity="O(1)", reply=ARRAY)  # fmt: skip
def xinfo_groups(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the consumer groups of a stream."""
    value = stream_of(ctx, argv[2])
    ctx.reply.array(len(value.groups))
    for name in sorted(value.groups):
        group = value.groups[name]
        ctx.reply.map(6)
        write_text(ctx, b"name", name)
        write_number(ctx, b"consumers", len(group.consumers))
        write_number(ctx, b"pending", len(group.pending))
        write_text(ctx, b"last-delivered-id", format_id(group.last_id))
        write_known(ctx, b"entries-read", group.entries_read)
        write_lag(ctx, value, group)


def write_lag(ctx: Context, value: StreamValue, group: Group) -> None:
    ctx.reply.bulk(b"lag")
    lag = value.lag(group)
    if lag is None:
        ctx.reply.null()
    else:
        ctx.reply.integer(lag)


@command("XINFO STREAM key [FULL [COUNT count]]", since="5.0.0", group="stream", flags=READONLY,
         categories="STREAM", keys=READ_KEYS, complexity="O(1)", reply=MAP | ARRAY)  # fmt: skip
def xinfo_stream(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what is known of a stream; FULL lists entries, groups and consumers too."""
    value = stream_of(ctx, argv[2])
    full = len(argv) > 3
    count = FULL_COUNT
    if full:
        if len(argv) not in (4, 6) or argv[3].upper() != b"FULL":
            raise bad_subcommand(argv)
        if len(argv) == 6:
            if argv[4].upper() != b"COUNT":
                raise bad_subcommand(argv)
            count = integer(argv[5])
            if count < 0:
                count = FULL_COUNT
    ctx.reply.map(9 if full else 10)
    write_number(ctx, b"length", len(value))
    write_number(ctx, b"radix-tree-keys", value.block_count)
    write_number(ctx, b"radix-tree-nodes", value.tree_nodes())
    write_text(ctx, b"last-generated-id", format_id(value.last_id))
    write_text(ctx, b"max-deleted-entry-id", format_id(value.top_deleted))
    write_number(ctx, b"entries-added", value.entries_added)
    write_text(ctx, b"recorded-first-entry-id", format_id(value.first_id))
    if full:
        ctx.reply.bulk(b"entries")
        value.write_range(ctx.reply, ZERO_ID, MAX_ID, count, False, True, None)
        ctx.reply.bulk(b"groups")
        ctx.reply.array(len(value.groups))
        for name in sorted(value.groups):
            write_group(ctx, value, name, value.groups[name], count)
        return
    write_number(ctx, b"groups", len(value.groups))
    for title, reverse in ((b"first-entry", False), (b"last-entry", True)):
        ctx.reply.bulk(title)
        if not value.write_range(ctx.reply, ZERO_ID, MAX_ID, 1, reverse, False, None):
            ctx.reply.null()


def write_group(ctx: Context, value: StreamValue, name: bytes, group: Group, count: int) -> None:
    """A group of XINFO STREAM FULL, with at most `count` (0: all) of what is pending."""
    ctx.reply.map(7)
    write_text(ctx, b"name", name)
    write_text(ctx, b"last-delivered-id", format_id(group.last_id))
    write_known(ctx, b"entries-read", group.entries_read)
    write_lag(ctx, value, group)
    write_number(ctx, b"pel-count", len(group.pending))
    ids = group.pending.page(ZERO_ID, MAX_ID, count)
    ctx.reply.bulk(b"pending")
    ctx.reply.array(len(ids))
    for id in ids:
        time_ms, deliveries, owner = group.record(id)
        ctx.reply.array(4)
        ctx.reply.bulk(format_id(id))
        ctx.reply.bulk(group.owners[owner].name)
        ctx.reply.integer(time_ms)
        ctx.reply.integer(deliveries)
    ctx.reply.bulk(b"consumers")
    ctx.reply.array(len(group.consumers))
    for consumer_name in sorted(group.consumers):
        write_consumer(ctx, group, group.consumers[consumer_name], count)


def write_consumer(ctx: Context, group: Group, consumer: Consumer, count: int) -> None:
    ctx.reply.map(5)
    write_text(ctx, b"name", consumer.name)
    write_number(ctx, b"seen-time", consumer.seen_ms)
    write_number(ctx, b"active-time", consumer.active_ms)
    write_number(ctx, b"pel-count", len(consumer.pending))
    ids = consumer.pending.page(ZERO_ID, MAX_ID, count)
    ctx.reply.bulk(b"pending")
    ctx.reply.array(len(ids))
    for id in ids:
        time_ms, deliveries, _ = group.record(id)
        ctx.reply.array(3)
        ctx.reply.bulk(format_id(id))
        ctx.reply.integer(time_ms)
        ctx.reply.integer(deliveries)
