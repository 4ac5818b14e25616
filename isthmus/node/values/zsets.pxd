cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.keys cimport delete, drop_empty
from isthmus.node.values.score_index cimport ScoreIndex, read_score

cdef class ZSetValue(ScoreIndex):
    cpdef void fit(self, long long entries_max, long long value_bytes_max)
    cpdef bytes encoding(self)

cdef class Added:
    cdef public long long added, updated, processed
    cdef public double score

cpdef ZSetValue create(Database db, bytes key)
cpdef long long add_one(Database db, bytes key, ZSetValue value, bytes member, double score)
@cython.locals(at="Py_ssize_t", score=double, before=double, state="long long", member=bytes)
cpdef Added add_pairs(Database db, bytes key, ZSetValue value, object scores, list[bytes] argv,
                      long long first, long long flags)
cpdef void record_scores(Database db, bytes key, list[bytes] pairs, bytes event)
cpdef void record_removal(Database db, bytes key, list[bytes] members, bytes event)
cpdef long long remove_members(Database db, bytes key, ZSetValue value, list[bytes] members)
cpdef void remove_range(Database db, bytes key, ZSetValue value, long long start, long long count,
                        bytes event)
cpdef void store_result(Database db, bytes key, ZSetValue value, bytes event)
