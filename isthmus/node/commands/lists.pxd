from isthmus.node.engine.context cimport Context
from isthmus.node.values.lists cimport (
    ListValue, grows, insert, move, pop, pop_one, push, remove, replace, trim
)

cpdef bint is_left(bytes word)
cpdef void push_existing(Context ctx, list[bytes] argv, bint front)
cdef void write_end(Context ctx, ListValue value, long long count, bint front)
cpdef void pop_end(Context ctx, list[bytes] argv, bint front)
cpdef bint pop_first(Context ctx, list[bytes] keys, bint front, long long count)
cpdef void move_one(Context ctx, bytes source, bint from_head, bytes destination, bint to_head)
