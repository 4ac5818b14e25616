"""Commands of hash field expiry: HEXPIRE ... HPERSIST.

Every form is turned into Unix milliseconds first, of which 46 bits are taken, as in Redis. A time
that has passed deletes the field at once, and that deletion is the effect. What an expired field
does meanwhile is in values/hashes.py. Replies have one code per field: -2 no such field, -1 no
expiry, 0 condition not met, 1 done, 2 deleted.
"""

from __future__ import annotations

from isthmus.node.engine.args import bounded, integer
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError, invalid_expire
from isthmus.node.engine.registry import ARRAY, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.hashes import (
    GT,
    LT,
    NO_FIELD,
    NX,
    XX,
    HashValue,
    expire_fields_at,
    persist_fields,
)
from isthmus.wire.scalars import INT64_MAX

EXPIRE_MS_MAX = (1 << 46) - 1
CONDITIONS = {b"NX": NX, b"XX": XX, b"GT": GT, b"LT": LT}

NEGATIVE_TIME = b"ERR invalid expire time, must be >= 0"
NO_FIELDS_WORD = b"ERR Mandatory argument FIELDS is missing or not at the right position"
FIELDS_TOO_FEW = b"ERR Parameter `numFields` should be greater than 0"
FIELDS_NOT_POSITIVE = b"ERR Number of fields must be a positive integer"
FIELDS_MISMATCH = b"ERR The `numfields` parameter must match the number of arguments"

UPDATES = "idx:1>range:0,1,0(RW|UPDATE)"
READS = "idx:1>range:0,1,0(RO|ACCESS)"
COST = "O(N) where N is the number of specified fields"
CONDITION = "[NX | XX | GT | LT]"
FIELDS = "FIELDS numfields field [field ...]"


def fields_of(argv: list[bytes], at: int, not_positive: bytes) -> list[bytes]:
    """What follows FIELDS numfields, which stand from `at` on; raises RedisError."""
    if argv[at].upper() != b"FIELDS":
        raise RedisError(NO_FIELDS_WORD)
    count = bounded(argv[at + 1], 1, INT64_MAX, not_positive)
    if count != len(argv) - at - 2:
        raise RedisError(FIELDS_MISMATCH)
    return argv[at + 2 :]


def write_codes(ctx: Context, codes: list[int]) -> None:
    ctx.reply.array(len(codes))
    for code in codes:
        ctx.reply.integer(code)


# --- setting -------------------------------------------------------------------------------------


def set_expiry(ctx: Context, argv: list[bytes], unit_ms: int, base_ms: int) -> None:
    """HEXPIRE and its relatives: the time is `base_ms` plus the argument times `unit_ms`."""
    key = argv[1]
    value: HashValue | None = ctx.write(key, HashValue)
    when = integer(argv[2])
    if when < 0:
        raise RedisError(NEGATIVE_TIME)
    when = when * unit_ms + base_ms
    if when > EXPIRE_MS_MAX:
        raise invalid_expire(ctx.spec.name)
    condition = CONDITIONS.get(argv[3].upper(), 0)
    fields = fields_of(argv, 4 if condition else 3, FIELDS_TOO_FEW)
    if value is None:
        write_codes(ctx, [NO_FIELD] * len(fields))
        return
    passed = when <= ctx.clock.expiry_ms()
    # As in Redis the hash gets room for times even if no field takes one.
    value.timed = True
    write_codes(ctx, expire_fields_at(ctx.db, key, value, when, condition, passed, fields))


@command(f"HEXPIRE key seconds {CONDITION} {FIELDS}", since="7.4.0", group="hash",
         flags=WRITE | DENYOOM | FAST, categories="HASH", keys=UPDATES, complexity=COST,
         reply=ARRAY)  # fmt: skip
def hexpire(ctx: Context, argv: list[bytes]) -> None:
    """Let fields of a hash expire after seconds; reply with a code for each."""
    set_expiry(ctx, argv, 1000, ctx.now_ms)


@command(f"HPEXPIRE key milliseconds {CONDITION} {FIELDS}", since="7.4.0", group="hash",
         flags=WRITE | DENYOOM | FAST, categories="HASH", keys=UPDATES, complexity=COST,
         reply=ARRAY)  # fmt: skip
def hpexpire(ctx: Context, argv: list[bytes]) -> None:
    """Let fields of a hash expire after milliseconds; reply with a code for each."""
    set_expiry(ctx, argv, 1, ctx.now_ms)


@command(f"HEXPIREAT key unix-time-seconds {CONDITION} {FIELDS}", since="7.4.0", group="hash",
         flags=WRITE | DENYOOM | FAST, categories="HASH", keys=UPDATES, complexity=COST,
         reply=ARRAY)  # fmt: skip
def hexpireat(ctx: Context, argv: list[bytes]) -> None:
    """Let fields of a hash expire at a time in Unix seconds; reply with a code for each."""
    set_expiry(ctx, argv, 1000, 0)


@command(f"HPEXPIREAT key unix-time-milliseconds {CONDITION} {FIELDS}", since="7.4.0",
         group="hash", flags=WRITE | DENYOOM | FAST, categories="HASH", keys=UPDATES,
         complexity=COST, reply=ARRAY)  # fmt: skip
def hpexpireat(ctx: Context, argv: list[bytes]) -> None:
    """Let fields of a hash expire at a time in Unix milliseconds; reply with a code for each."""
    set_expiry(ctx, argv, 1, 0)


@command(f"HPERSIST key {FIELDS}", since="7.4.0", group="hash", flags=WRITE | FAST,
         categories="HASH", keys=UPDATES, complexity=COST, reply=ARRAY)  # fmt: skip
def hpersist(ctx: Context, argv: list[bytes]) -> None:
    """Take the expiry of fields away; reply with a code for each."""
    value: HashValue | None = ctx.write(argv[1], HashValue)
    fields = fields_of(argv, 2, FIELDS_NOT_POSITIVE)
    if value is None:
        write_codes(ctx, [NO_FIELD] * len(fields))
    else:
        now = ctx.clock.expiry_ms()
        write_codes(ctx, persist_fields(ctx.db, argv[1], value, fields, now))


# --- reading -------------------------------------------------------------------------------------


def write_expiries(ctx: Context, argv: list[bytes], unit_ms: int, base_ms: int) -> None:
    """HTTL and its relatives: the expiry less `base_ms`, in units rounded up."""
    value: HashValue | None = ctx.read(argv[1], HashValue)
    fields = fields_of(argv, 2, FIELDS_NOT_POSITIVE)
    codes: list[int] = []
    for field in fields:
        when = NO_FIELD if value is None else value.expiry(field)
        if 0 <= when <= ctx.now_ms:
            when = NO_FIELD
        codes.append(when if when < 0 else (when - base_ms + unit_ms - 1) // unit_ms)
    write_codes(ctx, codes)


@command(f"HTTL key {FIELDS}", since="7.4.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=READS, complexity=COST, reply=ARRAY)  # fmt: skip
def httl(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the seconds each field has to live."""
    write_expiries(ctx, argv, 1000, ctx.now_ms)


@command(f"HPTTL key {FIELDS}", since="7.4.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=READS, complexity=COST, reply=ARRAY)  # fmt: skip
def hpttl(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the milliseconds each field has to live."""
    write_expiries(ctx, argv, 1, ctx.now_ms)


@command(f"HEXPIRETIME key {FIELDS}", since="7.4.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=READS, complexity=COST, reply=ARRAY)  # fmt: skip
def hexpiretime(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the Unix seconds at which each field expires."""
    write_expiries(ctx, argv, 1000, 0)


@command(f"HPEXPIRETIME key {FIELDS}", since="7.4.0", group="hash", flags=READONLY | FAST,
         categories="HASH", keys=READS, complexity=COST, reply=ARRAY)  # fmt: skip
def hpexpiretime(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the Unix milliseconds at which each field expires."""
    write_expiries(ctx, argv, 1, 0)
