# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""LZF in C; lzf.py has the format and the contract.

Every read is checked against the input's end and every write against the output's, which the caller
has allocated. It may not touch the interpreter but to say that something is wrong. The table of what
was seen is never cleared: entries of earlier data lie below `_base`.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    RATIO_MAX = 88
    HASH_BITS = 14
    OFFSET_MAX = 8192
    MATCH_MAX = 264
    LITERALS_MAX = 32


# Where each triple of bytes was seen last: a position plus the base of its string.
cdef uint32_t _seen[1 << HASH_BITS]
cdef uint32_t _base = 1


cdef Py_ssize_t lzf_pack(
    const uint8_t* data, Py_ssize_t size, uint8_t* out, Py_ssize_t room
) noexcept nogil:
    """Pack data; the packed size, or 0 if it would take more than room."""
    global _base
    cdef Py_ssize_t at = 0, begun = 0, written = 0, length, longest, offset, before
    cdef uint32_t triple, slot, base
    if size > 0x40000000:
        return 0
    if _base > <uint32_t>0xF0000000 - <uint32_t>size:
        memset(_seen, 0, sizeof(_seen))
        _base = 1
    base = _base
    _base += <uint32_t>size
    while at + 2 < size:
        triple = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
        slot = (triple * <uint32_t>2654435761) >> (32 - HASH_BITS)
        before = <Py_ssize_t>_seen[slot] - <Py_ssize_t>base
        _seen[slot] = base + <uint32_t>at
        offset = at - before - 1
        if (
            before < 0 or offset >= OFFSET_MAX or data[before] != data[at]
            or data[before + 1] != data[at + 1] or data[before + 2] != data[at + 2]
        ):
            at += 1
            continue
        written = put_literals(data + begun, at - begun, out, written, room)
        if written < 0 or written + 3 > room:
            return 0
        longest = min(size - at, <Py_ssize_t>MATCH_MAX)
        length = 3
        while length < longest and data[before + length] == data[at + length]:
            length += 1
        at += length
        length -= 2
        if length < 7:
            out[written] = <uint8_t>(length << 5 | offset >> 8)
        else:
            out[written] = <uint8_t>(7 << 5 | offset >> 8)
            written += 1
            out[written] = <uint8_t>(length - 7)
        out[written + 1] = <uint8_t>(offset & 0xFF)
        written += 2
        begun = at
    written = put_literals(data + begun, size - begun, out, written, room)
    return 0 if written < 0 else written


cdef Py_ssize_t put_literals(
    const uint8_t* data, Py_ssize_t size, uint8_t* out, Py_ssize_t written, Py_ssize_t room
) noexcept nogil:
    """Runs of bytes as they are; where writing goes on, or -1 without room."""
    cdef Py_ssize_t run
    while size > 0:
        run = min(size, <Py_ssize_t>LITERALS_MAX)
        if written + run + 1 > room:
            return -1
        out[written] = <uint8_t>(run - 1)
        memcpy(out + written + 1, data, run)
        written += run + 1
        data += run
        size -= run
    return written


cdef bint lzf_fits(Py_ssize_t size, uint64_t out_size) noexcept nogil:
    """True if so many compressed bytes can become out_size."""
    return out_size <= <uint64_t>size * RATIO_MAX


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


def compress(bytes data):
    """Data packed, or None if it is not at least four bytes shorter then."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), packed
    cdef bytes out
    if size <= 4:
        return None
    out = PyBytes_FromStringAndSize(NULL, size - 4)
    packed = lzf_pack(
        <const uint8_t*>PyBytes_AS_STRING(data), size, <uint8_t*>PyBytes_AS_STRING(out), size - 4
    )
    return out[:packed] if packed else None
