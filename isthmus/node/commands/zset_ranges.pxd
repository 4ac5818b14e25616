from isthmus.node.engine.context cimport Context
from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.zsets cimport ZSetValue, remove_range, store_result

cdef class Span:
    cdef public long long start, count

cdef void write_span(Context ctx, ZSetValue value, long long first, long long count, bint reverse,
                     bint scores)
