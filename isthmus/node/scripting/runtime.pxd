cdef class Compiled:
    cdef public object body
    cdef public long long tail_line

cdef class Failure:
    cdef public bytes text
    cdef public bytes source
    cdef public long long line
    cdef public bint counted

cpdef Failure no_memory()

cdef class Runtime:
    cdef public long long memory_bytes_max
    cdef public long long reserve_bytes
    cdef public long long base_bytes
    cdef public bint limited
    cdef object _lua
    cdef object _memory_used
    cdef object _compile
    cdef object _bind
    cdef object _eval
    cdef object _eval_long
    cdef object _fcall
    cdef object _load
    cpdef bint spare(self, long long size)
    cpdef long long used_bytes(self)
    cpdef bint room_for(self, long long size)
    cpdef void tidy(self)
    cpdef object eval(self, Compiled script, long long protocol, list[bytes] keys,
                      list[bytes] arguments)
    cpdef object fcall(self, object callback, long long protocol, list[bytes] keys,
                       list[bytes] arguments)
    cdef bint fits(self, list[bytes] keys, list[bytes] arguments)
    cdef object result(self, object result)
    cdef Failure failure(self, tuple result)
