"""Numbers of C's `long double` on x86: what INCRBYFLOAT and HINCRBYFLOAT count in.

Redis adds in 64 bits of mantissa and prints 17 decimals, and clients see the digits that this
gives, so they have to be the same. A `LongDouble` is exact arithmetic on integers, mantissa * 2 **
exponent, rounded after each step to the nearest such number, ties to even: 64 bits, and an exponent
of -16445 at least, which is where the small numbers lose bits. Beyond 2 ** 16384 lies infinity.

`parse` takes what strtold takes of a whole text (hexadecimal, inf and infinity too), but no blanks,
no NaN and nothing out of range; it raises ValueError otherwise.
"""

from __future__ import annotations

import re

MANTISSA_BITS = 64
EXPONENT_MIN = -16445
OVERFLOW_BITS = 16384
TEXT_BYTES_MAX = 5 * 1024
DECIMALS = 17
# Whatever stands before it, a power of ten past this is infinity or nothing.
POWER_MAX = 2 * TEXT_BYTES_MAX

_INFINITY = re.compile(rb"[+-]?inf(inity)?", re.IGNORECASE)
_DECIMAL = re.compile(rb"([+-]?)(\d*)\.?(?:(?<=\.)(\d*))?(?:[eE]([+-]?\d+))?")
_HEXADECIMAL = re.compile(
    rb"([+-]?)0[xX]([0-9a-fA-F]*)\.?(?:(?<=\.)([0-9a-fA-F]*))?(?:[pP]([+-]?\d+))?"
)


class LongDouble:
    """A number, or an infinity if `infinite` is 1 or -1."""

    __slots__ = ("exponent", "infinite", "mantissa")

    def __init__(self, mantissa: int, exponent: int = 0, infinite: int = 0) -> None:
        self.mantissa = mantissa
        self.exponent = exponent
        self.infinite = infinite

    def is_finite(self) -> bool:
        """True unless it is an infinity."""
        return self.infinite == 0

    def __add__(self, other: LongDouble) -> LongDouble:
        """The rounded sum of two finite numbers."""
        low = min(self.exponent, other.exponent)
        mantissa = (self.mantissa << (self.exponent - low)) + (
            other.mantissa << (other.exponent - low)
        )
        return rounded(mantissa, 1, low)

    def spelt(self) -> bytes:
        """17 decimals at most, no exponent, no useless zeros; ValueError for an infinity."""
        if self.infinite:
            raise ValueError("not a finite number")
        ten = 10**DECIMALS
        scaled = abs(self.mantissa) * ten
        if self.exponent >= 0:
            scaled <<= self.exponent
        else:
            scaled = halved(scaled, -self.exponent)
        whole, decimals = divmod(scaled, ten)
        text = f"{whole}.{decimals:0{DECIMALS}}".rstrip("0").rstrip(".")
        return (text if self.mantissa >= 0 or text == "0" else "-" + text).encode()


def halved(number: int, bits: int) -> int:
    """number / 2 ** bits to the nearest integer, ties to even."""
    if bits <= 0:
        return number << -bits
    quotient, rest = number >> bits, number & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return quotient + (rest > half or (rest == half and quotient & 1))


def rounded(numerator: int, denominator: int, exponent: int) -> LongDouble:
    """The nearest number to numerator / denominator * 2 ** exponent."""
    sign, numerator = (-1, -numerator) if numerator < 0 else (1, numerator)
    if not numerator:
        return LongDouble(0)
    if denominator != 1:
        # Two bits more than needed, and a last one that says whether the division came out even.
        more = max(MANTISSA_BITS + 2 + denominator.bit_length() - numerator.bit_length(), 0)
        quotient, rest = divmod(numerator << more, denominator)
        numerator, exponent = (quotient << 1) | (rest != 0), exponent - more - 1
    drop = max(numerator.bit_length() - MANTISSA_BITS, EXPONENT_MIN - exponent)
    if drop > 0:
        numerator, exponent = halved(numerator, drop), exponent + drop
    if numerator.bit_length() + exponent > OVERFLOW_BITS:
        return LongDouble(0, 0, sign)
    return LongDouble(sign * numerator, exponent)


def parse(text: bytes) -> LongDouble:
    """The number that text is; ValueError if it is none, or out of range."""
    if len(text) >= TEXT_BYTES_MAX:
        raise ValueError("too long")
    if _INFINITY.fullmatch(text):
        return LongDouble(0, 0, -1 if text.startswith(b"-") else 1)
    match, base, point = _DECIMAL.fullmatch(text), 10, 1
    if match is None:
        match, base, point = _HEXADECIMAL.fullmatch(text), 16, 4
    if match is None or not (match[2] or match[3]):
        raise ValueError("not a number")
    fraction = match[3] or b""
    digits = int(match[2] + fraction, base)
    written = match[4] or b"0"
    power = int(written) if len(written) <= 9 else -POWER_MAX * 9 if b"-" in written else POWER_MAX
    power -= len(fraction) * point
    if match[1] == b"-":
        digits = -digits
    if not digits:
        return LongDouble(0)
    if base == 16:
        made = rounded(digits, 1, max(-POWER_MAX * 4, min(power, OVERFLOW_BITS)))
    elif power >= 0:
        made = rounded(digits * 10 ** min(power, POWER_MAX), 1, 0)
    else:
        made = rounded(digits, 10 ** min(-power, POWER_MAX), 0)
    if made.infinite or not made.mantissa:
        raise ValueError("out of range")
    return made
