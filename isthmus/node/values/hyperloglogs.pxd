cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values cimport hll

cpdef bytearray mutable(Database db, bytes key, object value)
@cython.locals(data=bytearray, at="Py_ssize_t", size="Py_ssize_t",
               state="long long", changed=bint, was_sparse=bint)
cpdef bint add_elements(Database db, bytes key, object value, list[bytes] argv,
                        long long limit) except -1
cpdef void make_dense(Database db, bytes key, bytearray data)
@cython.locals(total="long long")
cpdef long long count(Database db, bytes key, object value) except? -1
cpdef void store_merged(Database db, bytes key, bytearray data)
