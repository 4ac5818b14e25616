cimport cython
from libc.stdint cimport uint64_t


@cython.final
cdef class RdbWriter:
    cdef char* buf
    cdef readonly Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef public bint compress
    # The listpack that is being built, head included; its elements.
    cdef char* pack
    cdef Py_ssize_t pack_size
    cdef Py_ssize_t pack_capacity
    cdef readonly Py_ssize_t pack_count

    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef int append(self, const char* data, Py_ssize_t count) except -1
    cdef int string_raw(self, const char* data, Py_ssize_t count) except -1
    cdef int text_raw(self, const char* data, Py_ssize_t count) except -1

    cpdef int byte(self, int value) except -1
    cpdef int length(self, uint64_t value) except -1
    cpdef int string(self, bytes data) except -1
    cpdef int raw(self, bytes data) except -1
    cpdef int number(self, long long value) except -1
    cpdef int double(self, double value) except -1
    cpdef int begin_listpack(self) except -1
    cpdef int lp_text(self, bytes data) except -1
    cpdef int lp_number(self, long long value) except -1
    cpdef Py_ssize_t listpack_size(self) except -1
    cpdef int end_listpack(self) except -1
    cpdef Py_ssize_t mark(self) except -1
    cpdef int truncate(self, Py_ssize_t mark) except -1
    cpdef bytes take(self)
