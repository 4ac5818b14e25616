"""Unions, intersections and differences of sorted sets; plain sets take part with scores of 1.

Scores are combined as Redis does it: a score times its weight is 0 if that is no number (infinity
times 0); inputs are taken from the smallest to the largest; a sum that is no number (infinity minus
infinity) is 0. Keys are looked up before the options are read, so WRONGTYPE
comes before errors in them.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.commands.zsets import refit, score_of
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import WRONGTYPE, RedisError
from isthmus.node.engine.registry import ARRAY, INTEGER, command
from isthmus.node.engine.spec import DENYOOM, READONLY, WRITE
from isthmus.node.engine.table import Table
from isthmus.node.values.sets import SetValue
from isthmus.node.values.zsets import ZSetValue, store_result
from isthmus.wire.scalars import INT64_MAX

WEIGHT_NOT_FLOAT = b"ERR weight value is not a float"
LIMIT_NEGATIVE = b"ERR LIMIT can't be negative"

UNION, INTER, DIFF = b"union", b"inter", b"diff"

READ_KEYS = "idx:1>keynum:0,1,1(RO|ACCESS)"
STORE_KEYS = "idx:1>range:0,1,0(OW|UPDATE); idx:2>keynum:0,1,1(RO|ACCESS)"
UNION_COST = (
    "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the "
    "number of elements in the resulting sorted set."
)
INTER_COST = (
    "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number "
    "of input sorted sets and M being the number of elements in the resulting sorted set."
)
DIFF_COST = (
    "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is "
    "the size of the first set, and K is the size of the result set."
)


class Source:
    """One input: a sorted set, a set, or nothing (an empty table), and its weight."""

    def __init__(self, value: Table) -> None:
        self.value = value
        self.weight = 1.0

    def score(self, member: bytes) -> Any:
        """The score of a member before weighting, or None."""
        if type(self.value) is ZSetValue:
            return self.value.score(member)
        return 1.0 if self.value.contains(member) else None

    def entries(self) -> list[tuple[bytes, float]]:
        """All members with their scores before weighting."""
        if type(self.value) is ZSetValue:
            return self.value.slice(0, self.value.count)
        return [(member, 1.0) for member in self.value.keys()]


def combine(total: float, score: float, how: bytes) -> float:
    """The aggregate of two scores."""
    if how == b"MIN":
        return score if score < total else total
    if how == b"MAX":
        return score if score > total else total
    total += score
    return total if total == total else 0.0


def union(sources: list[Source], how: bytes) -> ZSetValue:
    """All members of any source."""
    result = ZSetValue()
    for source in sources:
        for member, plain in source.entries():
            score = source.weight * plain
            if score != score:
                score = 0.0
            before = result.score(member)
            if before is not None:
                score = combine(before, score, how)
            result.upsert(member, score)
    return result


def intersection(sources: list[Source], how: bytes) -> ZSetValue:
    """The members that every source has."""
    smallest = sources[0]
    result = ZSetValue()
    for member, plain in smallest.entries():
        total = smallest.weight * plain
        if total != total:
            total = 0.0
        for source in sources[1:]:
            other = source.score(member)
            if other is None:
                break
            total = combine(total, other * source.weight, how)
        else:
            result.upsert(member, total)
    return result


def difference(sources: list[Source]) -> ZSetValue:
    """The members of the first source that no other has, with their scores."""
    first = sources[0]
    result = ZSetValue()
    for member, score in first.entries():
        for source in sources[1:]:
            if source.value.contains(member):
                break
        else:
            result.upsert(member, score)
    return result


class Request:
    """numkeys key... [WEIGHTS weight...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES] [LIMIT n]."""

    __slots__ = ("aggregate", "limit", "operation", "scores", "sources")

    def __init__(
        self, ctx: Context, argv: list[bytes], operation: bytes, stores: bool, counts: bool
    ) -> None:
        """Read from numkeys on and look the keys up; `stores` and `counts` narrow the options."""
        self.operation = operation
        self.aggregate = b"SUM"
        self.scores = False
        self.limit = 0
        first = 3 if stores else 2
        numkeys = integer(argv[first - 1])
        if numkeys < 1:
            name = ctx.spec.name
            raise RedisError(b"ERR at least 1 input key is needed for '" + name + b"' command")
        if numkeys > len(argv) - first:
            raise syntax()
        self.sources = [look_up(ctx, key) for key in argv[first : first + numkeys]]
        at = first + numkeys
        while at < len(argv):
            word = argv[at].upper()
            left = len(argv) - at
            weighted = operation != DIFF and not counts
            if weighted and word == b"WEIGHTS" and left > numkeys:
                for source in self.sources:
                    at += 1
                    source.weight = score_of(argv[at], WEIGHT_NOT_FLOAT)
            elif weighted and word == b"AGGREGATE" and left >= 2:
                at += 1
                self.aggregate = argv[at].upper()
                if self.aggregate not in (b"SUM", b"MIN", b"MAX"):
                    raise syntax()
            elif word == b"WITHSCORES" and not stores and not counts:
                self.scores = True
            elif word == b"LIMIT" and counts and left >= 2:
                at += 1
                self.limit = bounded(argv[at], 0, INT64_MAX, LIMIT_NEGATIVE)
            else:
                raise syntax()
            at += 1
        if operation != DIFF:
            self.sources.sort(key=lambda source: source.value.count)

    def result(self) -> ZSetValue:
        """Compute the set that was asked for."""
        if self.operation == UNION:
            return union(self.sources, self.aggregate)
        if self.operation == INTER:
            return intersection(self.sources, self.aggregate)
        return difference(self.sources)


def look_up(ctx: Context, key: bytes) -> Source:
    """The set or sorted set at key as an input; raises WRONGTYPE."""
    value = ctx.db.lookup(key)
    if value is None:
        ctx.miss(key)
        return Source(Table())
    ctx.hits += 1
    if type(value) is not ZSetValue and type(value) is not SetValue:
        raise RedisError(WRONGTYPE)
    return Source(value)


def write_result(ctx: Context, argv: list[bytes], operation: bytes) -> None:
    """ZUNION, ZINTER and ZDIFF."""
    request = Request(ctx, argv, operation, False, False)
    result = request.result()
    nested = request.scores and ctx.reply.protocol >= 3
    ctx.reply.array(2 * result.count if request.scores and not nested else result.count)
    result.write_range(ctx.reply, 0, result.count, False, request.scores, nested)


def keep_result(ctx: Context, argv: list[bytes], operation: bytes, event: bytes) -> None:
    """ZUNIONSTORE, ZINTERSTORE and ZDIFFSTORE."""
    result = Request(ctx, argv, operation, True, False).result()
    refit(ctx, result)
    ctx.reply.integer(result.count)
    store_result(ctx.db, argv[1], result, event)


@command("ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] "
         "[AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", since="6.2.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS, complexity=UNION_COST,
         reply=ARRAY)  # fmt: skip
def zunion(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members of any of several sorted sets."""
    write_result(ctx, argv, UNION)


@command("ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] "
         "[AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", since="6.2.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS, complexity=INTER_COST,
         reply=ARRAY)  # fmt: skip
def zinter(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members that several sorted sets have in common."""
    write_result(ctx, argv, INTER)


@command("ZDIFF numkeys key [key ...] [WITHSCORES]", since="6.2.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS, complexity=DIFF_COST,
         reply=ARRAY)  # fmt: skip
def zdiff(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members of the first sorted set that the others do not have."""
    write_result(ctx, argv, DIFF)


@command("ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] "
         "[AGGREGATE <SUM | MIN | MAX>]", since="2.0.0", group="sorted_set",
         flags=WRITE | DENYOOM, categories="SORTEDSET", keys=STORE_KEYS,
         complexity="O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, "
         "and M being the number of elements in the resulting sorted set.",
         reply=INTEGER)  # fmt: skip
def zunionstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members of any of several sorted sets; reply with how many they are."""
    keep_result(ctx, argv, UNION, b"zunionstore")


@command("ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] "
         "[AGGREGATE <SUM | MIN | MAX>]", since="2.0.0", group="sorted_set",
         flags=WRITE | DENYOOM, categories="SORTEDSET", keys=STORE_KEYS, complexity=INTER_COST,
         reply=INTEGER)  # fmt: skip
def zinterstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members that several sorted sets have in common; reply with how many they are."""
    keep_result(ctx, argv, INTER, b"zinterstore")


@command("ZDIFFSTORE destination numkeys key [key ...]", since="6.2.0", group="sorted_set",
         flags=WRITE | DENYOOM, categories="SORTEDSET", keys=STORE_KEYS, complexity=DIFF_COST,
         reply=INTEGER)  # fmt: skip
def zdiffstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members of the first sorted set that the others do not have."""
    keep_result(ctx, argv, DIFF, b"zdiffstore")


@command("ZINTERCARD numkeys key [key ...] [LIMIT limit]", since="7.0.0", group="sorted_set",
         flags=READONLY, categories="SORTEDSET", keys=READ_KEYS,
         complexity="O(N*K) worst case with N being the smallest input sorted set, K being the "
         "number of input sorted sets.", reply=INTEGER)  # fmt: skip
def zintercard(ctx: Context, argv: list[bytes]) -> None:
    """Reply with how many members several sorted sets have in common, up to a limit."""
    request = Request(ctx, argv, INTER, False, True)
    smallest, others = request.sources[0], request.sources[1:]
    found = 0
    for member, _ in smallest.entries():
        if all(source.value.contains(member) for source in others):
            found += 1
            if found == request.limit:
                break
    ctx.reply.integer(found)
