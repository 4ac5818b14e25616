"""Compiled twin of table_rdb.py (see there for the contract).

Records are written from where they lie: no Python object is made of a key or a value, but for the
keys that are looked up in `skip`, and for what is handed to the caller in `objects`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from isthmus.node.engine.access cimport decayed
from isthmus.node.engine.record cimport *
from isthmus.node.engine.table cimport Table
from isthmus.wire.rdb_writer cimport RdbWriter

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


cpdef long long save_bucket(
    Table table, long long cursor, RdbWriter out, int marks, long long now_s, set skip, list objects
) except -1:
    """Write the records of the bucket at cursor that are not before it, nor in skip; returns the
    next cursor, 0 at the end."""
    cdef Py_ssize_t bucket, low = table.mask >> 1
    cdef long long width
    cdef Rec* rec
    if table.nbuckets == 0:
        return 0
    bucket = table.index(<Py_ssize_t>reverse32(<uint64_t>cursor & 0xFFFFFFFF))
    if bucket > low or bucket + low + 1 < table.nbuckets:
        width = (<long long>1 << 32) // (table.mask + 1)
    else:
        width = (<long long>1 << 32) // (low + 1)
    rec = table.buckets[bucket]
    while rec != NULL:
        if <long long>reverse32(
            <uint64_t>isthmus_hash(rec_key(rec), rec_klen(rec)) & 0xFFFFFFFF
        ) >= cursor and (
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


cpdef long long save_entries(
    Table table, RdbWriter out, long long first, long long buckets_max, bint with_values
) except -2:
    """Write the entries of a collection from bucket `first` on: keys, and values if asked for, as
    strings. Returns the bucket to go on with, -1 at the end; nothing may change in between."""
    cdef Py_ssize_t i, stop = min(<Py_ssize_t>(first + buckets_max), table.nbuckets)
    cdef Rec* rec
    cdef bytes value
    for i in range(first, stop):
        rec = table.buckets[i]
        while rec != NULL:
            out.string_raw(rec_key(rec), rec_klen(rec))
            if with_values:
                if rec_kind(rec) == PACKED:
                    out.string_raw(rec_value(rec), rec.vlen)
                else:
                    value = rec_load(rec)
                    out.string_raw(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            rec = rec.next
    return stop if stop < table.nbuckets else -1
