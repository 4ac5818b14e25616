cimport cython

from isthmus.node.engine.table cimport Table
from isthmus.node.engine.table_rdb cimport (
    save_entries, save_intset, save_listpack, save_timed, soonest_expiry
)
from isthmus.node.values.hashes cimport HashValue
from isthmus.node.values.lists cimport ListValue
from isthmus.node.values.pending_list cimport PendingList
from isthmus.node.values.rdb_walk cimport (
    ListNodes, save_blocks, save_list_listpack, save_pending, save_scores, save_zset_listpack
)
from isthmus.node.values.sets cimport SetValue
from isthmus.node.values.streams cimport Group, StreamValue
from isthmus.node.values.zsets cimport ZSetValue
from isthmus.wire.rdb_writer cimport RdbWriter

cdef bint fits(long long count, long long longest) noexcept
@cython.locals(zset=ZSetValue, members=SetValue)
cpdef long long type_of(object value) except -1
cdef long long hash_type(HashValue value) except -1
cpdef void write_prefix(
    RdbWriter out, bytes key, object value, long long expire, long long marks, long long mark,
    long long now_s,
)
cpdef void write_entry(
    RdbWriter out, bytes key, object value, long long expire, long long marks, long long mark,
    long long now_s,
)
cpdef void write_body(RdbWriter out, object value)
cdef void write_id(RdbWriter out, bytes id)
