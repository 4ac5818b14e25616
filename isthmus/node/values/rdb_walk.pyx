# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of rdb_walk.py, which states the contract.

Elements are copied from where they lie, in chunks, records and blocks, into the writer. Pointers
into a value live only as long as one call.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t

from isthmus.node.engine.record cimport rec_key, rec_klen
from isthmus.node.values.packed_chunk cimport Chunk, data_of, packed_size, payload
from isthmus.node.values.packed_list cimport PackedList
from isthmus.node.values.pending_list cimport PendingList
from isthmus.node.values.score_index cimport Item, Run, ScoreIndex
from isthmus.node.values.stream_blocks cimport Block, Id, listpack_bytes, pack, write_listpack
from isthmus.node.values.stream_log cimport StreamLog
from isthmus.wire.listpack_write cimport text_size
from isthmus.wire.rdb_writer cimport RdbWriter

from isthmus.wire.scalars import format_float

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define isthmus_fetch(p) __builtin_prefetch(p)
    #else
    #define isthmus_fetch(p) ((void)(p))
    #endif
    """
    void isthmus_fetch(const void* p) noexcept

cdef enum:
    NODE_BYTES_MAX = 8192
    NODE_GUESS_BYTES = 8
    NODE_PLAIN = 1
    NODE_PACKED = 2
    FRAME_BYTES = 7
    BARE_BYTES = 16
    AHEAD = 6       # records fetched into the cache before they are read

# 2**62; not an enumerator, which may be unsigned in C.
cdef double WHOLE_SCORE_MAX = 4611686018427387904.0

cdef struct Record:
    Id id
    int64_t time_ms
    int64_t count
    int64_t owner


cpdef int save_list_listpack(PackedList value, RdbWriter out) except -1:
    """Write all elements as one listpack."""
    cdef Chunk* chunk = value._head
    cdef char* at
    cdef char* end
    cdef char* p
    cdef Py_ssize_t n
    out.begin_listpack()
    while chunk != NULL:
        at = data_of(chunk) + chunk.head
        end = data_of(chunk) + chunk.tail
        while at < end:
            p = payload(at, &n)
            out.text_raw(p, n)
            at += packed_size(n)
        chunk = chunk.next
    return out.end_listpack()


cpdef int save_zset_listpack(ScoreIndex value, RdbWriter out) except -1:
    """Write members and scores, the lowest first, as one listpack."""
    cdef Py_ssize_t r, i
    cdef Run* run
    cdef Item* item
    out.begin_listpack()
    for r in range(value.nruns):
        run = &value.runs[r]
        for i in range(run.count):
            item = &run.items[run.start + i]
            out.text_raw(rec_key(item.rec), rec_klen(item.rec))
            if (
                -WHOLE_SCORE_MAX <= item.score <= WHOLE_SCORE_MAX
                and <double><int64_t>item.score == item.score
            ):
                out.lp_number(<int64_t>item.score)
            else:
                out.lp_text(format_float(item.score))
    return out.end_listpack()


cpdef int save_scores(
    ScoreIndex value, RdbWriter out, Py_ssize_t start, Py_ssize_t count
) except -1:
    """Write `count` members, each with its score, from rank `start` downwards."""
    cdef Py_ssize_t pos, r
    cdef Run* run
    cdef Item* item
    if count <= 0 or start < 0 or start >= value.count:
        return 0
    if count > start + 1:
        count = start + 1
    r = value.select(start, &pos)
    run = &value.runs[r]
    while True:
        item = &run.items[run.start + pos]
        if pos >= AHEAD:
            isthmus_fetch((item - AHEAD).rec)
        out.string_raw(rec_key(item.rec), rec_klen(item.rec))
        out.double(item.score)
        count -= 1
        if count == 0:
            return 0
        if pos == 0:
            run -= 1
            pos = run.count
        pos -= 1


cpdef Py_ssize_t save_blocks(
    StreamLog value, RdbWriter out, Py_ssize_t first, Py_ssize_t blocks_max
) except -2:
    """Write blocks from index `first` on, each as its key and its listpack; returns the next
    index, -1 at the end."""
    cdef Py_ssize_t i, size, stop = min(first + blocks_max, value.blocks.count)
    cdef Block* block
    cdef char id[16]
    cdef char* made
    for i in range(first, stop):
        block = &value.blocks.at[i]
        pack(id, block.key)
        out.string_raw(id, 16)
        size = listpack_bytes(block)
        made = <char*>PyMem_Malloc(size)
        if made == NULL:
            raise MemoryError
        write_listpack(made, block)
        try:
            out.string_raw(made, size)
        finally:
            PyMem_Free(made)
    return stop if stop < value.blocks.count else -1


cpdef Py_ssize_t save_pending(
    PendingList value, RdbWriter out, Py_ssize_t first, Py_ssize_t blocks_max
) except -2:
    """Write what is pending from block `first` on: ids, each with the time of its delivery and
    their number unless the list is bare; returns the next block, -1 at the end."""
    cdef Py_ssize_t i, j, stop = min(first + blocks_max, value.blocks.count)
    cdef Block* block
    cdef Record* record
    cdef char id[16]
    for i in range(first, stop):
        block = &value.blocks.at[i]
        for j in range(block.count):
            record = <Record*>(block.data + j * value.width)
            pack(id, record.id)
            out.append(id, 16)
            if value.width != BARE_BYTES:
                out.number(record.time_ms)
                out.length(record.count)
    return stop if stop < value.blocks.count else -1


cdef inline bint begins_node(Py_ssize_t node_bytes, Py_ssize_t size) noexcept nogil:
    """True if an element of `size` bytes cannot go into the node that is open."""
    return (
        node_bytes == 0 or size > NODE_BYTES_MAX
        or node_bytes + size + NODE_GUESS_BYTES > NODE_BYTES_MAX
    )


cdef class ListNodes:
    """The nodes of a list: measured first, since how many there are stands before them."""

    def __init__(self, PackedList value not None):
        self.value = value
        self.count = 0
        self.measured = 0
        self.written = 0
        self.node_bytes = 0

    cpdef bint measure(self, Py_ssize_t limit) except -1:
        """Count the nodes of `limit` more elements; False when all have been looked at."""
        cdef Py_ssize_t offset, n
        cdef Py_ssize_t left = min(limit, self.value._length - self.measured)
        cdef Chunk* chunk
        cdef char* p
        if left > 0:
            chunk = self.value._locate(self.measured, &offset)
            self.measured += left
            while True:
                p = payload(data_of(chunk) + offset, &n)
                if begins_node(self.node_bytes, n):
                    self.count += 1
                    self.node_bytes = FRAME_BYTES
                if n > NODE_BYTES_MAX:
                    self.node_bytes = 0
                else:
                    self.node_bytes += text_size(p, n)
                left -= 1
                if left == 0:
                    break
                offset += packed_size(n)
                if offset == chunk.tail:
                    chunk = chunk.next
                    offset = chunk.head
        if self.measured < self.value._length:
            return True
        self.node_bytes = 0
        return False

    cpdef bint write(self, RdbWriter out, Py_ssize_t limit) except -1:
        """Write the nodes of `limit` more elements; False when all have been written."""
        cdef Py_ssize_t offset, n, before
        cdef Py_ssize_t left = min(limit, self.value._length - self.written)
        cdef Chunk* chunk
        cdef char* p
        if left > 0:
            chunk = self.value._locate(self.written, &offset)
            self.written += left
            while True:
                p = payload(data_of(chunk) + offset, &n)
                if begins_node(self.node_bytes, n):
                    if self.node_bytes:
                        out.end_listpack()
                    self.node_bytes = 0
                if n > NODE_BYTES_MAX:
                    out.length(NODE_PLAIN)
                    out.string_raw(p, n)
                else:
                    if self.node_bytes == 0:
                        out.length(NODE_PACKED)
                        out.begin_listpack()
                        self.node_bytes = FRAME_BYTES
                    before = out.pack_size
                    out.text_raw(p, n)
                    self.node_bytes += out.pack_size - before
                left -= 1
                if left == 0:
                    break
                offset += packed_size(n)
                if offset == chunk.tail:
                    chunk = chunk.next
                    offset = chunk.head
        if self.written < self.value._length:
            return True
        if self.node_bytes:
            out.end_listpack()
            self.node_bytes = 0
        return False
