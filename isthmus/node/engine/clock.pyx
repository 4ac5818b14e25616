"""Compiled twin of clock.py (see there)."""

from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec


cdef class Clock:
    def __init__(self, manual_ms=None):
        self.manual = manual_ms is not None
        self.manual_ns = 0
        self.loading = False
        self.late = False
        self.now_ms = manual_ms if manual_ms is not None else 0
        self.refresh()

    cpdef long long refresh(self):
        """Read the wall clock into now_ms (Unix ms) and return it."""
        cdef timespec t
        self.late = False
        if not self.manual:
            clock_gettime(CLOCK_REALTIME, &t)
            self.now_ms = <long long>t.tv_sec * 1000 + t.tv_nsec // 1000000
        return self.now_ms

    cpdef long long expiry_ms(self):
        """What an expiry is compared with: now_ms, or -1 while loading, when nothing expires."""
        return -1 if self.loading else self.now_ms

    cpdef long long wall_us(self):
        """Unix time in microseconds, read now."""
        cdef timespec t
        if self.manual:
            return self.now_ms * 1000
        clock_gettime(CLOCK_REALTIME, &t)
        return <long long>t.tv_sec * 1000000 + t.tv_nsec // 1000

    cpdef long long mono_ns(self):
        """Nanoseconds of a clock that never goes back."""
        cdef timespec t
        if self.manual:
            return self.manual_ns
        clock_gettime(CLOCK_MONOTONIC, &t)
        return <long long>t.tv_sec * 1000000000 + t.tv_nsec

    def advance(self, ms):
        """Move a manual clock forward by ms."""
        assert self.manual, "only a manual clock can be moved"
        self.now_ms += ms
        self.manual_ns += ms * 1000000
