cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.pending_list cimport PendingList
from isthmus.node.values.stream_ids cimport format_id, parse_id
from isthmus.node.values.stream_log cimport StreamLog

cdef class Consumer:
    cdef public bytes name
    cdef public long long number
    cdef public long long seen_ms
    cdef public long long active_ms
    cdef public PendingList pending

cdef class Group:
    cdef public bytes last_id
    cdef public long long entries_read
    cdef public PendingList pending
    cdef public dict consumers
    cdef public dict owners
    cdef public long long next_number
    cpdef Consumer add_consumer(self, bytes name, long long now_ms)
    cpdef tuple record(self, bytes id)
    @cython.locals(owner=Consumer)
    cpdef void give(self, bytes id, Consumer consumer, long long time_ms, long long count)
    @cython.locals(owner=Consumer)
    cpdef bint forget(self, bytes id)

cdef class StreamValue(StreamLog):
    cdef public dict groups
    cpdef bytes encoding(self)
    cpdef Py_ssize_t clear_slice(self, Py_ssize_t blocks_max)
    @cython.locals(group=Group, consumer=Consumer)
    cpdef long long held_bytes(self)
    @cython.locals(top=bytes)
    cpdef bint has_gap(self, bytes start)
    @cython.locals(top=bytes, first=bytes)
    cpdef long long distance(self, bytes id)
    cpdef bint delivered(self, Group group, bytes id)

cpdef bint noted(Database db)
cpdef StreamValue create(Database db, bytes key)
cpdef void add(Database db, bytes key, StreamValue value, list[bytes] argv, long long first,
               bytes id, long long bytes_max, long long entries_max)
cpdef bytes whole_id(bytes text)
@cython.locals(removed="long long", left="long long")
cpdef long long trim_length(Database db, bytes key, StreamValue value, long long most, bint exact,
                            long long limit)
@cython.locals(removed="long long")
cpdef long long trim_before(Database db, bytes key, StreamValue value, bytes id, bint exact,
                            long long limit)
cpdef long long remove(Database db, bytes key, StreamValue value, list[bytes] ids)
cpdef void record_ids(Database db, list[bytes] head, list[bytes] ids, bytes event,
                      bytes event_class)
cpdef void set_state(Database db, bytes key, StreamValue value, bytes last, bytes top,
                     long long added)
