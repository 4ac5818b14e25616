"""HyperLogLog arithmetic on the bytes of a string (Tier C twin).

The bytes are Redis' own, so that a string may travel between the two:

    "HYLL" | encoding: 0 dense, 1 sparse | 3 unused bytes | cached count, 8 bytes little endian |
    registers

The top bit of the cached count says that it no longer holds. Dense: 16384 registers of 6 bits, the
low bits of a byte first. Sparse: a run-length code of the registers, in order,

    00llllll            l+1 registers are 0                 ("zero", up to 64)
    01llllll llllllll   l+1 registers are 0                 ("xzero", up to 16384)
    1vvvvvll            l+1 registers are v+1               ("val", up to 4 registers of up to 32)

Which code is used for a run, and when neighbours are joined, is part of the format as far as
clients can see it. A string becomes dense when a register passes 32 or the code passes `limit`
bytes (header included).

An element's 64-bit MurmurHash (variant A) chooses a register by its low 14 bits; the position of
the lowest set bit of the rest, counted from 1, is what the register keeps the highest of. The
estimate is Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017).

Nothing here trusts the bytes: a code that does not add up to 16384 registers is reported as
corrupt (-1 or False), whatever it says. Only `valid` may be called with a string that has not
passed `valid`.
"""

from __future__ import annotations

import math

from isthmus.wire.scalars import i64

REGISTERS = 16384
HEADER_BYTES = 16
DENSE_BYTES = HEADER_BYTES + REGISTERS * 6 // 8
NO_LIMIT = 1 << 62

_DENSE, _SPARSE = 0, 1
_SPARSE_VALUE_MAX = 32
_HASH_BITS = 50
_SEED = 0xADC83B19
_MULTIPLIER = 0xC6A4A7935BD1E995
_MASK = (1 << 64) - 1
_ALPHA = 0.721347520444481703680

Data = bytes | bytearray


def murmur(element: bytes) -> int:
    """The hash of an element, 64 bits unsigned."""
    hashed = _SEED ^ (len(element) * _MULTIPLIER & _MASK)
    whole = len(element) & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(element[at : at + 8], "little") * _MULTIPLIER & _MASK
        word = (word ^ (word >> 47)) * _MULTIPLIER & _MASK
        hashed = (hashed ^ word) * _MULTIPLIER & _MASK
    if whole < len(element):
        hashed = (hashed ^ int.from_bytes(element[whole:], "little")) * _MULTIPLIER & _MASK
    hashed = (hashed ^ (hashed >> 47)) * _MULTIPLIER & _MASK
    return hashed ^ (hashed >> 47)


def place(element: bytes) -> tuple[int, int]:
    """The register an element concerns, and what it must hold at least."""
    hashed = murmur(element)
    rest = (hashed >> 14) | (1 << _HASH_BITS)
    return hashed % REGISTERS, (rest & -rest).bit_length()


def valid(data: Data) -> bool:
    """True if a string looks like a HyperLogLog (its sparse code may still be corrupt)."""
    if len(data) < HEADER_BYTES or data[:4] != b"HYLL" or data[4] > _SPARSE:
        return False
    return data[4] == _SPARSE or len(data) == DENSE_BYTES


def sparse(data: Data) -> bool:
    """True for the sparse representation."""
    return data[4] == _SPARSE


def empty() -> bytearray:
    """A HyperLogLog of nothing."""
    return bytearray(b"HYLL\x01" + bytes(11) + b"\x7f\xff")


def cached(data: Data) -> i64:
    """The cached count, -1 if it no longer holds."""
    return -1 if data[15] & 0x80 else int.from_bytes(data[8:16], "little")


def set_cached(data: bytearray, count: i64) -> None:
    """Remember a count; -1 says that none holds (and leaves the other bits as they are)."""
    if count < 0:
        data[15] |= 0x80
    else:
        data[8:16] = count.to_bytes(8, "little")


def opcodes(data: Data) -> list[tuple[int, int, int]] | None:
    """The sparse code as (bytes, value, registers); None if it does not add up."""
    found: list[tuple[int, int, int]] = []
    total = 0
    at = HEADER_BYTES
    while at < len(data):
        code = data[at]
        if code & 0x80:
            step = (1, (code >> 2 & 31) + 1, (code & 3) + 1)
        elif not code & 0x40:
            step = (1, 0, code + 1)
        elif at + 1 < len(data):
            step = (2, 0, ((code & 63) << 8 | data[at + 1]) + 1)
        else:
            return None
        total += step[2]
        if total > REGISTERS:
            return None
        at += step[0]
        found.append(step)
    return found if total == REGISTERS else None


def _unpacked(data: Data) -> bytearray | None:
    """One byte per register, None if the code is corrupt."""
    registers = bytearray(REGISTERS)
    if data[4] == _SPARSE:
        steps = opcodes(data)
        if steps is None:
            return None
        at = 0
        for _, value, count in steps:
            if value:
                registers[at : at + count] = bytes((value,)) * count
            at += count
        return registers
    packed = data[HEADER_BYTES:]
    for quad in range(REGISTERS // 4):
        bits = int.from_bytes(packed[3 * quad : 3 * quad + 3], "little")
        registers[4 * quad] = bits & 63
        registers[4 * quad + 1] = bits >> 6 & 63
        registers[4 * quad + 2] = bits >> 12 & 63
        registers[4 * quad + 3] = bits >> 18
    return registers


def to_dense(data: bytearray) -> bool:
    """Make a sparse string dense. False if it is corrupt."""
    registers = _unpacked(data)
    if registers is None:
        return False
    packed = bytearray()
    for at in range(0, REGISTERS, 4):
        a, b, c, d = registers[at : at + 4]
        packed += (a | b << 6 | c << 12 | d << 18).to_bytes(3, "little")
    data[4] = _DENSE
    data[HEADER_BYTES:] = packed
    return True


def _set_dense(data: bytearray, index: int, value: int) -> int:
    at = HEADER_BYTES + index * 6 // 8
    shift = index * 6 & 7
    # The last register ends with the string; no second byte is needed there.
    pair = int.from_bytes(data[at : at + 2], "little")
    if (pair >> shift & 63) >= value:
        return 0
    pair = pair & ~(63 << shift) | value << shift
    width = len(data[at : at + 2])
    data[at : at + 2] = pair.to_bytes(width, "little")
    return 1


def _zeros(count: int) -> bytes:
    if count > 64:
        return bytes((0x40 | (count - 1) >> 8, (count - 1) & 0xFF))
    return bytes((count - 1,))


def _values(value: int, count: int) -> bytes:
    return bytes((0x80 | (value - 1) << 2 | (count - 1),))


def _set_sparse(data: bytearray, index: int, value: int, limit: int) -> int:
    if value > _SPARSE_VALUE_MAX:
        return _set_dense(data, index, value) if to_dense(data) else -1
    first = span = old = size = 0
    before = at = HEADER_BYTES
    while at < len(data):
        code = data[at]
        old = (code >> 2 & 31) + 1 if code & 0x80 else 0
        size = 2 if code & 0xC0 == 0x40 else 1
        if at + size > len(data):
            return -1
        span = (code & 3) + 1 if old else code + 1
        if size == 2:
            span = ((code & 63) << 8 | data[at + 1]) + 1
        if index < first + span:
            break
        before = at
        at += size
        first += span
    if at >= len(data):
        return -1
    if old >= value:
        return 0
    left, right = index - first, first + span - 1 - index
    run = bytearray()
    if left:
        run += _values(old, left) if old else _zeros(left)
    run += _values(value, 1)
    if right:
        run += _values(old, right) if old else _zeros(right)
    if len(run) > size and len(data) + len(run) - size > limit:
        return _set_dense(data, index, value) if to_dense(data) else -1
    data[at : at + size] = run
    _join(data, before)
    return 1


def _join(data: bytearray, at: int) -> None:
    """Join neighbours of the same value, from `at` on; five steps reach all that can have come."""
    for _ in range(5):
        if at >= len(data):
            return
        code = data[at]
        if not code & 0x80:
            at += 2 if code & 0x40 else 1
            continue
        if at + 1 < len(data) and data[at + 1] & 0xFC == code & 0xFC:
            count = (code & 3) + (data[at + 1] & 3) + 2
            if count <= 4:
                data[at : at + 2] = bytes((code & 0xFC | (count - 1),))
                continue
        at += 1


def raise_register(data: bytearray, index: i64, value: i64, limit: i64) -> i64:
    """Let a register hold at least `value`: 1 if it has changed, 0 if not, -1 if corrupt.

    Like Redis, this does not touch the cached count in a dense string.
    """
    if data[4] == _DENSE:
        return _set_dense(data, index, value)
    return _set_sparse(data, index, value, limit)


def add(data: bytearray, element: bytes, limit: i64) -> i64:
    """Count an element: 1 if a register has changed, 0 if not, -1 if the data is corrupt."""
    index, value = place(element)
    return raise_register(data, index, value, limit)


def merge(registers: bytearray, data: Data) -> bool:
    """Raise one byte per register to what data holds. False if data is corrupt."""
    held = _unpacked(data)
    if held is None:
        return False
    registers[:] = bytes(map(max, registers, held))
    return True


def write_registers(data: bytearray, registers: bytearray, limit: i64) -> bool:
    """Raise the registers of data to one byte per register. False if data is corrupt."""
    for index, value in enumerate(registers):
        if value and raise_register(data, index, value, limit) < 0:
            return False
    return True


def count(data: Data) -> i64:
    """The estimate, worked out anew; -1 if data is corrupt."""
    registers = _unpacked(data)
    return -1 if registers is None else count_registers(registers)


def count_registers(registers: bytearray) -> i64:
    """The estimate of one byte per register."""
    of_value = [registers.count(value) for value in range(_HASH_BITS + 2)]
    total = REGISTERS * _tau((REGISTERS - of_value[_HASH_BITS + 1]) / REGISTERS)
    for value in range(_HASH_BITS, 0, -1):
        total = (total + of_value[value]) * 0.5
    total += REGISTERS * _sigma(of_value[0] / REGISTERS)
    # No register can be both never seen and saturated, so only a corrupt string gives zero here.
    if total == 0.0:
        return 0
    estimate = _ALPHA * REGISTERS * REGISTERS / total
    whole = int(estimate)
    return whole + (estimate - whole >= 0.5)


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1.0 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= math.pow(1.0 - x, 2.0) * y
    return z / 3.0
