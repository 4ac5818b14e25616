# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Bits of strings, eight bytes at a time; bits.py says what is counted and combined.

Data is read through the buffer protocol, so `bytes` and `bytearray` are the same here; unaligned
words are read with memcpy, which compilers turn into one load. Counting adds up pairs, nibbles and
bytes of three words before it multiplies once, because no population count instruction may be taken
for granted.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

AND, OR, XOR, NOT = 0, 1, 2, 3


cdef long long count_raw(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Set bits in the n bytes at p."""
    cdef uint64_t word, sums, block
    cdef uint64_t pairs = 0x5555555555555555ULL
    cdef uint64_t fours = 0x3333333333333333ULL
    cdef uint64_t nibbles = 0x0F0F0F0F0F0F0F0FULL
    cdef long long total = 0
    cdef int i
    while n >= 24:
        # Three words have at most 192 set bits, which the one byte of their sum can hold.
        sums = 0
        for i in range(3):
            memcpy(&word, p, 8)
            word -= (word >> 1) & pairs
            block = (word & fours) + ((word >> 2) & fours)
            sums += (block + (block >> 4)) & nibbles
            p += 8
        total += (sums * 0x0101010101010101ULL) >> 56
        n -= 24
    while n > 0:
        word = 0
        i = 8 if n > 8 else <int>n
        memcpy(&word, p, i)
        total += popcount(word)
        p += i
        n -= i
    return total


cpdef long long count_ones(object data, long long first, long long last) except -1:
    """How many bits are set in bytes first..last."""
    cdef Py_buffer view
    cdef long long total = 0
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if 0 <= first <= last < view.len:
        total = count_raw(<const unsigned char*>view.buf + first, last - first + 1)
    PyBuffer_Release(&view)
    return total


cpdef long long first_bit(object data, long long first, long long last, long long bit) except -2:
    """The position of the first bit in bytes first..last that is `bit`; -1 if there is none."""
    cdef Py_buffer view
    cdef const unsigned char* p
    cdef uint64_t word, skip = 0 if bit else 0xFFFFFFFFFFFFFFFFULL
    cdef int byte, position
    cdef long long found = -1
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if last >= view.len:
        last = view.len - 1
    p = <const unsigned char*>view.buf
    while first + 7 <= last:
        memcpy(&word, p + first, 8)
        if word != skip:
            break
        first += 8
    while first <= last:
        byte = p[first] if bit else p[first] ^ 0xFF
        if byte:
            position = 0
            while not byte & 0x80:
                byte <<= 1
                position += 1
            found = first * 8 + position
            break
        first += 1
    PyBuffer_Release(&view)
    return found


cdef void blend(int operation, unsigned char* out, const unsigned char* p, Py_ssize_t n) noexcept:
    """out = out op p, byte by byte."""
    cdef Py_ssize_t i
    if operation == 0:
        for i in range(n):
            out[i] &= p[i]
    elif operation == 1:
        for i in range(n):
            out[i] |= p[i]
    else:
        for i in range(n):
            out[i] ^= p[i]


cpdef bytes combine(long long operation, list operands, long long length):
    """AND, OR, XOR of the operands or NOT of the only one; `length` is that of the longest."""
    cdef bytes made = PyBytes_FromStringAndSize(NULL, length)
    cdef unsigned char* out = <unsigned char*>PyBytes_AS_STRING(made)
    cdef Py_buffer view
    cdef Py_ssize_t i, size
    cdef bint started = False
    for data in operands:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        size = view.len if view.len < length else length
        if not started:
            memcpy(out, view.buf, size)
            memset(out + size, 0, length - size)
            started = True
        else:
            blend(<int>operation, out, <const unsigned char*>view.buf, size)
            if operation == 0:
                memset(out + size, 0, length - size)
        PyBuffer_Release(&view)
    if operation == 3:
        for i in range(length):
            out[i] = ~out[i]
    return made
