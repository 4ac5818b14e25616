# One element of a listpack, checked before it is believed; listpack_reader.py has the format.
#
# Only inline functions, none of which allocates, raises or needs the interpreter: the readers of
# blobs and of streams are compiled from them.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from isthmus.wire.listpack_write cimport back_size

cdef enum:
    LISTPACK_HEAD = 6
    LISTPACK_FRAME = 7
    LISTPACK_UNKNOWN = 0xFFFF
    LISTPACK_END = 0xFF


cdef struct Element:
    const uint8_t* text     # NULL if it is the number
    Py_ssize_t size         # of the text
    int64_t number


cdef inline int64_t little(const uint8_t* p, int width) noexcept nogil:
    """The signed number of so many bytes, little-endian."""
    cdef uint64_t bits = 0
    cdef int i
    for i in range(width):
        bits |= <uint64_t>p[i] << (8 * i)
    if width < 8 and bits >> (8 * width - 1):
        bits |= ~<uint64_t>0 << (8 * width)
    return <int64_t>bits


cdef inline bint listpack_frame(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """True if head and end mark are those of a listpack of n bytes."""
    cdef uint32_t total
    if n < LISTPACK_FRAME:
        return False
    memcpy(&total, p, 4)
    return <Py_ssize_t>total == n and p[n - 1] == LISTPACK_END


cdef inline Py_ssize_t listpack_declared(const uint8_t* p) noexcept nogil:
    """The number of elements that the head tells of."""
    return p[4] | <Py_ssize_t>p[5] << 8


cdef inline const uint8_t* listpack_next(
    const uint8_t* at, const uint8_t* end, Element* element
) noexcept nogil:
    """Read the element at `at`, which is before `end`, the end mark; where the next one begins, or
    NULL if this one is broken."""
    cdef uint8_t head = at[0]
    cdef Py_ssize_t left = end - at, size, back, i
    cdef uint32_t long_size
    cdef int width
    if head < 0x80:
        element.text = NULL
        element.number = head
        size = 1
    elif head < 0xC0:
        element.text = at + 1
        element.size = head & 0x3F
        size = 1 + element.size
    elif head < 0xE0:
        size = 2
        if left < 2:
            return NULL
        element.text = NULL
        element.number = (head & 0x1F) << 8 | at[1]
        if element.number >= 4096:
            element.number -= 8192
    elif head < 0xF0:
        if left < 2:
            return NULL
        element.text = at + 2
        element.size = (head & 0x0F) << 8 | at[1]
        size = 2 + element.size
    elif head == 0xF0:
        if left < 5:
            return NULL
        memcpy(&long_size, at + 1, 4)
        element.text = at + 5
        element.size = long_size
        size = 5 + element.size
    elif head <= 0xF4:
        width = 8 if head == 0xF4 else head - 0xF1 + 2
        size = 1 + width
        if size > left:
            return NULL
        element.text = NULL
        element.number = little(at + 1, width)
    else:
        return NULL
    back = back_size(size)
    if size + back > left:
        return NULL
    at += size
    if back == 1:
        return at + 1 if at[0] == size else NULL
    for i in range(back):
        if at[i] != (<uint8_t>(size >> (7 * (back - 1 - i)) & 127) | (128 if i else 0)):
            return NULL
    return at + back
