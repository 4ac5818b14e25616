from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.spec cimport CommandSpec

cpdef void execute(Context ctx, ClientState session, list[bytes] argv)
cpdef void call(Context ctx, CommandSpec spec, list[bytes] argv)
cdef bint admit(Context ctx, ClientState session, CommandSpec spec, list[bytes] argv)
