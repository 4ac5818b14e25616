cimport cython

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.stream_ids cimport format_id
from isthmus.node.values.streams cimport (
    Consumer, Group, StreamValue, create, noted, record_ids, whole_id
)

cpdef Group group_at(Database db, bytes key, bytes name)
cpdef void set_group(Database db, bytes key, bytes name, Group group, bytes last, long long read,
                     bytes event)
cpdef void advance(Database db, bytes key, bytes name, StreamValue value, Group group,
                   list[bytes] ids)
cpdef Consumer create_consumer(Database db, bytes key, bytes name, Group group, bytes who)
cpdef long long acknowledge(Database db, bytes key, bytes name, Group group, list[bytes] ids)
@cython.locals(start="Py_ssize_t")
cpdef void claim(Database db, bytes key, bytes name, Group group, Consumer consumer,
                 list[bytes] ids, long long time_ms, long long count)
