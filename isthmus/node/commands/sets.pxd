cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.values.draws cimport distinct_keys, write_distinct, write_repeats
from isthmus.node.values.sets cimport (
    SetValue, add_members, create, difference, intersection, remove_member, remove_members,
    set_result, take_all, union,
)

cdef void refit(Context ctx, SetValue value)
@cython.locals(added="long long")
cdef long long add(Context ctx, list[bytes] argv)
cdef void pop_many(Context ctx, list[bytes] argv)
cdef void write_members(Context ctx, list[bytes] members)
