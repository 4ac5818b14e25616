cimport cython

from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.node.scripting.calls cimport Calls, Run
from isthmus.node.scripting.runtime cimport Runtime
from isthmus.node.scripting.stage cimport Stage

cdef class Script:
    cdef public bytes text
    cdef public object compiled
    cdef public object flags
    cdef public bint kept

cdef class Scripts:
    cdef public object node
    cdef public Context ctx
    cdef public long long memory_bytes_max
    cdef public Calls calls
    cdef public Stage stage
    cdef public dict scripts
    cdef public object evaluated
    cdef public long long evicted
    cdef public long long scripts_bytes
    cdef public object registry
    cdef public dict finished
    cdef public object paused
    cdef public bint busy
    cdef public object wake
    cdef object _runtime
    cdef long long _load_until_ns
    cpdef void eval(self, Context ctx, list[bytes] argv, long long keys_count, bint by_sha,
                    bint read_only)
    @cython.locals(script=Script)
    cpdef tuple find(self, bytes sha)
    cpdef void perform(self, Context ctx, Run run)
    cpdef void host(self, Context ctx, list[bytes] argv, object body, object argument)
    @cython.locals(session=ClientState, spec=CommandSpec, ctx=Context, runtime=Runtime,
                   mark_ns="long long", denied=bint)
    cpdef void run(self, Run run)
