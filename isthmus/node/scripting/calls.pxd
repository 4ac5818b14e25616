from isthmus.node.engine.client cimport ClientState
from isthmus.node.engine.context cimport Context
from isthmus.node.engine.execute cimport call as run_command
from isthmus.node.engine.spec cimport CommandSpec
from isthmus.node.scripting.runtime cimport Runtime
from isthmus.wire.reply cimport ReplyWriter

cdef class Run:
    cdef public ClientState session
    cdef public bytes name
    cdef public list argv
    cdef public long long started_ns
    cdef public bint is_eval
    cdef public list keys
    cdef public list arguments
    cdef public object target
    cdef public long long tail_line
    cdef public bint read_only
    cdef public bint allow_oom
    cdef public bint cross_slot
    cdef public int protocol
    cdef public long long slot
    cdef public bint out_of_memory
    cdef public bint wrote
    cdef public bint killed
    cdef public bint failed

cdef class Calls:
    cdef public Context ctx
    cdef public object node
    cdef public Runtime runtime
    cdef public Run run
    cdef public ReplyWriter writer
    cdef public list stashed
    cpdef void execute(self, Run run, list[bytes] argv)
    cpdef object refusal(self, Run run, CommandSpec spec, list[bytes] argv)
