cdef class Clock:
    cdef public long long now_ms
    cdef public bint manual
    cdef public bint loading
    cdef public bint late
    cdef public long long manual_ns
    cpdef long long refresh(self)
    cpdef long long expiry_ms(self)
    cpdef long long wall_us(self)
    cpdef long long mono_ns(self)
