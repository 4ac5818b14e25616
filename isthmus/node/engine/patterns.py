"""Glob patterns, as KEYS, SCAN MATCH and PSUBSCRIBE take them.

    *         any run of bytes        [abc]  one of these      \\x  the byte x itself
    ?         any one byte            [a-z]  a range, either way round
    [^abc]    none of these           a class that is never closed ends with the pattern

Inside a class a backslash quotes the next byte, and a range takes whatever byte follows its dash,
a closing bracket too. Bytes above 127 compare as negative numbers in a range, as the C type of
Redis' reference platform does. The empty text matches the empty pattern only; that "*" means
everything is decided by the commands, which do not ask then.

The matcher never recurses: every element but the star takes exactly one byte, so it is enough to
remember the last star and to move its end on by one byte at each mismatch. The worst case is the
product of the two lengths, as for `*a*a*a*b`; `STEPS_MAX` (plus a few for each byte of text) bounds
it, and a text that takes longer counts as not matching. Nothing here is turned into a regular
expression, whose engine has no such bound.
"""

from __future__ import annotations

from isthmus.wire.scalars import i64

STEPS_MAX = 1 << 20
STEPS_PER_BYTE = 64

STAR, QUESTION, OPEN, CLOSE, CARET, DASH, BACKSLASH = b"*?[]^-\\"


def glob_match(pattern: bytes, text: bytes) -> bool:
    """True if the whole text matches the pattern."""
    size: i64 = len(pattern)
    length: i64 = len(text)
    at: i64 = 0
    pos: i64 = 0
    retry: i64 = -1
    retry_pos: i64 = 0
    following: i64
    steps: i64 = STEPS_MAX + STEPS_PER_BYTE * length
    if length == 0:
        return size == 0
    while pos < length:
        if at < size and pattern[at] == STAR:
            at += 1
            retry, retry_pos = at, pos
            continue
        if retry == size:
            return True
        following = element(pattern, at, size, text[pos]) if at < size else ~at
        steps -= (following if following >= 0 else ~following) - at + 1
        if following >= 0:
            at = following
            pos += 1
        elif retry < 0 or steps < 0:
            return False
        else:
            retry_pos += 1
            at, pos = retry, retry_pos
    while at < size and pattern[at] == STAR:
        at += 1
    return at == size


def element(pattern: bytes, at: i64, size: i64, byte: i64) -> i64:
    """Where the element at `at`, which is no star, ends; ~ of it if it does not match the byte."""
    kind: i64 = pattern[at]
    if kind == QUESTION:
        return at + 1
    if kind == OPEN:
        return in_class(pattern, at + 1, size, byte)
    if kind == BACKSLASH and at + 1 < size:
        at += 1
        kind = pattern[at]
    return at + 1 if kind == byte else ~(at + 1)


def in_class(pattern: bytes, at: i64, size: i64, byte: i64) -> i64:
    """Where the class whose first byte is at `at` ends; ~ of it if it does not have the byte."""
    negated: bool = at < size and pattern[at] == CARET
    found: bool = False
    low: i64
    high: i64
    one: i64
    if negated:
        at += 1
    while at < size:
        one = pattern[at]
        if one == BACKSLASH and at + 1 < size:
            at += 1
            found = found or pattern[at] == byte
        elif one == CLOSE:
            break
        elif at + 2 < size and pattern[at + 1] == DASH:
            low, high = as_char(one), as_char(pattern[at + 2])
            if low > high:
                low, high = high, low
            found = found or low <= as_char(byte) <= high
            at += 2
        else:
            found = found or one == byte
        at += 1
    at = at + 1 if at < size else size
    return ~at if found == negated else at


def as_char(byte: i64) -> i64:
    """The byte as a C signed char."""
    return byte - 256 if byte > 127 else byte
