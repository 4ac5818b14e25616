from isthmus.node.engine.context cimport Context
from isthmus.node.engine.keyspace cimport Database
from isthmus.wire.digits cimport parse_int
from isthmus.wire.reply cimport ReplyWriter
from isthmus.node.values.strings cimport put, put_keep, increment, append, overlay
from isthmus.node.values.keys cimport delete, expire_at, persist

cdef void write_string(ReplyWriter reply, object value)
cdef void add(Context ctx, bytes key, long long delta, bytes event)
