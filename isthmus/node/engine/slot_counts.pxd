cdef class SlotCounts:
    cdef int *counts
    cdef long long *groups
    cpdef int add(self, long long slot, long long change) except -1
    cpdef long long find(self, long long rank)
    cpdef int reset(self) except -1
