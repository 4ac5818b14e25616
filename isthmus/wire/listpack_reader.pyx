# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Redis' packed blobs, read in C; listpack_reader.py has the formats and the contract.

No byte is looked at before its place is known to lie within the blob, and the only allocations are
those of elements that have been checked. Each element costs one bytes object and no more.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from isthmus.wire.digits cimport write_int
from isthmus.wire.listpack_read cimport (
    LISTPACK_HEAD, LISTPACK_UNKNOWN, Element, listpack_declared, listpack_frame, listpack_next,
    little
)

ctypedef list (*Items)(const uint8_t* p, Py_ssize_t n)


cdef inline bytes spelt(int64_t number):
    cdef char digits[20]
    return PyBytes_FromStringAndSize(digits, write_int(digits, number))


cdef inline bytes text(const uint8_t* p, Py_ssize_t n):
    return PyBytes_FromStringAndSize(<const char*>p, n)


cdef object short(str what, Py_ssize_t number):
    return ValueError(f"{what}: element {number} is broken or ends outside")


cdef int check_count(str what, Py_ssize_t declared, Py_ssize_t count) except -1:
    if declared != LISTPACK_UNKNOWN and declared != count:
        raise ValueError(f"a {what} of {count} elements says that they are {declared}")
    return 0


cdef list listpack(const uint8_t* p, Py_ssize_t n, bint mixed):
    cdef const uint8_t* at = p + LISTPACK_HEAD
    cdef const uint8_t* end = p + n - 1
    cdef Element element
    cdef list out = []
    if not listpack_frame(p, n):
        raise ValueError(f"a listpack of {n} bytes: wrong size or no end mark")
    while at < end:
        at = listpack_next(at, end, &element)
        if at == NULL:
            raise short("a listpack", len(out))
        if element.text != NULL:
            out.append(text(element.text, element.size))
        elif mixed:
            out.append(element.number)
        else:
            out.append(spelt(element.number))
    check_count("listpack", listpack_declared(p), len(out))
    return out


cdef list listpack_items(const uint8_t* p, Py_ssize_t n):
    return listpack(p, n, False)


cdef list mixed_items(const uint8_t* p, Py_ssize_t n):
    return listpack(p, n, True)


cdef const uint8_t* ziplist_entry(const uint8_t* at, const uint8_t* end, list out) except? NULL:
    """Append the entry behind its back length; where the next begins, or NULL if it is broken."""
    cdef uint8_t head = at[0]
    cdef Py_ssize_t left = end - at, size, skip
    cdef int width
    if head < 0xC0:
        if head < 0x40:
            skip = 1
            size = head
        elif head < 0x80:
            if left < 2:
                return NULL
            skip = 2
            size = (head & 0x3F) << 8 | at[1]
        elif head == 0x80:
            if left < 5:
                return NULL
            skip = 5
            size = <Py_ssize_t>at[1] << 24 | at[2] << 16 | at[3] << 8 | at[4]
        else:
            return NULL
        if skip + size > left:
            return NULL
        out.append(text(at + skip, size))
        return at + skip + size
    if 0xF1 <= head <= 0xFD:
        out.append(spelt(head - 0xF1))
        return at + 1
    if head == 0xC0:
        width = 2
    elif head == 0xD0:
        width = 4
    elif head == 0xE0:
        width = 8
    elif head == 0xF0:
        width = 3
    elif head == 0xFE:
        width = 1
    else:
        return NULL
    if 1 + width > left:
        return NULL
    out.append(spelt(little(at + 1, width)))
    return at + 1 + width


cdef list ziplist_items(const uint8_t* p, Py_ssize_t n):
    cdef const uint8_t* at = p + 10
    cdef const uint8_t* end = p + n - 1
    cdef const uint8_t* begin
    cdef const uint8_t* last = at
    cdef uint32_t total, tail, length, before = 0
    cdef list out = []
    if n >= 11:
        memcpy(&total, p, 4)
        memcpy(&tail, p + 4, 4)
    if n < 11 or <Py_ssize_t>total != n or end[0] != 0xFF:
        raise ValueError(f"a ziplist of {n} bytes: wrong size or no end mark")
    while at < end:
        begin = at
        length = at[0]
        at += 1
        if length == 0xFE and end - at > 4:
            memcpy(&length, at, 4)
            at += 4
        elif length >= 0xFE:
            raise short("a ziplist", len(out))
        if length != before or at >= end:
            raise short("a ziplist", len(out))
        at = ziplist_entry(at, end, out)
        if at == NULL:
            raise short("a ziplist", len(out))
        before = <uint32_t>(at - begin)
        last = begin
    if last - p != <Py_ssize_t>tail:
        raise ValueError("a ziplist says wrongly where its last entry is")
    check_count("ziplist", p[8] | <Py_ssize_t>p[9] << 8, len(out))
    return out


cdef list intset_items(const uint8_t* p, Py_ssize_t n):
    cdef uint32_t width = 0, count = 0
    cdef Py_ssize_t at = 8
    cdef int64_t number, before = 0
    cdef list out = []
    if n >= 8:
        memcpy(&width, p, 4)
        memcpy(&count, p + 4, 4)
    if (width != 2 and width != 4 and width != 8) or n != 8 + <Py_ssize_t>width * count:
        raise ValueError(f"an intset of {n} bytes: {count} numbers of {width} bytes")
    while at < n:
        number = little(p + at, <int>width)
        if at > 8 and number <= before:
            raise ValueError(f"an intset: number {len(out)} does not rise")
        out.append(spelt(number))
        before = number
        at += width
    return out


cdef inline const uint8_t* zipmap_length(
    const uint8_t* at, const uint8_t* end, Py_ssize_t* length
) noexcept nogil:
    """Read a length; where what is behind it begins, or NULL if it is broken."""
    cdef uint32_t size
    if at < end and at[0] < 254:
        length[0] = at[0]
        return at + 1
    if end - at < 5 or at[0] != 254:
        return NULL
    memcpy(&size, at + 1, 4)
    length[0] = size
    return at + 5


cdef list zipmap_items(const uint8_t* p, Py_ssize_t n):
    cdef const uint8_t* at = p + 1
    cdef const uint8_t* end = p + n - 1
    cdef Py_ssize_t length = 0
    cdef list out = []
    if n < 2 or end[0] != 0xFF:
        raise ValueError(f"a zipmap of {n} bytes: no end mark")
    while at < end:
        at = zipmap_length(at, end, &length)
        if at == NULL or length > end - at:
            raise short("a zipmap", len(out))
        out.append(text(at, length))
        at = zipmap_length(at + length, end, &length)
        if at == NULL or at >= end or length + at[0] > end - at - 1:
            raise short("a zipmap", len(out))
        out.append(text(at + 1, length))
        at += 1 + length + at[0]
    if p[0] < 254 and p[0] != len(out) // 2:
        raise ValueError(f"a zipmap of {len(out) // 2} pairs says that they are {p[0]}")
    return out


cdef list over(object source, Items items):
    cdef Py_buffer view
    PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
    try:
        return items(<const uint8_t*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


cpdef list read_mixed(object source):
    """The elements of a listpack: what is stored as a number as int, what as text as bytes."""
    return over(source, mixed_items)


cpdef list read_listpack(object source):
    """The elements of a listpack."""
    return over(source, listpack_items)


cpdef list read_ziplist(object source):
    """The entries of a ziplist."""
    return over(source, ziplist_items)


cpdef list read_intset(object source):
    """The numbers of an intset."""
    return over(source, intset_items)


cpdef list read_zipmap(object source):
    """The keys and values of a zipmap, alternating."""
    return over(source, zipmap_items)
