cdef class Backlog:
    cdef public long long bytes_max
    cdef public object older
    cdef public long long older_bytes_max
    cdef public long long start
    cdef public long long end
    cdef public long long keep_from
    cdef public object chunks
    cdef bytearray last
    cdef long long due
    cpdef void reckon(self) except *
    cpdef void restart(self, long long end) except *
    cpdef void append(self, bytes data) except *
    cpdef void trim(self) except *
    cpdef bint holds(self, long long offset) except -1
    cpdef bytes read(self, long long offset, long long bytes_max)
