cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.strings cimport grown

@cython.locals(at="Py_ssize_t", have="Py_ssize_t", mask=int, before=int)
cpdef long long set_bit(Database db, bytes key, object old, long long offset,
                        long long bit) except -1
cpdef void put_result(Database db, bytes key, bytes data)
cpdef void record_fields(Database db, bytes key, bytearray data, long long first, long long last,
                         bytes event)
