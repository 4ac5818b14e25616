from isthmus.proxy.backend cimport Backend
from isthmus.proxy.pending cimport Pending
from isthmus.proxy.router cimport Router
from isthmus.wire.slots cimport key_slot


cdef class Gather:
    cdef public Router router
    cdef public Pending whole
    cdef public long long left
    cdef public bytes error

    cpdef Pending part(self, list[bytes] argv)
    cpdef add(self, Pending part, bytes data)
    cpdef take(self, Pending part, bytes data)
    cpdef bytes result(self)
    cpdef bytes outcome(self)


cdef class Split(Gather):
    cdef public long long step
    cdef public long long sum
    cdef public list values
    cdef public bytes kind
    cdef public dict places

    cpdef divide(self, object positions, Pending before)


cdef class AllShards(Gather):
    cdef public object combine
    cdef public list replies
    cdef public dict places
