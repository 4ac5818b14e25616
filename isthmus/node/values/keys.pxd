cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.table cimport Table

cpdef bint delete(Database db, bytes key)
cpdef void drop_empty(Database db, bytes key)
cpdef bint expire_at(Database db, bytes key, long long expire)
cpdef bint persist(Database db, bytes key)
@cython.locals(table=Table)
cpdef bint load(Database db, bytes key, object value, long long expire, long long mark,
                long long room) except -1
cdef object take(Database db, bytes key)
cpdef void rename(Database db, bytes key, bytes new) except *
cpdef void copy(Database db, bytes key, Database target, bytes new) except *
cpdef void move(Database db, bytes key, Database target) except *
