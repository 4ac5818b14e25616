cimport cython


@cython.freelist(64)
cdef class Effect:
    cdef public long long db
    cdef public list argv
    cdef public bytes event
    cdef public bytes event_class
    cdef public long long origin


cdef class EffectLog:
    cdef public bint recording
    cdef public long long dirty
    cdef public long long offset
    cdef public long long origin
    cdef public list batch
    cdef public list sinks
    cdef public long long interest
    cdef public long long noting
    cdef public bint pending
    cdef public bint held
    cpdef void note(self, long long db, bytes key, bytes event, bytes event_class)
    cpdef void flush(self)
    @cython.locals(effect=Effect)
    cpdef void append(self, long long db, list[bytes] argv, bytes event, bytes event_class)
