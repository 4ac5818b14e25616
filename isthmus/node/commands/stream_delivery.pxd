cimport cython

from isthmus.node.commands.streams cimport (
    ReadOptions, close_streams, read_read_options, strict_id, write_head
)
from isthmus.node.engine.context cimport Context
from isthmus.node.values.stream_groups cimport advance, claim, create_consumer
from isthmus.node.values.stream_ids cimport format_id, next_id
from isthmus.node.values.streams cimport Consumer, Group, StreamValue

cdef bytes group_id(Context ctx, bytes key, bytes name, bytes text)
@cython.locals(group=Group, consumer=Consumer, history=bint, fresh=bint)
cdef bint serve(Context ctx, bytes key, StreamValue value, bytes name, ReadOptions options,
                bytes last)
@cython.locals(ids=list, start=bytes, id=bytes)
cdef void deliver(Context ctx, bytes key, StreamValue value, bytes name, Group group,
                  Consumer consumer, ReadOptions options)
@cython.locals(ids=list, id=bytes)
cdef void write_history(Context ctx, bytes key, StreamValue value, bytes name, Group group,
                        Consumer consumer, bytes last, long long count)
