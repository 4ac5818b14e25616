from isthmus.node.engine.context cimport Context
from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.rng cimport Rng
from isthmus.node.values.draws cimport distinct_keys
from isthmus.node.values.score_index cimport read_score
from isthmus.node.values.zsets cimport (
    Added, ZSetValue, add_one, add_pairs, create, remove_members, remove_range,
)

cpdef void refit(Context ctx, ZSetValue value)
cdef void add(Context ctx, list[bytes] argv, long long flags)
cdef void pop(Context ctx, list[bytes] argv, bint highest)
cpdef bint pop_first(Context ctx, list[bytes] keys, bint highest, long long count)
cpdef void take(Context ctx, bytes key, ZSetValue value, long long count, bint highest, bint nested)
