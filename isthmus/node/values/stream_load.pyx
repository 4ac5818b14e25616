# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Blocks of a stream, checked and moved in; stream_load.py has the format and the contract.

The walks of stream_log.pyx trust what lies in a block: that is why everything they rely on is
asserted here, element by element, before a byte is copied.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from isthmus.node.values.stream_blocks cimport Block, Id, less, make_place, resize, take_away
from isthmus.node.values.stream_ids cimport read_id
from isthmus.node.values.stream_log cimport StreamLog
from isthmus.wire.listpack_read cimport (
    LISTPACK_HEAD, LISTPACK_UNKNOWN, Element, listpack_declared, listpack_frame, listpack_next
)

cdef enum:
    GONE = 1
    SHARED = 2

cdef Py_ssize_t BYTES_MAX = 1 << 30


cdef struct Cursor:
    const uint8_t* at
    const uint8_t* end
    Py_ssize_t read     # elements
    Element element


cdef int advance(Cursor* cursor) except -1:
    """Read the next element."""
    if cursor.at >= cursor.end:
        raise ValueError("a stream's block: an entry ends outside")
    cursor.at = listpack_next(cursor.at, cursor.end, &cursor.element)
    if cursor.at == NULL:
        raise ValueError(f"a listpack: element {cursor.read} is broken or ends outside")
    cursor.read += 1
    return 0


cdef int64_t number(Cursor* cursor) except? -1:
    advance(cursor)
    if cursor.element.text != NULL:
        raise ValueError(f"a stream's block: element {cursor.read - 1} should be a number")
    return cursor.element.number


cdef int64_t small(Cursor* cursor) except? -1:
    """A number of 0..127 that takes one byte and its length."""
    cdef const uint8_t* at = cursor.at
    cdef int64_t value = number(cursor)
    if cursor.at - at != 2:
        raise ValueError(f"a stream's block: element {cursor.read - 1} should be a small number")
    return value


cdef int64_t field_count(Cursor* cursor, Py_ssize_t each) except -1:
    """A number of fields of which each takes so many elements, of two bytes at least."""
    cdef int64_t count = number(cursor)
    if count < 1 or count > (cursor.end - cursor.at) // 2 // each:
        raise ValueError(f"a stream's block: {count} fields at element {cursor.read - 1}")
    return count


cdef int pass_over(Cursor* cursor, int64_t count) except -1:
    while count > 0:
        advance(cursor)
        count -= 1
    return 0


cpdef int load_block(StreamLog log, bytes key, bytes listpack) except -1:
    """Take over a block behind those that are there; ValueError if anything about it is wrong."""
    cdef Cursor cursor
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(listpack)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(listpack), fields, pairs, size
    cdef const uint8_t* body
    cdef int64_t live, dead, flags, counted = 0, deleted = 0
    cdef Id base, id, before = log.last, first
    cdef bint any_before = log.blocks.count > 0
    cdef Block* block
    if PyBytes_GET_SIZE(key) != 16:
        raise ValueError(f"the key of a stream's block has {PyBytes_GET_SIZE(key)} bytes")
    if n > BYTES_MAX:
        raise ValueError("a stream's block is too large")
    if not listpack_frame(p, n):
        raise ValueError(f"a listpack of {n} bytes: wrong size or no end mark")
    base = read_id(key)
    first = base
    cursor.at = p + LISTPACK_HEAD
    cursor.end = p + n - 1
    cursor.read = 0
    live = number(&cursor)
    dead = number(&cursor)
    body = cursor.at
    fields = field_count(&cursor, 1)
    pass_over(&cursor, fields)
    if small(&cursor) != 0:
        raise ValueError("a stream's block: no end of its head")
    while cursor.at < cursor.end:
        flags = small(&cursor)
        if flags > 3:
            raise ValueError(f"a stream's block: {flags} are no flags of an entry")
        id.ms = base.ms + <uint64_t>number(&cursor)
        id.seq = base.seq + <uint64_t>number(&cursor)
        if flags & SHARED:
            size = 3 + fields
            pass_over(&cursor, fields)
        else:
            pairs = field_count(&cursor, 2)
            size = 4 + 2 * pairs
            pass_over(&cursor, 2 * pairs)
        if number(&cursor) != size:
            raise ValueError(f"a stream's block: an entry of {size} elements says otherwise")
        if less(id, base) or (any_before and not less(before, id)):
            raise ValueError("a stream's block: an id that does not rise")
        any_before = True
        before = id
        if flags & GONE:
            deleted += 1
        else:
            if counted == 0:
                first = id
            counted += 1
    if listpack_declared(p) not in (LISTPACK_UNKNOWN, cursor.read):
        raise ValueError(
            f"a listpack of {cursor.read} elements says that they are {listpack_declared(p)}"
        )
    if counted + deleted == 0 or counted != live or deleted != dead:
        raise ValueError(
            f"a stream's block of {counted} entries and {deleted} deleted ones says that they are "
            f"{live} and {dead}"
        )
    block = make_place(&log.blocks, log.blocks.count, &log.nbytes)
    if block == NULL:
        raise MemoryError
    block.key = base
    if not resize(block, cursor.end - body, &log.nbytes):
        take_away(&log.blocks, log.blocks.count - 1, &log.nbytes)
        raise MemoryError
    memcpy(block.data, body, cursor.end - body)
    block.used = <uint32_t>(cursor.end - body)
    block.count = <uint32_t>counted
    block.gone = <uint32_t>deleted
    if log.length == 0 and counted:
        log.first = first
    log.length += counted
    log.entries_added = log.length
    log.last = before
    return 0
