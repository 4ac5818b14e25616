from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.clock cimport Clock
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.execute cimport execute
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.wire.frames cimport FrameReader, ReplyFrame
from isthmus.wire.parser cimport RequestParser
from isthmus.wire.pump cimport Peer
from isthmus.wire.reply cimport ReplyWriter
from isthmus.wire.slots cimport key_slot


cdef class LinkSession(Peer):
    cdef public object node
    cdef public Context ctx
    cdef public ClientState state
    cdef public FrameReader frames
    cdef public RequestParser requests
    cdef public ReplyFrame output
    cdef public str proxy_id
    cdef public long long left
    cdef public long long sequence
    cdef public long long protocol
    cdef public bint split
    cdef public bint owed

    cpdef int process(self) except -1
    cdef int run(self) except -1
    cdef int relay(self) except -1
    cdef int answer(self) except -1
    cdef int run_one(self, list[bytes] argv) except -1
    cdef int run_split(self, list[bytes] argv) except -1
    cpdef int closed(self) except -1
