cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.lookahead cimport Lookahead
from isthmus.wire.reply cimport ReplyWriter
from isthmus.node.values.strings cimport put, put_keep, increment, append, overlay
from isthmus.node.values.keys cimport delete, expire_at, persist

cdef void write_string(ReplyWriter reply, object value)
@cython.locals(at=Py_ssize_t, db=Database)
cdef void put_pairs(Context ctx, list[bytes] argv)
cdef void add(Context ctx, bytes key, long long delta, bytes event)
