cimport cython

from isthmus.node.values.hashes cimport HashValue
from isthmus.node.values.lists cimport ListValue, bytes_limit
from isthmus.node.values.sets cimport SetValue
from isthmus.node.values.zsets cimport ZSetValue
from isthmus.wire.rdb_reader cimport RdbReader, read_double

cdef class Limits:
    cdef public long long hash_entries, hash_bytes, set_ints, set_entries, set_bytes
    cdef public long long zset_entries, zset_bytes, list_size

cpdef object read_value(RdbReader reader, long long kind, Limits limits=?)
@cython.locals(count="Py_ssize_t", at="Py_ssize_t", value=HashValue)
cdef HashValue read_hash(RdbReader reader, Limits limits)
@cython.locals(items=list, value=HashValue)
cdef HashValue read_packed_hash(RdbReader reader, long long kind, Limits limits)
@cython.locals(at="Py_ssize_t", length="Py_ssize_t", value=HashValue)
cdef HashValue hash_of_pairs(RdbReader reader, list[bytes] items, long long width)
@cython.locals(count="Py_ssize_t", at="Py_ssize_t", ttl="unsigned long long", when="long long",
               soonest="long long", value=HashValue, due=list)
cdef HashValue read_hash_metadata(RdbReader reader, bint relative, Limits limits)
@cython.locals(at="Py_ssize_t", when="long long", before="long long", items=list,
               value=HashValue, due=list)
cdef HashValue read_hash_listpackex(RdbReader reader, bint relative, Limits limits)
@cython.locals(count="Py_ssize_t", value=ListValue)
cdef ListValue read_list(RdbReader reader, Limits limits)
@cython.locals(count="Py_ssize_t", before="Py_ssize_t", nodes="Py_ssize_t", one_listpack=bint,
               value=ListValue)
cdef ListValue read_quicklist(RdbReader reader, long long kind, Limits limits)
@cython.locals(item=bytes)
cdef void append_all(ListValue value, list[bytes] items) except *
@cython.locals(size="long long", packed="long long", fits=bint)
cdef void settle(ListValue value, bint one_listpack, Limits limits) except *
@cython.locals(count="Py_ssize_t", value=SetValue)
cdef SetValue read_set(RdbReader reader, Limits limits)
@cython.locals(value=SetValue, member=bytes)
cdef SetValue set_of(RdbReader reader, list[bytes] items, long long shape, long long most)
@cython.locals(count="Py_ssize_t", score=double, zero=bint, value=ZSetValue, member=bytes)
cdef ZSetValue read_zset(RdbReader reader, bint binary, Limits limits)
@cython.locals(at="Py_ssize_t", length="Py_ssize_t", score=double, value=ZSetValue)
cdef ZSetValue zset_of(RdbReader reader, list[bytes] items, Limits limits)
