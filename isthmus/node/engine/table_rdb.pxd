from libc.stdint cimport uint64_t

from isthmus.node.engine.ordered_table cimport OrderedTable
from isthmus.node.engine.table cimport Table
from isthmus.wire.rdb_writer cimport RdbWriter

cpdef long long position(Table table, bytes key) except -1
cpdef int save_all(Table table, RdbWriter out, int marks, long long now_s, list objects) except -1
cpdef long long save_bucket(
    Table table, long long cursor, RdbWriter out, int marks, long long now_s, set skip, list objects
) except -1
cpdef bint save_key(
    Table table, bytes key, RdbWriter out, int marks, long long now_s, list objects
) except -1
cpdef long long save_entries(
    Table table, RdbWriter out, long long first, long long buckets_max, bint with_values
) except -2
cpdef long long save_timed(
    Table table, RdbWriter out, long long first, long long buckets_max, long long soonest
) except -2
cpdef long long soonest_expiry(Table table) noexcept
cpdef int save_listpack(
    OrderedTable table, RdbWriter out, bint with_values, bint with_expiries
) except -1
cpdef int save_intset(OrderedTable table, RdbWriter out) except -1
