"""HyperLogLog commands: PFADD, PFCOUNT, PFMERGE, and Redis' two for debugging.

A HyperLogLog is a string whose first bytes say so; any other string is refused, and one that says
so without being one is found out as corrupt.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ANY, INTEGER, OK, command
from isthmus.node.engine.spec import ADMIN, DENYOOM, FAST, MAY_REPLICATE, READONLY, WRITE
from isthmus.node.values import hll
from isthmus.node.values.hyperloglogs import (
    CORRUPT,
    add_elements,
    count,
    make_dense,
    mutable,
    store_merged,
)
from isthmus.wire.scalars import i64

NOT_HLL = b"WRONGTYPE Key is not a valid HyperLogLog string value."
SELF_TEST_ELEMENTS = 2000


def checked(value: Any) -> Any:
    """The string `value` (or None), if it looks like a HyperLogLog; raises RedisError."""
    if value is not None and not hll.valid(value):
        raise RedisError(NOT_HLL)
    return value


@command("PFADD key [element [element ...]]", since="2.8.9", group="hyperloglog",
         flags=WRITE | DENYOOM | FAST, categories="HYPERLOGLOG",
         keys="idx:1>range:0,1,0(RW|INSERT)", complexity="O(1) to add every element.",
         reply=INTEGER)  # fmt: skip
def pfadd(ctx: Context, argv: list[bytes]) -> None:
    """Count elements; reply 1 if the estimate may have changed."""
    value = ctx.string_for_write(argv[1])
    if value is not None and not hll.valid(value):
        raise RedisError(NOT_HLL)
    limit: i64 = ctx.config.integer("hll-sparse-max-bytes")
    ctx.reply.integer(1 if add_elements(ctx.db, argv[1], value, argv, limit) else 0)


@command("PFCOUNT key [key ...]", since="2.8.9", group="hyperloglog",
         flags=READONLY | MAY_REPLICATE, categories="HYPERLOGLOG",
         keys="idx:1>range:-1,1,0(RW|ACCESS)",
         complexity="O(1) with a very small average constant time when called with a single key. "
         "O(N) with N being the number of keys, and much bigger constant times, when called with "
         "multiple keys.", reply=INTEGER)  # fmt: skip
def pfcount(ctx: Context, argv: list[bytes]) -> None:
    """Reply with about how many distinct elements were counted under the keys together."""
    if len(argv) == 2:
        value = checked(ctx.string(argv[1]))
        ctx.reply.integer(0 if value is None else count(ctx.db, argv[1], value))
        return
    registers = bytearray(hll.REGISTERS)
    for key in argv[1:]:
        value = checked(ctx.string(key))
        if value is not None and not hll.merge(registers, value):
            raise RedisError(CORRUPT)
    ctx.reply.integer(hll.count_registers(registers))


@command("PFMERGE destkey [sourcekey [sourcekey ...]]", since="2.8.9", group="hyperloglog",
         flags=WRITE | DENYOOM, categories="HYPERLOGLOG",
         keys="idx:1>range:0,1,0(RW|ACCESS|INSERT); idx:2>range:-1,1,0(RO|ACCESS)",
         complexity="O(N) to merge N HyperLogLogs, but with high constant times.",
         reply=OK)  # fmt: skip
def pfmerge(ctx: Context, argv: list[bytes]) -> None:
    """Count in the first key what was counted under any of the keys."""
    registers = bytearray(hll.REGISTERS)
    dense = False
    for key in argv[1:]:
        value = checked(ctx.string(key))
        if value is None:
            continue
        if not hll.sparse(value):
            dense = True
        if not hll.merge(registers, value):
            raise RedisError(CORRUPT)
    old = ctx.string_for_write(argv[1])
    data = hll.empty() if old is None else bytearray(old)
    limit = ctx.config.integer("hll-sparse-max-bytes")
    fine = not dense or not hll.sparse(data) or hll.to_dense(data)
    if not fine or not hll.write_registers(data, registers, limit):
        raise RedisError(CORRUPT)
    hll.set_cached(data, -1)
    store_merged(ctx.db, argv[1], data)
    ctx.reply.ok()


@command("PFDEBUG subcommand key", since="2.8.9", group="hyperloglog",
         flags=WRITE | DENYOOM | ADMIN, categories="HYPERLOGLOG",
         keys="idx:2>range:0,1,0(RW|ACCESS)", complexity="N/A", reply=ANY,
         doc_flags="SYSCMD")  # fmt: skip
def pfdebug(ctx: Context, argv: list[bytes]) -> None:
    """Show the registers or the code of a HyperLogLog, or make it dense."""
    value = checked(ctx.string_for_write(argv[2]))
    if value is None:
        raise RedisError(b"ERR The specified key does not exist")
    word = argv[1].upper()
    if word == b"GETREG":
        # As in Redis, who looks at the registers makes them dense.
        if hll.sparse(value):
            make_dense(ctx.db, argv[2], mutable(ctx.db, argv[2], value))
            value = ctx.string_for_write(argv[2])
        registers = bytearray(hll.REGISTERS)
        hll.merge(registers, value)
        ctx.reply.array(hll.REGISTERS)
        for register in registers:
            ctx.reply.integer(register)
    elif word == b"DECODE":
        ctx.reply.bulk(decoded(value))
    elif word == b"ENCODING":
        ctx.reply.simple(b"sparse" if hll.sparse(value) else b"dense")
    elif word == b"TODENSE":
        converts = hll.sparse(value)
        if converts:
            make_dense(ctx.db, argv[2], mutable(ctx.db, argv[2], value))
        ctx.reply.integer(1 if converts else 0)
    else:
        raise RedisError(b"ERR Unknown PFDEBUG subcommand '" + argv[1] + b"'")


def decoded(data: bytes | bytearray) -> bytes:
    """The sparse code in words: "Z:16384" an xzero, "z:3" a zero, "v:2,1" a val."""
    if not hll.sparse(data):
        raise RedisError(b"ERR HLL encoding is not sparse")
    steps = hll.opcodes(data)
    if steps is None:
        raise RedisError(CORRUPT)
    shown = []
    for size, value, registers in steps:
        if value:
            shown.append(b"v:%d,%d" % (value, registers))
        else:
            shown.append(b"%b:%d" % (b"zZ"[size - 1 : size], registers))
    return b" ".join(shown)


@command("PFSELFTEST", since="2.8.9", group="hyperloglog", flags=ADMIN, categories="HYPERLOGLOG",
         complexity="N/A", reply=OK, doc_flags="SYSCMD")  # fmt: skip
def pfselftest(ctx: Context, argv: list[bytes]) -> None:
    """Count numbers in both representations and compare the registers and the estimates."""
    small, large = hll.empty(), hll.empty()
    hll.to_dense(large)
    for number in range(1, SELF_TEST_ELEMENTS + 1):
        element = b"%d" % number
        if hll.add(small, element, hll.NO_LIMIT) != hll.add(large, element, hll.NO_LIMIT):
            raise RedisError(b"TESTFAILED the representations disagree about an element")
    estimate = hll.count(small)
    if estimate != hll.count(large):
        raise RedisError(b"TESTFAILED the representations disagree about the count")
    # Four standard errors of 1.04 / sqrt(16384).
    if abs(estimate - SELF_TEST_ELEMENTS) > SELF_TEST_ELEMENTS * 4 * 1.04 / 128:
        raise RedisError(b"TESTFAILED the estimate is too far off")
    ctx.reply.ok()
