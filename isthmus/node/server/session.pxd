cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.clock cimport Clock
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.execute cimport execute
from isthmus.node.engine.lookahead cimport Lookahead
from isthmus.node.engine.effect_log cimport EffectLog
from isthmus.wire.parser cimport RequestParser
from isthmus.wire.pump cimport Peer, Ticker
from isthmus.wire.reply cimport ReplyWriter

cdef class NodeTicker(Ticker):
    cdef public object node
    cdef public Context ctx
    cdef public Clock clock
    cdef public EffectLog log
    cdef Lookahead lookahead
    cdef public object duty
    @cython.locals(ctx=Context, now_ms="long long")
    cpdef int tick(self) except -1
    @cython.locals(requests=list, session=Session, peer=Peer)
    cpdef int ahead(self, list[Peer] peers) except -1

cdef class Session(Peer):
    cdef public object node
    cdef public Context ctx
    cdef public ClientState state
    cdef public RequestParser requests
    cpdef int prepare(self) except -1
    cpdef int process(self) except -1
    cdef public Lookahead lookahead
    cdef public list batch
    cdef public Py_ssize_t place
    cdef public object problem
    @cython.locals(left="long long")
    cdef int run(self) except -1
    @cython.locals(room="long long", argv=list, batch=list, requests=RequestParser)
    cdef int fill(self) except -1
    @cython.locals(limit=Py_ssize_t, argv=list, batch=list, ahead=Lookahead)
    cdef int run_batch(self) except -1
    cpdef int closed(self) except -1
    cpdef int overflowed(self) except -1
