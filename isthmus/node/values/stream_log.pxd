# The C layout of StreamLog; stream_log.pyx explains it.
from isthmus.node.values.stream_blocks cimport Block, Blocks, Id
from isthmus.wire.reply cimport ReplyWriter


cdef struct Entry:
    Id id
    bint gone
    bint own_fields     # its fields stand with it, and not only at the head of the block
    Py_ssize_t pairs
    char* begin
    char* texts         # the first of its stored texts


cdef struct Walk:
    Block* block
    Py_ssize_t index        # of the block
    char* fields            # the first field at the head of the block
    Py_ssize_t pairs        # how many fields stand there
    char* at                # where the next entry begins, or in reverse where it ends
    Entry entry


cdef class StreamLog:
    cdef Blocks blocks
    cdef Id first, last, top
    cdef readonly Py_ssize_t length
    cdef readonly Py_ssize_t nbytes
    cdef public long long entries_added

    cpdef bytes auto_id(self, unsigned long long now_ms)
    cpdef int append(self, list argv, Py_ssize_t first, bytes id, long long bytes_max,
                     long long entries_max) except -1
    cpdef set_state(self, bytes last_id, bytes top_deleted, long long entries_added)
    cpdef bint remove(self, bytes id) except -1
    cpdef Py_ssize_t trim_length(self, Py_ssize_t most, bint exact, Py_ssize_t limit)
    cpdef Py_ssize_t trim_before(self, bytes id, bint exact, Py_ssize_t limit)
    cpdef Py_ssize_t clear_slice(self, Py_ssize_t blocks_max)
    cpdef take_copy(self, StreamLog other)
    cpdef bint contains(self, bytes id)
    cpdef bytes last_valid(self)
    cpdef list slice(self, bytes start, bytes end, Py_ssize_t count, bint reverse)
    cpdef Py_ssize_t write_range(self, ReplyWriter reply, bytes start, bytes end,
                                 Py_ssize_t count, bint reverse, bint framed,
                                 list ids) except -1
    cpdef list listpacks(self)
    cpdef Py_ssize_t tree_nodes(self)

    cdef Block* _room(self, Block* block, Py_ssize_t need, Py_ssize_t most) except NULL
    cdef Py_ssize_t _trim(self, Py_ssize_t most, bint by_id, Id before, bint exact,
                          Py_ssize_t limit)
    cdef void _find_first(self) noexcept
    cdef bint _begin(self, Walk* walk, Id start, Id end, bint reverse) noexcept
    cdef void _enter(self, Walk* walk, bint reverse) noexcept
    cdef bint _next(self, Walk* walk, Id start, Id end) noexcept
    cdef bint _previous(self, Walk* walk, Id start, Id end) noexcept
