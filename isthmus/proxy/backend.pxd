from isthmus.proxy.pending cimport Client, Pending
from isthmus.wire.frames cimport FramePeer, FrameReader


cdef class Backend:
    cdef public str id
    cdef public long long shard
    cdef public bytes address
    cdef public str link_address
    cdef public Link link
    cdef public list idle
    cdef public long long lost_ms
    cdef public long long links_made
    cdef public long long links_lost
    cdef public object wake


cdef class Link(FramePeer):
    cdef public Backend backend
    cdef public object owner
    cdef public FrameReader frames
    cdef public Pending first
    cdef public Pending last
    cdef public long long waiting
    cdef public long long epoch
    cdef public bint up
    cdef public bint retired
    cdef public bint doubted
    cdef public str problem
    cdef public object settled

    cpdef int push(self, Pending pending) except -1
    cpdef int process(self) except -1
    cdef int replies(self) except -1
    cpdef int closed(self) except -1
