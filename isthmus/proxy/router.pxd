from isthmus.proxy.backend cimport Backend, Link
from isthmus.proxy.pending cimport Client, Pending
from isthmus.proxy.route cimport Route
from isthmus.wire.parser cimport RequestParser
from isthmus.wire.reply cimport ReplyWriter


cdef class Router:
    cdef public list slots
    cdef public dict backends
    cdef public dict by_address
    cdef public list shards
    cdef public list parked
    cdef public dict clients
    cdef public ReplyWriter scratch
    cdef public object refresh
    cdef public object on_park
    cdef public str cluster
    cdef public long long epoch
    cdef public long long now_ms
    cdef public long long turn
    cdef public long long requests
    cdef public long long redirects
    cdef public long long retries
    cdef public long long unknown
    cdef public long long refused
    cdef public long long error_replies

    cpdef int submit(self, Pending pending, RequestParser parser) except -1
    cpdef Backend place(self, Pending pending)
