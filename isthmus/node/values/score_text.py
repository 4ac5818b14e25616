"""Scores and bounds of scores as clients write them.

A score is what C's `strtod` reads, hexadecimal included, with nothing before or behind it, no NaN
and within the range of a double. A bound of a range is read as Redis reads it, which is more
lenient: blanks before it are passed over, an empty text is 0, and what is too large is infinite;
a leading parenthesis excludes the bound itself.
"""

from __future__ import annotations

import math
import re

from isthmus.wire.scalars import parse_float

_HEX = re.compile(rb"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?", re.IGNORECASE)
_DECIMAL = re.compile(rb"([+-]?)(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_score(text: bytes) -> float:
    """A finite or infinite double; ValueError for anything else."""
    if _HEX.fullmatch(text) is None:
        return parse_float(text)
    try:
        value = float.fromhex(text.decode("ascii"))
    except OverflowError:
        raise ValueError("float too large") from None
    if value == 0.0 and re.search(rb"[1-9a-f]", text[2:].lower().partition(b"p")[0]):
        raise ValueError("float too small")
    return value


def parse_bound(text: bytes) -> tuple[float, bool]:
    """The value of a bound and whether it is excluded; ValueError if it is no bound."""
    excluded = text[:1] == b"("
    # C text ends at the first zero byte.
    text = text[excluded:].partition(b"\0")[0]
    shown = text.lstrip(b" \t\n\v\f\r")
    if not text:
        return 0.0, excluded
    try:
        return parse_score(shown), excluded
    except ValueError:
        match = _DECIMAL.fullmatch(shown)
        if match is not None:
            return float(shown), excluded
        if _HEX.fullmatch(shown) is not None and b"p-" not in shown.lower():
            return (-math.inf if shown[:1] == b"-" else math.inf), excluded
        raise
