cimport cython

from isthmus.node.engine.access cimport hinted
from isthmus.node.engine.keyspace cimport Database, Keyspace
from isthmus.node.engine.lookahead cimport Lookahead
from isthmus.node.values.keys cimport load
from isthmus.node.values.rdb_decode cimport Limits, Reading, begin, read_value
from isthmus.wire.rdb_reader cimport RdbReader

cdef long long SLOT_INFO_CODE, BATCH_ITEMS, PIECE_ELEMENTS

cdef class Report:
    cdef public long long version, keys, expired, empty
    cdef public list modules

cdef class KeyspaceLoader:
    cdef public Keyspace keyspace
    cdef public Database db
    cdef public list functions
    cdef public dict facts
    cdef public Lookahead lookahead
    cdef public list batch
    cdef public long long room
    cdef void put(self, bytes key, object value, long long expire_ms, long long mark) except *
    @cython.locals(batch=list, at="Py_ssize_t")
    cpdef void flush(self) except *
    cpdef void entry(self, bytes key, object value, long long expire_ms, long long idle_s,
                     long long freq) except *

cdef class SnapshotWalk:
    cdef public RdbReader reader
    cdef public object into
    cdef public KeyspaceLoader loader
    cdef public long long now_ms
    cdef public bint keep_expired
    cdef public Limits limits
    cdef public Report report
    cdef public Py_ssize_t start, summed
    cdef public object crc
    cdef public long long expire_ms, idle_s, freq
    cdef public Reading reading
    cdef public bytes key
    cdef public Py_ssize_t key_at, stop
    @cython.locals(reader=RdbReader, ended=bint)
    cpdef bint run(self, long long bytes_max) except -1
    cdef void flush(self) except *
    cdef void sum_up(self) except *
    cdef void check_sum(self) except *
    @cython.locals(reader=RdbReader, reading=Reading)
    cdef void read_entry(self, long long kind) except *
    @cython.locals(reading=Reading)
    cdef void read_on(self) except *
    @cython.locals(expire_ms="long long")
    cdef void take(self, object value) except *
    cdef void forget(self)
    @cython.locals(reader=RdbReader, at="Py_ssize_t")
    cdef bint read_opcode(self, long long code) except -1
    cdef void tell(self, long long code, long long at) except *
    cdef void skip_module(self) except *
