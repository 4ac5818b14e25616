cimport cython


@cython.final
cdef class CommandReader:
    cdef const unsigned char[::1] view
    cdef const char* data
    cdef Py_ssize_t end
    cdef readonly Py_ssize_t position
    cdef readonly Py_ssize_t start
    cdef readonly int state
    cdef readonly str reason
    cdef readonly bytes line

    cpdef list next(self)
    cdef list read(self)
    cdef int number(self, Py_ssize_t* at, char kind, long long* value) noexcept
    cdef void annotation(self)

cpdef bytes pack(list argv)
cpdef bytes pack_all(list commands)
