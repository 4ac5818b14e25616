cdef class Rng:
    cdef unsigned long long state
    cdef unsigned long long next64(self) noexcept
    cpdef long long below(self, long long n)
