"""Sorted set commands about order: ranks, counts, ranges by rank, score or member.

Every kind of range comes down to a Span, a run of ranks: the bounds are read first (errors in them
come before anything about the key), then held against the set. Offset and limit count from the end
the walk begins at, so with REV from the highest.

By member ("lex") is defined only while all scores are equal, as in Redis.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.node.commands.zsets import refit
from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import MIN_MAX_NOT_FLOAT, RedisError, wrong_arity
from isthmus.node.engine.registry import ARRAY, INTEGER, NULL, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.keys import delete
from isthmus.node.values.score_text import parse_bound
from isthmus.node.values.zsets import ZSetValue, remove_range, store_result
from isthmus.wire.scalars import i64

NOT_A_LEX_RANGE = b"ERR min or max not valid string range item"
LIMIT_BY_RANK = (
    b"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
)
SCORES_BY_LEX = b"ERR syntax error, WITHSCORES not supported in combination with BYLEX"

READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
REMOVE_KEYS = "idx:1>range:0,1,0(RW|DELETE)"
COUNT_COST = "O(log(N)) with N being the number of elements in the sorted set."
RANGE_COST = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of "
    "elements returned."
)
BOUNDS_COST = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of "
    "elements being returned. If M is constant (e.g. always asking for the first 10 elements with "
    "LIMIT), you can consider it O(log(N))."
)
REMOVE_COST = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of "
    "elements removed by the operation."
)


class Span:
    """`count` entries of a set, upwards from the rank `start`."""

    def __init__(self, start: i64, count: i64) -> None:
        self.start = start
        self.count = count


# The bounds of a range that have been read: give them a set, and they give its span.
Bounds = Callable[[ZSetValue], Span]


def by_rank(low: bytes, high: bytes, reverse: bool) -> Bounds:
    """Ranks, negative ones from the end; with `reverse` they count from the highest entry."""
    first, last = integer(low), integer(high)

    def span(value: ZSetValue) -> Span:
        length = value.count
        start = max(first + length if first < 0 else first, 0)
        stop = min(last + length if last < 0 else last, length - 1)
        if start > stop:
            return Span(0, 0)
        return Span(length - 1 - stop if reverse else start, stop - start + 1)

    return span


def by_score(low: bytes, high: bytes) -> Bounds:
    """Scores from low to high, each excluded after a parenthesis."""
    try:
        lowest, low_excluded = parse_bound(low)
        highest, high_excluded = parse_bound(high)
    except ValueError:
        raise RedisError(MIN_MAX_NOT_FLOAT) from None

    def span(value: ZSetValue) -> Span:
        start = value.count_below(lowest, low_excluded)
        return Span(start, max(value.count_below(highest, not high_excluded) - start, 0))

    return span


def lex_bound(text: bytes) -> tuple[int, bytes, bool]:
    """(-1 or 1 for - and +, else 0; the member; whether it is excluded); raises RedisError."""
    sign = text[:1]
    if sign in (b"-", b"+") and text[1:2] in (b"", b"\0"):
        return (-1 if sign == b"-" else 1), b"", True
    if sign in (b"(", b"["):
        return 0, text[1:], sign == b"("
    raise RedisError(NOT_A_LEX_RANGE)


def by_lex(low: bytes, high: bytes) -> Bounds:
    """Members from low to high: "[" includes, "(" excludes, "-" and "+" are the ends."""
    lowest, highest = lex_bound(low), lex_bound(high)

    def below(value: ZSetValue, end: int, member: bytes, inclusive: bool) -> int:
        if end:
            return 0 if end < 0 else value.count
        return value.count_lex_below(member, inclusive)

    def span(value: ZSetValue) -> Span:
        start = below(value, lowest[0], lowest[1], lowest[2])
        stop = below(value, highest[0], highest[1], not highest[2])
        return Span(start, max(stop - start, 0))

    return span


# --- ranks and counts ----------------------------------------------------------------------------


def rank(ctx: Context, argv: list[bytes], reverse: bool) -> None:
    """ZRANK and ZREVRANK."""
    if len(argv) > 4:
        raise wrong_arity(ctx.spec.name)
    scores = len(argv) == 4
    if scores and argv[3].upper() != b"WITHSCORE":
        raise syntax()
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    place: i64 = -1 if value is None else value.rank(argv[2])
    if value is None or place < 0:
        if scores:
            ctx.reply.null_array()
        else:
            ctx.reply.null()
        return
    shown = value.count - 1 - place if reverse else place
    if not scores:
        ctx.reply.integer(shown)
        return
    ctx.reply.array(2)
    ctx.reply.integer(shown)
    ctx.reply.double(value.score(argv[2]))


@command("ZRANK key member [WITHSCORE]", since="2.0.0", group="sorted_set",
         flags=READONLY | FAST, categories="SORTEDSET", keys=READ_KEYS, complexity="O(log(N))",
         reply=INTEGER | NULL | ARRAY)  # fmt: skip
def zrank(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the place of a member, counted from 0 at the lowest score."""
    rank(ctx, argv, False)


@command("ZREVRANK key member [WITHSCORE]", since="2.0.0", group="sorted_set",
         flags=READONLY | FAST, categories="SORTEDSET", keys=READ_KEYS, complexity="O(log(N))",
         reply=INTEGER | NULL | ARRAY)  # fmt: skip
def zrevrank(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the place of a member, counted from 0 at the highest score."""
    rank(ctx, argv, True)


def count_span(ctx: Context, key: bytes, bounds: Bounds) -> None:
    """Reply with the number of entries within the bounds."""
    value: ZSetValue | None = ctx.read(key, ZSetValue)
    ctx.reply.integer(0 if value is None else bounds(value).count)


@command("ZCOUNT key min max", since="2.0.0", group="sorted_set", flags=READONLY | FAST,
         categories="SORTEDSET", keys=READ_KEYS, complexity=COUNT_COST,
         reply=INTEGER)  # fmt: skip
def zcount(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of members whose scores lie between min and max."""
    count_span(ctx, argv[1], by_score(argv[2], argv[3]))


@command("ZLEXCOUNT key min max", since="2.8.9", group="sorted_set", flags=READONLY | FAST,
         categories="SORTEDSET", keys=READ_KEYS, complexity=COUNT_COST,
         reply=INTEGER)  # fmt: skip
def zlexcount(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of members that lie between min and max."""
    count_span(ctx, argv[1], by_lex(argv[2], argv[3]))


# --- ranges --------------------------------------------------------------------------------------


class Query:
    """The arguments of ZRANGE and its family from <min> on."""

    __slots__ = ("bounds", "kind", "limit", "offset", "reverse", "scores")

    def __init__(self, argv: list[bytes], first: int, kind: bytes, reverse: bool | None) -> None:
        """Read argv from the key at `first` on; kind b"" and reverse None: options decide."""
        self.kind = kind
        self.offset, self.limit = 0, -1
        self.scores = False
        self.reverse = bool(reverse)
        at = first + 3
        while at < len(argv):
            word = argv[at].upper()
            if word == b"WITHSCORES" and first == 1:
                self.scores = True
            elif word == b"LIMIT" and at + 2 < len(argv):
                self.offset, self.limit = integer(argv[at + 1]), integer(argv[at + 2])
                at += 2
            elif word == b"REV" and reverse is None and not self.reverse:
                self.reverse = True
            elif word in (b"BYLEX", b"BYSCORE") and self.kind == b"":
                self.kind = word
            else:
                raise syntax()
            at += 1
        self._read_bounds(argv[first + 1], argv[first + 2])

    def _read_bounds(self, low: bytes, high: bytes) -> None:
        if self.kind in (b"", b"BYRANK"):
            if self.limit != -1:
                raise RedisError(LIMIT_BY_RANK)
            self.bounds = by_rank(low, high, self.reverse)
            return
        if self.kind == b"BYLEX" and self.scores:
            raise RedisError(SCORES_BY_LEX)
        if self.reverse:
            low, high = high, low
        self.bounds = (by_lex if self.kind == b"BYLEX" else by_score)(low, high)

    def walk(self, value: ZSetValue) -> Span:
        """Where the walk begins (going down if reversed) and how far it goes."""
        span = self.bounds(value)
        start, count = span.start, span.count
        if self.kind in (b"BYSCORE", b"BYLEX"):
            if self.offset < 0 and value.outgrown:
                return self.walk_back(span)
            if not 0 <= self.offset < count:
                return Span(0, 0)
            if self.reverse:
                count -= self.offset
            else:
                start += self.offset
                count -= self.offset
            if 0 <= self.limit < count:
                if self.reverse:
                    start += count - self.limit
                count = self.limit
        return Span(start + count - 1 if self.reverse else start, count)

    def walk_back(self, span: Span) -> Span:
        """The walk with a negative offset, which in a skiplist of Redis counts from the far end.

        (In a set that Redis keeps as a listpack there is nothing to find with one.)
        """
        count = -self.offset
        if count > span.count:
            return Span(0, 0)
        first = span.start + (count - 1 if self.reverse else span.count - count)
        return Span(first, count if self.limit < 0 else min(count, self.limit))


def write_span(
    ctx: Context, value: ZSetValue, first: i64, count: i64, reverse: bool, scores: bool
) -> None:
    """Write the entries of a walk as an array; scores make pairs of them in RESP3."""
    nested = scores and ctx.reply.protocol >= 3
    ctx.reply.array(2 * count if scores and not nested else count)
    value.write_range(ctx.reply, first, count, reverse, scores, nested)


def write_query(ctx: Context, argv: list[bytes], kind: bytes, reverse: bool | None) -> None:
    """ZRANGE and its older forms."""
    query = Query(argv, 1, kind, reverse)
    value: ZSetValue | None = ctx.read(argv[1], ZSetValue)
    if value is None:
        ctx.reply.empty_array()
        return
    walk = query.walk(value)
    write_span(ctx, value, walk.start, walk.count, query.reverse, query.scores)


@command("ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
         since="1.2.0", group="sorted_set", flags=READONLY, categories="SORTEDSET",
         keys=READ_KEYS, complexity=RANGE_COST, reply=ARRAY)  # fmt: skip
def zrange(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members of a range of ranks, scores or members."""
    write_query(ctx, argv, b"", None)


@command("ZREVRANGE key start stop [WITHSCORES]", since="1.2.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS, complexity=RANGE_COST,
         reply=ARRAY, doc_flags="DEPRECATED")  # fmt: skip
def zrevrange(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members of a range of ranks, the highest score first."""
    write_query(ctx, argv, b"BYRANK", True)


@command("ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]", since="1.0.5",
         group="sorted_set", flags=READONLY, categories="SORTEDSET", keys=READ_KEYS,
         complexity=BOUNDS_COST, reply=ARRAY, doc_flags="DEPRECATED")  # fmt: skip
def zrangebyscore(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members whose scores lie between min and max."""
    write_query(ctx, argv, b"BYSCORE", False)


@command("ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]", since="2.2.0",
         group="sorted_set", flags=READONLY, categories="SORTEDSET", keys=READ_KEYS,
         complexity=BOUNDS_COST, reply=ARRAY, doc_flags="DEPRECATED")  # fmt: skip
def zrevrangebyscore(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members whose scores lie between max and min, the highest first."""
    write_query(ctx, argv, b"BYSCORE", True)


@command("ZRANGEBYLEX key min max [LIMIT offset count]", since="2.8.9", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS, complexity=BOUNDS_COST,
         reply=ARRAY, doc_flags="DEPRECATED")  # fmt: skip
def zrangebylex(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members that lie between min and max."""
    write_query(ctx, argv, b"BYLEX", False)


@command("ZREVRANGEBYLEX key max min [LIMIT offset count]", since="2.8.9", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS, complexity=BOUNDS_COST,
         reply=ARRAY, doc_flags="DEPRECATED")  # fmt: skip
def zrevrangebylex(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members that lie between max and min, the highest first."""
    write_query(ctx, argv, b"BYLEX", True)


@command("ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
         since="6.2.0", group="sorted_set", flags=WRITE | DENYOOM, categories="SORTEDSET",
         keys="idx:1>range:0,1,0(OW|UPDATE); idx:2>range:0,1,0(RO|ACCESS)",
         complexity="O(log(N)+M) with N being the number of elements in the sorted set and M the "
         "number of elements stored into the destination key.", reply=INTEGER)  # fmt: skip
def zrangestore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members of a range in another key; reply with how many they are."""
    query = Query(argv, 2, b"", None)
    value: ZSetValue | None = ctx.read(argv[2], ZSetValue)
    if value is None:
        delete(ctx.db, argv[1])
        ctx.reply.integer(0)
        return
    walk = query.walk(value)
    result = ZSetValue()
    for member, score in value.slice(walk.start, walk.count, query.reverse):
        result.upsert(member, score)
    refit(ctx, result)
    ctx.reply.integer(result.count)
    store_result(ctx.db, argv[1], result, b"zrangestore")


# --- removing ranges -----------------------------------------------------------------------------


def remove_span(ctx: Context, key: bytes, bounds: Bounds, event: bytes) -> None:
    """Remove what lies within the bounds; reply with how many that were."""
    value: ZSetValue | None = ctx.write(key, ZSetValue)
    if value is None:
        ctx.reply.integer(0)
        return
    span = bounds(value)
    if span.count:
        remove_range(ctx.db, key, value, span.start, span.count, event)
    ctx.reply.integer(span.count)


@command("ZREMRANGEBYRANK key start stop", since="2.0.0", group="sorted_set", flags=WRITE,
         categories="SORTEDSET", keys=REMOVE_KEYS, complexity=REMOVE_COST,
         reply=INTEGER)  # fmt: skip
def zremrangebyrank(ctx: Context, argv: list[bytes]) -> None:
    """Remove the members of a range of ranks."""
    remove_span(ctx, argv[1], by_rank(argv[2], argv[3], False), b"zremrangebyrank")


@command("ZREMRANGEBYSCORE key min max", since="1.2.0", group="sorted_set", flags=WRITE,
         categories="SORTEDSET", keys=REMOVE_KEYS, complexity=REMOVE_COST,
         reply=INTEGER)  # fmt: skip
def zremrangebyscore(ctx: Context, argv: list[bytes]) -> None:
    """Remove the members whose scores lie between min and max."""
    remove_span(ctx, argv[1], by_score(argv[2], argv[3]), b"zremrangebyscore")


@command("ZREMRANGEBYLEX key min max", since="2.8.9", group="sorted_set", flags=WRITE,
         categories="SORTEDSET", keys=REMOVE_KEYS, complexity=REMOVE_COST,
         reply=INTEGER)  # fmt: skip
def zremrangebylex(ctx: Context, argv: list[bytes]) -> None:
    """Remove the members that lie between min and max."""
    remove_span(ctx, argv[1], by_lex(argv[2], argv[3]), b"zremrangebylex")
