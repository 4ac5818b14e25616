cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.packed_list cimport PackedList

cdef class ListValue(PackedList):
    cpdef bytes encoding(self)

# Every push and pop compares with these: as Python numbers they cost as much as the pop.
cdef long long FIRST_BYTES, SMALLEST_LIMIT

cpdef long long bytes_limit(long long size) noexcept
@cython.locals(size="long long", total="long long")
cpdef void grows(Database db, ListValue value, long long count, long long added)
@cython.locals(size="long long", most="long long")
cdef void shrank(Database db, ListValue value)

@cython.locals(added="long long", at="Py_ssize_t", end="Py_ssize_t")
cpdef ListValue push(Database db, bytes key, ListValue value, list[bytes] argv, long long start,
                     bint front)
cpdef bytes pop_one(Database db, bytes key, ListValue value, bint front)
cpdef void pop(Database db, bytes key, ListValue value, long long count, bint front)
cpdef void replace(Database db, bytes key, ListValue value, long long index, bytes element)
cpdef long long insert(Database db, bytes key, ListValue value, bytes pivot, bytes element,
                       bint before)
cpdef long long remove(Database db, bytes key, ListValue value, long long count, bytes element)
cpdef void trim(Database db, bytes key, ListValue value, long long start, long long stop)
cpdef bytes move(Database db, bytes source, ListValue value, bint from_head,
                 bytes destination, ListValue target, bint to_head)
