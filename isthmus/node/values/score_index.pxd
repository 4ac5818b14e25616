# The C layout of ScoreIndex; score_index.pyx explains it.
from libc.stdint cimport uint16_t

from isthmus.node.engine.table cimport Rec, Table
from isthmus.wire.reply cimport ReplyWriter


cdef struct Item:
    double score
    Rec* rec


cdef struct Run:
    double low          # the score of its first item
    Item* items         # the allocation
    uint16_t start      # index of the first item in use
    uint16_t count      # items in use
    uint16_t room       # items that the allocation holds


cdef struct Bound:
    int kind
    bint inclusive
    double score
    const char* member
    Py_ssize_t length


cpdef double read_score(bytes text) except? -1


cdef class ScoreIndex(Table):
    cdef Run only               # the descriptor while there is one run
    cdef Run* block             # allocation of descriptors; NULL while `only` does
    cdef Run* runs              # the first descriptor in use
    cdef Py_ssize_t nruns, block_room
    cdef Py_ssize_t* sums       # Fenwick tree over the counts of the runs
    cdef Py_ssize_t sums_room
    cdef bint sums_valid
    cdef readonly Py_ssize_t widest
    cdef public bint grown, outgrown

    cpdef int upsert(self, bytes member, double score) except -1
    cpdef Py_ssize_t rank(self, bytes member)
    cpdef Py_ssize_t count_below(self, double score, bint inclusive)
    cpdef Py_ssize_t count_lex_below(self, bytes member, bint inclusive)
    cpdef bytes member_at(self, Py_ssize_t rank)
    cpdef double score_at(self, Py_ssize_t rank) except? -1
    cpdef write_range(self, ReplyWriter reply, Py_ssize_t start, Py_ssize_t count,
                      bint reverse, bint scores, bint nested)
    cpdef list members(self, Py_ssize_t start, Py_ssize_t count, bint reverse=*)
    cpdef list slice(self, Py_ssize_t start, Py_ssize_t count, bint reverse=*)
    cpdef remove_range(self, Py_ssize_t start, Py_ssize_t count)

    cdef Rec** find_rec(self, Rec* rec) noexcept
    cdef Py_ssize_t locate(self, Bound* bound, Py_ssize_t* pos) noexcept
    cdef Py_ssize_t select(self, Py_ssize_t rank, Py_ssize_t* pos) noexcept
    cdef Py_ssize_t prefix(self, Py_ssize_t r) noexcept
    cdef int build_sums(self) noexcept
    cdef void counted(self, Py_ssize_t r, Py_ssize_t delta) noexcept
    cdef Run* add_run(self, Py_ssize_t at, Py_ssize_t room) except NULL
    cdef void drop_run(self, Py_ssize_t r) noexcept
    cdef int resize_run(self, Run* run, Py_ssize_t room) noexcept
    cdef Py_ssize_t make_room(self, Py_ssize_t r, Py_ssize_t* pos) except -1
    cdef int place(self, Rec* rec, double score) except -1
    cdef int move(self, Rec* rec, double score) except -1
    cdef void erase(self, Py_ssize_t r, Py_ssize_t pos, Py_ssize_t count) noexcept
    cdef void tighten(self, Py_ssize_t r) noexcept
    cdef void merge(self, Py_ssize_t r) noexcept
    cdef list take_out(self, Py_ssize_t start, Py_ssize_t count, bint reverse, bint scores)
