cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.clock cimport Clock
from isthmus.node.engine.config cimport Config
from isthmus.node.engine.effect_log cimport EffectLog
from isthmus.node.engine.keyspace cimport Database, Keyspace
from isthmus.node.engine.lookahead cimport Lookahead
from isthmus.node.engine.rng cimport Rng
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.node.engine.table cimport Table
from isthmus.wire.reply cimport ReplyWriter

cdef class Context:
    cdef public ReplyWriter reply
    cdef public Database db
    cdef public Keyspace keyspace
    cdef public ClientState session
    cdef public object node
    cdef public Config config
    cdef public Clock clock
    cdef public Rng rng
    cdef public CommandSpec spec
    cdef bytes word
    cdef CommandSpec word_spec
    cdef public long long now_ms
    cdef public long long hits
    cdef public long long misses
    cdef public object run
    cdef public long long gates
    cdef public object cluster
    cdef public Lookahead lookahead
    cdef public long long mark_ns
    cdef public dict error_counts
    cdef public long long error_replies
    cdef public long long commands
    cdef public EffectLog log
    cdef public bint deny_blocking
    cdef public list own_pushes
    cdef public long long wake_ms
    cdef public long long slow_ns
    cpdef void push(self, ClientState client, bytes data)
    cpdef void miss(self, bytes key)
    cpdef void settle(self)
    cpdef object read(self, bytes key, object kind)
    cpdef object write(self, bytes key, object kind)
    cpdef object string(self, bytes key)
    cpdef object string_for_write(self, bytes key)
    @cython.locals(found="int", table=Table)
    cpdef bint write_string(self, bytes key)
