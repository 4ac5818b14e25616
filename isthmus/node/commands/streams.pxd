cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.values.stream_ids cimport format_id, make_id, next_id, parse_id, previous_id
from isthmus.node.values.streams cimport (
    StreamValue, add, create, remove, set_state, trim_before, trim_length
)

cdef class AddOptions:
    cdef public long long strategy
    cdef public bint exact
    cdef public long long most
    cdef public bytes before
    cdef public long long limit
    cdef public bint make
    cdef public long long kind
    cdef public bytes id
    cdef public long long at

cdef class ReadOptions:
    cdef public long long count
    cdef public bint wait
    cdef public long long deadline_ms
    cdef public bytes group
    cdef public bytes consumer
    cdef public bint noack
    cdef public long long at
    cdef public long long streams

cpdef bytes strict_id(bytes text, bint end=?)
cpdef bytes any_id(bytes text, bint end)
cpdef bytes start_of(bytes text)
cpdef bytes end_of(bytes text)
@cython.locals(at="Py_ssize_t", more="Py_ssize_t", limit="long long", word=bytes, limited=bint)
cpdef AddOptions read_options(Context ctx, list[bytes] argv, bint adding)
cpdef long long read_threshold(AddOptions options, list[bytes] argv, long long at, bint by_length)
cpdef void read_new_id(AddOptions options, bytes text)
cpdef long long trim(Context ctx, bytes key, StreamValue value, AddOptions options)
@cython.locals(last=bytes, following=bytes, id=bytes, auto=bytes)
cdef bytes new_id(Context ctx, AddOptions options, StreamValue value)
@cython.locals(at="Py_ssize_t", total="long long")
cdef void check_size(list[bytes] argv, long long first)
@cython.locals(at="Py_ssize_t", count="long long", start=bytes, end=bytes)
cdef void write_interval(Context ctx, list[bytes] argv, bint reverse)
@cython.locals(at="Py_ssize_t", more="Py_ssize_t", word=bytes)
cpdef ReadOptions read_read_options(Context ctx, list[bytes] argv, bint grouped,
                                    bytes unbalanced)
cpdef bytes known_id(Context ctx, bytes key, bytes text)
cpdef void write_head(Context ctx, bytes key)
cpdef void close_streams(Context ctx, Py_ssize_t mark, long long count)
