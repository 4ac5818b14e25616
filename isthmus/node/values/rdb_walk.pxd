from isthmus.node.values.packed_list cimport PackedList
from isthmus.node.values.pending_list cimport PendingList
from isthmus.node.values.score_index cimport ScoreIndex
from isthmus.node.values.stream_log cimport StreamLog
from isthmus.wire.rdb_writer cimport RdbWriter

cpdef int save_list_listpack(PackedList value, RdbWriter out) except -1
cpdef int save_zset_listpack(ScoreIndex value, RdbWriter out) except -1
cpdef int save_scores(
    ScoreIndex value, RdbWriter out, Py_ssize_t start, Py_ssize_t count
) except -1
cpdef Py_ssize_t save_blocks(
    StreamLog value, RdbWriter out, Py_ssize_t first, Py_ssize_t blocks_max
) except -2
cpdef Py_ssize_t save_pending(
    PendingList value, RdbWriter out, Py_ssize_t first, Py_ssize_t blocks_max
) except -2


cdef class ListNodes:
    cdef PackedList value
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t measured
    cdef Py_ssize_t written
    cdef Py_ssize_t node_bytes

    cpdef bint measure(self, Py_ssize_t limit) except -1
    cpdef bint write(self, RdbWriter out, Py_ssize_t limit) except -1
