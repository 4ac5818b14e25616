cdef class Config:
    cdef public dict values
    cdef public dict _integers
    cdef public dict _callbacks
    cdef public dict _appliers
    cdef public str path
    cdef public set given
    cpdef str text(self, str name)
    cpdef long long integer(self, str name) except? -1
