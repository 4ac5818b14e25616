cimport cython


@cython.final
cdef class ReplyWriter:
    cdef char* buf
    cdef readonly Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef public int protocol

    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef int grow(self, Py_ssize_t extra) except -1
    cdef int header(self, char kind, long long value) except -1
    cdef int line(self, char kind, bytes text) except -1
    cdef int bulk_raw(self, const char* data, Py_ssize_t count) except -1
    cdef int append(self, const char* data, Py_ssize_t count) except -1

    cpdef int ok(self) except -1
    cpdef int simple(self, bytes text) except -1
    cpdef int error(self, bytes text) except -1
    cpdef int integer(self, long long value) except -1
    cpdef int bulk(self, bytes value) except -1
    cpdef int null(self) except -1
    cpdef int null_array(self) except -1
    cpdef int empty_array(self) except -1
    cpdef int array(self, long long count) except -1
    cpdef int map(self, long long count) except -1
    cpdef int set(self, long long count) except -1
    cpdef int push(self, long long count) except -1
    cpdef int double(self, double value) except -1
    cpdef int boolean(self, bint value) except -1
    cpdef int big_number(self, bytes digits) except -1
    cpdef int verbatim(self, bytes fmt3, bytes text) except -1
    cpdef int raw(self, bytes data) except -1
    cpdef Py_ssize_t mark(self) except -1
    cpdef int truncate(self, Py_ssize_t mark) except -1
    cpdef bytes take(self)
    cpdef bytes take_from(self, Py_ssize_t mark)
    cpdef int clear(self) except -1
