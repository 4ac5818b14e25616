cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.clock cimport Clock
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.effect_log cimport EffectLog
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.node.persist.replay cimport spec_for
from isthmus.wire.parser cimport RequestParser

cdef long long GATE_CUT, GATE_MONITOR
cdef long long REPLAY
cdef long long CHANGES, MAY_REPLICATE, SKIP_MONITOR, WRITE

cdef class StreamApplier:
    cdef readonly object node
    cdef Context ctx
    cdef object stage
    cdef list databases
    cdef public ClientState client
    cdef public object asked
    cdef readonly long long commands
    cdef readonly RequestParser parser
    cdef readonly bytearray raw
    cdef list queue
    cdef bint queueing

    @cython.locals(clock=Clock, done="long long", count="long long", consumed="long long",
                   argv=list)
    cpdef bint step(self, long long deadline_ns) except -1
    cdef list take(self)
    @cython.locals(spec=CommandSpec, name=bytes)
    cdef void run(self, list[bytes] argv) except *
    @cython.locals(ctx=Context, log=EffectLog, clock=Clock, spec=CommandSpec, gates="long long",
                   origin="long long", denied=bint, may_pause=bint, mark=Py_ssize_t,
                   session=ClientState, kept=CommandSpec)
    # Overridden, and called from outside, by node/moves/take.py.
    cpdef void perform(self, list calls) except *
    @cython.locals(ctx=Context)
    cdef void settle(self) except *
