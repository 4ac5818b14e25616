cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.effect_log cimport EffectLog
from isthmus.node.engine.spec cimport CommandSpec

cdef long long REPLAY
cdef long long REPLAYABLE

cdef long long ADMIN, WRITE

@cython.locals(commands=dict, spec=CommandSpec, count=Py_ssize_t, usual=bint)
cpdef CommandSpec spec_for(long long offset, list[bytes] argv)
cdef CommandSpec resolve(long long offset, list[bytes] argv)

cdef class AofReplay:
    cdef readonly object node
    cdef Context ctx
    cdef ClientState client
    cdef list databases
    cdef list queue
    cdef bint queueing
    cdef readonly long long commands
    cdef readonly long long failed
    cdef readonly object first_failure
    cdef bint may_pause

    @cython.locals(spec=CommandSpec)
    cpdef void run(self, long long offset, list[bytes] argv) except *
    cdef void select(self, long long offset, list[bytes] argv) except *
    cdef void control(self, long long offset, bytes name) except *
    @cython.locals(ctx=Context, log=EffectLog, gates="long long", origin="long long", denied=bint,
                   mark=Py_ssize_t, session=ClientState, kept=CommandSpec)
    cdef void perform(self, long long offset, CommandSpec spec, list[bytes] argv) except *
