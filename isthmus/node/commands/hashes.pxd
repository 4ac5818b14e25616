cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.values.draws cimport write_distinct, write_repeats
from isthmus.node.values.hashes cimport (
    HashValue, create, increment, remove_fields, set_fields, set_total, without_expired,
)

cdef void refit(Context ctx, HashValue value)
@cython.locals(value=HashValue)
cdef HashValue look(Context ctx, list[bytes] argv)
@cython.locals(value=HashValue)
cdef HashValue look_for_write(Context ctx, list[bytes] argv)
@cython.locals(value=HashValue)
cdef HashValue live(Context ctx, bytes key)
@cython.locals(created="long long")
cdef long long assign(Context ctx, list[bytes] argv)
@cython.locals(at="Py_ssize_t")
cdef void write_fields(Context ctx, HashValue value, list[bytes] argv)
