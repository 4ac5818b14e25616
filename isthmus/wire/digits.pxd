cdef bint read_int(const char* p, Py_ssize_t size, long long* value) noexcept nogil
cdef int write_int(char* out, long long value) noexcept nogil
cpdef long long parse_int(bytes text) except? -1
cpdef bytes format_int(long long value)
