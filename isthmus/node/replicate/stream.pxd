cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.effect_log cimport Effect
from isthmus.node.persist.aof_format cimport encode_batch
from isthmus.node.replicate.backlog cimport Backlog

cdef class Stream:
    cdef public Context ctx
    cdef public Backlog backlog
    cdef public long long db
    cdef public bint messages
    cdef public bint followed
    cdef public bint stirred
    cdef public object stir
    cdef public object hold
    @cython.locals(data=bytes, db="long long", session=ClientState)
    cpdef void effects(self, list[Effect] batch)
    cpdef void feed(self, bytes data)
