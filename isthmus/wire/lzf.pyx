# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""LZF in C; lzf.py has the format and the contract.

Every read is checked against the input's end and every write against the output's, which the caller
has allocated. It may not touch the interpreter but to say that something is wrong. The table of
what was seen is never cleared: entries of earlier data lie below `_base`.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

RATIO_MAX = 88

cdef enum:
    MOST = 88
    SLOTS = 1 << 16
    OFFSET_MAX = 8192
    MATCH_MAX = 264
    LITERALS_MAX = 32


# Where each triple of bytes was seen last: a position plus the base of its string.
cdef uint32_t _seen[SLOTS]
cdef uint32_t _base = 1


cdef inline uint32_t slot_of(const uint8_t* p) noexcept nogil:
    """Where the three bytes at p are looked up."""
    cdef uint32_t triple = <uint32_t>p[0] << 16 | <uint32_t>p[1] << 8 | p[2]
    return ((triple >> 8) - triple * 5) & (SLOTS - 1)


cdef inline Py_ssize_t literal_bytes(Py_ssize_t count) noexcept nogil:
    """What so many bytes take as they are."""
    return count + (count + LITERALS_MAX - 1) // LITERALS_MAX


cdef inline Py_ssize_t repeated(
    const uint8_t* before, const uint8_t* at, Py_ssize_t left
) noexcept nogil:
    """How many of the `left` bytes at `at` are copied from `before`; three are equal."""
    cdef Py_ssize_t length = 3, longest = min(left - 2, <Py_ssize_t>MATCH_MAX)
    # The first 16 are compared without looking at the limit, if there are so many.
    if longest > 16:
        longest = max(longest, <Py_ssize_t>19)
    while length < longest and before[length] == at[length]:
        length += 1
    return length


cdef Py_ssize_t lzf_pack(
    const uint8_t* data, Py_ssize_t size, uint8_t* out, Py_ssize_t room
) noexcept nogil:
    """Compress data; the compressed size, or 0 if it would take more than room."""
    global _base
    cdef Py_ssize_t at = 0, begun = 0, written = 0, length, offset, before, count
    cdef uint32_t slot, base
    if size > 0x40000000:
        return 0
    if _base > <uint32_t>0xF0000000 - <uint32_t>size:
        memset(_seen, 0, sizeof(_seen))
        _base = 1
    base = _base
    _base += <uint32_t>size
    while at + 2 < size:
        slot = slot_of(data + at)
        before = <Py_ssize_t>_seen[slot] - <Py_ssize_t>base
        _seen[slot] = base + <uint32_t>at
        offset = at - before - 1
        # The first byte of all is never the beginning of a repeat.
        if (
            before <= 0 or offset >= OFFSET_MAX or data[before] != data[at]
            or data[before + 1] != data[at + 1] or data[before + 2] != data[at + 2]
        ):
            at += 1
            continue
        if written + literal_bytes(at - begun) + 4 >= room:
            return 0
        written = put_literals(data + begun, at - begun, out, written)
        length = repeated(data + before, data + at, size - at)
        at += length
        begun = at
        length -= 2
        if length < 7:
            out[written] = <uint8_t>(length << 5 | offset >> 8)
        else:
            out[written] = <uint8_t>(7 << 5 | offset >> 8)
            written += 1
            out[written] = <uint8_t>(length - 7)
        out[written + 1] = <uint8_t>(offset & 0xFF)
        written += 2
        if at + 2 < size:
            _seen[slot_of(data + at - 2)] = base + <uint32_t>(at - 2)
            _seen[slot_of(data + at - 1)] = base + <uint32_t>(at - 1)
    count = at - begun
    # With that the one or two bytes that are left find room, too.
    if written + count + count // LITERALS_MAX + 4 > room:
        return 0
    return put_literals(data + begun, size - begun, out, written)


cdef Py_ssize_t put_literals(
    const uint8_t* data, Py_ssize_t size, uint8_t* out, Py_ssize_t written
) noexcept nogil:
    """Runs of bytes as they are, for which there is room; where writing goes on."""
    cdef Py_ssize_t run
    while size > 0:
        run = min(size, <Py_ssize_t>LITERALS_MAX)
        out[written] = <uint8_t>(run - 1)
        memcpy(out + written + 1, data, run)
        written += run + 1
        data += run
        size -= run
    return written


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
