# The C layout of PackedList; packed_list.pyx explains it.
from isthmus.node.values.packed_chunk cimport Chunk
from isthmus.wire.reply cimport ReplyWriter


cdef class PackedList:
    cdef Chunk* _head
    cdef Chunk* _tail
    cdef Py_ssize_t _length
    cdef Chunk* _hint
    cdef Py_ssize_t _hint_first
    cdef Py_ssize_t _listpack
    cdef readonly Py_ssize_t nbytes
    cdef public bint outgrown

    # C level: no Python object per element
    cdef int push_raw(self, const char* p, Py_ssize_t n, bint front) except -1

    cpdef push_head(self, bytes element)
    cpdef push_tail(self, bytes element)
    cpdef pop_head(self)
    cpdef pop_tail(self)
    cpdef bytes get(self, Py_ssize_t i)
    cpdef set(self, Py_ssize_t i, bytes element)
    cpdef insert(self, Py_ssize_t i, bytes element)
    cpdef remove_range(self, Py_ssize_t start, Py_ssize_t count)
    cpdef Py_ssize_t remove_equal(self, bytes element, Py_ssize_t count) except -1
    cpdef write_range(self, ReplyWriter reply, Py_ssize_t start, Py_ssize_t count,
                      bint reverse=*)
    cpdef list slice(self, Py_ssize_t start, Py_ssize_t count, bint reverse=*)
    cpdef Py_ssize_t find(self, bytes element, Py_ssize_t start, Py_ssize_t step)
    cpdef list find_all(self, bytes element, Py_ssize_t rank, Py_ssize_t count,
                        Py_ssize_t compared_max)
    cpdef Py_ssize_t listpack_bytes(self)
    cpdef int forget_listpack_bytes(self) except -1
    cpdef Py_ssize_t clear_slice(self, Py_ssize_t chunks_max)
    cpdef PackedList copy(self)

    cdef Chunk* _new_chunk(self, Py_ssize_t cap) except NULL
    cdef void _unlink(self, Chunk* chunk) noexcept
    cdef void _link_after(self, Chunk* chunk, Chunk* before) noexcept
    cdef Chunk* _resize(self, Chunk* chunk, Py_ssize_t cap, Py_ssize_t head) except NULL
    cdef Chunk* _room_at_end(self, Py_ssize_t size, bint front) except NULL
    cdef list _matches(self, bytes element, Py_ssize_t i, bint backwards, Py_ssize_t rank,
                       Py_ssize_t count, Py_ssize_t compared_max)
    cdef int _popped(self, Chunk* chunk, const char* p, Py_ssize_t n) except -1
    cdef Chunk* _seek(self, Py_ssize_t i, Py_ssize_t* first) except NULL
    cdef Chunk* _locate(self, Py_ssize_t i, Py_ssize_t* offset) except NULL
    cdef Chunk* _split(self, Chunk* chunk, Py_ssize_t offset) except NULL
    cdef int _shrink_if_sparse(self) except -1
    cdef int _merge(self, Chunk* left, Chunk* right) except -1
    cdef int _place(self, Chunk* chunk, Py_ssize_t offset, const char* p,
                    Py_ssize_t n) except -1
