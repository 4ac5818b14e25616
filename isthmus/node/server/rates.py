"""Rates: what happened per second lately, from running totals that cron samples (io).

A total may go back to zero (CONFIG RESETSTAT); whoever does that clears the samples.
"""

from __future__ import annotations

import resource

from isthmus.wire.pump import Pump

RATE_SAMPLES = 16
# The order of the totals.
COMMANDS, BYTES_IN, BYTES_OUT, CYCLES, LOOP_USEC = range(5)


class Rates:
    """Per-second rates over the last samples, as INFO's instantaneous_* fields."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, tuple[int, ...]]] = []

    def sample(self, now_ns: int, totals: tuple[int, ...]) -> None:
        """Note the running totals at now_ns."""
        self.samples.append((now_ns, totals))
        if len(self.samples) > RATE_SAMPLES:
            del self.samples[0]

    def per_second(self, index: int) -> float:
        """The rate of the total at `index`."""
        if len(self.samples) < 2:
            return 0.0
        (first_ns, first), (last_ns, last) = self.samples[0], self.samples[-1]
        span = last_ns - first_ns
        return (last[index] - first[index]) * 1e9 / span if span > 0 else 0.0


def main_thread_usec() -> int:
    """CPU time of this thread, which runs the loop: what its turns took, waiting left out."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return int((usage.ru_utime + usage.ru_stime) * 1e6)


def totals(pump: Pump, commands: int) -> tuple[int, ...]:
    """The running totals that INFO's instantaneous_* fields are the rates of."""
    return commands, pump.bytes_in, pump.bytes_out, pump.cycles, main_thread_usec()
