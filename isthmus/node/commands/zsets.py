"""Sorted set commands about members: adding, removing, scores, pops, random draws, ZSCAN.

Ranges are in zset_ranges.py, unions and the like in zset_algebra.py. The order of checks (numbers
before or after the look-up of the key) is Redis' own, because it decides which error a client sees.
"""

from __future__ import annotations

from isthmus.node.commands.scan_options import (
    BUCKETS_PER_ELEMENT,
    ScanOptions,
    parse_cursor,
    write_nothing,
)
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import (
    NOT_FLOAT,
    NOT_POSITIVE,
    OUT_OF_RANGE,
    RedisError,
)
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.registry import ARRAY, BULK, DOUBLE, INTEGER, NULL, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.draws import (
    REPEATS_MAX,
    REPLY_BYTES_MAX,
    REPLY_TOO_LARGE,
    TOO_MANY_REPEATS,
    distinct_keys,
)
from isthmus.node.values.score_index import read_score
from isthmus.node.values.zsets import (
    GT,
    INCR,
    LT,
    NX,
    XX,
    ZSetValue,
    add_one,
    add_pairs,
    create,
    remove_members,
    remove_range,
)
from isthmus.wire.scalars import INT64_MAX, format_float, i64

NX_AND_XX = b"ERR XX and NX options at the same time are not compatible"
GT_LT_NX = b"ERR GT, LT, and/or NX options at the same time are not compatible"
INCR_PAIRS = b"ERR INCR option supports a single increment-element pair"
NUMKEYS_TOO_SMALL = b"ERR numkeys should be greater than 0"
COUNT_TOO_SMALL = b"ERR count should be greater than 0"
RANDOM_COUNT = b"ERR value is out of range, value must between %d and %d" % (-INT64_MAX, INT64_MAX)

CHANGED = 32
OPTIONS = {b"NX": NX, b"XX": XX, b"GT": GT, b"LT": LT, b"INCR": INCR, b"CH": CHANGED}

LOOK_KEYS = "idx:1>range:0,1,0(RO)"
READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
POP_KEYS = "idx:1>range:0,1,0(RW|ACCESS|DELETE)"
POP_COST = (
    "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of "
    "elements popped."
)


def refit(ctx: Context, value: ZSetValue) -> None:
    """Let a set that grew see whether it is past the thresholds of a listpack."""
    config = ctx.config
    value.fit(
        config.integer("zset-max-listpack-entries"), config.integer("zset-max-listpack-value")
    )


def score_of(text: bytes, error: bytes = NOT_FLOAT) -> float:
    """A score as written by a client; raises RedisError(error)."""
    try:
        return read_score(text)
    except ValueError:
        raise RedisError(error) from None


# --- writing -------------------------------------------------------------------------------------


@command("ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
         since="1.2.0", group="sorted_set", flags=WRITE | DENYOOM | FAST, categories="SORTEDSET",
         keys="idx:1>range:0,1,0(RW|UPDATE)",
         complexity="O(log(N)) for each item added, where N is the number of elements in the "
         "sorted set.", reply=INTEGER | DOUBLE | NULL)  # fmt: skip
def zadd(ctx: Context, argv: list[bytes]) -> None:
    """Give members scores; the set is made if need be. Reply with how many are new."""
    if len(argv) != 4:
        add(ctx, argv, 0)
        return
    try:
        score: float = read_score(argv[2])
    except ValueError:
        # An option without pairs, or no score: the long way finds the words for it.
        add(ctx, argv, 0)
        return
    key = argv[1]
    value: ZSetValue | None = ctx.write(key, ZSetValue)
    if value is None:
        value = create(ctx.db, key)
    state: i64 = add_one(ctx.db, key, value, argv[3], score)
    if value.grown:
        refit(ctx, value)
    ctx.reply.integer(1 if state == 2 else 0)


def add(ctx: Context, argv: list[bytes], flags: i64) -> None:
    """ZADD with options or several pairs, and ZINCRBY."""
    at = 2
    while at < len(argv):
        option: i64 = OPTIONS.get(argv[at].upper(), 0)
        if option == 0:
            break
        flags |= option
        at += 1
    pairs = len(argv) - at
    if pairs == 0 or pairs % 2:
        raise syntax()
    if flags & NX and flags & XX:
        raise RedisError(NX_AND_XX)
    if (flags & NX and flags & (GT | LT)) or (flags & GT and flags & LT):
        raise RedisError(GT_LT_NX)
    if flags & INCR and pairs > 2:
        raise RedisError(INCR_PAIRS)
    scores = [score_of(text) for text in argv[at::2]]
    key = argv[1]
    value: ZSetValue | None = ctx.write(key, ZSetValue)
    if value is None:
        if flags & XX:
            if flags & INCR:
                ctx.reply.null()
            else:
                ctx.reply.integer(0)
            return
        value = create(ctx.db, key)
    done = add_pairs(ctx.db, key, value, scores, argv, at, flags)
    if value.grown:
        refit(ctx, value)
    if not flags & INCR:
        ctx.reply.integer(done.added + done.updated if flags & CHANGED else done.added)
    elif done.processed:
        ctx.reply.double(done.score)
    else:
        ctx.reply.null()


@command("ZINCRBY key increment member", since="1.2.0", group="sorted_set",
         flags=WRITE | DENYOOM | FAST, categories="SORTEDSET",
         keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)",
         complexity="O(log(N)) where N is the number of elements in the sorted set.",
         reply=DOUBLE)  # fmt: skip
def zincrby(ctx: Context, argv: list[bytes]) -> None:
    """Add to the score of a member; a missing one counts as 0. Reply with the new score."""
    add(ctx, argv, INCR)


@command("ZREM key member [member ...]", since="1.2.0", group="sorted_set", flags=WRITE | FAST,
         categories="SORTEDSET", keys="idx:1>range:0,1,0(RW|DELETE)",
         complexity="O(M*log(N)) with N being the number of elements in the sorted set and M the "
         "number of elements to be removed.", reply=INTEGER)  # fmt: skip
def zrem(ctx: Context, argv: list[bytes]) -> None:
    """Remove members; reply with how many there were."""
    value: ZSetValue | None = ctx.write(argv[1], ZSetValue)
    if value is None:
        ctx.reply.integer(0)
        return
    ctx.reply.integer(remove_members(ctx.db, argv[1], value, argv[2:]))


# --- scores --------------------------------------------------------------------------------------


@command("ZCARD key", since="1.2.0", group="sorted_set", flags=READONLY | FAST,
         categories="SORTEDSET", keys=LOOK_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def zcard(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of members of a sorted set; 0 if it is missing."""
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    ctx.reply.integer(0 if value is None else value.count)


@command("ZSCORE key member", since="1.2.0", group="sorted_set", flags=READONLY | FAST,
         categories="SORTEDSET", keys=READ_KEYS, complexity="O(1)",
         reply=DOUBLE | NULL)  # fmt: skip
def zscore(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the score of a member."""
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    score = None if value is None else value.score(argv[2])
    if score is None:
        ctx.reply.null()
    else:
        ctx.reply.double(score)


@command("ZMSCORE key member [member ...]", since="6.2.0", group="sorted_set",
         flags=READONLY | FAST, categories="SORTEDSET", keys=READ_KEYS,
         complexity="O(N) where N is the number of members being requested.",
         reply=ARRAY)  # fmt: skip
def zmscore(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the score of each of several members."""
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    ctx.reply.array(len(argv) - 2)
    for member in argv[2:]:
        score = None if value is None else value.score(member)
        if score is None:
            ctx.reply.null()
        else:
            ctx.reply.double(score)


# --- popping -------------------------------------------------------------------------------------


def take(
    ctx: Context, key: bytes, value: ZSetValue, count: i64, highest: bool, nested: bool
) -> None:
    """Write `count` members (no more than there are) with their scores and remove them."""
    length: i64 = value.count
    if highest:
        value.write_range(ctx.reply, length - 1, count, True, True, nested)
        remove_range(ctx.db, key, value, length - count, count, b"zpopmax")
    else:
        value.write_range(ctx.reply, 0, count, False, True, nested)
        remove_range(ctx.db, key, value, 0, count, b"zpopmin")


def pop(ctx: Context, argv: list[bytes], highest: bool) -> None:
    """ZPOPMIN and ZPOPMAX."""
    if len(argv) > 3:
        raise syntax()
    count: i64 = bounded(argv[2], 0, INT64_MAX, NOT_POSITIVE) if len(argv) == 3 else 1
    value: ZSetValue | None = ctx.write(argv[1], ZSetValue)
    if value is None or count == 0:
        ctx.reply.empty_array()
        return
    # Only who asks for a number of members in RESP3 gets each pair in its own array.
    nested = len(argv) == 3 and ctx.reply.protocol >= 3
    if count > value.count:
        count = value.count
    ctx.reply.array(count if nested else 2 * count)
    take(ctx, argv[1], value, count, highest, nested)


@command("ZPOPMIN key [count]", since="5.0.0", group="sorted_set", flags=WRITE | FAST,
         categories="SORTEDSET", keys=POP_KEYS, complexity=POP_COST, reply=ARRAY)  # fmt: skip
def zpopmin(ctx: Context, argv: list[bytes]) -> None:
    """Take the members with the lowest scores away and reply with them."""
    pop(ctx, argv, False)


@command("ZPOPMAX key [count]", since="5.0.0", group="sorted_set", flags=WRITE | FAST,
         categories="SORTEDSET", keys=POP_KEYS, complexity=POP_COST, reply=ARRAY)  # fmt: skip
def zpopmax(ctx: Context, argv: list[bytes]) -> None:
    """Take the members with the highest scores away and reply with them."""
    pop(ctx, argv, True)


def parse_mpop(argv: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """numkeys key... MIN|MAX [COUNT count], from `at` on; the keys, whether MAX, the count."""
    numkeys = bounded(argv[at], 1, INT64_MAX, NUMKEYS_TOO_SMALL)
    where = at + numkeys + 1
    if where >= len(argv):
        raise syntax()
    end = argv[where].upper()
    if end not in (b"MIN", b"MAX"):
        raise syntax()
    count = 0
    for option in range(where + 1, len(argv), 2):
        if count or argv[option].upper() != b"COUNT" or option + 1 == len(argv):
            raise syntax()
        count = bounded(argv[option + 1], 1, INT64_MAX, COUNT_TOO_SMALL)
    return argv[at + 1 : where], end == b"MAX", count or 1


def pop_first(ctx: Context, keys: list[bytes], highest: bool, count: i64) -> bool:
    """Take `count` members off the first sorted set there is; reply with its key and them."""
    for key in keys:
        value: ZSetValue | None = ctx.write(key, ZSetValue)
        if value is not None:
            if count > value.count:
                count = value.count
            ctx.reply.array(2)
            ctx.reply.bulk(key)
            ctx.reply.array(count)
            take(ctx, key, value, count, highest, True)
            return True
    return False


@command("ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]", since="7.0.0",
         group="sorted_set", flags=WRITE, categories="SORTEDSET",
         keys="idx:1>keynum:0,1,1(RW|ACCESS|DELETE)",
         complexity="O(K) + O(M*log(N)) where K is the number of provided keys, N being the number "
         "of elements in the sorted set, and M being the number of elements popped.",
         reply=ARRAY | NULL)  # fmt: skip
def zmpop(ctx: Context, argv: list[bytes]) -> None:
    """Take members off the first of several sorted sets that is not empty."""
    keys, highest, count = parse_mpop(argv, 1)
    if not pop_first(ctx, keys, highest, count):
        ctx.reply.null_array()


# --- random draws --------------------------------------------------------------------------------


@command("ZRANDMEMBER key [count [WITHSCORES]]", since="6.2.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS,
         complexity="O(N) where N is the number of members returned",
         tips="NONDETERMINISTIC_OUTPUT", reply=BULK | NULL | ARRAY)  # fmt: skip
def zrandmember(ctx: Context, argv: list[bytes]) -> None:
    """Reply with one or several members drawn at random."""
    if len(argv) == 2:
        single: ZSetValue | None = ctx.read(argv[1], ZSetValue)
        if single is None:
            ctx.reply.null()
        else:
            ctx.reply.bulk(single.member_at(ctx.rng.below(single.count)))
        return
    count = integer(argv[2])
    if count < -INT64_MAX:
        raise RedisError(RANDOM_COUNT)
    scores = len(argv) == 4
    if len(argv) > 4 or (scores and argv[3].upper() != b"WITHSCORES"):
        raise syntax()
    if scores and not -(INT64_MAX // 2) <= count <= INT64_MAX // 2:
        raise RedisError(OUT_OF_RANGE)
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    if value is None or count == 0:
        ctx.reply.empty_array()
    elif count > 0:
        write_distinct(ctx, value, min(count, value.count), scores)
    else:
        write_repeats(ctx, value, -count, scores)


def write_distinct(ctx: Context, value: ZSetValue, count: int, scores: bool) -> None:
    """`count` different members, no more than there are."""
    nested = scores and ctx.reply.protocol >= 3
    ctx.reply.array(2 * count if scores and not nested else count)
    if count == value.count:
        # As in Redis, all of them come as they are walked there: from the highest down.
        drawn = value.members(count - 1, count, True)
    else:
        drawn = distinct_keys(value, count, ctx.rng)
    for member in drawn:
        if nested:
            ctx.reply.array(2)
        ctx.reply.bulk(member)
        if scores:
            ctx.reply.double(value.score(member))


def write_repeats(ctx: Context, value: ZSetValue, count: int, scores: bool) -> None:
    """`count` draws, each from all members."""
    if count > REPEATS_MAX:
        raise RedisError(TOO_MANY_REPEATS)
    start = ctx.reply.mark()
    nested = scores and ctx.reply.protocol >= 3
    ctx.reply.array(2 * count if scores and not nested else count)
    for _ in range(count):
        rank = ctx.rng.below(value.count)
        value.write_range(ctx.reply, rank, 1, False, scores, nested)
        if ctx.reply.size - start > REPLY_BYTES_MAX:
            raise RedisError(REPLY_TOO_LARGE)


# --- scanning ------------------------------------------------------------------------------------


@command("ZSCAN key cursor [MATCH pattern] [COUNT count]", since="2.8.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS,
         complexity="O(1) for every call. O(N) for a complete iteration, including enough command "
         "calls for the cursor to return back to 0. N is the number of elements inside the "
         "collection.", tips="NONDETERMINISTIC_OUTPUT", reply=ARRAY)  # fmt: skip
def zscan(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the next cursor and some members and scores, from a cursor on."""
    cursor = parse_cursor(argv[2])
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    if value is None:
        write_nothing(ctx)
        return
    options = ScanOptions(argv, False)
    pairs: list[tuple[bytes, float]] = []
    if value.outgrown:
        cursor, pairs = scan_page(value, cursor, options.count)
    else:
        cursor, pairs = 0, value.slice(0, value.count)
    if options.pattern is not None:
        pairs = [pair for pair in pairs if glob_match(options.pattern, pair[0])]
    ctx.reply.array(2)
    ctx.reply.bulk(b"%d" % cursor)
    ctx.reply.array(2 * len(pairs))
    for member, score in pairs:
        ctx.reply.bulk(member)
        # A bulk string in RESP3 too; Redis spells it in 17 digits once the set is a skiplist.
        ctx.reply.bulk(b"%.17g" % score if value.outgrown else format_float(score))


def scan_page(value: ZSetValue, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
    """The next cursor, and the members and scores from this one on: about `count`."""
    found: list[bytes] = []
    buckets = count * BUCKETS_PER_ELEMENT
    while True:
        cursor = value.scan(cursor, found, False, 0)
        buckets -= 1
        if cursor == 0 or buckets == 0 or len(found) >= count:
            return cursor, [(member, value.score(member)) for member in found]
