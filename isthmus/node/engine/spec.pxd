from isthmus.node.engine.histogram cimport Histogram

cdef class CommandSpec:
    cdef public bytes name
    cdef public long long id
    cdef public object handler
    cdef public long long arity
    cdef public long long flags
    cdef public dict subcommands
    cdef public CommandSpec parent
    cdef public CommandSpec alone
    cdef public long long first_key
    cdef public long long last_key
    cdef public long long key_step
    cdef public bint movable_keys
    cdef public long long calls
    cdef public long long nanos
    cdef public Histogram histogram
    cdef public long long rejected
    cdef public long long failed
    cdef public object group
    cdef public object since
    cdef public object syntax
    cdef public object summary
    cdef public object complexity
    cdef public object categories
    cdef public object key_specs
    cdef public object tips
    cdef public object doc_flags
    cdef public object reply
    cdef public object flag_names
    cdef public object get_keys
    cdef public bint no_auth
    cdef public bint no_multi
    cdef public bint not_queued
    cdef public bint one_key
    cdef public long long key_access
