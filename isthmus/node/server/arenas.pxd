cdef struct Kept:
    Kept* next
