"""XREADGROUP: reading through a consumer group.

With the id `>` a group hands out what it has not delivered yet; with any other, a consumer gets its
own history: what it has pending behind that id. Either is a delivery: new entries become pending,
old ones are counted once more. All streams of one command are served before anything is replied.
"""

from __future__ import annotations

from isthmus.node.commands.stream_groups import no_group
from isthmus.node.commands.streams import (
    UNBALANCED,
    ReadOptions,
    close_streams,
    read_read_options,
    strict_id,
    write_head,
)
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ARRAY, MAP, NULL, command
from isthmus.node.engine.spec import BLOCKING, WRITE
from isthmus.node.values.stream_groups import advance, claim, create_consumer
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id, next_id, wrap64
from isthmus.node.values.streams import Consumer, Group, StreamValue
from isthmus.wire.scalars import i64

NO_GROUP_OPTION = b"ERR Missing GROUP option for XREADGROUP"
MEANINGLESS = (
    b"ERR The %s ID is meaningless in the context of XREADGROUP: you want to read the history of "
    b"this consumer by specifying a proper ID, or use the > ID to get new messages. The %s ID "
    b"would just return an empty result set."
)
WHERE = b" in XREADGROUP with GROUP option"


@command("XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key "
         "[key ...] id [id ...]", since="5.0.0", group="stream", flags=BLOCKING | WRITE,
         categories="STREAM", keys="kw:STREAMS@4>range:-1,1,2(RO|ACCESS)",
         complexity="For each stream mentioned: O(M) with M being the number of elements returned. "
         "If M is constant (e.g. always asking for the first 10 elements with COUNT), you can "
         "consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time "
         "in order to serve the N clients blocked on the stream getting new data.",
         reply=ARRAY | MAP | NULL)  # fmt: skip
def xreadgroup(ctx: Context, argv: list[bytes]) -> None:
    """Deliver entries of streams to a consumer of a group, or wait for some."""
    options = read_read_options(ctx, argv, True, UNBALANCED % (b"xreadgroup", b">"))
    name = options.group
    if name is None:
        raise RedisError(NO_GROUP_OPTION)
    first = options.at
    after = [
        group_id(ctx, argv[at], name, argv[at + options.streams])
        for at in range(first, first + options.streams)
    ]
    mark = ctx.reply.mark()
    served = 0
    for at, last in enumerate(after, first):
        value: StreamValue | None = ctx.read(argv[at], StreamValue)
        if value is not None and serve(ctx, argv[at], value, name, options, last):
            served += 1
    if served:
        close_streams(ctx, mark, served)
        return
    if options.wait:
        keys = argv[first : first + options.streams]
        if ctx.block(b"stream", keys, argv, options.deadline_ms, nokey=True):
            return
    ctx.reply.null_array()


def group_id(ctx: Context, key: bytes, name: bytes, text: bytes) -> bytes:
    """The id behind which to read, the last of all for `>`; the group must be there."""
    value: StreamValue | None = ctx.read(key, StreamValue)
    if value is None or name not in value.groups:
        raise no_group(key, name, WHERE)
    if text in (b"$", b"+"):
        raise RedisError(MEANINGLESS % (text, text))
    return MAX_ID if text == b">" else strict_id(text)


def serve(
    ctx: Context, key: bytes, value: StreamValue, name: bytes, options: ReadOptions, last: bytes
) -> bool:
    """Deliver from one stream; False if there is nothing new, and nothing was written."""
    group = value.groups[name]
    history = last != MAX_ID
    fresh = not history and len(value) > 0 and value.last_valid() > group.last_id
    consumer = group.consumers.get(options.consumer)
    if consumer is None:
        consumer = create_consumer(ctx.db, key, name, group, options.consumer)
    consumer.seen_ms = ctx.now_ms
    if history:
        write_head(ctx, key)
        write_history(ctx, key, value, name, group, consumer, last, options.count)
    elif fresh:
        write_head(ctx, key)
        deliver(ctx, key, value, name, group, consumer, options)
    return history or fresh


def deliver(
    ctx: Context, key: bytes, value: StreamValue, name: bytes, group: Group, consumer: Consumer,
    options: ReadOptions,
) -> None:  # fmt: skip
    """Write what the group has not delivered yet; unless NOACK, it is pending from now on."""
    ids: list[bytes] = []
    start = next_id(group.last_id) or ZERO_ID
    value.write_range(ctx.reply, start, MAX_ID, options.count, False, True, ids)
    advance(ctx.db, key, name, value, group, ids)
    if not options.noack:
        consumer.active_ms = ctx.now_ms
        claim(ctx.db, key, name, group, consumer, ids, ctx.now_ms, 1)


def write_history(
    ctx: Context, key: bytes, value: StreamValue, name: bytes, group: Group, consumer: Consumer,
    last: bytes, count: i64,
) -> None:  # fmt: skip
    """Write what the consumer has pending behind `last`; entries that are gone have no fields."""
    ids = consumer.pending.page(next_id(last) or ZERO_ID, MAX_ID, count)
    ctx.reply.array(len(ids))
    for id in ids:
        if value.write_range(ctx.reply, id, id, 1, False, False, None):
            deliveries = wrap64(group.record(id)[1] + 1)
            claim(ctx.db, key, name, group, consumer, [id], ctx.now_ms, deliveries)
        else:
            ctx.reply.array(2)
            ctx.reply.bulk(format_id(id))
            ctx.reply.null_array()
