cimport cython

from isthmus.node.engine.clock cimport Clock
from isthmus.node.engine.effect_log cimport Effect
from isthmus.node.persist.aof_format cimport encode_batch

cdef class AofBuffer:
    cdef public Clock clock
    cdef public object config
    cdef public bytearray data
    cdef public long long db
    cdef public long long appended
    cdef public bint promised
    cdef public bint refused
    cdef public long long stamped_s
    cdef public bint stamping
    cdef public object hold
    @cython.locals(data=bytes, db="long long")
    cpdef void effects(self, list[Effect] batch)
    cpdef void add(self, bytes data)
    @cython.locals(now_s="long long")
    cpdef void stamp(self)
