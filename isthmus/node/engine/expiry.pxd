from isthmus.node.engine.keyspace cimport Database, Keyspace
from isthmus.node.engine.table cimport Table

cdef class ExpiryCycle:
    cdef public Keyspace keyspace
    cdef public long long time_cap_reached
    cdef public long long nanos
    cpdef bint step(self, long long budget_ns)
    cdef bint sweep(self, Database db, long long deadline)
