cimport cython

from isthmus.node.engine.clock cimport Clock
from isthmus.node.engine.effect_log cimport EffectLog
from isthmus.node.engine.field_expiry cimport FieldExpiries
from isthmus.node.engine.rng cimport Rng
from isthmus.node.engine.slot_counts cimport SlotCounts
from isthmus.node.engine.table cimport Table
from isthmus.wire.slots cimport key_slot

cdef class Database:
    cdef public long long index
    cdef public list slots
    cdef public long long size
    cdef public Keyspace keyspace
    cdef public Clock clock
    cdef public EffectLog log
    cdef public dict watched
    cdef public dict waiting
    cdef public SlotCounts counts
    cdef public set volatile_slots
    cdef public long long due_hint
    cdef public long long due_after
    cdef public list due_slots
    cdef public FieldExpiries field_expiries
    cdef bytes last_key
    cdef Table last_table
    cdef long long last_slot
    cdef public long long total
    cdef public object cut
    cdef public bytes hidden
    cpdef void hide(self, bytes mask)
    cpdef bint hides(self, long long slot)
    cpdef long long visible(self)
    cpdef Table table_of(self, bytes key)
    cdef Table table_for(self, bytes key)
    cpdef void count(self, long long change)
    cpdef void grew(self, bytes key, long long count)
    cpdef object lookup(self, bytes key)
    cdef object missing(self, Table table, bytes key)
    cpdef bint exists(self, bytes key)
    cpdef bint store(self, bytes key, object value, long long expire=?)
    @cython.locals(entries=Table)
    cdef void list_fields(self, bytes key, object value)
    cpdef void note_end(self, bytes key)
    cpdef void store_again(self, bytes key, object value)
    cpdef bint store_keep(self, bytes key, object value)
    @cython.locals(status="int")
    cpdef int increment(self, bytes key, long long delta) except -1
    cdef void note_due(self, long long expire)
    cpdef bint drop(self, bytes key)
    cpdef bint set_expire(self, bytes key, long long expire)
    cpdef long long expiry(self, bytes key)
    cpdef bint changed(self, bytes key)
    cpdef void touch(self, bytes key)
    cpdef void ready(self, bytes key)
    cpdef void note(self, bytes key, bytes event, bytes event_class)
    cpdef void note_new(self, bytes key)
    cpdef void evict(self, bytes key)
    @cython.locals(expires="long long")
    cpdef bint holds(self, bytes key, object volatile)
    @cython.locals(keys="long long")
    cpdef long long random_slot(self, Rng rng)
    @cython.locals(gone=list)
    cpdef void expire_fields(self, bytes key, Table value, list[bytes] fields)
    cpdef void record(self, list[bytes] argv, bytes event, bytes event_class)

cdef class Keyspace:
    cdef public list databases
    cdef public EffectLog log
    cdef public Clock clock
    cdef public Rng rng
    cdef public list garbage
    cdef public long long expired_keys
    cdef public long long expired_fields
    cdef public bint active_expiry
    cdef public bint keeps_expired
    cdef public bint follows
    cdef public dict own_volatile
    cdef public bint frozen
    cdef public long long list_limit
    cdef public long long garbage_keys
    cdef public long long freed_values
    cdef public long long garbage_bytes
    cdef public long long ahead_bytes
    cdef public long long evicted_keys
    cdef public dict ready
    cdef public object tracker
    cdef public object cut
    cdef public object libraries
