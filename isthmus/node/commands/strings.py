"""String commands: GET, SET and their families, counters, ranges, LCS.

A command finds every error of its request before it changes anything, in the order in which Redis
finds them, so a refused command leaves the key as it was. What a relative expiry or a float
increment comes to is worked out here, once: the effect gets the result, and a replay needs neither
the clock nor the arithmetic.

A stored string is `bytes`, or a `bytearray` after APPEND or SETRANGE; only the effect functions
of values/strings.py may change one, and no command may let a bytearray out of its key.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.args import bounded, integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import (
    NAN_OR_INFINITY,
    NOT_FLOAT,
    NOT_INTEGER,
    STRING_TOO_LONG,
    RedisError,
    invalid_expire,
    wrong_arity,
)
from isthmus.node.engine.registry import ANY, ARRAY, BULK, INTEGER, NULL, OK, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.keys import delete, expire_at, persist
from isthmus.node.values.lcs import length as lcs_length
from isthmus.node.values.lcs import matches as lcs_matches
from isthmus.node.values.strings import append, increment, overlay, put, put_keep
from isthmus.wire.long_double import LongDouble
from isthmus.wire.long_double import parse as parse_long_double
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
# Commands with many keys look ahead again after every BATCH (16) keys.
BATCH_MASK = 15
WARM_MASK = 31


def write_string(reply: ReplyWriter, value: Any) -> None:
    if type(value) is bytes:
        reply.bulk(value)
    else:
        reply.bulk(bytes(value))


@command("GET key", since="1.0.0", group="string", flags=READONLY | FAST, categories="STRING",
         keys="idx:1>range:0,1,0(RO|ACCESS)", complexity="O(1)", reply=BULK | NULL)  # fmt: skip
def get(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the string at key."""
    if not ctx.write_string(argv[1]):
        ctx.reply.null()


def expire_from(ctx: Context, text: bytes, unit: bytes, name: bytes) -> int:
    """Unix ms of EX/PX/EXAT/PXAT with `text`; RedisError if it is not above zero or overflows."""
    value = integer(text)
    if value <= 0:
        raise invalid_expire(name)
    if unit in (b"EX", b"EXAT"):
        if value > INT64_MAX // 1000:
            raise invalid_expire(name)
        value *= 1000
    if unit in (b"EX", b"PX"):
        if value > INT64_MAX - ctx.now_ms:
            raise invalid_expire(name)
        value += ctx.now_ms
    return value


class SetOptions:
    """The parsed options of SET: condition, GET, and what happens to the expiry."""

    __slots__ = ("condition", "get", "keep_ttl", "expire")

    def __init__(self, ctx: Context, argv: list[bytes]) -> None:
        self.condition = b""
        self.get = False
        self.keep_ttl = False
        self.expire = -1
        unit = text = b""
        at = 3
        while at < len(argv):
            word = argv[at].upper()
            if word in (b"NX", b"XX") and self.condition in (b"", word):
                self.condition = word
            elif word == b"GET":
                self.get = True
            elif word == b"KEEPTTL" and not unit:
                self.keep_ttl = True
            elif (
                word in (b"EX", b"PX", b"EXAT", b"PXAT")
                and unit in (b"", word)
                and not self.keep_ttl
                and at + 1 < len(argv)
            ):
                at += 1
                unit, text = word, argv[at]
            else:
                raise syntax()
            at += 1
        if unit:
            self.expire = expire_from(ctx, text, unit, b"set")


@command("SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
         "PXAT unix-time-milliseconds | KEEPTTL]", since="1.0.0", group="string",
         flags=WRITE | DENYOOM, categories="STRING",
         keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE|VARIABLE_FLAGS)", complexity="O(1)",
         reply=OK | NULL | BULK)  # fmt: skip
def set_(ctx: Context, argv: list[bytes]) -> None:
    """Set key to value, whatever it held; options make it conditional or give it an expiry."""
    if len(argv) == 3:
        put(ctx.db, argv[1], argv[2], -1, b"set")
        ctx.reply.ok()
        return
    options = SetOptions(ctx, argv)
    key = argv[1]
    old = None
    if options.get:
        old = ctx.string(key)
        exists = old is not None
    else:
        exists = options.condition != b"" and ctx.db.exists(key)
    refused = exists if options.condition == b"NX" else options.condition == b"XX" and not exists
    if options.get:
        if old is None:
            ctx.reply.null()
        else:
            write_string(ctx.reply, old)
    elif refused:
        ctx.reply.null()
    else:
        ctx.reply.ok()
    if refused:
        return
    if options.keep_ttl:
        ctx.db.exists(key)
        put_keep(ctx.db, key, argv[2], b"set")
    else:
        # A time that is past already is taken as well; who looks at the key finds it expired.
        put(ctx.db, key, argv[2], options.expire, b"set")


@command("SETNX key value", since="1.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(OW|INSERT)", complexity="O(1)", reply=INTEGER,
         doc_flags="DEPRECATED")  # fmt: skip
def setnx(ctx: Context, argv: list[bytes]) -> None:
    """Set key to value only if key does not exist."""
    if ctx.db.exists(argv[1]):
        ctx.reply.integer(0)
        return
    put(ctx.db, argv[1], argv[2], -1, b"set")
    ctx.reply.integer(1)


@command("SETEX key seconds value", since="2.0.0", group="string", flags=WRITE | DENYOOM,
         categories="STRING", keys="idx:1>range:0,1,0(OW|UPDATE)", complexity="O(1)", reply=OK,
         doc_flags="DEPRECATED")  # fmt: skip
def setex(ctx: Context, argv: list[bytes]) -> None:
    """Set key to value with a time to live in seconds."""
    put(ctx.db, argv[1], argv[3], expire_from(ctx, argv[2], b"EX", b"setex"), b"set")
    ctx.reply.ok()


@command("PSETEX key milliseconds value", since="2.6.0", group="string", flags=WRITE | DENYOOM,
         categories="STRING", keys="idx:1>range:0,1,0(OW|UPDATE)", complexity="O(1)", reply=OK,
         doc_flags="DEPRECATED")  # fmt: skip
def psetex(ctx: Context, argv: list[bytes]) -> None:
    """Set key to value with a time to live in milliseconds."""
    put(ctx.db, argv[1], argv[3], expire_from(ctx, argv[2], b"PX", b"psetex"), b"set")
    ctx.reply.ok()


@command("GETSET key value", since="1.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=BULK | NULL, doc_flags="DEPRECATED")  # fmt: skip
def getset(ctx: Context, argv: list[bytes]) -> None:
    """Set key to value and reply with the string it held."""
    get(ctx, argv)
    put(ctx.db, argv[1], argv[2], -1, b"set")


@command("GETDEL key", since="6.2.0", group="string", flags=WRITE | FAST, categories="STRING",
         keys="idx:1>range:0,1,0(RW|ACCESS|DELETE)", complexity="O(1)",
         reply=BULK | NULL)  # fmt: skip
def getdel(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the string at key, then delete the key."""
    value = ctx.string(argv[1])
    if value is None:
        ctx.reply.null()
        return
    write_string(ctx.reply, value)
    delete(ctx.db, argv[1])


@command("GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
         "PXAT unix-time-milliseconds | PERSIST]", since="6.2.0", group="string",
         flags=WRITE | FAST, categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)",
         complexity="O(1)", reply=BULK | NULL)  # fmt: skip
def getex(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the string at key and change its expiry."""
    unit, text = getex_options(argv)
    key = argv[1]
    value = ctx.string(key)
    if value is None:
        ctx.reply.null()
        return
    timed = unit not in (b"", b"PERSIST")
    expire = expire_from(ctx, text, unit, b"getex") if timed else -1
    write_string(ctx.reply, value)
    if timed:
        if expire <= ctx.clock.expiry_ms():
            delete(ctx.db, key)
        else:
            expire_at(ctx.db, key, expire)
    elif unit and ctx.db.expiry(key) >= 0:
        persist(ctx.db, key)


def getex_options(argv: list[bytes]) -> tuple[bytes, bytes]:
    """The unit and the time of GETEX, or PERSIST, or nothing; the same unit may come again."""
    unit = text = b""
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        if unit not in (b"", word):
            raise syntax()
        if word in (b"EX", b"PX", b"EXAT", b"PXAT") and at + 1 < len(argv):
            at += 1
            text = argv[at]
        elif word != b"PERSIST":
            raise syntax()
        unit = word
        at += 1
    return unit, text


def add(ctx: Context, key: bytes, delta: i64, event: bytes) -> None:
    ctx.reply.integer(increment(ctx.db, key, delta, event))


@command("INCR key", since="1.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def incr(ctx: Context, argv: list[bytes]) -> None:
    """Add one to the integer at key; a missing key counts as 0."""
    add(ctx, argv[1], 1, b"incrby")


@command("DECR key", since="1.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def decr(ctx: Context, argv: list[bytes]) -> None:
    """Subtract one from the integer at key; a missing key counts as 0."""
    add(ctx, argv[1], -1, b"incrby")


@command("INCRBY key increment", since="1.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def incrby(ctx: Context, argv: list[bytes]) -> None:
    """Add an integer to the integer at key."""
    add(ctx, argv[1], integer(argv[2]), b"incrby")


@command("DECRBY key decrement", since="1.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def decrby(ctx: Context, argv: list[bytes]) -> None:
    """Subtract an integer from the integer at key."""
    delta = integer(argv[2])
    if delta == INT64_MIN:
        raise RedisError(b"ERR decrement would overflow")
    add(ctx, argv[1], -delta, b"incrby")


def long_double(text: bytes, error: bytes = NOT_FLOAT) -> LongDouble:
    """The number that a float increment counts in; RedisError(error) if text is none."""
    try:
        return parse_long_double(text)
    except ValueError:
        raise RedisError(error) from None


@command("INCRBYFLOAT key increment", since="2.6.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=BULK)  # fmt: skip
def incrbyfloat(ctx: Context, argv: list[bytes]) -> None:
    """Add a number to the number at key."""
    key = argv[1]
    old = ctx.string_for_write(key)
    value = LongDouble(0) if old is None else long_double(bytes(old))
    delta = long_double(argv[2])
    if not value.is_finite() or not delta.is_finite():
        raise RedisError(NAN_OR_INFINITY)
    try:
        text = (value + delta).spelt()
    except ValueError:
        raise RedisError(NAN_OR_INFINITY) from None
    put_keep(ctx.db, key, text, b"incrbyfloat")
    ctx.reply.bulk(text)


@command("APPEND key value", since="2.0.0", group="string", flags=WRITE | DENYOOM | FAST,
         categories="STRING", keys="idx:1>range:0,1,0(RW|INSERT)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def append_(ctx: Context, argv: list[bytes]) -> None:
    """Append value to the string at key; a missing key counts as empty."""
    key, tail = argv[1], argv[2]
    old = ctx.string_for_write(key)
    if old is None:
        put(ctx.db, key, tail, -1, b"append")
        ctx.reply.integer(len(tail))
        return
    check_length(ctx, len(old) + len(tail))
    total = len(old) + len(tail)
    append(ctx.db, key, old, tail)
    ctx.reply.integer(total)


def check_length(ctx: Context, length: int) -> None:
    """RedisError if a string would grow past proto-max-bulk-len."""
    if length > ctx.config.integer("proto-max-bulk-len"):
        raise RedisError(STRING_TOO_LONG)


@command("STRLEN key", since="2.2.0", group="string", flags=READONLY | FAST, categories="STRING",
         keys="idx:1>range:0,1,0(RO)", complexity="O(1)", reply=INTEGER)  # fmt: skip
def strlen(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the length in bytes of the string at key; 0 if it is missing."""
    value = ctx.string(argv[1])
    ctx.reply.integer(0 if value is None else len(value))


@command("SETRANGE key offset value", since="2.2.0", group="string", flags=WRITE | DENYOOM,
         categories="STRING", keys="idx:1>range:0,1,0(RW|UPDATE)",
         complexity="O(M) in the length of value; appending is amortized O(1)",
         reply=INTEGER)  # fmt: skip
def setrange(ctx: Context, argv: list[bytes]) -> None:
    """Overwrite part of the string at key from offset on, filling a gap with zero bytes."""
    key, patch = argv[1], argv[3]
    offset = integer(argv[2])
    if offset < 0:
        raise RedisError(b"ERR offset is out of range")
    old = ctx.string_for_write(key)
    if not patch:
        ctx.reply.integer(0 if old is None else len(old))
        return
    check_length(ctx, offset + len(patch))
    total = max(0 if old is None else len(old), offset + len(patch))
    overlay(ctx.db, key, old, offset, patch)
    ctx.reply.integer(total)


def substring(ctx: Context, argv: list[bytes]) -> None:
    start, end = integer(argv[2]), integer(argv[3])
    value = ctx.string(argv[1])
    length = 0 if value is None else len(value)
    if length == 0 or (start < 0 and end < 0 and start > end):
        ctx.reply.bulk(b"")
        return
    first = max(start + length, 0) if start < 0 else start
    last = max(end + length, 0) if end < 0 else min(end, length - 1)
    ctx.reply.bulk(bytes(value[first : last + 1]) if first <= last else b"")


@command("GETRANGE key start end", since="2.4.0", group="string", flags=READONLY,
         categories="STRING", keys="idx:1>range:0,1,0(RO|ACCESS)",
         complexity="O(N) in the length of the reply", reply=BULK)  # fmt: skip
def getrange(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the bytes from start to end (both included, negative from the end)."""
    substring(ctx, argv)


@command("SUBSTR key start end", since="1.0.0", group="string", flags=READONLY,
         categories="STRING", keys="idx:1>range:0,1,0(RO|ACCESS)",
         complexity="O(N) in the length of the reply", reply=BULK,
         doc_flags="DEPRECATED")  # fmt: skip
def substr(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the bytes from start to end; the old name of GETRANGE."""
    substring(ctx, argv)


@command("MGET key [key ...]", since="1.0.0", group="string", flags=READONLY | FAST,
         categories="STRING", keys="idx:1>range:-1,1,0(RO|ACCESS)",
         complexity="O(N) in the number of keys", reply=ARRAY,
         tips="REQUEST_POLICY:MULTI_SHARD")  # fmt: skip
def mget(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the strings at the keys; null where there is none or another type."""
    ctx.reply.array(len(argv) - 1)
    for at, key in enumerate(argv[1:], 1):
        if at & BATCH_MASK == 1 and len(argv) > 2:
            ctx.lookahead.warm(ctx.db, argv, at, 1)
        value = ctx.db.lookup(key)
        if value is None:
            ctx.miss(key)
            ctx.reply.null()
            continue
        ctx.hits += 1
        if type(value) is bytes or type(value) is bytearray:
            write_string(ctx.reply, value)
        else:
            ctx.reply.null()


@command("MSET key value [key value ...]", since="1.0.1", group="string", flags=WRITE | DENYOOM,
         categories="STRING", keys="idx:1>range:-1,2,0(OW|UPDATE)",
         complexity="O(N) in the number of keys", reply=OK,
         tips="REQUEST_POLICY:MULTI_SHARD,RESPONSE_POLICY:ALL_SUCCEEDED")  # fmt: skip
def mset(ctx: Context, argv: list[bytes]) -> None:
    """Set each key to its value."""
    if len(argv) % 2 == 0:
        raise wrong_arity(b"mset")
    put_pairs(ctx, argv)
    ctx.reply.ok()


def put_pairs(ctx: Context, argv: list[bytes]) -> None:
    db = ctx.db
    at: i64 = 1
    while at < len(argv):
        if at & WARM_MASK == 1 and len(argv) > 3:
            ctx.lookahead.warm(db, argv, at, 2)
        put(db, argv[at], argv[at + 1], -1, b"set")
        at += 2


@command("MSETNX key value [key value ...]", since="1.0.1", group="string",
         flags=WRITE | DENYOOM, categories="STRING", keys="idx:1>range:-1,2,0(OW|INSERT)",
         complexity="O(N) in the number of keys", reply=INTEGER)  # fmt: skip
def msetnx(ctx: Context, argv: list[bytes]) -> None:
    """Set each key to its value, but none of them if any key exists."""
    if len(argv) % 2 == 0:
        raise wrong_arity(b"msetnx")
    if any(ctx.db.exists(key) for key in argv[1::2]):
        ctx.reply.integer(0)
        return
    put_pairs(ctx, argv)
    ctx.reply.integer(1)


LCS_CELL_BYTES = 4


@command("LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", since="7.0.0",
         group="string", flags=READONLY, categories="STRING", keys="idx:1>range:1,1,0(RO|ACCESS)",
         complexity="O(N*M) in the lengths of the two strings", reply=ANY)  # fmt: skip
def lcs(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the longest common subsequence of two strings, its length, or its matches."""
    left, right = lcs_operand(ctx, argv[1]), lcs_operand(ctx, argv[2])
    length = index = with_length = False
    shortest = 0
    at = 3
    while at < len(argv):
        word = argv[at].upper()
        if word == b"LEN":
            length = True
        elif word == b"IDX":
            index = True
        elif word == b"WITHMATCHLEN":
            with_length = True
        elif word == b"MINMATCHLEN" and at + 1 < len(argv):
            at += 1
            shortest = max(0, bounded(argv[at], INT64_MIN, INT64_MAX, NOT_INTEGER))
        else:
            raise syntax()
        at += 1
    if length and index:
        raise RedisError(b"ERR If you want both the length and indexes, please just use IDX.")
    # The table has a row and a column more than the strings have bytes.
    cells = (len(left) + 1) * (len(right) + 1)
    if LCS_CELL_BYTES * cells > ctx.config.integer("proto-max-bulk-len"):
        raise RedisError(
            b"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        )
    if length:
        ctx.reply.integer(lcs_length(left, right))
        return
    try:
        common, matches = lcs_matches(left, right)
    except MemoryError:
        raise RedisError(
            b"ERR Insufficient memory, failed allocating transient memory for LCS"
        ) from None
    if not index:
        ctx.reply.bulk(common)
        return
    write_matches(ctx.reply, [m for m in matches if m[4] >= shortest], len(common), with_length)


def lcs_operand(ctx: Context, key: bytes) -> bytes:
    value = ctx.db.lookup(key)
    if value is None:
        ctx.miss(key)
        return b""
    ctx.hits += 1
    if type(value) is not bytes and type(value) is not bytearray:
        raise RedisError(b"ERR The specified keys must contain string values")
    return bytes(value)


def write_matches(
    reply: ReplyWriter, matches: list[tuple[int, int, int, int, int]], total: int, with_length: bool
) -> None:
    reply.map(2)
    reply.bulk(b"matches")
    reply.array(len(matches))
    for a, b, c, d, run in matches:
        reply.array(3 if with_length else 2)
        for first, last in ((a, b), (c, d)):
            reply.array(2)
            reply.integer(first)
            reply.integer(last)
        if with_length:
            reply.integer(run)
    reply.bulk(b"len")
    reply.integer(total)
