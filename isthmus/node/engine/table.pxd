from isthmus.node.engine.record cimport Rec
from isthmus.node.engine.rng cimport Rng
from isthmus.wire.reply cimport ReplyWriter

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
    cpdef void account(self, Py_ssize_t change) noexcept
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

    cpdef int reserve(self, Py_ssize_t count) except -1
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
    cpdef int mark(self, bytes key, long long word) except -1
    cpdef long long access(self, bytes key)
    cpdef bytes random_key(self, Rng rng)
    cpdef int sample(self, Rng rng, bint volatile_only, int limit, list out) except -1
    cpdef unsigned long long scan(
        self, unsigned long long cursor, list out, bint with_values, long long now
    )
    cpdef long long clear_slice(self, long long limit)
    cpdef int increment(self, bytes key, long long delta) except -1
    cpdef int write_string(self, bytes key, long long now, ReplyWriter reply) except -2
    cpdef bint write_value(self, bytes key, ReplyWriter reply)
    cpdef long long write_all(self, ReplyWriter reply, bint keys, bint values)
    cpdef list expired_keys(self, long long now, long long limit)
