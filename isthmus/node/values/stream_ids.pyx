# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The ids of stream entries, compiled; stream_ids.py states the contract.

Other extensions use the inline functions of stream_ids.pxd, on pairs of numbers, and make the 16
bytes only for Python. Texts are read where they lie, up to the zero byte that ends every `bytes`;
numbers are checked before each step, so nothing overflows.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

from isthmus.node.values.stream_blocks cimport Id

ZERO_ID = bytes(16)
MAX_ID = b"\xff" * 16

cdef enum:
    ID_TEXT_BYTES_MAX = 127

cdef uint64_t U64 = <uint64_t>0 - 1


cdef bint digits(const char* p, Py_ssize_t n, uint64_t* value) noexcept nogil:
    """Read a plain number below 2^64, zeros in front allowed."""
    cdef Py_ssize_t i
    cdef uint64_t total = 0
    cdef unsigned int digit
    if n == 0:
        return False
    for i in range(n):
        digit = <uint8_t>p[i] - 48u
        if digit > 9 or total > (U64 - digit) // 10:
            return False
        total = total * 10 + digit
    value[0] = total
    return True


cdef bint read_unsigned(const char* p, Py_ssize_t n, uint64_t* value) noexcept nogil:
    """Read as C's strtoull does: blanks and a sign in front; what is below zero wraps, unless it
    is the canonical spelling of an int64, which is refused."""
    cdef Py_ssize_t i = 0
    cdef bint negative
    if digits(p, n, value):
        return True
    while i < n and (p[i] == c' ' or c'\t' <= p[i] <= c'\r'):
        i += 1
    if i == n or (p[i] != c'-' and p[i] != c'+'):
        return i > 0 and digits(p + i, n - i, value)
    negative = p[i] == c'-'
    if not digits(p + i + 1, n - i - 1, value):
        return False
    if negative:
        if i == 0 and p[1] != c'0' and value[0] <= <uint64_t>1 << 63:
            return False
        value[0] = 0 - value[0]
    return True


cpdef bytes parse_id(bytes text, bint end):
    """Read `ms-seq` or `ms`, whose seq is 0, or the largest for the end of a range; None if bad."""
    cdef const char* p = PyBytes_AS_STRING(text)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(text), dash = 0, stop = 0
    cdef Id id
    if n > ID_TEXT_BYTES_MAX:
        return None
    # The text ends at a zero byte, of which there is always one behind it.
    while p[stop] != 0:
        stop += 1
    while dash < stop and p[dash] != c'-':
        dash += 1
    id.seq = U64 if end else 0
    if not read_unsigned(p, dash, &id.ms):
        return None
    if dash < stop and not read_unsigned(p + dash + 1, stop - dash - 1, &id.seq):
        return None
    return id_bytes(id)


cpdef bytes format_id(bytes id):
    """The text of an id."""
    cdef char out[ID_ROOM]
    cdef int size = put_id(out, read_id(id))
    return PyBytes_FromStringAndSize(out, size)


def wrap64(value):
    """What a counter of 64 bits, read as signed, says after an overflow."""
    return ((value + (1 << 63)) & 0xFFFFFFFFFFFFFFFF) - (1 << 63)


cpdef bytes make_id(unsigned long long ms, unsigned long long seq):
    """The id of two numbers below 2^64."""
    cdef Id id
    id.ms = ms
    id.seq = seq
    return id_bytes(id)


cpdef bytes next_id(bytes id):
    """The id after this one; None if it is the last."""
    cdef Id made = after(read_id(id))
    return None if made.ms == 0 and made.seq == 0 else id_bytes(made)


cpdef bytes previous_id(bytes id):
    """The id before this one; None if it is the first."""
    cdef Id made = read_id(id)
    if made.ms == 0 and made.seq == 0:
        return None
    if made.seq == 0:
        made.ms -= 1
    made.seq -= 1
    return id_bytes(made)
