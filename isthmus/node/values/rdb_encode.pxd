from isthmus.node.engine.table_rdb cimport save_entries
from isthmus.node.values.hashes cimport HashValue
from isthmus.node.values.lists cimport ListValue
from isthmus.node.values.sets cimport SetValue
from isthmus.node.values.zsets cimport ZSetValue
from isthmus.wire.digits cimport parse_int
from isthmus.wire.rdb_writer cimport RdbWriter

cpdef long long type_of(object value) except -1
cpdef void write_prefix(
    RdbWriter out, bytes key, object value, long long expire, long long marks, long long mark,
    long long now_s,
)
cpdef void write_entry(
    RdbWriter out, bytes key, object value, long long expire, long long marks, long long mark,
    long long now_s,
)
cpdef void write_body(RdbWriter out, object value)
cdef void write_listpack(RdbWriter out, list[bytes] elements)
cdef void write_score(RdbWriter out, double score)
