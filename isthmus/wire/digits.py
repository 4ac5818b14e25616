"""Integers as text, fast: the two conversions that counters make with every command.

An integer is an int64 in its one canonical spelling: `0`, or an optional minus and digits without
a leading zero. Twin of digits.pyx.
"""

from __future__ import annotations

import re

_INT = re.compile(rb"0|-?[1-9][0-9]*")
_INT_DIGITS_MAX = 20  # of "-9223372036854775808"


def parse_int(text: bytes) -> int:
    """Read a canonical int64; ValueError for anything else."""
    if len(text) > _INT_DIGITS_MAX or _INT.fullmatch(text) is None:
        raise ValueError("not a canonical integer")
    value = int(text)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("integer outside 64 bits")
    return value


def format_int(value: int) -> bytes:
    """The decimal spelling of an int64."""
    return b"%d" % value
