"""Commands about consumer groups: XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM.

Reading through a group is in stream_delivery.py, the effects in values/stream_groups.py. An entry
may be pending although it was deleted from the stream; whoever claims it finds that out, and then
it is pending no longer. Names stand in errors as C strings, cut at a zero byte, as Redis has them.
"""

from __future__ import annotations

from isthmus.node.commands.client import write_help
from isthmus.node.commands.streams import end_of, start_of, strict_id
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.effect_log import LOCAL
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ARRAY, INTEGER, OK, command, container
from isthmus.node.engine.spec import DENYOOM, FAST, LOADING, READONLY, STALE, WRITE
from isthmus.node.values.pending_list import PendingList
from isthmus.node.values.stream_groups import (
    acknowledge,
    claim,
    create_consumer,
    create_group,
    delete_consumer,
    destroy_group,
    set_group,
)
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id, next_id, wrap64
from isthmus.node.values.streams import UNKNOWN, Consumer, Group, StreamValue
from isthmus.wire.scalars import INT64_MAX

HELP = (
    b"XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CREATE <key> <groupname> <id|$> [option]",
    b"    Create a new consumer group. Options are:",
    b"    * MKSTREAM",
    b"      Create the empty stream if it does not exist.",
    b"    * ENTRIESREAD entries_read",
    b"      Set the group's entries_read counter (internal use).",
    b"CREATECONSUMER <key> <groupname> <consumer>",
    b"    Create a new consumer in the specified group.",
    b"DELCONSUMER <key> <groupname> <consumer>",
    b"    Remove the specified consumer.",
    b"DESTROY <key> <groupname>",
    b"    Remove the specified group.",
    b"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    b"    Set the current group ID and entries_read counter.",
    b"HELP",
    b"    Prints this help.",
)
NEGATIVE_READ = b"ERR value for ENTRIESREAD must be positive or -1"
KEY_REQUIRED = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to "
    b"use the MKSTREAM option to create an empty stream automatically."
)
BUSY_GROUP = b"BUSYGROUP Consumer Group name already exists"
BAD_IDLE = b"ERR Invalid min-idle-time argument for %s"
BAD_OPTION = b"ERR Invalid %s option argument for XCLAIM"
COUNT_TOO_SMALL = b"ERR COUNT must be > 0"
COUNT_TOO_HIGH = b"ERR Insufficient memory, failed allocating transient memory, COUNT too high."

GROUP_KEYS = "idx:2>range:0,1,0(RW|%s)"
# As in Redis, where the count is multiplied by the size of an id, and must then be allocated.
CLAIM_COUNT_MAX = INT64_MAX // 16
CLAIM_TRANSIENT_MAX = 1 << 36
CLAIM_COUNT_DEFAULT = 100
ATTEMPTS_PER_CLAIM = 10
PAGE = 128


def shown(name: bytes) -> bytes:
    """A name as Redis puts it into an error: it ends at a zero byte."""
    return name.partition(b"\0")[0]


def no_group(key: bytes, name: bytes, where: bytes = b"") -> RedisError:
    """The error for a missing key or group."""
    text = b"NOGROUP No such key '" + shown(key) + b"' or consumer group '" + shown(name) + b"'"
    return RedisError(text + where)


def no_such_group(key: bytes, name: bytes) -> RedisError:
    """The error for a missing group of a key that is there."""
    text = b"NOGROUP No such consumer group '" + shown(name) + b"' for key name '"
    return RedisError(text + shown(key) + b"'")


def bad_subcommand(argv: list[bytes]) -> RedisError:
    """The error for arguments that a sub-command does not take."""
    text = b"ERR unknown subcommand or wrong number of arguments for '" + shown(argv[1][:128])
    return RedisError(text + b"'. Try " + argv[0].upper() + b" HELP.")


def group_of(ctx: Context, argv: list[bytes]) -> tuple[StreamValue, Group]:
    """The stream argv[1] and its group argv[2]; raises NOGROUP."""
    value: StreamValue | None = ctx.read(argv[1], StreamValue)
    group = None if value is None else value.groups.get(argv[2])
    if value is None or group is None:
        raise no_group(argv[1], argv[2])
    return value, group


# --- XGROUP --------------------------------------------------------------------------------------

container("XGROUP", since="5.0.0", group="stream")


@command("XGROUP HELP", since="5.0.0", group="stream", flags=LOADING | STALE, categories="STREAM",
         complexity="O(1)", reply=ARRAY)  # fmt: skip
def xgroup_help(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the sub-commands of XGROUP."""
    write_help(ctx, HELP)


def stream_for(ctx: Context, argv: list[bytes], optional: bool = False) -> StreamValue | None:
    """The stream argv[2], which must be there unless it is optional."""
    value: StreamValue | None = ctx.write(argv[2], StreamValue)
    if value is None and not optional:
        raise RedisError(KEY_REQUIRED)
    return value


def group_for(ctx: Context, argv: list[bytes]) -> tuple[StreamValue, Group]:
    """The stream argv[2] and its group argv[3]."""
    value = stream_for(ctx, argv)
    assert value is not None
    group = value.groups.get(argv[3])
    if group is None:
        raise no_such_group(argv[2], argv[3])
    return value, group


def read_entries_read(ctx: Context, argv: list[bytes], creating: bool) -> tuple[int, bool]:
    """[MKSTREAM] [ENTRIESREAD n] from argv[5] on; MKSTREAM only while creating."""
    read, make = UNKNOWN, False
    at = 5
    while at < len(argv):
        word = argv[at].upper()
        if creating and word == b"MKSTREAM":
            make = True
        elif word == b"ENTRIESREAD" and at + 1 < len(argv):
            at += 1
            read = integer(argv[at])
            # A count that came about by wrapping is below that, and has to be brought about again.
            if read < 0 and read != UNKNOWN and ctx.log.origin == LOCAL:
                raise RedisError(NEGATIVE_READ)
        else:
            raise bad_subcommand(argv)
        at += 1
    return read, make


@command("XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]", since="5.0.0",
         group="stream", flags=WRITE | DENYOOM, categories="STREAM", keys=GROUP_KEYS % "INSERT",
         complexity="O(1)", reply=OK)  # fmt: skip
def xgroup_create(ctx: Context, argv: list[bytes]) -> None:
    """Make a consumer group that delivers the entries behind an id."""
    read, make = read_entries_read(ctx, argv, True)
    value = stream_for(ctx, argv, make)
    if len(argv) > 8:
        raise bad_subcommand(argv)
    if argv[4] == b"$":
        last = ZERO_ID if value is None else value.last_id
    else:
        last = strict_id(argv[4])
    if value is not None and argv[3] in value.groups:
        raise RedisError(BUSY_GROUP)
    create_group(ctx.db, argv[2], value, argv[3], last, read)
    ctx.reply.ok()


@command("XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]", since="5.0.0",
         group="stream", flags=WRITE, categories="STREAM", keys=GROUP_KEYS % "UPDATE",
         complexity="O(1)", reply=OK)  # fmt: skip
def xgroup_setid(ctx: Context, argv: list[bytes]) -> None:
    """Set the id behind which a group delivers."""
    read, _ = read_entries_read(ctx, argv, False)
    value, group = group_for(ctx, argv)
    if len(argv) not in (5, 7):
        raise bad_subcommand(argv)
    if argv[4] == b"$":
        last = value.last_id
    elif argv[4] in (b"-", b"+"):
        last = ZERO_ID if argv[4] == b"-" else MAX_ID
    else:
        last = strict_id(argv[4])
    set_group(ctx.db, argv[2], argv[3], group, last, read, b"xgroup-setid")
    ctx.reply.ok()


@command("XGROUP DESTROY key group", since="5.0.0", group="stream", flags=WRITE,
         categories="STREAM", keys=GROUP_KEYS % "DELETE",
         complexity="O(N) where N is the number of entries in the group's pending entries list "
         "(PEL).", reply=INTEGER)  # fmt: skip
def xgroup_destroy(ctx: Context, argv: list[bytes]) -> None:
    """Delete a consumer group; reply with 1 if there was one."""
    value = stream_for(ctx, argv)
    assert value is not None
    if argv[3] not in value.groups:
        ctx.reply.integer(0)
        return
    destroy_group(ctx.db, argv[2], value, argv[3])
    ctx.reply.integer(1)


@command("XGROUP CREATECONSUMER key group consumer", since="6.2.0", group="stream",
         flags=WRITE | DENYOOM, categories="STREAM", keys=GROUP_KEYS % "INSERT",
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def xgroup_createconsumer(ctx: Context, argv: list[bytes]) -> None:
    """Make a consumer; reply with 1 if there was none of this name."""
    _, group = group_for(ctx, argv)
    if argv[4] in group.consumers:
        ctx.reply.integer(0)
        return
    create_consumer(ctx.db, argv[2], argv[3], group, argv[4])
    ctx.reply.integer(1)


@command("XGROUP DELCONSUMER key group consumer", since="5.0.0", group="stream", flags=WRITE,
         categories="STREAM", keys=GROUP_KEYS % "DELETE", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def xgroup_delconsumer(ctx: Context, argv: list[bytes]) -> None:
    """Delete a consumer; reply with the number of entries that it had pending."""
    _, group = group_for(ctx, argv)
    ctx.reply.integer(delete_consumer(ctx.db, argv[2], argv[3], group, argv[4]))


# --- pending entries -----------------------------------------------------------------------------


@command("XACK key group id [id ...]", since="5.0.0", group="stream", flags=WRITE | FAST,
         categories="STREAM", keys="idx:1>range:0,1,0(RW|UPDATE)",
         complexity="O(1) for each message ID processed.", reply=INTEGER)  # fmt: skip
def xack(ctx: Context, argv: list[bytes]) -> None:
    """Tell a group that entries are done; reply with how many were pending."""
    value: StreamValue | None = ctx.read(argv[1], StreamValue)
    group = None if value is None else value.groups.get(argv[2])
    if group is None:
        ctx.reply.integer(0)
        return
    ids = [strict_id(text) for text in argv[3:]]
    ctx.reply.integer(acknowledge(ctx.db, argv[1], argv[2], group, ids))


@command("XPENDING key group [[IDLE min-idle-time] start end count [consumer]]", since="5.0.0",
         group="stream", flags=READONLY, categories="STREAM",
         keys="idx:1>range:0,1,0(RO|ACCESS)",
         complexity="O(N) with N being the number of elements returned, so asking for a small "
         "fixed number of entries per call is O(1). O(M), where M is the total number of entries "
         "scanned when used with the IDLE filter. When the command returns just the summary and "
         "the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time "
         "for iterating every consumer.", tips="NONDETERMINISTIC_OUTPUT",
         reply=ARRAY)  # fmt: skip
def xpending(ctx: Context, argv: list[bytes]) -> None:
    """Reply with what is pending in a group: a summary, or entry by entry."""
    if len(argv) != 3 and not 6 <= len(argv) <= 9:
        raise syntax()
    if len(argv) == 3:
        write_summary(ctx, group_of(ctx, argv)[1])
        return
    at, idle_min = 3, 0
    if argv[3].upper() == b"IDLE":
        idle_min = integer(argv[4])
        if len(argv) < 8:
            raise syntax()
        at = 5
    count = max(integer(argv[at + 2]), 0)
    start, end = start_of(argv[at]), end_of(argv[at + 1])
    _, group = group_of(ctx, argv)
    pending = group.pending
    if at + 3 < len(argv):
        consumer = group.consumers.get(argv[at + 3])
        if consumer is None:
            ctx.reply.empty_array()
            return
        pending = consumer.pending
    ids = pending_ids(group, pending, start, end, count, ctx.now_ms - idle_min if idle_min else -1)
    ctx.reply.array(len(ids))
    for id in ids:
        time_ms, deliveries, owner = group.record(id)
        ctx.reply.array(4)
        ctx.reply.bulk(format_id(id))
        ctx.reply.bulk(group.owners[owner].name)
        ctx.reply.integer(max(ctx.now_ms - time_ms, 0))
        ctx.reply.integer(deliveries)


def pending_ids(
    group: Group, pending: PendingList, start: bytes, end: bytes, count: int, latest_ms: int
) -> list[bytes]:
    """At most `count` ids from start to end, delivered at latest_ms or before (-1: at any time)."""
    if not count:
        return []
    if latest_ms == -1:
        return pending.page(start, end, count)
    found: list[bytes] = []
    at: bytes | None = start
    while at is not None:
        page = pending.page(at, end, PAGE)
        for id in page:
            if group.record(id)[0] <= latest_ms:
                found.append(id)
                if len(found) == count:
                    return found
        at = next_id(page[-1]) if page else None
    return found


def write_summary(ctx: Context, group: Group) -> None:
    """How many entries are pending, the first and the last, and how many each consumer has."""
    ctx.reply.array(4)
    ctx.reply.integer(len(group.pending))
    last = group.pending.last()
    if last is None:
        ctx.reply.null()
        ctx.reply.null()
        ctx.reply.null_array()
        return
    ctx.reply.bulk(format_id(group.pending.page(ZERO_ID, MAX_ID, 1)[0]))
    ctx.reply.bulk(format_id(last))
    busy = [name for name in sorted(group.consumers) if len(group.consumers[name].pending)]
    ctx.reply.array(len(busy))
    for name in busy:
        ctx.reply.array(2)
        ctx.reply.bulk(name)
        ctx.reply.bulk(b"%d" % len(group.consumers[name].pending))


# --- claiming ------------------------------------------------------------------------------------


class ClaimOptions:
    """What stands behind the ids of XCLAIM; -1: not given."""

    def __init__(self) -> None:
        self.time_ms = -1
        self.count = -1
        self.force = False
        self.just_id = False
        self.last_id = ZERO_ID


def read_claim_options(ctx: Context, argv: list[bytes], at: int) -> ClaimOptions:
    """The options of XCLAIM from `at` on."""
    options = ClaimOptions()
    while at < len(argv):
        word = argv[at].upper()
        more = at + 1 < len(argv)
        if word == b"FORCE":
            options.force = True
        elif word == b"JUSTID":
            options.just_id = True
        elif word in (b"IDLE", b"TIME", b"RETRYCOUNT") and more:
            at += 1
            number = integer(argv[at], BAD_OPTION % word)
            if word == b"RETRYCOUNT":
                options.count = number
            else:
                options.time_ms = number if word == b"TIME" else ctx.now_ms - number
        elif word == b"LASTID" and more:
            at += 1
            options.last_id = strict_id(argv[at])
        else:
            raise RedisError(b"ERR Unrecognized XCLAIM option '" + shown(argv[at]) + b"'")
        at += 1
    # Times that cannot be are those of clients with a clock of their own: no reason to fail.
    if not 0 <= options.time_ms <= ctx.now_ms:
        options.time_ms = ctx.now_ms
    return options


def consumer_for(ctx: Context, argv: list[bytes], group: Group) -> Consumer:
    """The consumer argv[3] of the group argv[2], made if need be; it is seen now."""
    consumer = group.consumers.get(argv[3])
    if consumer is None:
        consumer = create_consumer(ctx.db, argv[1], argv[2], group, argv[3])
    consumer.seen_ms = ctx.now_ms
    return consumer


def leading_ids(argv: list[bytes]) -> list[bytes]:
    """The ids from argv[5] on; what is no id begins the options."""
    ids = []
    for text in argv[5:]:
        try:
            ids.append(strict_id(text))
        except RedisError:
            break
    return ids


@command("XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] "
         "[TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
         since="5.0.0", group="stream", flags=WRITE | FAST, categories="STREAM",
         keys="idx:1>range:0,1,0(RW|UPDATE)",
         complexity="O(log N) with N being the number of messages in the PEL of the consumer "
         "group.", tips="NONDETERMINISTIC_OUTPUT", reply=ARRAY)  # fmt: skip
def xclaim(ctx: Context, argv: list[bytes]) -> None:
    """Give pending entries to another consumer; reply with those that it got."""
    key, name = argv[1], argv[2]
    value, group = group_of(ctx, argv)
    idle_min = max(integer(argv[4], BAD_IDLE % b"XCLAIM"), 0)
    ids = leading_ids(argv)
    options = read_claim_options(ctx, argv, 5 + len(ids))
    if group.last_id < options.last_id:
        set_group(ctx.db, key, name, group, options.last_id, group.entries_read, b"")
    consumer = consumer_for(ctx, argv, group)
    claimed = []
    for id in ids:
        found = group.pending.get(id)
        if not value.contains(id):
            # The entry was deleted meanwhile.
            acknowledge(ctx.db, key, name, group, [id])
            continue
        if found is None:
            if not options.force:
                continue
            deliveries = 1
        elif idle_min and ctx.now_ms - found[0] < idle_min:
            continue
        else:
            deliveries = found[1]
        if options.count >= 0:
            deliveries = options.count
        elif not options.just_id:
            deliveries = wrap64(deliveries + 1)
        consumer.active_ms = ctx.now_ms
        ctx.log.dirty += 1
        claim(ctx.db, key, name, group, consumer, [id], options.time_ms, deliveries)
        claimed.append(id)
    ctx.reply.array(len(claimed))
    for id in claimed:
        write_claimed(ctx, value, id, options.just_id)


def write_claimed(ctx: Context, value: StreamValue, id: bytes, just_id: bool) -> None:
    """The entry of an id that is there, or the id alone."""
    if just_id:
        ctx.reply.bulk(format_id(id))
    else:
        value.write_range(ctx.reply, id, id, 1, False, False, None)


def read_autoclaim_options(argv: list[bytes]) -> tuple[int, bool]:
    """[COUNT count] [JUSTID]"""
    count, just_id = CLAIM_COUNT_DEFAULT, False
    at = 6
    while at < len(argv):
        word = argv[at].upper()
        if word == b"COUNT" and at + 1 < len(argv):
            at += 1
            count = bounded(argv[at], 1, CLAIM_COUNT_MAX, COUNT_TOO_SMALL)
        elif word == b"JUSTID":
            just_id = True
        else:
            raise syntax()
        at += 1
    return count, just_id


@command("XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]",
         since="6.2.0", group="stream", flags=WRITE | FAST, categories="STREAM",
         keys="idx:1>range:0,1,0(RW|DELETE)", complexity="O(1) if COUNT is small.",
         tips="NONDETERMINISTIC_OUTPUT", reply=ARRAY)  # fmt: skip
def xautoclaim(ctx: Context, argv: list[bytes]) -> None:
    """Give a consumer what has been pending for long; reply with where to go on, and with that."""
    idle_min = max(integer(argv[4], BAD_IDLE % b"XAUTOCLAIM"), 0)
    start = start_of(argv[5])
    count, just_id = read_autoclaim_options(argv)
    key, name = argv[1], argv[2]
    value, group = group_of(ctx, argv)
    if count > CLAIM_TRANSIENT_MAX:
        raise RedisError(COUNT_TOO_HIGH)
    consumer = consumer_for(ctx, argv, group)
    claimed: list[bytes] = []
    gone: list[bytes] = []
    attempts = count * ATTEMPTS_PER_CLAIM
    cursor: bytes | None = start
    while cursor is not None and attempts and count:
        page = group.pending.page(cursor, MAX_ID, min(attempts, count, PAGE))
        if not page:
            cursor = None
            break
        for id in page:
            attempts -= 1
            cursor = next_id(id)
            found = group.record(id)
            if not value.contains(id):
                acknowledge(ctx.db, key, name, group, [id])
                gone.append(id)
            elif idle_min and ctx.now_ms - found[0] < idle_min:
                continue
            else:
                deliveries = found[1] if just_id else wrap64(found[1] + 1)
                consumer.active_ms = ctx.now_ms
                ctx.log.dirty += 1
                claim(ctx.db, key, name, group, consumer, [id], ctx.now_ms, deliveries)
                claimed.append(id)
            count -= 1
            if not count or not attempts:
                break
    rest = [] if cursor is None else group.pending.page(cursor, MAX_ID, 1)
    ctx.reply.array(3)
    ctx.reply.bulk(format_id(rest[0] if rest else ZERO_ID))
    ctx.reply.array(len(claimed))
    for id in claimed:
        write_claimed(ctx, value, id, just_id)
    ctx.reply.array(len(gone))
    for id in gone:
        ctx.reply.bulk(format_id(id))
