cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.ordered_table cimport OrderedTable
from isthmus.node.engine.table cimport Table
from isthmus.node.values.keys cimport delete, drop_empty
from isthmus.wire.digits cimport parse_int
from isthmus.wire.reply cimport ReplyWriter

cpdef bint is_integer(bytes member)

cdef class SetValue(OrderedTable):
    cdef public int shape
    cdef public bint grown
    cdef public Py_ssize_t longest
    cpdef bint insert_member(self, bytes member)
    cpdef void write_members(self, ReplyWriter reply)
    cpdef void fit(self, long long intset_max, long long listpack_max, long long value_bytes_max)
    cpdef void fit_default(self)
    cpdef bytes encoding(self)

cpdef SetValue create(Database db, bytes key)

@cython.locals(added="long long", at="Py_ssize_t")
cpdef long long add_members(Database db, SetValue value, list[bytes] argv)
cpdef void record_members(Database db, bytes name, bytes key, list[bytes] members, bytes event)
cpdef bint remove_member(Database db, bytes key, SetValue value, bytes member, bytes event)
@cython.locals(gone=list)
cpdef long long remove_members(Database db, bytes key, SetValue value, list[bytes] members,
                               bytes event)
cpdef void take_all(Database db, bytes key, SetValue value)
cpdef SetValue set_result(Database db, bytes key, list[bytes] members, bytes event)
@cython.locals(member=bytes)
cpdef list[bytes] as_collected(list[bytes] members)
@cython.locals(value=SetValue, seen=dict)
cpdef list[bytes] union(list values)
@cython.locals(first=SetValue, left=list)
cpdef list[bytes] difference(list values)
@cython.locals(smallest=SetValue, common=list, page=list, cursor="unsigned long long")
cpdef list[bytes] intersection(list values, long long limit)
@cython.locals(value=SetValue)
cdef bint held_by_any(list values, bytes member)
@cython.locals(value=SetValue)
cdef bint held_by_all(list values, bytes member)
