cimport cython

from isthmus.node.values.hashes cimport HashValue
from isthmus.node.values.lists cimport ListValue, bytes_limit
from isthmus.node.values.sets cimport SetValue
from isthmus.node.values.zsets cimport ZSetValue
from isthmus.wire.rdb_reader cimport RdbReader, read_double

cdef long long NO_LIMIT

cdef class Limits:
    cdef public long long hash_entries, hash_bytes, set_ints, set_entries, set_bytes
    cdef public long long zset_entries, zset_bytes, list_size

cdef class Reading:
    cdef readonly RdbReader reader
    cdef readonly Limits limits
    cdef long long kind
    cdef readonly long long left
    cpdef object count(self, long long bytes_min, str what)
    cpdef object element(self)
    cpdef bint step(self, long long elements, long long stop) except *
    cpdef object whole(self)

cdef class HashReading(Reading):
    cdef HashValue value
    cpdef object element(self)
    cpdef object whole(self)

cdef class TimedHashReading(Reading):
    cdef HashValue value
    cdef list due
    cdef long long soonest
    @cython.locals(ttl="unsigned long long", field=bytes)
    cpdef object element(self)
    @cython.locals(before="long long")
    cpdef bint step(self, long long elements, long long stop) except *
    cpdef object whole(self)

cdef class ListReading(Reading):
    cdef ListValue value
    cpdef object element(self)
    cpdef object whole(self)

cdef class QuicklistReading(Reading):
    cdef ListValue value
    cdef long long nodes
    cdef bint one_listpack
    @cython.locals(before="Py_ssize_t", value=ListValue)
    cpdef object element(self)
    cpdef object whole(self)

cdef class SetReading(Reading):
    cdef SetValue value
    cpdef object element(self)
    cpdef object whole(self)

cdef class ZSetReading(Reading):
    cdef ZSetValue value
    cdef bint zero
    @cython.locals(score=double, member=bytes)
    cpdef object element(self)
    @cython.locals(value=ZSetValue)
    cpdef object whole(self)

cdef class StreamReading(Reading):
    cdef object value, parts
    cpdef bint step(self, long long elements, long long stop) except *
    cpdef object whole(self)

cpdef object begin(RdbReader reader, long long kind, Limits limits=?)
@cython.locals(when="long long")
cdef bint set_expiries(HashValue value, list[tuple] due, long long count) except *
@cython.locals(reading=Reading)
cpdef object read_value(RdbReader reader, long long kind, Limits limits=?)
@cython.locals(items=list, value=HashValue)
cdef HashValue read_packed_hash(RdbReader reader, long long kind, Limits limits)
@cython.locals(at="Py_ssize_t", length="Py_ssize_t", value=HashValue)
cdef HashValue hash_of_pairs(RdbReader reader, list[bytes] items, long long width)
@cython.locals(at="Py_ssize_t", when="long long", before="long long", items=list,
               value=HashValue, due=list)
cdef HashValue read_hash_listpackex(RdbReader reader, bint relative, Limits limits)
@cython.locals(item=bytes)
cdef void append_all(ListValue value, list[bytes] items) except *
@cython.locals(size="long long", packed="long long", fits=bint)
cdef void settle(ListValue value, bint one_listpack, Limits limits) except *
@cython.locals(value=SetValue, member=bytes)
cdef SetValue set_of(RdbReader reader, list[bytes] items, long long shape, long long most)
@cython.locals(at="Py_ssize_t", length="Py_ssize_t", score=double, value=ZSetValue)
cdef ZSetValue zset_of(RdbReader reader, list[bytes] items, Limits limits)
