"""check: the assertion for our own faults, on in production.

A failed check means the program is wrong, not the client or the world: it must stop the process
with a report rather than go on with state nobody understands.
"""

from __future__ import annotations


class InvariantError(BaseException):
    """A broken invariant of ours. A BaseException, so that no handler of errors swallows it."""


def check(cond: object, why: str) -> None:
    """Raise InvariantError(why) unless cond holds."""
    if not cond:
        raise InvariantError(why)
