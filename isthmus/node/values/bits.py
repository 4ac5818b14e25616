"""Bits of strings: counting, searching and combining them by the megabyte (Tier C twin).

Bit 0 is the most significant bit of byte 0. A range of bytes is given by its first and last byte,
both included and both within the data. `combine` treats operands as if they were followed by zeros
up to the longest. Nothing here knows keys, effects or replies; nothing but `combine` allocates.
This twin works on big integers and byte tables.
"""

from __future__ import annotations

from isthmus.wire.scalars import i64

AND, OR, XOR, NOT = 0, 1, 2, 3

_SLICE_BYTES = 1 << 16


def count_ones(data: bytes | bytearray, first: i64, last: i64) -> i64:
    """How many bits are set in bytes first..last."""
    total = 0
    for start in range(first, last + 1, _SLICE_BYTES):
        part = data[start : min(start + _SLICE_BYTES, last + 1)]
        total += int.from_bytes(part, "big").bit_count()
    return total


def first_bit(data: bytes | bytearray, first: i64, last: i64, bit: i64) -> i64:
    """The position of the first bit in bytes first..last that is `bit`; -1 if there is none."""
    other = b"\x00" if bit else b"\xff"
    for start in range(first, last + 1, _SLICE_BYTES):
        part = data[start : min(start + _SLICE_BYTES, last + 1)]
        rest = part.lstrip(other)
        if rest:
            byte = rest[0] if bit else rest[0] ^ 0xFF
            return 8 * (start + len(part) - len(rest)) + 8 - byte.bit_length()
    return -1


def combine(operation: i64, operands: list[bytes | bytearray], length: i64) -> bytes:
    """AND, OR, XOR of the operands or NOT of the only one; `length` is that of the longest."""
    numbers = (int.from_bytes(data.ljust(length, b"\0"), "big") for data in operands)
    total = next(numbers)
    if operation == NOT:
        total ^= (1 << 8 * length) - 1
    for number in numbers:
        if operation == AND:
            total &= number
        elif operation == OR:
            total |= number
        else:
            total ^= number
    return total.to_bytes(length, "big")
