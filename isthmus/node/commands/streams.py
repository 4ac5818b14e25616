"""Stream commands: XADD, XLEN, XRANGE, XREVRANGE, XDEL, XTRIM, XSETID, XREAD.

Consumer groups are in stream_groups.py, reading through them in stream_delivery.py, XINFO in
stream_info.py. The order of checks (options before or after the look-up of the key) is Redis' own,
because it decides which error a client sees.
"""

from __future__ import annotations

from isthmus.node.engine.args import deadline_ms, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NO_SUCH_KEY, RedisError, wrong_arity
from isthmus.node.engine.registry import ARRAY, BULK, INTEGER, MAP, NULL, OK, command
from isthmus.node.engine.spec import BLOCKING, DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.stream_ids import (
    MAX_ID,
    ZERO_ID,
    format_id,
    make_id,
    next_id,
    parse_id,
    previous_id,
)
from isthmus.node.values.streams import (
    StreamValue,
    add,
    create,
    remove,
    set_state,
    trim_before,
    trim_length,
)
from isthmus.wire.scalars import i64

INVALID_ID = b"ERR Invalid stream ID specified as stream command argument"
TWO_STRATEGIES = b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
NO_STRATEGY = b"ERR syntax error, XTRIM must be called with a trimming strategy"
LIMIT_ALONE = b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
LIMIT_EXACT = b"ERR syntax error, LIMIT cannot be used without the special ~ option"
NEGATIVE_MAXLEN = b"ERR The MAXLEN argument must be >= 0."
NEGATIVE_LIMIT = b"ERR The LIMIT argument must be >= 0."
ID_ZERO = b"ERR The ID specified in XADD must be greater than 0-0"
ID_EXHAUSTED = b"ERR The stream has exhausted the last possible ID, unable to add more items"
ID_TOO_SMALL = b"ERR The ID specified in XADD is equal or smaller than the target stream top item"
TOO_LARGE = b"ERR Elements are too large to be stored"
BAD_START = b"ERR invalid start ID for the interval"
BAD_END = b"ERR invalid end ID for the interval"
NEGATIVE_ADDED = b"ERR entries_added must be positive"
LAST_BELOW_GIVEN = (
    b"ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
)
LAST_BELOW_DELETED = b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
LAST_BELOW_TOP = b"ERR The ID specified in XSETID is smaller than the target stream top item"
ADDED_BELOW_LENGTH = (
    b"ERR The entries_added specified in XSETID is smaller than the target stream length"
)
UNBALANCED = (
    b"ERR Unbalanced '%s' list of streams: for each stream key an ID or '%s' must be specified."
)
GROUP_IN_XREAD = b"ERR The %s option is only supported by XREADGROUP. You called XREAD instead."
NEW_IN_XREAD = (
    b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> "
    b"<consumer> option."
)

READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
UPDATE_KEYS = "idx:1>range:0,1,0(RW|UPDATE)"
DELETE_KEYS = "idx:1>range:0,1,0(RW|DELETE)"
RANGE_COST = (
    "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking "
    "for the first 10 elements with COUNT), you can consider it O(1)."
)

ENTRY_BYTES_MAX = 1 << 30
TRIM_LIMIT_MAX = 1_000_000
TRIM_LIMIT_DEFAULT = 10_000
# How a trim is bounded, and what XADD was given for an id.
NOTHING, BY_LENGTH, BY_ID = 0, 1, 2
AUTO, AUTO_SEQ, GIVEN = 0, 1, 2


# --- ids -----------------------------------------------------------------------------------------


def strict_id(text: bytes, end: bool = False) -> bytes:
    """A whole id or one without its second part."""
    id = parse_id(text, end)
    if id is None:
        raise RedisError(INVALID_ID)
    return id


def any_id(text: bytes, end: bool) -> bytes:
    """As strict_id(), or `-` and `+` for the first and the last."""
    if text == b"-":
        return ZERO_ID
    return MAX_ID if text == b"+" else strict_id(text, end)


def start_of(text: bytes) -> bytes:
    """Where an interval starts; `(` in front leaves the id itself out."""
    if text[:1] != b"(" or len(text) == 1:
        return any_id(text, False)
    id = next_id(strict_id(text[1:], False))
    if id is None:
        raise RedisError(BAD_START)
    return id


def end_of(text: bytes) -> bytes:
    """Where an interval ends."""
    if text[:1] != b"(" or len(text) == 1:
        return any_id(text, True)
    id = previous_id(strict_id(text[1:], True))
    if id is None:
        raise RedisError(BAD_END)
    return id


# --- adding and trimming -------------------------------------------------------------------------


class AddOptions:
    """What stands before the fields of XADD, and all of XTRIM."""

    def __init__(self) -> None:
        self.strategy = NOTHING
        self.exact = True
        self.most = 0
        self.before = ZERO_ID
        self.limit = 0
        self.make = True
        self.kind = AUTO
        self.id = ZERO_ID
        # Where the id stands.
        self.at = 2


def read_options(ctx: Context, argv: list[bytes], adding: bool) -> AddOptions:
    """The options of XADD (`adding`) up to the id, or those of XTRIM."""
    options = AddOptions()
    limited = False
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        more = len(argv) - 1 - at
        if adding and word == b"*":
            break
        if word in (b"MAXLEN", b"MINID") and more:
            at = read_threshold(options, argv, at, word == b"MAXLEN")
        elif word == b"LIMIT" and more:
            at += 1
            options.limit = integer(argv[at])
            if options.limit < 0:
                raise RedisError(NEGATIVE_LIMIT)
            limited = True
        elif adding and word == b"NOMKSTREAM":
            options.make = False
        elif adding:
            read_new_id(options, argv[at])
            break
        else:
            raise syntax()
        at += 1
    options.at = at
    if options.limit and options.strategy == NOTHING:
        raise RedisError(LIMIT_ALONE)
    if not adding and options.strategy == NOTHING:
        raise RedisError(NO_STRATEGY)
    if limited:
        if options.exact:
            raise RedisError(LIMIT_EXACT)
    elif not options.exact:
        limit = 100 * ctx.config.integer("stream-node-max-entries")
        options.limit = min(limit if limit > 0 else TRIM_LIMIT_DEFAULT, TRIM_LIMIT_MAX)
    return options


def read_threshold(options: AddOptions, argv: list[bytes], at: i64, by_length: bool) -> i64:
    """MAXLEN or MINID at `at`, whose threshold may have = or ~ in front; returns where it is."""
    if options.strategy != NOTHING:
        raise RedisError(TWO_STRATEGIES)
    options.exact = True
    at += 1
    if at + 1 < len(argv) and argv[at] in (b"~", b"="):
        options.exact = argv[at] == b"="
        at += 1
    if by_length:
        options.most = integer(argv[at])
        if options.most < 0:
            raise RedisError(NEGATIVE_MAXLEN)
        options.strategy = BY_LENGTH
    else:
        options.before = strict_id(argv[at])
        options.strategy = BY_ID
    return at


def read_new_id(options: AddOptions, text: bytes) -> None:
    """The id of a new entry: whole, without its second part, or with `*` for that."""
    if text[-2:] == b"-*" and b"-" not in text[:-2]:
        options.kind = AUTO_SEQ
        options.id = strict_id(text[:-2])
    else:
        options.kind = GIVEN
        options.id = strict_id(text)


def trim(ctx: Context, key: bytes, value: StreamValue, options: AddOptions) -> i64:
    """Trim as the options say; returns how many entries went."""
    if options.strategy == BY_LENGTH:
        return trim_length(ctx.db, key, value, options.most, options.exact, options.limit)
    if options.strategy == BY_ID:
        return trim_before(ctx.db, key, value, options.before, options.exact, options.limit)
    return 0


@command("XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> "
         "field value [field value ...]", since="5.0.0", group="stream",
         flags=WRITE | DENYOOM | FAST, categories="STREAM", keys=UPDATE_KEYS,
         complexity="O(1) when adding a new entry, O(N) when trimming where N being the number of "
         "entries evicted.", tips="NONDETERMINISTIC_OUTPUT", reply=BULK | NULL)  # fmt: skip
def xadd(ctx: Context, argv: list[bytes]) -> None:
    """Add an entry to a stream, which is made if need be; reply with its id."""
    options: AddOptions | None = None
    at: i64 = 2
    if argv[2] != b"*":
        options = read_options(ctx, argv, True)
        at = options.at
    fields = len(argv) - at - 1
    if fields < 2 or fields % 2:
        raise wrong_arity(b"xadd")
    if options is not None and options.kind == GIVEN and options.id == ZERO_ID:
        raise RedisError(ID_ZERO)
    key = argv[1]
    value: StreamValue | None = ctx.write(key, StreamValue)
    if value is None:
        if options is not None and not options.make:
            ctx.reply.null()
            return
        id = new_id(ctx, options, None)
        check_size(argv, at + 1)
        value = create(ctx.db, key)
    else:
        id = new_id(ctx, options, value)
        check_size(argv, at + 1)
    config = ctx.config
    bytes_max: i64 = config.integer("stream-node-max-bytes")
    add(ctx.db, key, value, argv, at + 1, id, bytes_max, config.integer("stream-node-max-entries"))
    ctx.reply.bulk(format_id(id))
    if options is not None and options.strategy != NOTHING:
        trim(ctx, key, value, options)


def new_id(ctx: Context, options: AddOptions | None, value: StreamValue | None) -> bytes:
    """The id that a new entry of value (None: of a new stream) gets."""
    if options is None or options.kind == AUTO:
        auto = make_id(ctx.now_ms, 0) if value is None else value.auto_id(ctx.now_ms)
        if auto is None:
            raise RedisError(ID_EXHAUSTED)
        return auto
    last = ZERO_ID if value is None else value.last_id
    if last == MAX_ID:
        raise RedisError(ID_EXHAUSTED)
    id = options.id
    if options.kind == AUTO_SEQ and id[:8] == last[:8]:
        # The first part may not move on.
        following = next_id(last)
        if following is None or following[:8] != last[:8]:
            raise RedisError(ID_TOO_SMALL)
        return following
    if id <= last:
        raise RedisError(ID_TOO_SMALL)
    return id


def check_size(argv: list[bytes], first: i64) -> None:
    """Refuse an entry that no listpack could hold."""
    total: i64 = 0
    at = first
    while at < len(argv):
        total += len(argv[at])
        at += 1
    if total > ENTRY_BYTES_MAX:
        raise RedisError(TOO_LARGE)


@command("XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]", since="5.0.0",
         group="stream", flags=WRITE, categories="STREAM", keys=DELETE_KEYS,
         complexity="O(N), with N being the number of evicted entries. Constant times are very "
         "small however, since entries are organized in macro nodes containing multiple entries "
         "that can be released with a single deallocation.", tips="NONDETERMINISTIC_OUTPUT",
         reply=INTEGER)  # fmt: skip
def xtrim(ctx: Context, argv: list[bytes]) -> None:
    """Remove the oldest entries of a stream; reply with how many."""
    options = read_options(ctx, argv, False)
    value: StreamValue | None = ctx.write(argv[1], StreamValue)
    ctx.reply.integer(0 if value is None else trim(ctx, argv[1], value, options))


@command("XDEL key id [id ...]", since="5.0.0", group="stream", flags=WRITE | FAST,
         categories="STREAM", keys=DELETE_KEYS,
         complexity="O(1) for each single item to delete in the stream, regardless of the stream "
         "size.", reply=INTEGER)  # fmt: skip
def xdel(ctx: Context, argv: list[bytes]) -> None:
    """Remove entries by their ids; reply with how many there were."""
    value: StreamValue | None = ctx.write(argv[1], StreamValue)
    if value is None:
        ctx.reply.integer(0)
        return
    ids = [strict_id(text) for text in argv[2:]]
    ctx.reply.integer(remove(ctx.db, argv[1], value, ids))


@command("XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
         since="5.0.0", group="stream", flags=WRITE | DENYOOM | FAST, categories="STREAM",
         keys=UPDATE_KEYS, complexity="O(1)", reply=OK)  # fmt: skip
def xsetid(ctx: Context, argv: list[bytes]) -> None:
    """Set the last id of a stream, and what is known of entries that are gone."""
    last = strict_id(argv[2])
    added = -1
    top = ZERO_ID
    at = 3
    while at < len(argv):
        word = argv[at].upper()
        if at + 1 == len(argv) or word not in (b"ENTRIESADDED", b"MAXDELETEDID"):
            raise syntax()
        if word == b"ENTRIESADDED":
            added = integer(argv[at + 1])
            if added < 0:
                raise RedisError(NEGATIVE_ADDED)
        else:
            top = strict_id(argv[at + 1])
            if last < top:
                raise RedisError(LAST_BELOW_GIVEN)
        at += 2
    value: StreamValue | None = ctx.write(argv[1], StreamValue)
    if value is None:
        raise RedisError(NO_SUCH_KEY)
    if last < value.top_deleted:
        raise RedisError(LAST_BELOW_DELETED)
    if len(value):
        if last < value.last_valid():
            raise RedisError(LAST_BELOW_TOP)
        if -1 < added < len(value):
            raise RedisError(ADDED_BELOW_LENGTH)
    if added == -1:
        added = value.entries_added
    set_state(ctx.db, argv[1], value, last, value.top_deleted if top == ZERO_ID else top, added)
    ctx.reply.ok()


# --- reading -------------------------------------------------------------------------------------


@command("XLEN key", since="5.0.0", group="stream", flags=READONLY | FAST, categories="STREAM",
         keys="idx:1>range:0,1,0(RO)", complexity="O(1)", reply=INTEGER)  # fmt: skip
def xlen(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of entries of a stream; 0 if it is missing."""
    value: StreamValue | None = ctx.read(argv[1], StreamValue)
    ctx.reply.integer(0 if value is None else value.length)


def write_interval(ctx: Context, argv: list[bytes], reverse: bool) -> None:
    """XRANGE and XREVRANGE."""
    start = start_of(argv[3 if reverse else 2])
    end = end_of(argv[2 if reverse else 3])
    count: i64 = -1
    at = 4
    while at < len(argv):
        if argv[at].upper() != b"COUNT" or at + 1 == len(argv):
            raise syntax()
        count = max(integer(argv[at + 1]), 0)
        at += 2
    value: StreamValue | None = ctx.read(argv[1], StreamValue)
    if value is None:
        ctx.reply.empty_array()
    elif count == 0:
        ctx.reply.null_array()
    else:
        value.write_range(ctx.reply, start, end, max(count, 0), reverse, True, None)


@command("XRANGE key start end [COUNT count]", since="5.0.0", group="stream", flags=READONLY,
         categories="STREAM", keys=READ_KEYS, complexity=RANGE_COST,
         reply=ARRAY | NULL)  # fmt: skip
def xrange(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the entries in an interval of ids."""
    write_interval(ctx, argv, False)


@command("XREVRANGE key end start [COUNT count]", since="5.0.0", group="stream", flags=READONLY,
         categories="STREAM", keys=READ_KEYS, complexity=RANGE_COST,
         reply=ARRAY | NULL)  # fmt: skip
def xrevrange(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the entries in an interval of ids, the last one first."""
    write_interval(ctx, argv, True)


class ReadOptions:
    """What stands before the keys of XREAD and XREADGROUP."""

    def __init__(self) -> None:
        self.count = 0
        # Whether to wait, and until when (Unix ms; 0: for ever).
        self.wait = False
        self.deadline_ms = 0
        self.group: bytes | None = None
        self.consumer = b""
        self.noack = False
        # Where the keys begin, and how many there are.
        self.at = 0
        self.streams = 0


def read_read_options(
    ctx: Context, argv: list[bytes], grouped: bool, unbalanced: bytes
) -> ReadOptions:
    """The options of XREAD, or of XREADGROUP if `grouped`."""
    options = ReadOptions()
    at = 1
    while at < len(argv) and not options.at:
        word = argv[at].upper()
        more = len(argv) - 1 - at
        if word == b"BLOCK" and more:
            at += 1
            options.wait = True
            options.deadline_ms = deadline_ms(argv[at], ctx)
        elif word == b"COUNT" and more:
            at += 1
            options.count = max(integer(argv[at]), 0)
        elif word == b"STREAMS" and more:
            options.at = at + 1
            if more % 2:
                raise RedisError(unbalanced)
            options.streams = more // 2
        elif word == b"GROUP" and more >= 2:
            if not grouped:
                raise RedisError(GROUP_IN_XREAD % b"GROUP")
            options.group, options.consumer = argv[at + 1], argv[at + 2]
            at += 2
        elif word == b"NOACK":
            if not grouped:
                raise RedisError(GROUP_IN_XREAD % b"NOACK")
            options.noack = True
        else:
            raise syntax()
        at += 1
    if not options.at:
        raise syntax()
    return options


@command("XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
         since="5.0.0", group="stream", flags=BLOCKING | READONLY, categories="STREAM",
         keys="kw:STREAMS@1>range:-1,1,2(RO|ACCESS)",
         complexity="O(N) for each stream, with N being the number of entries returned.",
         reply=ARRAY | MAP | NULL)  # fmt: skip
def xread(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the entries of streams behind given ids, or wait for some."""
    options = read_read_options(ctx, argv, False, UNBALANCED % (b"xread", b"$"))
    first = options.at
    after = [
        known_id(ctx, argv[at], argv[at + options.streams])
        for at in range(first, first + options.streams)
    ]
    mark = ctx.reply.mark()
    served = 0
    for at, last in enumerate(after, first):
        value: StreamValue | None = ctx.read(argv[at], StreamValue)
        if value is None or not len(value) or value.last_valid() <= last:
            continue
        served += 1
        write_head(ctx, argv[at])
        start = next_id(last)
        value.write_range(
            ctx.reply, ZERO_ID if start is None else start, MAX_ID, options.count, False, True, None
        )
    if served:
        close_streams(ctx, mark, served)
        return
    if options.wait:
        for at, last in enumerate(after, first + options.streams):
            # When the command is executed again, `$` still means now.
            if argv[at] == b"$":
                argv[at] = format_id(last)
        keys = argv[first : first + options.streams]
        if ctx.block(b"stream", keys, argv, options.deadline_ms):
            return
    ctx.reply.null_array()


def known_id(ctx: Context, key: bytes, text: bytes) -> bytes:
    """The id behind which to read."""
    value: StreamValue | None = ctx.read(key, StreamValue)
    if text == b"$":
        return ZERO_ID if value is None else value.last_id
    if text == b"+":
        if value is None or not len(value):
            return ZERO_ID
        return previous_id(value.last_valid()) or MAX_ID
    if text == b">":
        raise RedisError(NEW_IN_XREAD)
    return strict_id(text)


def write_head(ctx: Context, key: bytes) -> None:
    """The name of a stream, whose entries follow."""
    if ctx.reply.protocol < 3:
        ctx.reply.array(2)
    ctx.reply.bulk(key)


def close_streams(ctx: Context, mark: i64, count: i64) -> None:
    """Put the head before the streams that were written since mark."""
    data = ctx.reply.take_from(mark)
    if ctx.reply.protocol < 3:
        ctx.reply.array(count)
    else:
        ctx.reply.map(count)
    ctx.reply.raw(data)
