cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.patterns cimport glob_match
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.wire.reply cimport ReplyWriter

cdef class Subscriptions:
    cdef public dict channels
    cdef public dict patterns
    cdef public dict shards
    cdef public long long held

cdef class PubSub:
    cdef public object node
    cdef public Context ctx
    cdef public ReplyWriter encoder
    cdef public dict clients
    cdef public dict channels
    cdef public dict patterns
    cdef public dict shards
    cdef public object forward
    cdef public long long relayed
    @cython.locals(count="long long", listeners=dict, followers=dict, pattern=bytes)
    cpdef long long publish(self, bytes channel, bytes text) except -1
    @cython.locals(listeners=dict)
    cpdef long long publish_shard(self, bytes channel, bytes text) except -1
    @cython.locals(client=ClientState, two=bytes, three=bytes, ctx=Context, count="long long")
    cdef long long _send(self, dict listeners, list[bytes] words) except -1
    @cython.locals(writer=ReplyWriter)
    cpdef bytes encode(self, list[bytes] words, long long protocol)
