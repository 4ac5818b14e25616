from isthmus.node.engine.keyspace cimport Database

cpdef bint delete(Database db, bytes key)
cpdef bint expire_at(Database db, bytes key, long long expire)
cpdef bint persist(Database db, bytes key)
cdef object take(Database db, bytes key)
cpdef void rename(Database db, bytes key, bytes new) except *
cpdef void copy(Database db, bytes key, Database target, bytes new) except *
cpdef void move(Database db, bytes key, Database target) except *
