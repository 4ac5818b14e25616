# Writing elements of listpacks; listpack.py has the format.
#
# Only inline functions, none of which allocates, raises or needs the interpreter.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from isthmus.wire.digits cimport read_int


cdef inline Py_ssize_t back_size(Py_ssize_t size) noexcept nogil:
    """How many bytes the length of an element takes at its end."""
    if size <= 127:
        return 1
    if size < 16383:
        return 2
    if size < 2097151:
        return 3
    return 4 if size < 268435455 else 5


cdef inline Py_ssize_t close(char* at, Py_ssize_t size) noexcept nogil:
    """Write the length behind the element at `at`; returns the size of both."""
    cdef Py_ssize_t back
    cdef Py_ssize_t i
    if size <= 127:
        at[size] = <char>size
        return size + 1
    back = back_size(size)
    for i in range(back):
        at[size + i] = <char>((size >> (7 * (back - 1 - i)) & 127) | (128 if i else 0))
    return size + back


cdef inline Py_ssize_t number_size(int64_t v) noexcept nogil:
    """What put_number() takes."""
    if 0 <= v <= 127:
        return 2
    if -4096 <= v <= 4095:
        return 3
    if -32768 <= v <= 32767:
        return 4
    if -8388608 <= v <= 8388607:
        return 5
    return 6 if -2147483648 <= v <= 2147483647 else 10


cdef inline Py_ssize_t put_number(char* at, int64_t v) noexcept nogil:
    """Write a number; returns its size."""
    cdef Py_ssize_t size = number_size(v), i
    cdef uint64_t bits = <uint64_t>v
    if size == 2:
        at[0] = <char>v
    elif size == 3:
        at[0] = <char>(0xC0 | (bits >> 8 & 0x1F))
        at[1] = <char>(bits & 0xFF)
    else:
        at[0] = <char>(0xF4 if size == 10 else 0xF1 + size - 4)
        for i in range(size - 2):
            at[1 + i] = <char>(bits >> (8 * i))
    at[size - 1] = <char>(size - 1)
    return size


cdef inline Py_ssize_t text_size(const char* p, Py_ssize_t n) noexcept nogil:
    """What put_text() takes."""
    cdef long long v
    cdef Py_ssize_t size
    if 0 < n <= 20 and (p[0] == b'-' or b'0' <= p[0] <= b'9') and read_int(p, n, &v):
        return number_size(v)
    size = n + (1 if n < 64 else 2 if n < 4096 else 5)
    return size + back_size(size)


cdef inline Py_ssize_t put_text(char* at, const char* p, Py_ssize_t n) noexcept nogil:
    """Write a text, as a number if it is the canonical spelling of one; returns its size."""
    cdef long long v
    cdef uint32_t size
    if 0 < n <= 20 and (p[0] == b'-' or b'0' <= p[0] <= b'9') and read_int(p, n, &v):
        return put_number(at, v)
    if n < 64:
        at[0] = <char>(0x80 | n)
        memcpy(at + 1, p, n)
        return close(at, n + 1)
    if n < 4096:
        at[0] = <char>(0xE0 | n >> 8)
        at[1] = <char>(n & 0xFF)
        memcpy(at + 2, p, n)
        return close(at, n + 2)
    size = <uint32_t>n
    at[0] = <char>0xF0
    memcpy(at + 1, &size, 4)
    memcpy(at + 5, p, n)
    return close(at, n + 5)
