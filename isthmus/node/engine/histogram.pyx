"""The histogram of a command's calls, as histogram.py describes it, in C.

The cells are one array of counters, made by the first call and freed with the histogram. Noting a
call allocates nothing after that and raises nothing: if there is no memory for the cells, a figure
is lost and never a command.
"""

from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #define isthmus_octave(x) (63 - __builtin_clzll((unsigned long long)(x)))
    """
    int isthmus_octave(long long x) noexcept

cdef enum:
    _CELL_BITS = 7
    _PER_OCTAVE = 128
    _OCTAVE_MAX = 35
    _CELLS = (35 - 7 + 2) * 128

CELL_BITS = _CELL_BITS
CELLS_PER_OCTAVE = _PER_OCTAVE
OCTAVE_MAX = _OCTAVE_MAX
CELLS = _CELLS
NANOS_MAX = (<long long>1 << (_OCTAVE_MAX + 1)) - 1
FIRST_LEVEL_NANOS = 1024

cdef long long _NANOS_MAX = (<long long>1 << (_OCTAVE_MAX + 1)) - 1


cdef inline long long _cell_of(long long nanos) noexcept:
    cdef int shift
    if nanos < _PER_OCTAVE:
        return nanos
    shift = isthmus_octave(nanos) - _CELL_BITS
    return shift * _PER_OCTAVE + (nanos >> shift)


cdef inline long long _highest_of(long long cell) noexcept:
    cdef long long shift
    if cell < 2 * _PER_OCTAVE:
        return cell
    shift = cell // _PER_OCTAVE - 1
    return ((cell % _PER_OCTAVE + _PER_OCTAVE + 1) << shift) - 1


def cell_of(long long nanos):
    """The cell of a duration between 0 and NANOS_MAX."""
    return _cell_of(nanos)


def highest_of(long long cell):
    """The longest duration that falls into a cell."""
    return _highest_of(cell)


cdef class Histogram:
    """Durations of calls; `on` says whether they are noted (latency-tracking)."""

    def __cinit__(self):
        self.on = True
        self.total = 0
        self.cells = NULL

    def __dealloc__(self):
        free(self.cells)

    cpdef long long note(self, long long nanos) noexcept:
        """Count one call that took so many nanoseconds (less than none counts as none)."""
        if not self.on:
            return 0
        if self.cells == NULL:
            self.cells = <unsigned long long *>calloc(_CELLS, sizeof(unsigned long long))
            if self.cells == NULL:
                return 0
        if nanos < 0:
            nanos = 0
        elif nanos > _NANOS_MAX:
            nanos = _NANOS_MAX
        self.cells[_cell_of(nanos)] += 1
        self.total += 1
        return 0

    cpdef long long count(self, long long cell):
        """How many calls fell into a cell."""
        if self.cells == NULL or cell < 0 or cell >= _CELLS:
            return 0
        return self.cells[cell]

    cpdef reset(self):
        """Forget everything and give the memory back."""
        free(self.cells)
        self.cells = NULL
        self.total = 0

    def percentile(self, double percent):
        """Nanoseconds within which `percent` of the calls were done; 0 before the first call."""
        cdef long long wanted = <long long>(percent / 100 * self.total + 0.5)
        cdef long long seen = 0
        cdef long long cell
        if self.cells == NULL:
            return 0
        if wanted < 1:
            wanted = 1
        for cell in range(_CELLS):
            seen += self.cells[cell]
            if seen >= wanted:
                return _highest_of(cell)
        return 0

    def levels(self):
        """(microseconds, calls up to there), the time doubling, where the number of calls grew."""
        cdef long long seen = 0, told = 0, level = 1024, cell, highest
        cdef list found = []
        if self.cells == NULL:
            return found
        for cell in range(_CELLS):
            if told == self.total:
                break
            seen += self.cells[cell]
            highest = _highest_of(cell)
            if highest < level:
                continue
            if seen > told:
                found.append((highest // 1000, seen))
                told = seen
            level *= 2
        return found
