cimport cython

from isthmus.node.engine.effect_log cimport Effect
from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.pubsub cimport PubSub
from isthmus.wire.slots cimport key_slot

cdef class Notifier:
    cdef public object node
    cdef public PubSub pubsub
    cdef public Database data
    cdef public frozenset classes
    cdef public bint keyspace
    cdef public bint keyevent
    cdef public bint _attached
    cdef public list heads
    cdef public list event_heads
    @cython.locals(argv=list, event=bytes, event_class=bytes, name=bytes, key=bytes, db="long long")
    cdef tell(self, Effect effect)
    cdef send(self, long long db, bytes key, bytes event, bytes event_class)
