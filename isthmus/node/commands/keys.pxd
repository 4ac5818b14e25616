from isthmus.node.engine.context cimport Context
from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.keys cimport copy, delete, move, rename
from isthmus.node.engine.patterns cimport glob_match

cpdef bytes type_name(object value)
cpdef bytes encoding_of(object value)
cdef bint glance(Context ctx, bytes key)
cdef void delete_all(Context ctx, list[bytes] argv)
