"""Compiled twin of table_rdb.py (see there for the contract).

Records are written from where they lie: no Python object is made of a key or a value, but for the
keys that are looked up in `skip`, and for what is handed to the caller in `objects`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from isthmus.node.engine.access cimport decayed
from isthmus.node.engine.ordered_table cimport OrderedTable, Place
from isthmus.node.engine.record cimport *
from isthmus.node.engine.table cimport Table
from isthmus.wire.rdb_writer cimport RdbWriter

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define isthmus_load(p) __builtin_prefetch(p)
    #else
    #define isthmus_load(p) ((void)(p))
    #endif
    """
    void isthmus_load(const void* p) noexcept

MARKS_NONE, MARKS_IDLE, MARKS_USES = 0, 1, 2

cdef enum:
    IDLE_ASKED = 1
    USES_ASKED = 2
    EXPIRY_CODE = 0xFC
    IDLE_CODE = 0xF8
    USES_CODE = 0xF9


cpdef long long position(Table table, bytes key) except -1:
    """Where key lies, or would lie, in the order of save_bucket."""
    return reverse32(
        <uint64_t>isthmus_hash(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) & 0xFFFFFFFF
    )


cdef int save(Rec* rec, RdbWriter out, int marks, long long now_s, list objects) except -1:
    cdef int kind = rec_kind(rec)
    if kind != PACKED:
        objects.append((
            PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)), rec_load(rec),
            rec_expiry(rec)[0] if rec.meta & EXPIRES else -1, rec.meta & MARK,
        ))
        return 0
    if rec.meta & EXPIRES:
        out.byte(EXPIRY_CODE)
        out.number(rec_expiry(rec)[0])
    if marks:
        put_mark(out, marks, rec.meta & MARK, now_s)
    out.byte(0)
    out.string_raw(rec_key(rec), rec_klen(rec))
    return out.string_raw(rec_value(rec), rec.vlen)


cdef int put_mark(RdbWriter out, int marks, long long mark, long long now_s) except -1:
    if marks == IDLE_ASKED:
        out.byte(IDLE_CODE)
        return out.length(<uint64_t>((now_s - mark) & MARK))
    if marks == USES_ASKED:
        out.byte(USES_CODE)
        return out.byte(<int>decayed(mark))
    return 0


def save_mark(RdbWriter out, int marks, long long mark, long long now_s):
    """How a key is used, if that is asked for."""
    put_mark(out, marks, mark, now_s)


cpdef int save_all(Table table, RdbWriter out, int marks, long long now_s, list objects) except -1:
    """Write every record."""
    cdef Py_ssize_t i
    cdef Rec* rec
    for i in range(table.nbuckets):
        rec = table.buckets[i]
        while rec != NULL:
            save(rec, out, marks, now_s, objects)
            rec = rec.next
    return 0


cdef inline Py_ssize_t bucket_at(Table table, long long cursor) noexcept:
    """The bucket of a cursor; behind the end the walk begins again."""
    return table.index(<Py_ssize_t>reverse32(<uint64_t>cursor & 0xFFFFFFFF))


cdef inline bint before_cursor(Rec* rec, long long cursor) noexcept:
    return <long long>reverse32(
        <uint64_t>isthmus_hash(rec_key(rec), rec_klen(rec)) & 0xFFFFFFFF
    ) < cursor


cpdef long long save_bucket(
    Table table, long long cursor, RdbWriter out, int marks, long long now_s, set skip, list objects
) except -1:
    """Write the records of the bucket at cursor that are not before it, nor in skip; returns the
    next cursor, 0 at the end."""
    cdef Py_ssize_t bucket, low = table.mask >> 1
    cdef long long width
    cdef bint part
    cdef Rec* rec
    if table.nbuckets == 0:
        return 0
    bucket = bucket_at(table, cursor)
    if bucket > low or bucket + low + 1 < table.nbuckets:
        width = (<long long>1 << 32) // (table.mask + 1)
    else:
        width = (<long long>1 << 32) // (low + 1)
    # Buckets are not met in the order in which they lie: the next ones are fetched meanwhile.
    isthmus_load(&table.buckets[bucket_at(table, cursor + 4 * width)])
    isthmus_load(table.buckets[bucket_at(table, cursor + 2 * width)])
    # Unless the table has shrunk, the cursor is where a bucket begins.
    part = cursor & (width - 1) != 0
    rec = table.buckets[bucket]
    while rec != NULL:
        if not (part and before_cursor(rec, cursor)) and (
            skip is None or PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)) not in skip
        ):
            save(rec, out, marks, now_s, objects)
        rec = rec.next
    cursor = (cursor & ~(width - 1)) + width
    return 0 if cursor >> 32 else cursor


cpdef bint save_key(
    Table table, bytes key, RdbWriter out, int marks, long long now_s, list objects
) except -1:
    """Write one record. False if there is none."""
    cdef Rec* rec = table.find(key)
    if rec == NULL:
        return False
    save(rec, out, marks, now_s, objects)
    return True


cdef inline int put_value(Rec* rec, RdbWriter out) except -1:
    """Write the value of an entry of a collection as a string."""
    cdef bytes value
    if rec_kind(rec) == PACKED:
        return out.string_raw(rec_value(rec), rec.vlen)
    value = rec_load(rec)
    return out.string_raw(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cpdef long long save_entries(
    Table table, RdbWriter out, long long first, long long buckets_max, bint with_values
) except -2:
    """Write the entries of a collection from bucket `first` on: keys, and values if asked for, as
    strings. Returns the bucket to go on with, -1 at the end; nothing may change in between."""
    cdef Py_ssize_t i, stop = min(<Py_ssize_t>(first + buckets_max), table.nbuckets)
    cdef Rec* rec
    for i in range(first, stop):
        rec = table.buckets[i]
        while rec != NULL:
            out.string_raw(rec_key(rec), rec_klen(rec))
            if with_values:
                put_value(rec, out)
            rec = rec.next
    return stop if stop < table.nbuckets else -1


cpdef long long save_timed(
    Table table, RdbWriter out, long long first, long long buckets_max, long long soonest
) except -2:
    """As save_entries() with values, each entry behind its expiry: 0 without one, else what it
    is more than `soonest`, plus 1."""
    cdef Py_ssize_t i, stop = min(<Py_ssize_t>(first + buckets_max), table.nbuckets)
    cdef Rec* rec
    for i in range(first, stop):
        rec = table.buckets[i]
        while rec != NULL:
            out.length(
                <uint64_t>(rec_expiry(rec)[0] - soonest + 1) if rec.meta & EXPIRES else 0
            )
            out.string_raw(rec_key(rec), rec_klen(rec))
            put_value(rec, out)
            rec = rec.next
    return stop if stop < table.nbuckets else -1


cpdef long long soonest_expiry(Table table) noexcept:
    """The soonest expiry there is, by looking at every entry; the largest int64 without any."""
    cdef Py_ssize_t i
    cdef Rec* rec
    cdef int64_t soonest = 0x7FFFFFFFFFFFFFFF
    for i in range(table.nbuckets):
        rec = table.buckets[i]
        while rec != NULL:
            if rec.meta & EXPIRES and rec_expiry(rec)[0] < soonest:
                soonest = rec_expiry(rec)[0]
            rec = rec.next
    return soonest


cpdef int save_listpack(
    OrderedTable table, RdbWriter out, bint with_values, bint with_expiries
) except -1:
    """Write the keys in their order as one listpack, each with its value and its expiry (0: none)
    behind it if asked for."""
    cdef Place* places = table.arranged(False)
    cdef Py_ssize_t i
    cdef Rec* rec
    cdef bytes value
    out.begin_listpack()
    try:
        for i in range(table.count):
            rec = places[i].rec
            out.text_raw(rec_key(rec), rec_klen(rec))
            if with_values:
                if rec_kind(rec) == PACKED:
                    out.text_raw(rec_value(rec), rec.vlen)
                else:
                    value = rec_load(rec)
                    out.lp_text(value)
            if with_expiries:
                out.lp_number(rec_expiry(rec)[0] if rec.meta & EXPIRES else 0)
    finally:
        PyMem_Free(places)
    return out.end_listpack()


cpdef int save_intset(OrderedTable table, RdbWriter out) except -1:
    """Write keys that all are int64s as one intset."""
    cdef Py_ssize_t i, count = table.count
    cdef int64_t lowest = 0, highest = 0
    cdef uint32_t width = 2, entries = <uint32_t>count
    cdef Place* places
    cdef char* made = <char*>PyMem_Malloc(8 + 8 * count)
    cdef char* at = made + 8
    if made == NULL:
        raise MemoryError
    places = NULL
    try:
        places = table.arranged(True)
        if count:
            lowest = places[0].first
            highest = places[count - 1].first
        if lowest < -32768 or highest > 32767:
            width = 4
        if lowest < -2147483648LL or highest > 2147483647LL:
            width = 8
        memcpy(made, &width, 4)
        memcpy(made + 4, &entries, 4)
        for i in range(count):
            # The low bytes of a number are the number in any width it fits.
            memcpy(at, &places[i].first, width)
            at += width
        return out.string_raw(made, at - made)
    finally:
        PyMem_Free(places)
        PyMem_Free(made)
