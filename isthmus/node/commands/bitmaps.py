"""Bitmap commands: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP, BITFIELD.

A bit field of up to 64 bits is read as the whole bytes that hold it, as one big-endian number, and
written back the same way. Offsets end where a string ends that proto-max-bulk-len allows. Ranges
of a missing key are checked like those of any other, as Redis does since 7.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.registry import ARRAY, INTEGER, command
from isthmus.node.engine.spec import DENYOOM, FAST, READONLY, WRITE
from isthmus.node.values.bitmaps import put_result, record_fields, set_bit
from isthmus.node.values.bits import AND, NOT, OR, XOR, combine, count_ones, first_bit
from isthmus.node.values.keys import delete
from isthmus.node.values.strings import NO_MEMORY, grown
from isthmus.wire.scalars import i64

BAD_OFFSET = b"ERR bit offset is not an integer or out of range"
BAD_BIT = b"ERR bit is not an integer or out of range"
BAD_TYPE = (
    b"ERR Invalid bitfield type. Use something like i16 u8. "
    b"Note that u64 is not supported but i64 is."
)
READ_KEYS = "idx:1>range:0,1,0(RO|ACCESS)"

GET, SET, INCRBY = 0, 1, 2
WRAP, SATURATE, FAIL = 0, 1, 2
OPERATIONS = {b"AND": AND, b"OR": OR, b"XOR": XOR, b"NOT": NOT}
OVERFLOWS = {b"WRAP": WRAP, b"SAT": SATURATE, b"FAIL": FAIL}
FIELD_WORDS = {b"GET": (GET, 2), b"SET": (SET, 3), b"INCRBY": (INCRBY, 3)}
WORD = 1 << 64


def bit_offset(ctx: Context, text: bytes, bits: i64 = 0) -> i64:
    """A bit's position; "#3" counts fields of `bits` bits where `bits` is given."""
    if bits and text[:1] == b"#":
        offset = integer(text[1:], BAD_OFFSET) * bits
    else:
        offset = integer(text, BAD_OFFSET)
    if offset < 0 or offset >> 3 >= ctx.config.integer("proto-max-bulk-len"):
        raise RedisError(BAD_OFFSET)
    return offset


@command("SETBIT key offset value", since="2.2.0", group="bitmap", flags=WRITE | DENYOOM,
         categories="BITMAP", keys="idx:1>range:0,1,0(RW|ACCESS|UPDATE)", complexity="O(1)",
         reply=INTEGER)  # fmt: skip
def setbit(ctx: Context, argv: list[bytes]) -> None:
    """Set one bit of the string at key; reply with what it was."""
    offset: i64 = bit_offset(ctx, argv[2])
    bit: i64 = integer(argv[3], BAD_BIT)
    if bit not in (0, 1):
        raise RedisError(BAD_BIT)
    old = ctx.string_for_write(argv[1])
    ctx.reply.integer(set_bit(ctx.db, argv[1], old, offset, bit))


@command("GETBIT key offset", since="2.2.0", group="bitmap", flags=READONLY | FAST,
         categories="BITMAP", keys=READ_KEYS, complexity="O(1)", reply=INTEGER)  # fmt: skip
def getbit(ctx: Context, argv: list[bytes]) -> None:
    """Reply with one bit of the string at key; beyond its end all bits are 0."""
    offset: i64 = bit_offset(ctx, argv[2])
    data = ctx.string(argv[1])
    at = offset >> 3
    inside = data is not None and at < len(data)
    ctx.reply.integer(1 if inside and data[at] & (0x80 >> (offset & 7)) else 0)


def counts_bits(word: bytes) -> bool:
    """True for BIT, False for BYTE."""
    unit = word.upper()
    if unit not in (b"BIT", b"BYTE"):
        raise syntax()
    return unit == b"BIT"


def clamp(start: int, end: int, length: int) -> tuple[int, int]:
    """A range with negative ends counted from `length`, cut to what there is."""
    if start < 0:
        start = max(start + length, 0)
    if end < 0:
        end = max(end + length, 0)
    return start, min(end, length - 1)


@command("BITCOUNT key [start end [BYTE | BIT]]", since="2.6.0", group="bitmap", flags=READONLY,
         categories="BITMAP", keys=READ_KEYS, complexity="O(N)", reply=INTEGER)  # fmt: skip
def bitcount(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the number of bits that are set, in the whole string or in a range of it."""
    if len(argv) == 2:
        whole = ctx.string(argv[1])
        ctx.reply.integer(count_ones(whole, 0, len(whole) - 1) if whole else 0)
        return
    if len(argv) not in (4, 5):
        raise syntax()
    start, end = integer(argv[2]), integer(argv[3])
    in_bits = len(argv) == 5 and counts_bits(argv[4])
    data = ctx.string(argv[1])
    length = len(data) * (8 if in_bits else 1) if data else 0
    backwards = start < 0 and end < 0 and start > end
    start, end = clamp(start, end, length)
    if backwards or start > end:
        ctx.reply.integer(0)
    elif in_bits:
        ctx.reply.integer(count_range(data, start, end))
    else:
        ctx.reply.integer(count_ones(data, start, end))


def count_range(data: bytes | bytearray, start: int, end: int) -> int:
    """Set bits from bit `start` to bit `end`."""
    first, last = start >> 3, end >> 3
    total = count_ones(data, first, last)
    total -= (data[first] >> (8 - (start & 7))).bit_count()
    return total - (data[last] & (0xFF >> ((end & 7) + 1))).bit_count()


@command("BITPOS key bit [start [end [BYTE | BIT]]]", since="2.8.7", group="bitmap",
         flags=READONLY, categories="BITMAP", keys=READ_KEYS, complexity="O(N)",
         reply=INTEGER)  # fmt: skip
def bitpos(ctx: Context, argv: list[bytes]) -> None:
    """Reply with the position of the first bit that is set, or clear; -1 if there is none."""
    bit = integer(argv[2])
    if bit not in (0, 1):
        raise RedisError(b"ERR The bit argument must be 1 or 0.")
    if len(argv) > 6:
        raise syntax()
    start = integer(argv[3]) if len(argv) > 3 else 0
    in_bits = len(argv) == 6 and counts_bits(argv[5])
    end = integer(argv[4]) if len(argv) > 4 else -1
    data = ctx.string(argv[1])
    if data is None:
        ctx.reply.integer(-1 if bit else 0)
        return
    length = len(data) * (8 if in_bits else 1)
    start, end = clamp(start, end, length)
    if start > end:
        ctx.reply.integer(-1)
        return
    if not in_bits:
        start, end = 8 * start, 8 * end + 7
    found = find_bit(data, start, end, bit)
    # Without an end the string goes on in zeros, so to speak.
    if found < 0 and bit == 0 and len(argv) <= 4:
        found = 8 * len(data)
    ctx.reply.integer(found)


def find_bit(data: bytes | bytearray, start: int, end: int, bit: int) -> int:
    """The first position from bit `start` to bit `end` that is `bit`; -1 if there is none."""
    first, last = start >> 3, end >> 3
    if start & 7:
        # What comes before the range is made to look like what is not looked for.
        mask = 0xFF >> (start & 7)
        byte = data[first] & mask if bit else (data[first] | ~mask) & 0xFF ^ 0xFF
        if byte:
            found = 8 * first + 8 - byte.bit_length()
            return found if found <= end else -1
        first += 1
    found = first_bit(data, first, last, bit) if first <= last else -1
    return found if found <= end else -1


@command("BITOP <AND | OR | XOR | NOT> destkey key [key ...]", since="2.6.0", group="bitmap",
         flags=WRITE | DENYOOM, categories="BITMAP",
         keys="idx:2>range:0,1,0(OW|UPDATE); idx:3>range:-1,1,0(RO|ACCESS)", complexity="O(N)",
         reply=INTEGER)  # fmt: skip
def bitop(ctx: Context, argv: list[bytes]) -> None:
    """Combine strings bit by bit and store the result; reply with its length in bytes."""
    operation = OPERATIONS.get(argv[1].upper())
    if operation is None:
        raise syntax()
    if operation == NOT and len(argv) != 4:
        raise RedisError(b"ERR BITOP NOT must be called with a single source key.")
    operands = [ctx.string(key) or b"" for key in argv[3:]]
    length = max(len(data) for data in operands)
    if length == 0:
        delete(ctx.db, argv[2])
    else:
        try:
            result = combine(operation, operands, length)
        except MemoryError:
            raise RedisError(NO_MEMORY) from None
        put_result(ctx.db, argv[2], result)
    ctx.reply.integer(length)


# --- bit fields ----------------------------------------------------------------------------------


class Field(NamedTuple):
    """One operation of BITFIELD on `bits` bits from bit `offset` on."""

    kind: int
    signed: bool
    bits: int
    offset: int
    value: int
    overflow: int


def field_type(text: bytes) -> tuple[bool, int]:
    """Signedness and width of "u8" or "i16"."""
    signed = text[:1] == b"i"
    if not signed and text[:1] != b"u":
        raise RedisError(BAD_TYPE)
    bits = integer(text[1:], BAD_TYPE)
    if not 1 <= bits <= 63 + signed:
        raise RedisError(BAD_TYPE)
    return signed, bits


def parse_fields(ctx: Context, argv: list[bytes]) -> list[Field]:
    fields = []
    overflow = WRAP
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        if word == b"OVERFLOW" and at + 1 < len(argv):
            chosen = OVERFLOWS.get(argv[at + 1].upper())
            if chosen is None:
                raise RedisError(b"ERR Invalid OVERFLOW type specified")
            overflow = chosen
            at += 2
            continue
        kind, count = FIELD_WORDS.get(word, (GET, len(argv)))
        if at + count >= len(argv):
            raise syntax()
        signed, bits = field_type(argv[at + 1])
        offset = bit_offset(ctx, argv[at + 2], bits)
        value = integer(argv[at + 3]) if kind != GET else 0
        fields.append(Field(kind, signed, bits, offset, value, overflow))
        at += count + 1
    return fields


def read_field(data: bytes | bytearray, field: Field) -> int:
    """The number in a field; beyond the end of the data all bits are 0."""
    first = field.offset >> 3
    last = (field.offset + field.bits - 1) >> 3
    held = data[first : last + 1]
    number = int.from_bytes(held, "big") << 8 * (last + 1 - first - len(held))
    number >>= 8 * (last + 1) - field.offset - field.bits
    number &= (1 << field.bits) - 1
    if field.signed and number >> (field.bits - 1):
        number -= 1 << field.bits
    return number


def write_field(data: bytearray, field: Field, number: int) -> tuple[int, int]:
    """Put a number into a field of data that is long enough; the first and last byte written."""
    first = field.offset >> 3
    last = (field.offset + field.bits - 1) >> 3
    shift = 8 * (last + 1) - field.offset - field.bits
    mask = (1 << field.bits) - 1
    whole = int.from_bytes(data[first : last + 1], "big")
    whole = (whole & ~(mask << shift)) | (number & mask) << shift
    data[first : last + 1] = whole.to_bytes(last + 1 - first, "big")
    return first, last


def resolve(field: Field, old: int) -> int | None:
    """What a SET or INCRBY leaves in its field; None if it overflows and may not."""
    value = field.value
    if field.kind == INCRBY:
        value += old
    elif not field.signed:
        # Redis takes the argument for 64 unsigned bits here, so -1 is too large, not too small.
        value %= WORD
    low = -(1 << (field.bits - 1)) if field.signed else 0
    high = low + (1 << field.bits) - 1
    if low <= value <= high:
        return value
    if field.overflow == FAIL:
        return None
    if field.overflow == SATURATE:
        # Redis subtracts in 64 bits: what is lower than the highest number by 2^63 or more passes
        # for too high there.
        far_below = field.kind == SET and field.bits < 64 and high - value >= WORD // 2
        return high if value > high or far_below else low
    return (value - low) % (1 << field.bits) + low


def apply_fields(ctx: Context, key: bytes, old: Any, fields: list[Field]) -> None:
    """Run operations of which at least one writes; record what they changed."""
    end = max(field.offset + field.bits for field in fields if field.kind != GET)
    before = -1 if old is None else len(old)
    data = grown(ctx.db, key, old, (end + 7) >> 3)
    grew = len(data) > before
    written: list[tuple[int, int]] = []
    for field in fields:
        held = read_field(data, field)
        number = None if field.kind == GET else resolve(field, held)
        if field.kind == GET:
            ctx.reply.integer(held)
        elif number is None:
            ctx.reply.null()
        else:
            ctx.reply.integer(held if field.kind == SET else number)
            if grew or number != held:
                written.append(write_field(data, field, number))
    # A field that failed may have made the string longer all the same; that is no event.
    last = len(data) - 1
    if grew and all(end_byte < last for _, end_byte in written):
        record_fields(ctx.db, key, data, last, last, b"")
    for index, (first, last) in enumerate(written):
        event = b"setbit" if index == len(written) - 1 else b""
        record_fields(ctx.db, key, data, first, last, event)


@command("BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "
         "<SET encoding offset value | INCRBY encoding offset increment> "
         "[GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "
         "<SET encoding offset value | INCRBY encoding offset increment> ...]]", since="3.2.0",
         group="bitmap", flags=WRITE | DENYOOM, categories="BITMAP",
         keys="idx:1>range:0,1,0(RW|UPDATE|ACCESS|VARIABLE_FLAGS)",
         complexity="O(1) for each subcommand specified", reply=ARRAY)  # fmt: skip
def bitfield(ctx: Context, argv: list[bytes]) -> None:
    """Read, set and increment integers of any width inside the string at key."""
    fields = parse_fields(ctx, argv)
    if any(field.kind != GET for field in fields):
        old = ctx.string_for_write(argv[1])
        ctx.reply.array(len(fields))
        apply_fields(ctx, argv[1], old, fields)
    else:
        get_fields(ctx, argv[1], fields)


def get_fields(ctx: Context, key: bytes, fields: list[Field]) -> None:
    data = ctx.string(key) or b""
    ctx.reply.array(len(fields))
    for field in fields:
        ctx.reply.integer(read_field(data, field))


@command("BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]", since="6.0.0",
         group="bitmap", flags=READONLY | FAST, categories="BITMAP", keys=READ_KEYS,
         complexity="O(1) for each subcommand specified", reply=ARRAY)  # fmt: skip
def bitfield_ro(ctx: Context, argv: list[bytes]) -> None:
    """Read integers of any width inside the string at key."""
    fields = parse_fields(ctx, argv)
    if any(field.kind != GET for field in fields):
        raise RedisError(b"ERR BITFIELD_RO only supports the GET subcommand")
    get_fields(ctx, argv[1], fields)
