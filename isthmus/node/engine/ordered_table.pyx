"""Compiled twin of ordered_table.py (see there for the contract).

The place of a record lies in the 24 bits of its header that Table uses for the access mark, so
every way in which Table writes that mark is overridden here: insert, overwrite, set_expiry, fetch.
Places are sorted in an array of their own, by moving where there are few, and freed at once.

It may not keep such an array across a call that can change the table.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject_Hash
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport qsort

from isthmus.node.engine.record cimport *
from isthmus.node.engine.table cimport Table
from isthmus.wire.digits cimport read_int
from isthmus.wire.reply cimport ReplyWriter

cdef int64_t NEVER = 0x7FFFFFFFFFFFFFFF
cdef Py_ssize_t RENUMBERED_MAX = 65536
# Up to here moving entries one by one beats calls of a comparing function.
cdef Py_ssize_t FEW = 32


cdef inline bint before(Place* a, Place* b) noexcept nogil:
    return a.first < b.first or (a.first == b.first and a.second < b.second)


cdef int compare(const void* a, const void* b) noexcept nogil:
    if before(<Place*>a, <Place*>b):
        return -1
    return 1 if before(<Place*>b, <Place*>a) else 0


cdef class OrderedTable(Table):
    def __cinit__(self, *args, **kwargs):
        self.place = 0

    cdef uint32_t following(self) except 0:
        """The number of the next place."""
        if self.place >= MARK:
            if self.count <= RENUMBERED_MAX:
                self.rearrange(False)
            else:
                self.place = 0
        self.place += 1
        return self.place

    cdef int insert(
        self, bytes key, int kind, object value, double score, long long expire
    ) except -1:
        cdef Rec* rec
        Table.insert(self, key, kind, value, score, expire)
        # link() has put it in front.
        rec = self.buckets[self.index(PyObject_Hash(key))]
        rec.meta |= MARK
        rec.meta = (rec.meta & ~<uint32_t>MARK) | self.following()
        return 0

    cdef int overwrite(self, Rec** where, object value, long long expire) except -1:
        cdef Rec* rec = where[0]
        cdef uint32_t place = rec.meta & MARK
        if expire >= 0 or (expire == -1 and rec.meta & EXPIRES):
            place = self.following()
        Table.overwrite(self, where, value, expire)
        rec = where[0]
        rec.meta = (rec.meta & ~<uint32_t>MARK) | place
        return 0

    cpdef bint set_expiry(self, bytes key, long long expire):
        cdef Rec* rec = self.find(key)
        cdef uint32_t place
        if rec == NULL:
            return False
        place = self.following()
        rec.meta = (rec.meta & ~<uint32_t>MARK) | place
        return Table.set_expiry(self, key, expire)

    cpdef object fetch(self, bytes key, long long now):
        # Table's marks the record as used; here that would be another place.
        cdef Rec* rec = self.find(key)
        if rec == NULL or (rec.meta & EXPIRES and rec_expiry(rec)[0] <= now):
            return None
        return rec_load(rec)

    cdef Place* arranged(self, bint numbers) except? NULL:
        """Every record in order, to be freed by the caller; NULL if there is none."""
        cdef Py_ssize_t i, n = 0, at
        cdef Rec* rec
        cdef Place* places
        cdef Place moving
        cdef long long number
        if self.count == 0:
            return NULL
        places = <Place*>PyMem_Malloc(self.count * sizeof(Place))
        if places == NULL:
            raise MemoryError
        for i in range(self.nbuckets):
            rec = self.buckets[i]
            while rec != NULL:
                places[n].rec = rec
                places[n].second = rec.meta & MARK
                places[n].first = NEVER
                if not numbers:
                    if rec.meta & EXPIRES:
                        places[n].first = rec_expiry(rec)[0]
                        places[n].second = -places[n].second
                elif read_int(rec_key(rec), rec_klen(rec), &number):
                    places[n].first = number
                    places[n].second = 0
                n += 1
                rec = rec.next
        if n > FEW:
            qsort(places, n, sizeof(Place), compare)
            return places
        for i in range(1, n):
            moving = places[i]
            at = i
            while at > 0 and before(&moving, &places[at - 1]):
                places[at] = places[at - 1]
                at -= 1
            places[at] = moving
        return places

    cpdef int rearrange(self, bint numbers) except -1:
        """Number the places anew in the order there is, or (`numbers`) by the keys' values."""
        cdef Place* places = self.arranged(numbers)
        cdef Py_ssize_t i
        cdef uint32_t number
        for i in range(self.count):
            # Of those that are due together the last one comes first.
            number = self.count - i if places[i].rec.meta & EXPIRES else i + 1
            places[i].rec.meta = (places[i].rec.meta & ~<uint32_t>MARK) | (number & MARK)
        self.place = self.count
        PyMem_Free(places)
        return 0

    cpdef list ordered(self, bint with_values, bint numbers, long long now):
        """Keys in order, each with its value if asked for; not those expired by now."""
        cdef Place* places = self.arranged(numbers)
        cdef Py_ssize_t i
        cdef Rec* rec
        cdef list out = []
        try:
            for i in range(self.count):
                rec = places[i].rec
                if rec.meta & EXPIRES and rec_expiry(rec)[0] <= now:
                    continue
                out.append(PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)))
                if with_values:
                    out.append(rec_load(rec))
        finally:
            PyMem_Free(places)
        return out

    cpdef long long write_ordered(
        self, ReplyWriter reply, bint keys, bint values, bint numbers
    ) except -1:
        """As write_all(), in order; returns the count."""
        cdef Place* places = self.arranged(numbers)
        cdef Py_ssize_t i
        cdef Rec* rec
        try:
            for i in range(self.count):
                rec = places[i].rec
                if keys:
                    reply.bulk_raw(rec_key(rec), rec_klen(rec))
                if values:
                    if rec_kind(rec) == PACKED:
                        reply.bulk_raw(rec_value(rec), rec.vlen)
                    else:
                        reply.bulk(rec_load(rec))
        finally:
            PyMem_Free(places)
        return self.count
