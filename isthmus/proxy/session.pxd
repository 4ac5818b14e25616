from isthmus.proxy.pending cimport Client, Pending
from isthmus.proxy.route cimport Route
from isthmus.proxy.router cimport Router
from isthmus.wire.parser cimport RequestParser
from isthmus.wire.reply cimport ReplyWriter
from isthmus.wire.slots cimport key_slot


cdef class Session(Client):
    cdef public object proxy
    cdef public Router router
    cdef public dict routes
    cdef public RequestParser requests
    cdef public ReplyWriter out
    cdef public long long id
    cdef public int protocol
    cdef public bint gates
    cdef public bint authenticated
    cdef public bint no_evict
    cdef public bint no_touch
    cdef public bint reply_off
    cdef public int reply_skip
    cdef public object transaction
    cdef public bint watch_lost
    cdef public dict subscriptions
    cdef public set errands
    cdef public list delayed
    cdef public bytearray written
    cdef public object feed
    cdef public dict shard_feeds
    cdef public object watch_line
    cdef public bytes name
    cdef public bytes library
    cdef public bytes library_version
    cdef public bytes address
    cdef public bytes local_address
    cdef public bytes last_command
    cdef public long long created_ms
    cdef public long long active_ms
    cdef public long long commands

    cpdef int process(self) except -1
    cdef int run(self) except -1
    cpdef int forward(self, Route route, list[bytes] argv, int slot) except -1
    cpdef int attend(self) except -1
    cpdef int closed(self) except -1
