"""List commands that wait: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.

Each does what its plain form does (lists.py) if there is an element, with the plain form's effect.
Else the client waits: when one of its keys gets a list, the whole command runs again, so that types
are checked anew and the first key in the order of the arguments is served, not the first that got
something. In a transaction or script nothing waits; the reply is then the one of a timeout.
"""

from __future__ import annotations

from isthmus.node.commands.lists import is_left, move_one, parse_mpop, pop_first
from isthmus.node.engine.args import deadline
from isthmus.node.engine.context import Context
from isthmus.node.engine.registry import ARRAY, BULK, NULL, command
from isthmus.node.engine.spec import BLOCKING, DENYOOM, WRITE
from isthmus.node.values.lists import ListValue, pop_one

FIRST_KEYS = "idx:1>range:-2,1,0(RW|ACCESS|DELETE)"
MOVE_KEYS = "idx:1>range:0,1,0(RW|ACCESS|DELETE); idx:2>range:0,1,0(RW|INSERT)"


def pop_or_wait(ctx: Context, argv: list[bytes], front: bool) -> None:
    """BLPOP and BRPOP."""
    until = deadline(argv[-1], ctx)
    keys = argv[1:-1]
    for key in keys:
        value: ListValue | None = ctx.write(key, ListValue)
        if value is not None:
            ctx.reply.array(2)
            ctx.reply.bulk(key)
            ctx.reply.bulk(pop_one(ctx.db, key, value, front))
            return
    if not ctx.block(b"list", keys, argv, until):
        ctx.reply.null_array()


@command("BLPOP key [key ...] timeout", since="2.0.0", group="list", flags=WRITE | BLOCKING,
         categories="LIST", keys=FIRST_KEYS,
         complexity="O(N) where N is the number of provided keys.",
         reply=ARRAY | NULL)  # fmt: skip
def blpop(ctx: Context, argv: list[bytes]) -> None:
    """Take the first element off the first list that has one; wait for it if none has."""
    pop_or_wait(ctx, argv, True)


@command("BRPOP key [key ...] timeout", since="2.0.0", group="list", flags=WRITE | BLOCKING,
         categories="LIST", keys=FIRST_KEYS,
         complexity="O(N) where N is the number of provided keys.",
         reply=ARRAY | NULL)  # fmt: skip
def brpop(ctx: Context, argv: list[bytes]) -> None:
    """Take the last element off the first list that has one; wait for it if none has."""
    pop_or_wait(ctx, argv, False)


@command("BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", since="7.0.0",
         group="list", flags=WRITE | BLOCKING, categories="LIST",
         keys="idx:2>keynum:0,1,1(RW|ACCESS|DELETE)",
         complexity="O(N+M) where N is the number of provided keys and M is the number of elements "
         "returned.", reply=ARRAY | NULL)  # fmt: skip
def blmpop(ctx: Context, argv: list[bytes]) -> None:
    """Pop elements off the first of several lists that is not empty; wait if all are."""
    keys, front, count = parse_mpop(argv, 2)
    until = deadline(argv[1], ctx)
    if not pop_first(ctx, keys, front, count) and not ctx.block(b"list", keys, argv, until):
        ctx.reply.null_array()


def move_or_wait(
    ctx: Context, argv: list[bytes], from_head: bool, to_head: bool, timeout: bytes
) -> None:
    """BLMOVE and BRPOPLPUSH."""
    until = deadline(timeout, ctx)
    source = argv[1]
    if ctx.write(source, ListValue) is not None:
        move_one(ctx, source, from_head, argv[2], to_head)
    elif not ctx.block(b"list", [source], argv, until):
        ctx.reply.null()


@command("BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout", since="6.2.0",
         group="list", flags=WRITE | DENYOOM | BLOCKING, categories="LIST", keys=MOVE_KEYS,
         complexity="O(1)", reply=BULK | NULL)  # fmt: skip
def blmove(ctx: Context, argv: list[bytes]) -> None:
    """Move an element from an end of a list to an end of another; wait if there is none."""
    from_head, to_head = is_left(argv[3]), is_left(argv[4])
    move_or_wait(ctx, argv, from_head, to_head, argv[5])


@command("BRPOPLPUSH source destination timeout", since="2.2.0", group="list",
         flags=WRITE | DENYOOM | BLOCKING, categories="LIST", keys=MOVE_KEYS, complexity="O(1)",
         doc_flags="DEPRECATED", reply=BULK | NULL)  # fmt: skip
def brpoplpush(ctx: Context, argv: list[bytes]) -> None:
    """Take the last element off a list, put it first on another; wait if there is none."""
    move_or_wait(ctx, argv, False, True, argv[3])
