"""Clock: the one place where the engine learns the time.

`now_ms` is the wall clock (Unix ms) as of the last `refresh`; the server refreshes it once per
event-loop turn, so everything one command does sees one time. A manual clock (tests, simulation)
moves only by `advance`.

While `loading` is set, no time has come for anything: `expiry_ms` is before every time. An append
only file is replayed so, since what a command found when it was written must be found again, though
its time has passed meanwhile. Twin of clock.pyx.
"""

from __future__ import annotations

import time

from isthmus.wire.scalars import i64


class Clock:
    """Wall time in ms and monotonic time in ns; manual when made with a starting time."""

    __slots__ = ("now_ms", "manual", "manual_ns", "loading", "late")

    def __init__(self, manual_ms: int | None = None) -> None:
        self.manual = manual_ms is not None
        self.manual_ns = 0
        self.loading = False
        # Time has passed in the middle of a command: the clock is read when it is done.
        self.late = False
        self.now_ms = manual_ms if manual_ms is not None else 0
        self.refresh()

    def refresh(self) -> i64:
        """Read the wall clock into now_ms (Unix ms) and return it."""
        self.late = False
        if not self.manual:
            self.now_ms = time.time_ns() // 1_000_000
        return self.now_ms

    def expiry_ms(self) -> i64:
        """What an expiry is compared with: now_ms, or -1 while loading, when nothing expires."""
        return -1 if self.loading else self.now_ms

    def wall_us(self) -> i64:
        """Unix time in microseconds, read now."""
        return self.now_ms * 1000 if self.manual else time.time_ns() // 1000

    def mono_ns(self) -> i64:
        """Nanoseconds of a clock that never goes back."""
        return self.manual_ns if self.manual else time.monotonic_ns()

    def advance(self, ms: int) -> None:
        """Move a manual clock forward by ms."""
        assert self.manual, "only a manual clock can be moved"
        self.now_ms += ms
        self.manual_ns += ms * 1_000_000
