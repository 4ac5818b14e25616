from isthmus.node.engine.keyspace cimport Database
from isthmus.wire.digits cimport format_int, parse_int

cpdef void put(Database db, bytes key, bytes value, long long expire, bytes event)
cpdef void put_keep(Database db, bytes key, bytes value, bytes event)
cpdef void increment(Database db, bytes key, long long value, long long delta, bytes event)
cpdef void append(Database db, bytes key, object old, bytes tail)
cpdef void overlay(Database db, bytes key, object old, long long offset, bytes patch)
