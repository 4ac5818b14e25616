cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.wire.digits cimport format_int, parse_int

cpdef void put(Database db, bytes key, bytes value, long long expire, bytes event)
cpdef void put_keep(Database db, bytes key, bytes value, bytes event)
@cython.locals(status="int", total="long long")
cpdef long long increment(Database db, bytes key, long long delta, bytes event) except? -1
cdef long long increment_other(Database db, bytes key, long long delta) except? -1
@cython.locals(have="Py_ssize_t", made=bytearray)
cpdef bytearray grown(Database db, bytes key, object old, long long length)
cpdef void append(Database db, bytes key, object old, bytes tail)
@cython.locals(data=bytearray)
cpdef void overlay(Database db, bytes key, object old, long long offset, bytes patch)
