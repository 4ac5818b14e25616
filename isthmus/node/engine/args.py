"""Reading arguments of commands: strict numbers with the error the client expects."""

from __future__ import annotations

from isthmus.node.engine.errors import NOT_FLOAT, NOT_INTEGER, SYNTAX, RedisError
from isthmus.wire.scalars import parse_float, parse_int


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


def syntax() -> RedisError:
    """The error for arguments in an order or combination the command does not know."""
    return RedisError(SYNTAX)
