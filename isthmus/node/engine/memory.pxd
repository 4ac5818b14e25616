cimport cython

from isthmus.node.engine.config cimport Config
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.heap cimport used as heap_used
from isthmus.node.engine.keyspace cimport Database, Keyspace
from isthmus.node.engine.rng cimport Rng
from isthmus.node.engine.table cimport Table

cdef class Candidate:
    cdef public long long score
    cdef public Database db
    cdef public bytes key

cdef class Memory:
    cdef public Context ctx
    cdef public Keyspace keyspace
    cdef public Config config
    cdef public long long limit_bytes
    cdef public str policy
    cdef public long long order
    cdef public bint volatile_only
    cdef public long long samples
    cdef public long long time_limit_ns
    cdef public long long turn_ns
    cdef public long long turn_excess
    cdef public long long buffers_bytes
    cdef public dict extra
    cdef public long long extra_bytes
    cdef public long long peak_bytes
    cdef public long long peak_ms
    cdef public bint running
    cdef public long long exceeded_since_ms
    cdef public long long exceeded_total_ms
    cdef list _pool
    cdef long long _next_db
    cdef dict _slots
    cdef long long _slots_ms
    cpdef long long held(self)
    @cython.locals(used="long long")
    cpdef long long used(self)
    @cython.locals(used="long long")
    cpdef long long excess(self)
    @cython.locals(now_ms="long long", started="long long", done="long long", victim=Candidate,
                   deadline="long long", spent="long long", pace="long long")
    cpdef bint make_room(self, Context ctx, object session=?)
    @cython.locals(drawn="long long", db=Database, best=Candidate)
    cpdef Candidate victim(self)
    @cython.locals(rng=Rng, table=Table, found=list, slots=list, at="long long")
    cpdef list _draw(self, Database db, long long count)
    @cython.locals(seconds="long long", mark="long long", expiry="long long", found=list, key=bytes)
    cpdef long long _sample(self, Database db)
    @cython.locals(pool=list, candidate=Candidate, at="Py_ssize_t", full=bint)
    cpdef void _offer(self, long long score, Database db, bytes key)
