from isthmus.node.engine.keyspace cimport Database

cpdef bint delete(Database db, bytes key)
cpdef bint expire_at(Database db, bytes key, long long expire)
cpdef bint persist(Database db, bytes key)
