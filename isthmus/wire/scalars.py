"""Numbers as text: strict readers and Redis' exact spellings.

Python's own `int()` and `float()` take spaces, underscores, signs and digits that Redis
refuses, and `repr()` spells floats differently, so no other module may use them on client
bytes. The rules here:

- integers are int64 in their one canonical spelling (`-?[1-9][0-9]*` or `0`);
- floats are what C's `strtod` takes in decimal, with no blanks around them; what is not a number,
  or falls outside the range of a double (over- or underflow), is refused;
- a double is printed as an integer when it is one and lies within +-2^62, else with the fewest
  digits that read back to it, laid out as Redis 7.2+ lays them out (its `fpconv`): plain while
  short, `d.ddde+N` otherwise.

`split_inline` lives here too: it is the other place where client text, typed by a person in a
terminal, is turned into values.
"""

from __future__ import annotations

import math
import re

from isthmus.wire.digits import format_int, parse_int

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "format_float",
    "format_int",
    "i64",
    "parse_float",
    "parse_int",
    "split_inline",
]

# A C integer in files that a `.pxd` types: Cython takes `int` for the Python object, so such
# files write `i64`, which means the same to a reader and to mypy.
i64 = int

INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1
_PRINT_AS_INT_MAX = float(1 << 62)

_FLOAT = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE)


def parse_float(text: bytes) -> float:
    """Read a decimal double or an infinity; ValueError for anything else and out of range."""
    if _FLOAT.fullmatch(text) is None:
        infinity = _INFINITY.fullmatch(text)
        if infinity is None:
            raise ValueError("not a float")
        return -math.inf if infinity[1] == b"-" else math.inf
    value = float(text)
    if math.isinf(value):
        raise ValueError("float too large")
    if value == 0.0 and text.lower().partition(b"e")[0].strip(b"+-.0"):
        raise ValueError("float too small")
    return value


def format_float(value: float) -> bytes:
    """Spell a double as Redis 7.4 does in ZSCORE, RESP3 doubles and the like."""
    if -_PRINT_AS_INT_MAX <= value <= _PRINT_AS_INT_MAX:
        if value == 0.0:
            return b"-0" if math.copysign(1.0, value) < 0 else b"0"
        whole = int(value)
        if whole == value:
            return b"%d" % whole
    elif value != value:
        return b"nan"
    elif math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    return _lay_out(repr(value))


def _lay_out(text: str) -> bytes:
    """Turn Python's shortest digits into the layout of `fpconv`.

    With digits D (n of them) and exponent K meaning D * 10**K, the text is plain if K >= 0 and at
    most 7 zeros follow, or if K < 0 and either K > -7 or the value lies in 1e-3 .. 9999.9; it is
    in scientific form otherwise.
    """
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent or "0") - len(fraction)
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    power += len(digits) - len(stripped)
    digits = stripped
    count = len(digits)
    magnitude = power + count - 1
    if power >= 0 and abs(magnitude) < count + 7:
        return (sign + digits + "0" * power).encode()
    if power < 0 and (power > -7 or abs(magnitude) < 4):
        point = count + power
        if point <= 0:
            return (sign + "0." + "0" * -point + digits).encode()
        return (sign + digits[:point] + "." + digits[point:]).encode()
    tail = "." + digits[1:] if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'-' if magnitude < 0 else '+'}{abs(magnitude)}".encode()


_BLANKS = frozenset(b" \t\n\v\f\r")
_WORD_ENDS = frozenset(b" \t\n\r")  # vertical tab and form feed end no word, as in Redis
_HEX = frozenset(b"0123456789abcdefABCDEF")
_ESCAPES = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}


def split_inline(line: bytes) -> list[bytes]:
    """Split an inline request (without its line end) into arguments; ValueError for bad quotes.

    In double quotes `\\n \\r \\t \\b \\a \\xHH` are escapes and a backslash before anything else
    stands for that; in single quotes only `\\'` is one. A closing quote must be followed by a
    blank or the end of the line. A quote may open in the middle of a word.
    """
    words: list[bytes] = []
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in _BLANKS:
            at += 1
        if at == end:
            return words
        word = bytearray()
        while at < end and line[at] not in _WORD_ENDS:
            if line[at] in b"\"'":
                at = _read_quoted(line, at, word)
                break
            word.append(line[at])
            at += 1
        words.append(bytes(word))


def _read_quoted(line: bytes, at: int, word: bytearray) -> int:
    """Append to `word` the quoted run that opens at `at`; return the position after it."""
    quote, end = line[at], len(line)
    double = quote == 0x22
    at += 1
    while at < end:
        char = line[at]
        if char == quote:
            if at + 1 < end and line[at + 1] not in _BLANKS:
                raise ValueError("closing quote inside a word")
            return at + 1
        if char == 0x5C and at + 1 < end and (double or line[at + 1] == 0x27):
            at += 1
            char = line[at]
            digits = line[at + 1 : at + 3]
            if double and char == 0x78 and len(digits) == 2 and _HEX.issuperset(digits):
                at += 2
                char = int(digits, 16)
            elif double:
                char = _ESCAPES.get(char, char)
        word.append(char)
        at += 1
    raise ValueError("quote never closed")
