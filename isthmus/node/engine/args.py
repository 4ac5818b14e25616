"""Reading arguments of commands: strict numbers with the error the client expects.

Numbers are read as Redis reads them (wire/scalars.py), so what one refuses, the other does. A wait
is told as the moment it is over, so that nothing later has to know when it began; 0 is never.
Nothing here looks at keys or writes a reply: what does not fit is a RedisError.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from isthmus.node.engine.errors import (
    NOT_FLOAT,
    NOT_INTEGER,
    SYNTAX,
    TIMEOUT_NEGATIVE,
    TIMEOUT_NOT_FLOAT,
    TIMEOUT_NOT_INTEGER,
    TIMEOUT_OUT_OF_RANGE,
    RedisError,
)
from isthmus.wire.long_double import parse as parse_long_double
from isthmus.wire.scalars import INT64_MAX, parse_float, parse_int

if TYPE_CHECKING:
    from isthmus.node.engine.context import Context


def integer(text: bytes, error: bytes = NOT_INTEGER) -> int:
    """An int64; raises RedisError(error)."""
    try:
        return parse_int(text)
    except ValueError:
        raise RedisError(error) from None


def number(text: bytes, error: bytes = NOT_FLOAT) -> float:
    """A double, infinities allowed; raises RedisError(error)."""
    try:
        return parse_float(text)
    except ValueError:
        raise RedisError(error) from None


def bounded(text: bytes, low: int, high: int, error: bytes) -> int:
    """An integer in [low, high]; raises RedisError(error)."""
    value = integer(text, error)
    if not low <= value <= high:
        raise RedisError(error)
    return value


def deadline(text: bytes, ctx: Context) -> int:
    """When a wait given in seconds (a double; 0: for ever) is over: Unix ms, 0 for never."""
    try:
        found = parse_long_double(text)
        wait_ms = math.ldexp(found.mantissa, found.exponent) * 1000
    except ValueError:
        raise RedisError(TIMEOUT_NOT_FLOAT) from None
    except OverflowError:
        wait_ms = math.copysign(math.inf, found.mantissa)
    return _deadline(found.infinite * math.inf if found.infinite else wait_ms, ctx)


def deadline_ms(text: bytes, ctx: Context) -> int:
    """As deadline(), for a wait given in whole milliseconds."""
    return _deadline(integer(text, TIMEOUT_NOT_INTEGER), ctx)


def _deadline(wait_ms: float, ctx: Context) -> int:
    if wait_ms > INT64_MAX:
        raise RedisError(TIMEOUT_OUT_OF_RANGE)
    # Rounded up first, as in Redis: what lies between is no wait at all, which means for ever.
    if wait_ms <= -1:
        raise RedisError(TIMEOUT_NEGATIVE)
    whole = math.ceil(wait_ms)
    if whole == 0:
        return 0
    until = ctx.now_ms + whole
    if until > INT64_MAX:
        raise RedisError(TIMEOUT_OUT_OF_RANGE)
    return until


def syntax() -> RedisError:
    """The error for arguments in an order or combination the command does not know."""
    return RedisError(SYNTAX)
