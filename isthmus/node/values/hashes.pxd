cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.ordered_table cimport OrderedTable
from isthmus.node.engine.table cimport Table
from isthmus.node.values.keys cimport drop_empty
from isthmus.wire.digits cimport parse_int
from isthmus.wire.reply cimport ReplyWriter

cdef class HashValue(OrderedTable):
    cdef public bint outgrown
    cdef public bint grown
    cdef public bint timed
    cdef public Py_ssize_t longest
    @cython.locals(new=bint)
    cpdef bint write(self, bytes field, bytes value)
    @cython.locals(new=bint)
    cpdef bint write_keep(self, bytes field, bytes value)
    cdef void measure(self, bytes field, bytes value, bint new)
    cpdef void write_fields(self, ReplyWriter reply, bint fields, bint values)
    cpdef bint overdue(self, long long now)
    @cython.locals(cursor="unsigned long long")
    cpdef list live_items(self, long long now)
    @cython.locals(made=HashValue, items=list, at="Py_ssize_t")
    cpdef HashValue live_copy(self, long long now)
    cpdef void fit(self, long long entries_max, long long value_bytes_max)
    cpdef bytes encoding(self)

cpdef HashValue create(Database db, bytes key)
cpdef HashValue find_or_create(Database db, bytes key)

@cython.locals(created="long long", at="Py_ssize_t", volatile="Py_ssize_t")
cpdef long long set_fields(Database db, HashValue value, list[bytes] argv)
@cython.locals(when="long long")
cpdef void set_total(Database db, bytes key, HashValue value, bytes field, bytes text)
cpdef void increment(Database db, bytes key, HashValue value, bytes field, long long total,
                     long long delta)
@cython.locals(gone=list)
cpdef long long remove_fields(Database db, HashValue value, list[bytes] argv)
cdef void removed(Database db, bytes key, HashValue value, list[bytes] gone)

@cython.locals(now="long long", gone=list)
cpdef HashValue without_expired(Database db, bytes key, HashValue value, list[bytes] fields)
cpdef HashValue without_any_expired(Database db, bytes key, HashValue value)
cdef long long may_expire(long long known, long long when, long long condition)
@cython.locals(codes=list, done=list, code="long long", field=bytes)
cpdef list expire_fields_at(Database db, bytes key, HashValue value, long long when,
                            long long condition, bint passed, list[bytes] fields)
@cython.locals(codes=list, done=list, code="long long", field=bytes)
cpdef list persist_fields(Database db, bytes key, HashValue value, list[bytes] fields,
                          long long now)
