from isthmus.node.engine.keyspace cimport Database

cdef enum:
    AHEAD = 16

cdef class Lookahead:
    cdef int count
    cdef int slots[AHEAD]
    cdef void* keys[AHEAD]
    cpdef int stage(self, Database db, list batch) except -1
    cpdef int prime(self, Database db, list argv, int place) except -1
    cpdef int warm(self, Database db, list argv, int first, int step) except -1
