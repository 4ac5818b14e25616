# The C layout of PendingList; pending_list.pyx explains it.
from isthmus.node.values.stream_blocks cimport Block, Blocks, Id


cdef class PendingList:
    cdef Blocks blocks
    cdef Py_ssize_t width
    cdef readonly Py_ssize_t length
    cdef readonly Py_ssize_t nbytes

    cpdef bint put(self, bytes id, long long time_ms, long long count,
                   long long owner) except -1
    cpdef object get(self, bytes id)
    cpdef bint remove(self, bytes id)
    cpdef list page(self, bytes start, bytes end, Py_ssize_t count)
    cpdef bytes last(self)
    cpdef Py_ssize_t clear_slice(self, Py_ssize_t blocks_max)
    cpdef take_copy(self, PendingList other)

    cdef bint _locate(self, Id id, Py_ssize_t* at, Py_ssize_t* position) noexcept
    cdef Block* _split(self, Py_ssize_t at) except NULL
