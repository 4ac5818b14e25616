from libc.stdint cimport int64_t, uint8_t, uint64_t

ctypedef list (*Items)(const uint8_t* p, Py_ssize_t n)

cdef class RdbReader:
    cdef Py_buffer buffer
    cdef bint held
    cdef const uint8_t* p
    cdef readonly Py_ssize_t size, position
    cdef readonly long long base

    cdef const uint8_t* take(self, Py_ssize_t count) except NULL
    cdef int read_length(self, uint64_t* number) except -1
    cdef list blob(self, Items items)

    cpdef object error(self, str reason, Py_ssize_t at=?)
    cpdef object view(self, Py_ssize_t start, Py_ssize_t stop)
    cpdef bytes raw(self, Py_ssize_t count)
    cpdef int skip(self, Py_ssize_t count) except -1
    cpdef int byte(self) except -1
    cpdef uint64_t number(self) except? 0xFFFFFFFFFFFFFFFF
    cpdef long long length(self) except -1
    cpdef Py_ssize_t count(self, Py_ssize_t bytes_min, str what) except -1
    cpdef bytes string(self)
    cpdef int skip_string(self) except -1
    cpdef uint64_t u64(self) except? 0xFFFFFFFFFFFFFFFF
    cpdef int64_t i64(self) except? -1
    cpdef long i32(self) except? -1
    cpdef double double(self) except? -1
    cpdef double old_double(self) except? -1
    cpdef list listpack(self)
    cpdef list ziplist(self)
    cpdef list intset(self)
    cpdef list zipmap(self)

cpdef double read_double(RdbReader reader, bytes text, Py_ssize_t at) except? -1
