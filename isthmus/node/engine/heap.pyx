"""Compiled twin of heap.py (see there)."""

cdef long long held = 0


cdef void heap_add(long long count) noexcept nogil:
    global held
    held += count


def add(long long count):
    """Count bytes that were allocated, or (negative) freed."""
    heap_add(count)


cpdef long long used():
    """Bytes allocated and not freed."""
    return held
