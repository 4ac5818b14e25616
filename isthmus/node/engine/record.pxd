# Records of a Table: one allocation each. A 16-byte header, [8 bytes key length if the key is
# longer than 65,535 bytes], [8 bytes expiry, Unix ms], the key, the value (its bytes, a pointer to
# a Python object, or a double). Records are 16-byte aligned and the optional parts are 8 bytes
# each, so an expiry is aligned; values are not.

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    NOTHING = 0     # a member of a set
    PACKED = 1      # value bytes lie behind the key
    OBJECT = 2      # a reference: long bytes, or a value object
    SCORE = 3       # a double

cdef enum:
    KIND_SHIFT = 24
    EXPIRES = 1 << 27
    LONG_KEY = 1 << 28
    MARK = 0xFFFFFF
    PACKED_BYTES_MAX = 1024
    # What Python adds to the bytes of a string.
    STRING_OVERHEAD_BYTES = 48

cdef struct Rec:
    Rec* next
    uint32_t meta       # 0-23 access mark, 24-26 kind, 27 has expiry, 28 long key
    uint16_t klen
    uint16_t vlen


cdef inline int rec_kind(Rec* rec) noexcept:
    return (rec.meta >> KIND_SHIFT) & 7


cdef inline char* rec_data(Rec* rec) noexcept:
    return <char*>rec + sizeof(Rec)


cdef inline Py_ssize_t rec_klen(Rec* rec) noexcept:
    cdef int64_t n
    if rec.meta & LONG_KEY:
        memcpy(&n, rec_data(rec), 8)
        return n
    return rec.klen


cdef inline int64_t* rec_expiry(Rec* rec) noexcept:
    return <int64_t*>(rec_data(rec) + (8 if rec.meta & LONG_KEY else 0))


cdef inline char* rec_key(Rec* rec) noexcept:
    cdef char* p = rec_data(rec)
    if rec.meta & LONG_KEY:
        p += 8
    if rec.meta & EXPIRES:
        p += 8
    return p


cdef inline char* rec_value(Rec* rec) noexcept:
    return rec_key(rec) + rec_klen(rec)


cdef inline Py_ssize_t rec_size(Rec* rec) noexcept:
    return rec_value(rec) - <char*>rec + rec.vlen


cdef inline Py_ssize_t allocated(Py_ssize_t size) noexcept:
    """What the allocator takes for so many bytes: size classes of 16 to 512 bytes, then the C
    library's, with a word before each block."""
    return (size + 15) & ~<Py_ssize_t>15 if size <= 512 else (size + 23) & ~<Py_ssize_t>15


cdef inline Py_ssize_t block_size(Py_ssize_t size) noexcept:
    """What to ask the allocator for. Records of 512 bytes and less are asked for in full size
    classes: one that has shrunk from more is still a block of the C library's, which gives 8 bytes
    less than a class, and records grow within their class without asking again."""
    return (size + 15) & ~<Py_ssize_t>15 if size <= 512 else size


cdef inline bint rec_is_object(Rec* rec) noexcept:
    return rec_kind(rec) == OBJECT


cdef inline PyObject* rec_object(Rec* rec) noexcept:
    cdef PyObject* obj
    memcpy(&obj, rec_value(rec), sizeof(PyObject*))
    return obj


cdef inline Py_ssize_t string_bytes(object value) noexcept:
    """What a string that is kept as an object takes; value objects count themselves."""
    if type(value) is bytes or type(value) is bytearray:
        return len(value) + STRING_OVERHEAD_BYTES
    return 0


cdef inline double rec_score(Rec* rec) noexcept:
    cdef double score
    memcpy(&score, rec_value(rec), 8)
    return score


cdef inline void rec_set_score(Rec* rec, double score) noexcept:
    memcpy(rec_value(rec), &score, 8)


cdef inline object rec_load(Rec* rec):
    cdef int kind = rec_kind(rec)
    if kind == PACKED:
        return PyBytes_FromStringAndSize(rec_value(rec), rec.vlen)
    if kind == OBJECT:
        return <object>rec_object(rec)
    if kind == SCORE:
        return rec_score(rec)
    return True


# -- hashes, and the order in which tables are walked ----------------------------------------------

cdef extern from *:
    """
    #include <Python.h>
    #if PY_VERSION_HEX >= 0x030E0000
    #define isthmus_hash(p, n) Py_HashBuffer((p), (n))
    #else
    #define isthmus_hash(p, n) _Py_HashBytes((p), (n))
    #endif
    """
    Py_ssize_t isthmus_hash(const void* p, Py_ssize_t n) noexcept


cdef inline uint64_t reverse32(uint64_t v) noexcept:
    """The lower 32 bits, the other way round."""
    v = ((v >> 1) & 0x55555555) | ((v & 0x55555555) << 1)
    v = ((v >> 2) & 0x33333333) | ((v & 0x33333333) << 2)
    v = ((v >> 4) & 0x0F0F0F0F) | ((v & 0x0F0F0F0F) << 4)
    v = ((v >> 8) & 0x00FF00FF) | ((v & 0x00FF00FF) << 8)
    return ((v >> 16) | (v << 16)) & 0xFFFFFFFF
