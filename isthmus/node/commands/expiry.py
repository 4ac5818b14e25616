"""Expiry of keys: set it, read it, take it away.

Every form is turned into Unix milliseconds first. A time that has passed deletes the key at once,
and that deletion is the effect. What an expired key does is in engine/keyspace.py.
"""

from __future__ import annotations

from isthmus.node.engine.args import integer
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError, invalid_expire
from isthmus.node.engine.registry import INTEGER, command
from isthmus.node.engine.spec import FAST, READONLY, WRITE
from isthmus.node.values.keys import delete, expire_at, persist
from isthmus.wire.scalars import INT64_MAX, INT64_MIN

UPDATES = "idx:1>range:0,1,0(RW|UPDATE)"
READS = "idx:1>range:0,1,0(RO|ACCESS)"


def condition_of(argv: list[bytes]) -> frozenset[bytes]:
    """The words NX, XX, GT and LT after the time; raises for others and for contradictions."""
    words = set()
    for arg in argv[3:]:
        word = arg.upper()
        if word not in (b"NX", b"XX", b"GT", b"LT"):
            raise RedisError(b"ERR Unsupported option " + arg.split(b"\0")[0])
        words.add(word)
    if b"NX" in words and len(words) > 1:
        raise RedisError(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in words and b"LT" in words:
        raise RedisError(b"ERR GT and LT options at the same time are not compatible")
    return frozenset(words)


def allows(condition: frozenset[bytes], current: int, when: int) -> bool:
    """True if the expiry `current` (-1: none, infinite to GT and LT) may become `when`."""
    if b"NX" in condition and current != -1:
        return False
    if b"XX" in condition and current == -1:
        return False
    if b"GT" in condition and (current == -1 or when <= current):
        return False
    return not (b"LT" in condition and current != -1 and when >= current)


def set_expiry(ctx: Context, argv: list[bytes], unit_ms: int, base_ms: int) -> None:
    """EXPIRE and its relatives: the time is `base_ms` plus the argument times `unit_ms`."""
    condition = condition_of(argv)
    when = integer(argv[2])
    when = when * unit_ms
    # The sum may go below what an int64 holds only if base_ms is negative, which no clock is.
    if not INT64_MIN <= when <= INT64_MAX - base_ms:
        raise invalid_expire(ctx.spec.name)
    when += base_ms
    key = argv[1]
    if not ctx.db.exists(key) or not allows(condition, ctx.db.expiry(key), when):
        ctx.reply.integer(0)
        return
    if when <= ctx.clock.expiry_ms():
        delete(ctx.db, key)
    else:
        expire_at(ctx.db, key, when)
    ctx.reply.integer(1)


@command("EXPIRE key seconds [NX | XX | GT | LT]", since="1.0.0", group="generic",
         flags=WRITE | FAST, categories="KEYSPACE", keys=UPDATES, complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def expire(ctx: Context, argv: list[bytes]) -> None:
    """Let key expire after seconds."""
    set_expiry(ctx, argv, 1000, ctx.now_ms)


@command("PEXPIRE key milliseconds [NX | XX | GT | LT]", since="2.6.0", group="generic",
         flags=WRITE | FAST, categories="KEYSPACE", keys=UPDATES, complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def pexpire(ctx: Context, argv: list[bytes]) -> None:
    """Let key expire after milliseconds."""
    set_expiry(ctx, argv, 1, ctx.now_ms)


@command("EXPIREAT key unix-time-seconds [NX | XX | GT | LT]", since="1.2.0", group="generic",
         flags=WRITE | FAST, categories="KEYSPACE", keys=UPDATES, complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def expireat(ctx: Context, argv: list[bytes]) -> None:
    """Let key expire at a time in Unix seconds."""
    set_expiry(ctx, argv, 1000, 0)


@command("PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]", since="2.6.0",
         group="generic", flags=WRITE | FAST, categories="KEYSPACE", keys=UPDATES,
         complexity="O(1)", reply=INTEGER)  # fmt: skip
def pexpireat(ctx: Context, argv: list[bytes]) -> None:
    """Let key expire at a time in Unix milliseconds."""
    set_expiry(ctx, argv, 1, 0)


def expiry_of(ctx: Context, key: bytes) -> int:
    """Unix ms; -1 without expiry, -2 if the key is missing. Counts a hit or a miss."""
    if not ctx.db.exists(key):
        ctx.miss(key)
        return -2
    ctx.hits += 1
    return ctx.db.expiry(key)


def to_seconds(ms: int) -> int:
    """Milliseconds in seconds, rounded to the nearest; the answers -1 and -2 stay."""
    return ms if ms < 0 else (ms + 500) // 1000


def remaining(ctx: Context, key: bytes) -> int:
    """Milliseconds to live; -1 without expiry, -2 if the key is missing."""
    when = expiry_of(ctx, key)
    return when if when < 0 else max(0, when - ctx.now_ms)


@command("TTL key", since="1.0.0", group="generic", flags=READONLY | FAST, categories="KEYSPACE",
         keys=READS, complexity="O(1)", reply=INTEGER, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def ttl(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the seconds key has to live; -1 for ever, -2 if it is missing."""
    ctx.reply.integer(to_seconds(remaining(ctx, argv[1])))


@command("PTTL key", since="2.6.0", group="generic", flags=READONLY | FAST, categories="KEYSPACE",
         keys=READS, complexity="O(1)", reply=INTEGER, tips="NONDETERMINISTIC_OUTPUT")  # fmt: skip
def pttl(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the milliseconds key has to live; -1 for ever, -2 if it is missing."""
    ctx.reply.integer(remaining(ctx, argv[1]))


@command("EXPIRETIME key", since="7.0.0", group="generic", flags=READONLY | FAST,
         categories="KEYSPACE", keys=READS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def expiretime(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the Unix seconds at which key expires; -1 never, -2 if it is missing."""
    ctx.reply.integer(to_seconds(expiry_of(ctx, argv[1])))


@command("PEXPIRETIME key", since="7.0.0", group="generic", flags=READONLY | FAST,
         categories="KEYSPACE", keys=READS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def pexpiretime(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the Unix milliseconds at which key expires; -1 never, -2 if it is missing."""
    ctx.reply.integer(expiry_of(ctx, argv[1]))


@command("PERSIST key", since="2.2.0", group="generic", flags=WRITE | FAST, categories="KEYSPACE",
         keys=UPDATES, complexity="O(1)", reply=INTEGER)  # fmt: skip
def persist_(ctx: Context, argv: list[bytes]) -> None:
    """Take the expiry of key away; reply with 1 if it had one."""
    if ctx.db.exists(argv[1]) and ctx.db.expiry(argv[1]) != -1:
        persist(ctx.db, argv[1])
        ctx.reply.integer(1)
    else:
        ctx.reply.integer(0)
