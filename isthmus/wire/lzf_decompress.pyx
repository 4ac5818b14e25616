# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""LZF decompression in C; lzf_decompress.py has the format and the contract.

Every read is checked against the input's end and every write against the output's, which the caller
has allocated. It may not touch the interpreter but to say that something is wrong.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

RATIO_MAX = 88

cdef enum:
    MOST = 88


cdef bint lzf_fits(Py_ssize_t size, uint64_t out_size) noexcept nogil:
    """True if so many compressed bytes can become out_size."""
    return out_size <= <uint64_t>size * MOST


cdef bint lzf_expand(
    const uint8_t* source, Py_ssize_t size, uint8_t* out, Py_ssize_t out_size
) noexcept nogil:
    """Fill all of `out`; False if the input is not that of exactly so many bytes."""
    cdef const uint8_t* end = source + size
    cdef uint8_t* to = out
    cdef uint8_t* limit = out + out_size
    cdef Py_ssize_t count, back
    cdef unsigned int control
    while source < end:
        control = source[0]
        source += 1
        if control < 32:
            count = control + 1
            if count > end - source or count > limit - to:
                return False
            memcpy(to, source, count)
            source += count
            to += count
            continue
        count = control >> 5
        if end - source < (2 if count == 7 else 1):
            return False
        if count == 7:
            count += source[0]
            source += 1
        back = ((control & 31) << 8 | source[0]) + 1
        source += 1
        count += 2
        if back > to - out or count > limit - to:
            return False
        if back >= count:
            memcpy(to, to - back, count)
            to += count
        else:
            # The run repeats what it is just writing.
            while count > 0:
                to[0] = (to - back)[0]
                to += 1
                count -= 1
    return to == limit


cpdef bytes decompress(object data, Py_ssize_t size):
    """The `size` bytes that `data` stands for; ValueError if it does not."""
    cdef Py_buffer view
    cdef bytes out
    cdef bint good
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if size < 0 or not lzf_fits(view.len, <uint64_t>size):
            raise ValueError(f"{view.len} compressed bytes cannot be {size}")
        out = PyBytes_FromStringAndSize(NULL, size)
        good = lzf_expand(
            <const uint8_t*>view.buf, view.len, <uint8_t*>PyBytes_AS_STRING(out), size
        )
    finally:
        PyBuffer_Release(&view)
    if not good:
        raise ValueError(f"compressed data is not that of {size} bytes")
    return out
