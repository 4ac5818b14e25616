from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from isthmus.node.engine.rng cimport Rng
from isthmus.wire.reply cimport ReplyWriter

cdef enum:
    NOTHING = 0     # a member of a set
    PACKED = 1      # value bytes lie behind the key
    OBJECT = 2      # a reference: long bytes, or a value object
    SCORE = 3       # a double

cdef struct Rec:
    Rec* next
    uint32_t meta       # 0-23 access clock, 24-26 kind, 27 has expiry, 28 long key
    uint16_t klen
    uint16_t vlen

cdef char* rec_key(Rec* rec) noexcept
cdef Py_ssize_t rec_klen(Rec* rec) noexcept
cdef double rec_score(Rec* rec) noexcept
cdef bint rec_is_object(Rec* rec) noexcept
cdef PyObject* rec_object(Rec* rec) noexcept
cdef void rec_set_score(Rec* rec, double score) noexcept

cdef class Table:
    cdef Rec** buckets
    cdef Py_ssize_t nbuckets, capacity, mask
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t volatile_count
    cdef readonly long long nbytes
    cdef public long long expire_hint
    cdef readonly long long total
    cdef long long walk_soonest
    cdef Py_ssize_t walked

    cdef Py_ssize_t index(self, Py_ssize_t hash) noexcept
    cdef void note_expiry(self, long long expire) noexcept
    cdef int overwrite(self, Rec** where, object value, long long expire) except -1
    cdef Rec* find(self, bytes key)
    cdef Rec** find_link(self, bytes key)
    cdef void link(self, Rec* rec, Py_ssize_t hash) noexcept
    cdef void unlink(self, Rec** where) noexcept
    cdef int grow(self) except -1
    cdef void shrink(self) noexcept
    cdef int insert(
        self, bytes key, int kind, object value, double score, long long expire
    ) except -1
    cdef void free_rec(self, Rec* rec) noexcept
    cdef Rec* resize_rec(self, Rec** where, Rec* rec, bint expires, Py_ssize_t vlen) except NULL

    cpdef object fetch(self, bytes key, long long now)
    cpdef object get(self, bytes key)
    cpdef bint contains(self, bytes key)
    cpdef bint expired(self, bytes key, long long now)
    cpdef bint put(self, bytes key, object value, long long expire=?)
    cpdef bint put_keep(self, bytes key, object value)
    cpdef bint add(self, bytes key)
    cpdef bint put_score(self, bytes key, double score)
    cpdef object score(self, bytes key)
    cpdef bint discard(self, bytes key)
    cpdef object pop(self, bytes key)
    cpdef long long expiry(self, bytes key)
    cpdef bint set_expiry(self, bytes key, long long expire)
    cpdef long long access(self, bytes key)
    cpdef bytes random_key(self, Rng rng)
    cpdef unsigned long long scan(
        self, unsigned long long cursor, list out, bint with_values, long long now
    )
    cpdef long long clear_slice(self, long long limit)
    cpdef int increment(self, bytes key, long long delta) except -1
    cpdef int write_string(self, bytes key, long long now, ReplyWriter reply) except -2
    cpdef bint write_value(self, bytes key, ReplyWriter reply)
    cpdef long long write_all(self, ReplyWriter reply, bint keys, bint values)
    cpdef list expired_keys(self, long long now, long long limit)

cpdef void set_access_clock(long long clock)
