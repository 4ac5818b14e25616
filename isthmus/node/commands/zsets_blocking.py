"""Sorted set commands that wait: BZPOPMIN, BZPOPMAX, BZMPOP.

Each does what its plain form does (zsets.py) if there is a member, with the plain form's effect.
Else the client waits, as lists_blocking.py says of lists.
"""

from __future__ import annotations

from isthmus.node.commands.zsets import parse_mpop, pop_first, take
from isthmus.node.engine.args import deadline
from isthmus.node.engine.context import Context
from isthmus.node.engine.registry import ARRAY, NULL, command
from isthmus.node.engine.spec import BLOCKING, FAST, WRITE
from isthmus.node.values.zsets import ZSetValue

FIRST_KEYS = "idx:1>range:-2,1,0(RW|ACCESS|DELETE)"
POP_COST = "O(log(N)) with N being the number of elements in the sorted set."


def pop_or_wait(ctx: Context, argv: list[bytes], highest: bool) -> None:
    """BZPOPMIN and BZPOPMAX."""
    until = deadline(argv[-1], ctx)
    keys = argv[1:-1]
    for key in keys:
        value: ZSetValue | None = ctx.write(key, ZSetValue)
        if value is not None:
            ctx.reply.array(3)
            ctx.reply.bulk(key)
            take(ctx, key, value, 1, highest, False)
            return
    if not ctx.block(b"zset", keys, argv, until):
        ctx.reply.null_array()


@command("BZPOPMIN key [key ...] timeout", since="5.0.0", group="sorted_set",
         flags=WRITE | FAST | BLOCKING, categories="SORTEDSET", keys=FIRST_KEYS,
         complexity=POP_COST, reply=ARRAY | NULL)  # fmt: skip
def bzpopmin(ctx: Context, argv: list[bytes]) -> None:
    """Take the lowest member off the first sorted set that has one; wait for it if none has."""
    pop_or_wait(ctx, argv, False)


@command("BZPOPMAX key [key ...] timeout", since="5.0.0", group="sorted_set",
         flags=WRITE | FAST | BLOCKING, categories="SORTEDSET", keys=FIRST_KEYS,
         complexity=POP_COST, reply=ARRAY | NULL)  # fmt: skip
def bzpopmax(ctx: Context, argv: list[bytes]) -> None:
    """Take the highest member off the first sorted set that has one; wait for it if none has."""
    pop_or_wait(ctx, argv, True)


@command("BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]", since="7.0.0",
         group="sorted_set", flags=WRITE | BLOCKING, categories="SORTEDSET",
         keys="idx:2>keynum:0,1,1(RW|ACCESS|DELETE)",
         complexity="O(K) + O(M*log(N)) where K is the number of provided keys, N being the number "
         "of elements in the sorted set, and M being the number of elements popped.",
         reply=ARRAY | NULL)  # fmt: skip
def bzmpop(ctx: Context, argv: list[bytes]) -> None:
    """Take members off the first of several sorted sets that is not empty; wait if all are."""
    keys, highest, count = parse_mpop(argv, 2)
    until = deadline(argv[1], ctx)
    if not pop_first(ctx, keys, highest, count) and not ctx.block(b"zset", keys, argv, until):
        ctx.reply.null_array()
