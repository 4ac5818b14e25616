"""Set commands: SADD ... SSCAN.

Order of checks (arguments before or after the look-up of the key) is Redis' own, because it decides
which error a client sees. The commands over several sets check the type of every key before they
compute, and what they store replaces whatever the destination held.
"""

from __future__ import annotations

from isthmus.node.commands.scan_options import (
    ScanOptions,
    parse_cursor,
    write_found,
    write_nothing,
    write_page,
)
from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import NOT_POSITIVE, RedisError
from isthmus.node.engine.registry import ANY, ARRAY, BULK, INTEGER, NULL, SET, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.draws import distinct_keys, write_distinct, write_repeats
from isthmus.node.values.sets import (
    HASHTABLE,
    SetValue,
    add_members,
    create,
    difference,
    intersection,
    remove_member,
    remove_members,
    set_result,
    take_all,
    union,
)
from isthmus.wire.scalars import INT64_MAX, INT64_MIN

NUMKEYS_TOO_SMALL = b"ERR numkeys should be greater than 0"
NUMKEYS_TOO_LARGE = b"ERR Number of keys can't be greater than number of args"
LIMIT_NEGATIVE = b"ERR LIMIT can't be negative"
RANDOM_COUNT = b"ERR value is out of range, value must between %d and %d" % (-INT64_MAX, INT64_MAX)

READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
LOOK_KEYS = "idx:1>range:0,1,0(RO)"
TAKE_KEYS = "idx:1>range:0,1,0(RW|ACCESS|DELETE)"
MANY_KEYS = "idx:1>range:-1,1,0(RO|ACCESS)"
STORE_KEYS = "idx:1>range:0,1,0(OW|UPDATE); idx:2>range:-1,1,0(RO|ACCESS)"
ALL_COST = "O(N) where N is the total number of elements in all given sets."
INTERSECTION_COST = (
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets."
)
DRAW_COST = (
    "Without the count argument O(1), otherwise O(N) where N is the {}value of the passed count."
)
SCAN_COST = (
    "O(1) for every call. O(N) for a complete iteration, including enough command calls for the "
    "cursor to return back to 0. N is the number of elements inside the collection."
)


def refit(ctx: Context, value: SetValue) -> None:
    """Let a set that grew see whether it is past the thresholds of intset and listpack."""
    config = ctx.config
    value.fit(
        config.integer("set-max-intset-entries"),
        config.integer("set-max-listpack-entries"),
        config.integer("set-max-listpack-value"),
    )


# --- one set -------------------------------------------------------------------------------------


@command("SADD key member [member ...]", since="1.0.0", group="set",
         flags=WRITE | DENYOOM | FAST, categories="SET", keys="idx:1>range:0,1,0(RW|INSERT)",
         complexity="O(1) for each element added, so O(N) to add N elements when the command is "
         "called with multiple arguments.", reply=INTEGER)  # fmt: skip
def sadd(ctx: Context, argv: list[bytes]) -> None:
    """Add members to a set, which is made if need be; reply with how many are new."""
    ctx.reply.integer(add(ctx, argv))


def add(ctx: Context, argv: list[bytes]) -> int:
    value: SetValue | None = ctx.write(argv[1], SetValue)
    if value is None:
        value = create(ctx.db, argv[1])
    added = add_members(ctx.db, value, argv)
    if value.grown:
        refit(ctx, value)
    return added


@command("SREM key member [member ...]", since="1.0.0", group="set", flags=WRITE | FAST,
         categories="SET", keys="idx:1>range:0,1,0(RW|DELETE)",
         complexity="O(N) where N is the number of members to be removed.",
         reply=INTEGER)  # fmt: skip
def srem(ctx: Context, argv: list[bytes]) -> None:
    """Remove members of a set; reply with how many were there."""
    value: SetValue | None = ctx.write(argv[1], SetValue)
    if value is None:
        ctx.reply.integer(0)
    elif len(argv) == 3:
        ctx.reply.integer(remove_member(ctx.db, argv[1], value, argv[2], b"srem"))
    else:
        ctx.reply.integer(remove_members(ctx.db, argv[1], value, argv[2:], b"srem"))


@command("SMEMBERS key", since="1.0.0", group="set", flags=READONLY, categories="SET",
         keys=READ_KEYS, complexity="O(N) where N is the set cardinality.", reply=SET,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def smembers(ctx: Context, argv: list[bytes]) -> None:
    """Reply with all members."""
    value: SetValue | None = ctx.read(argv[1], SetValue)
    if value is None:
        ctx.reply.set(0)
        return
    ctx.reply.set(value.count)
    value.write_members(ctx.reply)


@command("SISMEMBER key member", since="1.0.0", group="set", flags=READONLY | FAST,
         categories="SET", keys=LOOK_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def sismember(ctx: Context, argv: list[bytes]) -> None:
    """Reply 1 if the member is in the set, else 0."""
    value: SetValue | None = ctx.read(argv[1], SetValue)
    ctx.reply.integer(1 if value is not None and value.contains(argv[2]) else 0)


@command("SMISMEMBER key member [member ...]", since="6.2.0", group="set", flags=READONLY | FAST,
         categories="SET", keys=READ_KEYS,
         complexity="O(N) where N is the number of elements being checked for membership",
         reply=ARRAY)  # fmt: skip
def smismember(ctx: Context, argv: list[bytes]) -> None:
    """Reply 1 or 0 for each member."""
    value: SetValue | None = ctx.read(argv[1], SetValue)
    ctx.reply.array(len(argv) - 2)
    for member in argv[2:]:
        ctx.reply.integer(1 if value is not None and value.contains(member) else 0)


@command("SCARD key", since="1.0.0", group="set", flags=READONLY | FAST, categories="SET",
         keys=LOOK_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def scard(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of members; 0 if the set is missing."""
    value: SetValue | None = ctx.read(argv[1], SetValue)
    ctx.reply.integer(0 if value is None else value.count)


@command("SPOP key [count]", since="1.0.0", group="set", flags=WRITE | FAST, categories="SET",
         keys=TAKE_KEYS, complexity=DRAW_COST.format(""), reply=BULK | NULL | SET,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def spop(ctx: Context, argv: list[bytes]) -> None:
    """Remove a random member, or count of them, and reply with what was removed."""
    if len(argv) > 2:
        pop_many(ctx, argv)
        return
    value: SetValue | None = ctx.write(argv[1], SetValue)
    member = None if value is None else value.random_key(ctx.rng)
    if value is None or member is None:
        ctx.reply.null()
        return
    remove_member(ctx.db, argv[1], value, member, b"spop")
    ctx.reply.bulk(member)


def pop_many(ctx: Context, argv: list[bytes]) -> None:
    if len(argv) > 3:
        raise syntax()
    count = bounded(argv[2], 0, INT64_MAX, NOT_POSITIVE)
    value: SetValue | None = ctx.write(argv[1], SetValue)
    if value is None or count == 0:
        ctx.reply.set(0)
    elif count >= len(value):
        ctx.reply.set(value.count)
        value.write_members(ctx.reply)
        take_all(ctx.db, argv[1], value)
    else:
        drawn = distinct_keys(value, count, ctx.rng)
        remove_members(ctx.db, argv[1], value, drawn, b"spop")
        write_members(ctx, drawn)


@command("SRANDMEMBER key [count]", since="1.0.0", group="set", flags=READONLY, categories="SET",
         keys=READ_KEYS, complexity=DRAW_COST.format("absolute "), reply=BULK | NULL | ARRAY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def srandmember(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a random member, or |count|: different ones, or with repeats if negative."""
    if len(argv) == 2:
        value: SetValue | None = ctx.read(argv[1], SetValue)
        member = None if value is None else value.random_key(ctx.rng)
        if member is None:
            ctx.reply.null()
        else:
            ctx.reply.bulk(member)
        return
    if len(argv) > 3:
        raise syntax()
    count = integer(argv[2])
    if count == INT64_MIN:
        raise RedisError(RANDOM_COUNT)
    value = ctx.read(argv[1], SetValue)
    if value is None or count == 0:
        ctx.reply.empty_array()
    elif count < 0:
        write_repeats(value, -count, ctx.rng, ctx.reply, False, False)
    else:
        write_distinct(value, min(count, len(value)), ctx.rng, ctx.reply, False, False)


@command("SMOVE source destination member", since="1.0.0", group="set", flags=WRITE | FAST,
         categories="SET",
         keys="idx:1>range:0,1,0(RW|ACCESS|DELETE); idx:2>range:0,1,0(RW|INSERT)",
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def smove(ctx: Context, argv: list[bytes]) -> None:
    """Move a member from one set to another; reply 0 if it was not in the first."""
    source, destination, member = argv[1], argv[2], argv[3]
    value = ctx.db.lookup(source)
    ctx.db.lookup(destination)
    if value is None:
        ctx.reply.integer(0)
        return
    value = ctx.write(source, SetValue)
    ctx.write(destination, SetValue)
    if source == destination:
        ctx.reply.integer(1 if value.contains(member) else 0)
        return
    if not remove_member(ctx.db, source, value, member, b"srem"):
        ctx.reply.integer(0)
        return
    add(ctx, [b"SADD", destination, member])
    ctx.reply.integer(1)


@command("SSCAN key cursor [MATCH pattern] [COUNT count]", since="2.8.0", group="set",
         flags=READONLY, categories="SET", keys=READ_KEYS, complexity=SCAN_COST, reply=ANY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def sscan(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the next cursor and some members, from a cursor on."""
    cursor = parse_cursor(argv[2])
    value: SetValue | None = ctx.read(argv[1], SetValue)
    if value is None:
        write_nothing(ctx)
        return
    options = ScanOptions(argv, False)
    if value.shape == HASHTABLE:
        write_page(ctx, value, cursor, options)
    else:
        write_found(ctx, 0, value.keys(), options)


# --- several sets --------------------------------------------------------------------------------


def operands(ctx: Context, keys: list[bytes]) -> list[SetValue | None]:
    """The sets at the keys, None where there is none; raises WRONGTYPE."""
    return [ctx.read(key, SetValue) for key in keys]


def write_members(ctx: Context, members: list[bytes]) -> None:
    ctx.reply.set(len(members))
    for member in members:
        ctx.reply.bulk(member)


def store(ctx: Context, key: bytes, members: list[bytes], event: bytes) -> None:
    """Put the set of the members at key and reply with their number."""
    if members:
        ctx.db.exists(key)
    value = set_result(ctx.db, key, members, event)
    if value is not None:
        refit(ctx, value)
    ctx.reply.integer(len(members))


@command("SINTER key [key ...]", since="1.0.0", group="set", flags=READONLY, categories="SET",
         keys=MANY_KEYS, complexity=INTERSECTION_COST, reply=SET,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def sinter(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members that are in all of the sets."""
    write_members(ctx, intersection(operands(ctx, argv[1:]), 0))


@command("SINTERSTORE destination key [key ...]", since="1.0.0", group="set",
         flags=WRITE | DENYOOM, categories="SET", keys=STORE_KEYS, complexity=INTERSECTION_COST,
         reply=INTEGER)  # fmt: skip
def sinterstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members that are in all of the sets; reply with their number."""
    store(ctx, argv[1], intersection(operands(ctx, argv[2:]), 0), b"sinterstore")


@command("SINTERCARD numkeys key [key ...] [LIMIT limit]", since="7.0.0", group="set",
         flags=READONLY, categories="SET", keys="idx:1>keynum:0,1,1(RO|ACCESS)",
         complexity=INTERSECTION_COST, reply=INTEGER)  # fmt: skip
def sintercard(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of members that are in all of the sets, counted up to a limit."""
    count = bounded(argv[1], 1, INT64_MAX, NUMKEYS_TOO_SMALL)
    if count > len(argv) - 2:
        raise RedisError(NUMKEYS_TOO_LARGE)
    limit = 0
    at = 2 + count
    while at < len(argv):
        if argv[at].upper() != b"LIMIT" or at + 1 == len(argv):
            raise syntax()
        limit = bounded(argv[at + 1], 0, INT64_MAX, LIMIT_NEGATIVE)
        at += 2
    ctx.reply.integer(len(intersection(operands(ctx, argv[2 : 2 + count]), limit)))


@command("SUNION key [key ...]", since="1.0.0", group="set", flags=READONLY, categories="SET",
         keys=MANY_KEYS, complexity=ALL_COST, reply=SET,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def sunion(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members that are in any of the sets."""
    write_members(ctx, union(operands(ctx, argv[1:])))


@command("SUNIONSTORE destination key [key ...]", since="1.0.0", group="set",
         flags=WRITE | DENYOOM, categories="SET", keys=STORE_KEYS, complexity=ALL_COST,
         reply=INTEGER)  # fmt: skip
def sunionstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members that are in any of the sets; reply with their number."""
    store(ctx, argv[1], union(operands(ctx, argv[2:])), b"sunionstore")


@command("SDIFF key [key ...]", since="1.0.0", group="set", flags=READONLY, categories="SET",
         keys=MANY_KEYS, complexity=ALL_COST, reply=SET,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def sdiff(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the members of the first set that are in none of the others."""
    write_members(ctx, difference(operands(ctx, argv[1:])))


@command("SDIFFSTORE destination key [key ...]", since="1.0.0", group="set",
         flags=WRITE | DENYOOM, categories="SET", keys=STORE_KEYS, complexity=ALL_COST,
         reply=INTEGER)  # fmt: skip
def sdiffstore(ctx: Context, argv: list[bytes]) -> None:
    """Store the members of the first set that are in no other; reply with their number."""
    store(ctx, argv[1], difference(operands(ctx, argv[2:])), b"sdiffstore")
