from isthmus.node.engine.keyspace cimport Database

cpdef void put(Database db, bytes key, bytes value, long long expire, bytes event)
cpdef void put_keep(Database db, bytes key, bytes value, bytes event)
cpdef void increment(Database db, bytes key, long long value, bytes delta, bytes event)
cpdef void append(Database db, bytes key, object old, bytes tail)
cpdef void overlay(Database db, bytes key, object old, long long offset, bytes patch)
