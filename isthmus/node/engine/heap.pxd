cdef void heap_add(long long count) noexcept nogil
cpdef long long used()
