# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Integers as text without Python objects in between; digits.py says which spelling is canonical.

`read_int` accepts exactly what its twin accepts, and looks at no byte outside the size it is given:
the text need not end in a zero byte. The value is built in 64 unsigned bits and compared with the
limit before each step, so nothing overflows, not even for the smallest int64. `write_int` needs
room for 20 bytes, writes no zero byte at the end, and may be called without the interpreter's lock.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy


cdef bint read_int(const char* p, Py_ssize_t size, long long* value) noexcept nogil:
    """Read the canonical int64 in size bytes at p; 0 if it is none."""
    cdef const char* end = p + size
    cdef bint negative = False
    cdef unsigned long long total, limit = 0x7FFFFFFFFFFFFFFF
    cdef unsigned int digit
    if size <= 0 or size > 20:
        return False
    if p[0] == c'-':
        negative = True
        limit += 1
        p += 1
        if p == end or p[0] == c'0':
            return False
    digit = <unsigned char>p[0] - 48
    if digit > 9 or (digit == 0 and end - p > 1):
        return False
    total = digit
    p += 1
    while p < end:
        digit = <unsigned char>p[0] - 48
        if digit > 9 or total > limit // 10 or total * 10 > limit - digit:
            return False
        total = total * 10 + digit
        p += 1
    value[0] = <long long>(0 - total) if negative else <long long>total
    return True


cdef int write_int(char* out, long long value) noexcept nogil:
    """Write value in decimal at out (room for 20 bytes); returns the number of bytes."""
    cdef char digits[20]
    cdef int at = 20, size
    cdef unsigned long long rest = <unsigned long long>value
    if value < 0:
        rest = 0 - rest
    while True:
        at -= 1
        digits[at] = <char>(48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if value < 0:
        at -= 1
        digits[at] = c'-'
    size = 20 - at
    memcpy(out, digits + at, size)
    return size


cpdef long long parse_int(bytes text) except? -1:
    """Read a canonical int64; ValueError for anything else."""
    cdef long long value
    if not read_int(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &value):
        raise ValueError("not a canonical 64-bit integer")
    return value


cpdef bytes format_int(long long value):
    """The decimal spelling of an int64."""
    cdef char out[20]
    cdef int size = write_int(out, value)
    return PyBytes_FromStringAndSize(out, size)
