"""Histogram: how long the calls of one command took, in log-linear cells.

A duration in nanoseconds falls into a cell 1/128 of its power of two wide, so a figure read back
is at most 0.8 % above the true one. Noting a call is one addition; the cells (30 kB) are allocated
when the first call comes, because most commands never run. What took longer than `NANOS_MAX` (68 s)
counts as that long.

    value < 128                        its own cell
    2**e <= value < 2**(e+1), e >= 7   cell (e - 6) * 128 + (value >> (e - 7)) - 128

The cells are those of an HdrHistogram with two significant digits, as Redis uses it, so percentiles
and the levels of LATENCY HISTOGRAM are the numbers Redis would have shown. Twin of histogram.pyx.
"""

from __future__ import annotations

from isthmus.wire.scalars import i64

CELL_BITS = 7
CELLS_PER_OCTAVE = 1 << CELL_BITS
OCTAVE_MAX = 35
CELLS = (OCTAVE_MAX - CELL_BITS + 2) * CELLS_PER_OCTAVE
NANOS_MAX = (1 << (OCTAVE_MAX + 1)) - 1
FIRST_LEVEL_NANOS = 1024


def cell_of(nanos: int) -> int:
    """The cell of a duration between 0 and NANOS_MAX."""
    if nanos < CELLS_PER_OCTAVE:
        return nanos
    shift = nanos.bit_length() - 1 - CELL_BITS
    return shift * CELLS_PER_OCTAVE + (nanos >> shift)


def highest_of(cell: int) -> int:
    """The longest duration that falls into a cell."""
    if cell < 2 * CELLS_PER_OCTAVE:
        return cell
    shift = cell // CELLS_PER_OCTAVE - 1
    return ((cell % CELLS_PER_OCTAVE + CELLS_PER_OCTAVE + 1) << shift) - 1


class Histogram:
    """Durations of calls; `on` says whether they are noted (latency-tracking)."""

    def __init__(self) -> None:
        self.on = True
        self.total = 0
        self.cells: dict[int, int] = {}

    def note(self, nanos: i64) -> i64:
        """Count one call that took so many nanoseconds (less than none counts as none)."""
        if not self.on:
            return 0
        cell = cell_of(min(max(nanos, 0), NANOS_MAX))
        self.cells[cell] = self.cells.get(cell, 0) + 1
        self.total += 1
        return 0

    def count(self, cell: i64) -> i64:
        """How many calls fell into a cell."""
        return self.cells.get(cell, 0)

    def reset(self) -> None:
        """Forget everything and give the memory back."""
        self.cells = {}
        self.total = 0

    def percentile(self, percent: float) -> int:
        """Nanoseconds within which `percent` of the calls were done; 0 before the first call."""
        wanted = max(1, int(percent / 100 * self.total + 0.5))
        seen = 0
        for cell in range(CELLS):
            seen += self.count(cell)
            if seen >= wanted:
                return highest_of(cell)
        return 0

    def levels(self) -> list[tuple[int, int]]:
        """(microseconds, calls up to there), the time doubling, where the number of calls grew."""
        found: list[tuple[int, int]] = []
        seen = told = 0
        level = FIRST_LEVEL_NANOS
        for cell in range(CELLS):
            if told == self.total:
                break
            seen += self.count(cell)
            highest = highest_of(cell)
            if highest < level:
                continue
            if seen > told:
                found.append((highest // 1000, seen))
                told = seen
            level *= 2
        return found
