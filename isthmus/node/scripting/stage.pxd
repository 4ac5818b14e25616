from isthmus.node.engine.context cimport Context
from isthmus.wire.reply cimport ReplyWriter

cdef class Stage:
    cdef public Context ctx
    cdef public ReplyWriter writer
    cdef public long long slice_ns
    cdef public long long slice_end_ns
    cdef public bint may_pause
    cdef public bint abandoned
    cdef public bint occupied
    cdef public bint running
    cdef ReplyWriter _house
    cdef object _worker
    cdef object _loop
    cpdef bint play(self, object body, object argument)
    cpdef bint resume(self)
    cpdef void pause(self)
    cpdef bint due(self)
    cpdef bint _enter(self, object body, object argument)
