cimport cython


@cython.final
cdef class Route:
    cdef public bytes name
    cdef public int kind
    cdef public int arity
    cdef public int first_key
    cdef public int last_key
    cdef public int key_step
    cdef public bint single
    cdef public bint plain
    cdef public bint write
    cdef public bint open_to_all
    cdef public object spec
    cdef public object handler
    cdef public dict subcommands
    cdef public Route alone
    cdef public long long calls

    cpdef bint fits(self, Py_ssize_t count)
    cpdef int slot(self, list[bytes] argv) except -3
