cdef class Selector:
    cdef public bint all_commands
    cdef public bint all_keys
    cdef public bint all_channels
    cdef public bint future
    cdef public bytes commands
    cdef public dict first_args
    cdef public dict keys
    cdef public dict channels
    cdef public dict rules
    cdef public dict sub_rules
    cdef public object _draft
    cpdef Selector copy(self)

cdef class User:
    cdef public bytes name
    cdef public bint enabled
    cdef public bint nopass
    cdef public bint sanitize
    cdef public bint free
    cdef public bint all_channels
    cdef public dict passwords
    cdef public list selectors
