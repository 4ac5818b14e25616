cdef class Histogram:
    cdef public bint on
    cdef readonly long long total
    cdef unsigned long long *cells
    cpdef long long note(self, long long nanos) noexcept
    cpdef long long count(self, long long cell)
    cpdef reset(self)
