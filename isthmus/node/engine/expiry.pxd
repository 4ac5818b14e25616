cimport cython

from isthmus.node.engine.field_expiry cimport FieldExpiries
from isthmus.node.engine.keyspace cimport Database, Keyspace
from isthmus.node.engine.table cimport Table
from isthmus.wire.slots cimport key_slot

cdef class ExpiryCycle:
    cdef public Keyspace keyspace
    cdef public long long time_cap_reached
    cdef public long long nanos
    cdef public long long first_shard
    @cython.locals(started="long long")
    cpdef bint step(self, long long budget_ns)
    @cython.locals(now="long long", table=Table, slots=list, looked="long long")
    cdef bint sweep(self, Database db, long long deadline)
    @cython.locals(now="long long", listed=FieldExpiries, shards=list, count="long long",
                   at="long long", shard=Table, late=bint)
    cdef bint sweep_fields(self, Database db, long long deadline)
    @cython.locals(slot=Table, value=Table, late=bint)
    cdef bint sweep_hash(self, Database db, bytes key, long long now, long long deadline)
