from libc.stdint cimport int64_t, uint32_t

from isthmus.node.engine.record cimport Rec
from isthmus.node.engine.table cimport Table
from isthmus.wire.reply cimport ReplyWriter

cdef struct Place:
    int64_t first
    int64_t second
    Rec* rec

cdef class OrderedTable(Table):
    cdef public uint32_t place

    cdef uint32_t following(self) except 0
    cdef Place* arranged(self, bint numbers) except? NULL
    cpdef int rearrange(self, bint numbers) except -1
    cpdef list ordered(self, bint with_values, bint numbers, long long now)
    cpdef long long write_ordered(
        self, ReplyWriter reply, bint keys, bint values, bint numbers
    ) except -1
