cdef class SlotCounts:
    cdef int *counts
    cdef long long *groups
    # One byte a slot, not zero where it is hidden; NULL: none is.
    cdef unsigned char *mask
    cdef readonly long long hidden
    cpdef int add(self, long long slot, long long change) except -1
    cpdef long long find(self, long long rank)
    cpdef int hide(self, const unsigned char[:] mask) except -1
    cpdef long long of(self, long long slot)
    cpdef int reset(self) except -1
