# cython: boundscheck=False, wraparound=False
"""Lookahead with the fetching in it; lookahead.py says what for.

The pointers kept between the steps are borrowed: from the first look at `keys` to the last prefetch
nothing may run Python code or drop a reference. A pointer that is followed was read from a live
list or table a step before; all others are only prefetched, and a prefetch cannot fault. Nothing
is allocated and no data is changed; `prime` sets the last-key memory of the database, and only to
what a look-up of that key would set it to.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject, PyObject_Hash

from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.record cimport Rec, rec_is_object, rec_object
from isthmus.node.engine.table cimport Table
from isthmus.wire.slots cimport slot_of

BATCH = AHEAD

cdef extern from *:
    """
    #define isthmus_prefetch(p) __builtin_prefetch(p)
    """
    void isthmus_prefetch(const void* p) noexcept


cdef inline bint scored(bytes name) noexcept:
    """True for ZADD and ZINCRBY, and for others of sorted sets, where it does not matter."""
    # An empty name reads the zero that ends it.
    return PyBytes_AS_STRING(name)[0] | 0x20 == c'z'


cdef int follow(PyObject** keys, PyObject** fields, Rec*** buckets, int count) noexcept:
    """Two more steps for keys that hold a table: the bucket and the record of a field."""
    cdef Rec* rec
    cdef Rec** inner[AHEAD]
    cdef PyObject* value
    cdef Table table
    cdef int at
    for at in range(count):
        inner[at] = NULL
        if fields[at] == NULL or buckets[at] == NULL or buckets[at][0] == NULL:
            continue
        # The first of the chain is taken for the right one; if it is not, nothing is lost.
        rec = buckets[at][0]
        if not rec_is_object(rec):
            continue
        value = rec_object(rec)
        if not isinstance(<object>value, Table):
            continue
        table = <Table>value
        if table.count > 0:
            inner[at] = &table.buckets[table.index(PyObject_Hash(<object>fields[at]))]
            isthmus_prefetch(inner[at])
    for at in range(count):
        if inner[at] != NULL and inner[at][0] != NULL:
            isthmus_prefetch(inner[at][0])
    return 0


cdef int slots_of(
    Database db, PyObject** keys, PyObject** fields, int count, int* slots
) noexcept:
    """The slots of keys, and the three steps to their records: table, bucket, record."""
    cdef list tables = db.slots
    cdef PyObject* held[AHEAD]
    cdef Rec** buckets[AHEAD]
    cdef Table table
    cdef int at
    cdef bint stored = PyList_GET_SIZE(tables) > 0
    for at in range(count):
        if keys[at] == NULL:
            continue
        slots[at] = slot_of(PyBytes_AS_STRING(<object>keys[at]), PyBytes_GET_SIZE(<object>keys[at]))
        if stored:
            held[at] = <PyObject*>PyList_GET_ITEM(tables, slots[at])
            isthmus_prefetch(<char*>held[at] + 16)
            isthmus_prefetch(<char*>held[at] + 64)
    if not stored:
        return 0
    for at in range(count):
        buckets[at] = NULL
        if keys[at] == NULL or held[at] == <PyObject*>None:
            continue
        table = <Table>held[at]
        if table.count == 0:
            continue
        buckets[at] = &table.buckets[table.index(PyObject_Hash(<object>keys[at]))]
        isthmus_prefetch(buckets[at])
    for at in range(count):
        if buckets[at] != NULL and buckets[at][0] != NULL:
            isthmus_prefetch(buckets[at][0])
            isthmus_prefetch(<char*>buckets[at][0] + 64)
    return 0 if fields == NULL else follow(keys, fields, buckets, count)


cdef class Lookahead:
    cpdef int stage(self, Database db, list batch) except -1:
        cdef PyObject* keys[AHEAD]
        cdef PyObject* fields[AHEAD]
        cdef list argv
        cdef Py_ssize_t size, member
        cdef int at, count = <int>min(PyList_GET_SIZE(batch), AHEAD)
        for at in range(count):
            argv = <list>PyList_GET_ITEM(batch, at)
            size = PyList_GET_SIZE(argv)
            keys[at] = <PyObject*>PyList_GET_ITEM(argv, 1) if size > 1 else NULL
            member = 3 if size > 3 and scored(<bytes>PyList_GET_ITEM(argv, 0)) else 2
            fields[at] = <PyObject*>PyList_GET_ITEM(argv, member) if size > member else NULL
            self.keys[at] = <void*>keys[at]
        slots_of(db, keys, fields, count, self.slots)
        self.count = count
        return 0

    cpdef int prime(self, Database db, list argv, int place) except -1:
        # A slot belongs to the very object it was computed from, or it is not used.
        if (place < self.count and PyList_GET_SIZE(argv) > 1
                and self.keys[place] == <void*>PyList_GET_ITEM(argv, 1)):
            db.last_key = <bytes>PyList_GET_ITEM(argv, 1)
            db.last_slot = self.slots[place]
            db.last_table = <Table>db.slots[db.last_slot] if PyList_GET_SIZE(db.slots) else None
        return 0

    cpdef int warm(self, Database db, list argv, int first, int step) except -1:
        cdef PyObject* keys[AHEAD]
        cdef int slots[AHEAD]
        cdef int count = 0
        cdef Py_ssize_t at = first
        while at < PyList_GET_SIZE(argv) and count < AHEAD:
            keys[count] = <PyObject*>PyList_GET_ITEM(argv, at)
            count += 1
            at += step
        slots_of(db, keys, NULL, count, slots)
        return 0
