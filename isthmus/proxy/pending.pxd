cimport cython

from isthmus.proxy.route cimport Route
from isthmus.wire.pump cimport Peer


@cython.final
@cython.freelist(256)
cdef class Pending:
    cdef public Client client
    cdef public Pending next
    cdef public Pending behind
    cdef public Route route
    cdef public list argv
    cdef public object backend
    cdef public object gather
    cdef public bytes data
    cdef public int slot
    cdef public int protocol
    cdef public int flags
    cdef public int tries
    cdef public bint done
    cdef public bint retried
    cdef public long long sequence
    cdef public long long deadline_ms

    cpdef Client owner(self)
    cpdef int finish(self, bytes data) except -1


cdef class Client(Peer):
    cdef public Pending first
    cdef public Pending last
    cdef public long long waiting
    cdef public long long parked
    cdef public bint draining
    cdef public bint working
    cdef public bint held
    cdef public bint ending
    cdef public bint attention

    cpdef int enqueue(self, Pending pending) except -1
    cpdef int finish(self, Pending pending, bytes data) except -1
    cpdef int flush(self) except -1
    cpdef int attend(self) except -1
    cpdef int drain(self) except -1
    cpdef bint released(self)
    cpdef int resume(self) except -1
