"""Hash commands, but those of field expiry: HSET ... HSCAN.

Order of checks (arguments before or after the look-up of the key) is Redis' own, because it decides
which error a client sees.
"""

from __future__ import annotations

from isthmus.node.commands.scan_options import (
    ScanOptions,
    parse_cursor,
    write_found,
    write_nothing,
    write_page,
)
from isthmus.node.commands.strings import long_double
from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import (
    NAN_OR_INFINITY,
    OUT_OF_RANGE,
    OVERFLOW,
    RedisError,
    wrong_arity,
)
from isthmus.node.engine.registry import ANY, ARRAY, BULK, INTEGER, MAP, NULL, OK, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.draws import write_distinct, write_repeats
from isthmus.node.values.hashes import (
    HashValue,
    create,
    increment,
    remove_fields,
    set_fields,
    set_total,
    without_any_expired,
    without_expired,
)
from isthmus.wire.scalars import INT64_MAX, INT64_MIN, parse_int

VALUE_NOT_INTEGER = b"ERR hash value is not an integer"
VALUE_NOT_FLOAT = b"ERR hash value is not a float"
DELTA_NOT_FINITE = b"ERR value is NaN or Infinity"
RANDOM_COUNT = b"ERR value is out of range, value must between %d and %d" % (-INT64_MAX, INT64_MAX)

READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"
LOOK_KEYS = "idx:1>range:0,1,0(RO)"
SET_KEYS = "idx:1>range:0,1,0(RW|UPDATE)"
INCREMENT_KEYS = "idx:1>range:0,1,0(RW|ACCESS|UPDATE)"
SCAN_COST = (
    "O(1) for every call. O(N) for a complete iteration, including enough command calls for the "
    "cursor to return back to 0. N is the number of elements inside the collection."
)


def refit(ctx: Context, value: HashValue) -> None:
    """Let a hash that grew see whether it is past the thresholds of a listpack."""
    config = ctx.config
    value.fit(
        config.integer("hash-max-listpack-entries"), config.integer("hash-max-listpack-value")
    )


def look(ctx: Context, argv: list[bytes]) -> HashValue | None:
    """The hash at argv[1] for reading the fields argv[2:], of which no expired one is left."""
    value: HashValue | None = ctx.read(argv[1], HashValue)
    if value is not None and value.overdue(ctx.clock.expiry_ms()):
        value = without_expired(ctx.db, argv[1], value, argv[2:])
    return value


def live(ctx: Context, key: bytes) -> HashValue | None:
    """The hash at key for reading, or a copy without its expired fields if there may be any."""
    value: HashValue | None = ctx.read(key, HashValue)
    if value is not None and value.overdue(ctx.clock.expiry_ms()):
        return value.live_copy(ctx.now_ms)
    return value


def purged(ctx: Context, key: bytes) -> HashValue | None:
    """The hash at key for reading, its expired fields deleted, as Redis does before it draws."""
    value: HashValue | None = ctx.read(key, HashValue)
    if value is not None and value.overdue(ctx.clock.expiry_ms()):
        return without_any_expired(ctx.db, key, value)
    return value


def look_for_write(ctx: Context, argv: list[bytes]) -> HashValue | None:
    """The hash at argv[1] for changing the field argv[2], which is not there if it has expired."""
    value: HashValue | None = ctx.write(argv[1], HashValue)
    if value is not None and value.overdue(ctx.clock.expiry_ms()):
        value = without_expired(ctx.db, argv[1], value, argv[2:3])
    return value


# --- writing -------------------------------------------------------------------------------------


def assign(ctx: Context, argv: list[bytes]) -> int:
    """HSET and HMSET; returns how many fields are new."""
    value: HashValue | None = ctx.write(argv[1], HashValue)
    if value is None:
        value = create(ctx.db, argv[1])
    created = set_fields(ctx.db, value, argv)
    if value.grown:
        refit(ctx, value)
    return created


@command("HSET key field value [field value ...]", since="2.0.0", group="hash",
         flags=WRITE | DENYOOM | FAST, categories="HASH", keys=SET_KEYS,
         complexity="O(1) for each field/value pair added, so O(N) to add N field/value pairs when "
         "the command is called with multiple field/value pairs.", reply=INTEGER)  # fmt: skip
def hset(ctx: Context, argv: list[bytes]) -> None:
    """Set fields of a hash, which is made if need be; reply with how many are new."""
    if len(argv) % 2:
        raise wrong_arity(b"hset")
    ctx.reply.integer(assign(ctx, argv))


@command("HMSET key field value [field value ...]", since="2.0.0", group="hash",
         flags=WRITE | DENYOOM | FAST, categories="HASH", keys=SET_KEYS,
         complexity="O(N) where N is the number of fields being set.", reply=OK,
         doc_flags="DEPRECATED")  # fmt: skip
def hmset(ctx: Context, argv: list[bytes]) -> None:
    """Set fields of a hash; the old form of HSET."""
    if len(argv) % 2:
        raise wrong_arity(b"hmset")
    assign(ctx, argv)
    ctx.reply.ok()


@command("HSETNX key field value", since="2.0.0", group="hash", flags=WRITE | DENYOOM | FAST,
         categories="HASH", keys="idx:1>range:0,1,0(RW|INSERT)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def hsetnx(ctx: Context, argv: list[bytes]) -> None:
    """Set a field of a hash only if the field does not exist."""
    value: HashValue | None = look_for_write(ctx, argv)
    if value is not None and value.contains(argv[2]):
        ctx.reply.integer(0)
        return
    ctx.reply.integer(assign(ctx, argv))


@command("HDEL key field [field ...]", since="2.0.0", group="hash", flags=WRITE | FAST,
         categories="HASH", keys="idx:1>range:0,1,0(RW|DELETE)",
         complexity="O(N) where N is the number of fields to be removed.",
         reply=INTEGER)  # fmt: skip
def hdel(ctx: Context, argv: list[bytes]) -> None:
    """Remove fields of a hash; reply with how many were there."""
    value: HashValue | None = ctx.write(argv[1], HashValue)
    ctx.reply.integer(0 if value is None else remove_fields(ctx.db, value, argv))


@command("HINCRBY key field increment", since="2.0.0", group="hash", flags=WRITE | DENYOOM | FAST,
         categories="HASH", keys=INCREMENT_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def hincrby(ctx: Context, argv: list[bytes]) -> None:
    """Add an integer to the integer in a field; a missing field counts as 0."""
    key, field = argv[1], argv[2]
    delta = integer(argv[3])
    value: HashValue | None = look_for_write(ctx, argv)
    old = None if value is None else value.get(field)
    try:
        total = 0 if old is None else parse_int(old)
    except ValueError:
        raise RedisError(VALUE_NOT_INTEGER) from None
    total += delta
    if not INT64_MIN <= total <= INT64_MAX:
        raise RedisError(OVERFLOW)
    if value is None:
        value = create(ctx.db, key)
    increment(ctx.db, key, value, field, total, delta)
    if value.grown:
        refit(ctx, value)
    ctx.reply.integer(total)


@command("HINCRBYFLOAT key field increment", since="2.6.0", group="hash",
         flags=WRITE | DENYOOM | FAST, categories="HASH", keys=INCREMENT_KEYS, complexity="O(1)",
         reply=BULK)  # fmt: skip
def hincrbyfloat(ctx: Context, argv: list[bytes]) -> None:
    """Add a number to the number in a field; a missing field counts as 0."""
    key, field = argv[1], argv[2]
    delta = long_double(argv[3])
    if not delta.is_finite():
        raise RedisError(DELTA_NOT_FINITE)
    value: HashValue | None = look_for_write(ctx, argv)
    old = None if value is None else value.get(field)
    if old is not None:
        before = long_double(old, VALUE_NOT_FLOAT)
        if not before.is_finite():
            raise RedisError(NAN_OR_INFINITY)
        delta += before
    if not delta.is_finite():
        raise RedisError(NAN_OR_INFINITY)
    text = delta.spelt()
    if value is None:
        value = create(ctx.db, key)
    set_total(ctx.db, key, value, field, text)
    if value.grown:
        refit(ctx, value)
    ctx.reply.bulk(text)


# --- reading -------------------------------------------------------------------------------------


@command("HGET key field", since="2.0.0", group="hash", flags=READONLY | FAST, categories="HASH",
         keys=READ_KEYS, complexity="O(1)", reply=BULK | NULL)  # fmt: skip
def hget(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the value of a field."""
    value: HashValue | None = look(ctx, argv)
    if value is None or not value.write_value(argv[2], ctx.reply):
        ctx.reply.null()


@command("HMGET key field [field ...]", since="2.0.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=READ_KEYS,
         complexity="O(N) where N is the number of fields being requested.",
         reply=ARRAY)  # fmt: skip
def hmget(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the values of fields, null for those that do not exist."""
    write_fields(ctx, look(ctx, argv), argv)


def write_fields(ctx: Context, value: HashValue | None, argv: list[bytes]) -> None:
    at = 2
    ctx.reply.array(len(argv) - 2)
    while at < len(argv):
        if value is None or not value.write_value(argv[at], ctx.reply):
            ctx.reply.null()
        at += 1


@command("HGETALL key", since="2.0.0", group="hash", flags=READONLY, categories="HASH",
         keys=READ_KEYS, complexity="O(N) where N is the size of the hash.", reply=MAP,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def hgetall(ctx: Context, argv: list[bytes]) -> None:
    """Reply with all fields and values."""
    value: HashValue | None = live(ctx, argv[1])
    if value is None:
        ctx.reply.map(0)
        return
    ctx.reply.map(value.count)
    value.write_fields(ctx.reply, True, True)


@command("HKEYS key", since="2.0.0", group="hash", flags=READONLY, categories="HASH",
         keys=READ_KEYS, complexity="O(N) where N is the size of the hash.", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def hkeys(ctx: Context, argv: list[bytes]) -> None:
    """Reply with all fields."""
    value: HashValue | None = live(ctx, argv[1])
    if value is None:
        ctx.reply.empty_array()
        return
    ctx.reply.array(value.count)
    value.write_fields(ctx.reply, True, False)


@command("HVALS key", since="2.0.0", group="hash", flags=READONLY, categories="HASH",
         keys=READ_KEYS, complexity="O(N) where N is the size of the hash.", reply=ARRAY,
         tips="NONDETERMINISTIC_OUTPUT_ORDER")  # fmt: skip
def hvals(ctx: Context, argv: list[bytes]) -> None:
    """Reply with all values."""
    value: HashValue | None = live(ctx, argv[1])
    if value is None:
        ctx.reply.empty_array()
        return
    ctx.reply.array(value.count)
    value.write_fields(ctx.reply, False, True)


@command("HLEN key", since="2.0.0", group="hash", flags=READONLY | FAST, categories="HASH",
         keys=LOOK_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def hlen(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of fields, expired ones not yet removed included."""
    value: HashValue | None = ctx.read(argv[1], HashValue)
    ctx.reply.integer(0 if value is None else value.count)


@command("HEXISTS key field", since="2.0.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=LOOK_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def hexists(ctx: Context, argv: list[bytes]) -> None:
    """Reply 1 if the field exists, else 0."""
    value: HashValue | None = look(ctx, argv)
    ctx.reply.integer(1 if value is not None and value.contains(argv[2]) else 0)


@command("HSTRLEN key field", since="3.2.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=LOOK_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def hstrlen(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the length in bytes of a field's value; 0 if it is missing."""
    value: HashValue | None = look(ctx, argv)
    text = None if value is None else value.get(argv[2])
    ctx.reply.integer(0 if text is None else len(text))


@command("HRANDFIELD key [count [WITHVALUES]]", since="6.2.0", group="hash", flags=READONLY,
         categories="HASH", keys=READ_KEYS,
         complexity="O(N) where N is the number of fields returned", reply=BULK | NULL | ARRAY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def hrandfield(ctx: Context, argv: list[bytes]) -> None:
    """Reply with a random field, or |count|: different ones, or with repeats if negative."""
    if len(argv) == 2:
        value: HashValue | None = purged(ctx, argv[1])
        field = None if value is None else value.random_key(ctx.rng)
        if field is None:
            ctx.reply.null()
        else:
            ctx.reply.bulk(field)
        return
    count = integer(argv[2])
    if count == INT64_MIN:
        raise RedisError(RANDOM_COUNT)
    pairs = len(argv) == 4 and argv[3].upper() == b"WITHVALUES"
    if len(argv) > 3 and not pairs:
        raise syntax()
    if pairs and abs(count) > INT64_MAX // 2:
        raise RedisError(OUT_OF_RANGE)
    value = purged(ctx, argv[1])
    if value is None or count == 0 or value.count == 0:
        ctx.reply.empty_array()
        return
    nested = pairs and ctx.reply.protocol >= 3
    if count < 0:
        write_repeats(value, -count, ctx.rng, ctx.reply, pairs, nested)
    else:
        write_distinct(value, min(count, len(value)), ctx.rng, ctx.reply, pairs, nested)


@command("HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]", since="2.8.0", group="hash",
         flags=READONLY, categories="HASH", keys=READ_KEYS, complexity=SCAN_COST, reply=ANY,
         tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def hscan(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the next cursor and some fields and values, from a cursor on."""
    cursor = parse_cursor(argv[2])
    value: HashValue | None = ctx.read(argv[1], HashValue)
    if value is None:
        write_nothing(ctx)
        return
    options = ScanOptions(argv, True)
    if value.outgrown:
        write_page(ctx, value, cursor, options)
    else:
        write_found(ctx, 0, value.ordered(options.values, False, ctx.now_ms), options)
