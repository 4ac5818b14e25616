"""heap: how many bytes the data of this process takes, as a running total.

Every packed structure (tables, lists, score indexes, streams) and every long string says here what
it allocates and frees, so that the answer to "is there room" is one number, known at any moment and
exact to the allocator's rounding. It counts the whole process: values that have left the keyspace
and wait to be freed are still in it. Python objects of clients, scripts and the program itself are
not; memory.py adds those that a user would ask about.

This twin counts the same things; its structures are Python's, so the figures are estimates.
"""

from __future__ import annotations

_held = 0


def add(count: int) -> None:
    """Count bytes that were allocated, or (negative) freed."""
    global _held
    _held += count


def used() -> int:
    """Bytes allocated and not freed."""
    return _held
