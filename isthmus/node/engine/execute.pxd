cimport cython

from isthmus.node.engine.acl_check cimport denied
from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.spec cimport CommandSpec

# As C numbers, the gates cost what they should: next to nothing.
cdef long long GATE_ACL, GATE_NO_TOUCH, GATE_PUBSUB, GATE_TRACK
cdef long long GATE_BUSY, GATE_CLUSTER, GATE_CUT, GATE_DISK, GATE_DUTY, GATE_ENDED, GATE_LOADING
cdef long long GATE_MEMORY, GATE_MONITOR, GATE_MOVE, GATE_PAUSE, GATE_REPLICA, GATE_REPLICAS
cdef long long ALLOW_BUSY, DENYOOM, LOADING, MAY_REPLICATE, PROTECTED, READONLY
cdef long long SKIP_MONITOR, WRITE
cdef long long NO_SLOT, SEVERAL_SLOTS

@cython.locals(
    count=Py_ssize_t, mark=Py_ssize_t, unmarked="long long", commands=dict, word=bytes,
    spec=CommandSpec,
)
cpdef void execute(Context ctx, ClientState session, list[bytes] argv)
cdef void finish(Context ctx, ClientState session)
@cython.locals(mark=Py_ssize_t, now="long long", nanos="long long", monitored="long long")
cpdef void call(Context ctx, CommandSpec spec, list[bytes] argv)
cdef bint admit(Context ctx, ClientState session, CommandSpec spec, list[bytes] argv)
cpdef long long flags_of(Context ctx, CommandSpec spec, list[bytes] argv)
cdef bint some_has(
    Context ctx, ClientState session, CommandSpec spec, list[bytes] argv, long long flags
)
cdef bint some_lacks(
    Context ctx, ClientState session, CommandSpec spec, list[bytes] argv, long long flag
)
cdef object obstacle(Context ctx, ClientState session, CommandSpec spec, list[bytes] argv)
@cython.locals(slot="long long", position="long long")
cdef long long slot_of(Context ctx, CommandSpec spec, list[bytes] argv) except -3
@cython.locals(slot="long long", mine=bytearray)
cdef object redirection(Context ctx, ClientState session, CommandSpec spec, list[bytes] argv)
@cython.locals(queued=CommandSpec, slot="long long", here="long long")
cdef bint misplaced(Context ctx, ClientState session, CommandSpec spec)
