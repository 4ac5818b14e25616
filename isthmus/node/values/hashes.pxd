cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.table cimport Table
from isthmus.node.values.keys cimport delete
from isthmus.wire.digits cimport parse_int

cdef class HashValue(Table):
    cdef public bint outgrown
    cdef public bint grown
    cdef public Py_ssize_t longest
    @cython.locals(new=bint)
    cpdef bint write(self, bytes field, bytes value)
    cpdef void fit(self, long long entries_max, long long value_bytes_max)
    cpdef bytes encoding(self)

cpdef HashValue create(Database db, bytes key)
cpdef HashValue find_or_create(Database db, bytes key)

@cython.locals(created="long long", at="Py_ssize_t")
cpdef long long set_fields(Database db, HashValue value, list[bytes] argv)
cpdef void set_field(Database db, bytes key, HashValue value, bytes field, bytes text, bytes event)
cpdef void increment(Database db, bytes key, HashValue value, bytes field, long long total,
                     long long delta)
@cython.locals(gone=list)
cpdef long long remove_fields(Database db, HashValue value, list[bytes] argv)
