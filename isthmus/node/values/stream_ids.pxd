# Ids of stream entries: 16 bytes for Python, a pair of numbers for C.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t

from isthmus.node.values.stream_blocks cimport Id, pack, unpack
from isthmus.wire.digits cimport write_int

cdef enum:
    ID_ROOM = 44


cdef inline Id read_id(bytes id):
    return unpack(PyBytes_AS_STRING(id))


cdef inline bytes id_bytes(Id id):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, 16)
    pack(PyBytes_AS_STRING(made), id)
    return made


cdef inline Id after(Id id) noexcept nogil:
    """The next id; the one behind the last is zero."""
    id.seq += 1
    if id.seq == 0:
        id.ms += 1
    return id


cdef inline int put_unsigned(char* out, uint64_t value) noexcept nogil:
    cdef int size
    if not value >> 63:
        return write_int(out, <long long>value)
    size = write_int(out, <long long>(value // 10))
    out[size] = <char>(48 + value % 10)
    return size + 1


cdef inline int put_id(char* out, Id id) noexcept nogil:
    """Write the text of an id; returns its size, at most 41."""
    cdef int size = put_unsigned(out, id.ms)
    out[size] = c'-'
    return size + 1 + put_unsigned(out + size + 1, id.seq)


cpdef bytes parse_id(bytes text, bint end)
cpdef bytes format_id(bytes id)
cpdef bytes next_id(bytes id)
cpdef bytes previous_id(bytes id)
cpdef bytes make_id(unsigned long long ms, unsigned long long seq)
