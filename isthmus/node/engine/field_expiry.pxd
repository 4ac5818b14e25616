cimport cython

from isthmus.node.engine.table cimport Table

cdef class FieldExpiries:
    cdef public list shards
    cdef public long long count
    @cython.locals(shard=Table, hashed="long long")
    cpdef Table shard_of(self, bytes key)
    @cython.locals(shard=Table, known="long long")
    cpdef void note(self, bytes key, long long due)
    cpdef void set_due(self, bytes key, long long due)
    cpdef void forget(self, bytes key)
