"""Compiled twin of table.py (see there for the contract).

A record (record.pxd) is one allocation: 16-byte keys with 64-byte values take 96 bytes and no
wrapper object. Chains hang off an array of buckets that grows by linear hashing: one bucket is
split per insertion past load 1, so no single operation rehashes a large table, and the array itself
moves by realloc (which the C library does by remapping pages once it is large).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject, PyObject_Hash
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from isthmus.node.engine.access cimport access_word, stamped
from isthmus.node.engine.heap cimport heap_add
from isthmus.node.engine.record cimport *
from isthmus.node.engine.rng cimport Rng
from isthmus.wire.digits cimport format_int, read_int, write_int
from isthmus.wire.reply cimport ReplyWriter

cdef extern from "Python.h":
    void* PyObject_Malloc(size_t n) noexcept
    void* PyObject_Realloc(void* p, size_t n) noexcept
    void PyObject_Free(void* p) noexcept

cdef enum:
    BUCKETS_MIN = 4
    TABLE_BYTES = 144
    SHRINK_BUCKETS = 32768
    COUNTED_OUT_RECORDS = 32


cdef class Table:
    def __cinit__(self, *args, **kwargs):
        self.buckets = NULL
        self.nbuckets = 0
        self.capacity = 0
        self.mask = BUCKETS_MIN - 1
        self.count = 0
        self.volatile_count = 0
        self.nbytes = 0
        self.expire_hint = 0
        self.walked = 0
        self.walk_soonest = 0
        heap_add(TABLE_BYTES)

    def __dealloc__(self):
        self.clear_slice(0x7FFFFFFFFFFFFFFF)
        heap_add(-TABLE_BYTES - self.nbytes)

    def __len__(self):
        return self.count

    def __contains__(self, bytes key):
        return self.find(key) != NULL

    cpdef void account(self, Py_ssize_t change) noexcept:
        self.nbytes += change
        heap_add(change)

    # -- the chains ---------------------------------------------------------------------------

    cdef Py_ssize_t index(self, Py_ssize_t hash) noexcept:
        cdef Py_ssize_t i = hash & self.mask
        return i if i < self.nbuckets else hash & (self.mask >> 1)

    cdef Rec* find(self, bytes key):
        cdef Rec* rec
        cdef Py_ssize_t n
        cdef const char* p
        if self.count == 0:
            return NULL
        rec = self.buckets[self.index(PyObject_Hash(key))]
        n = PyBytes_GET_SIZE(key)
        p = PyBytes_AS_STRING(key)
        while rec != NULL:
            if rec_klen(rec) == n and memcmp(rec_key(rec), p, n) == 0:
                return rec
            rec = rec.next
        return NULL

    cdef Rec** find_link(self, bytes key):
        """The pointer that points at key's record, or NULL."""
        cdef Rec** where
        cdef Rec* rec
        cdef Py_ssize_t n
        cdef const char* p
        if self.count == 0:
            return NULL
        where = &self.buckets[self.index(PyObject_Hash(key))]
        n = PyBytes_GET_SIZE(key)
        p = PyBytes_AS_STRING(key)
        while where[0] != NULL:
            rec = where[0]
            if rec_klen(rec) == n and memcmp(rec_key(rec), p, n) == 0:
                return where
            where = &rec.next
        return NULL

    cdef int grow(self) except -1:
        """Add one bucket by splitting the one it shares its low bits with."""
        cdef Py_ssize_t new = self.nbuckets, capacity
        cdef Rec** where
        cdef Rec* rec
        cdef Rec** grown
        if new == self.capacity:
            capacity = BUCKETS_MIN if new == 0 else new + (new >> 1) + 2
            grown = <Rec**>PyMem_Realloc(self.buckets, capacity * sizeof(Rec*))
            if grown == NULL:
                raise MemoryError
            self.account((capacity - self.capacity) * <Py_ssize_t>sizeof(Rec*))
            self.buckets = grown
            self.capacity = capacity
        if new < BUCKETS_MIN:
            for new in range(BUCKETS_MIN):
                self.buckets[new] = NULL
            self.nbuckets = BUCKETS_MIN
            return 0
        if new > self.mask:
            self.mask = (self.mask << 1) | 1
        self.buckets[new] = NULL
        self.nbuckets = new + 1
        where = &self.buckets[new & (self.mask >> 1)]
        while where[0] != NULL:
            rec = where[0]
            if isthmus_hash(rec_key(rec), rec_klen(rec)) & self.mask == new:
                where[0] = rec.next
                rec.next = self.buckets[new]
                self.buckets[new] = rec
            else:
                where = &rec.next
        return 0

    cpdef int reserve(self, Py_ssize_t count) except -1:
        """Make buckets for so many records at once, if there is no record yet."""
        cdef Rec** grown
        if self.count or count <= self.nbuckets or count < BUCKETS_MIN:
            return 0
        grown = <Rec**>PyMem_Realloc(self.buckets, count * sizeof(Rec*))
        if grown == NULL:
            raise MemoryError
        self.account((count - self.capacity) * <Py_ssize_t>sizeof(Rec*))
        memset(grown, 0, count * sizeof(Rec*))
        self.buckets = grown
        self.capacity = self.nbuckets = count
        while self.mask + 1 < count:
            self.mask = (self.mask << 1) | 1
        return 0

    cdef void shrink(self) noexcept:
        """Merge the last bucket into the one it was split from."""
        cdef Py_ssize_t last = self.nbuckets - 1, capacity
        cdef Rec** where
        cdef Rec** less
        self.nbuckets = last
        if self.walked:
            self.walk_soonest = 0  # records move behind the walk: it must be repeated
        where = &self.buckets[last & (self.mask >> 1)]
        while where[0] != NULL:
            where = &where[0].next
        where[0] = self.buckets[last]
        if last <= (self.mask >> 1) + 1:
            self.mask >>= 1
        if last < self.capacity >> 2:
            capacity = self.capacity >> 1
            less = <Rec**>PyMem_Realloc(self.buckets, capacity * sizeof(Rec*))
            if less != NULL:
                self.account((capacity - self.capacity) * <Py_ssize_t>sizeof(Rec*))
                self.buckets = less
                self.capacity = capacity

    cdef void link(self, Rec* rec, Py_ssize_t hash) noexcept:
        cdef Py_ssize_t i = self.index(hash)
        rec.next = self.buckets[i]
        self.buckets[i] = rec
        self.count += 1

    cdef void unlink(self, Rec** where) noexcept:
        """Take the record out and free it; give buckets back once most are empty."""
        cdef Rec* rec = where[0]
        cdef int merges
        where[0] = rec.next
        self.count -= 1
        self.free_rec(rec)
        # Four merges for one record keep the load at a quarter or more while a table drains; a
        # random draw from sparser buckets would take ever longer.
        merges = 4
        while merges > 0 and self.nbuckets > BUCKETS_MIN and self.count < self.nbuckets >> 2:
            self.shrink()
            merges -= 1

    cdef void free_rec(self, Rec* rec) noexcept:
        cdef PyObject* obj = NULL
        cdef Py_ssize_t size = allocated(rec_size(rec))
        if rec.meta & EXPIRES:
            self.volatile_count -= 1
        if rec_kind(rec) == OBJECT:
            obj = rec_object(rec)
            size += string_bytes(<object>obj)
        self.account(-size)
        PyObject_Free(rec)
        Py_XDECREF(obj)

    cdef int insert(
        self, bytes key, int kind, object value, double score, long long expire
    ) except -1:
        """Add a record for a key that is not here. expire < 0: none."""
        cdef Py_ssize_t klen = PyBytes_GET_SIZE(key), vlen = 0
        cdef size_t size = sizeof(Rec) + klen
        cdef uint32_t meta = (<uint32_t>kind << KIND_SHIFT) | access_word
        cdef Rec* rec
        cdef PyObject* obj
        cdef int64_t n = klen
        if kind == PACKED:
            vlen = PyBytes_GET_SIZE(value)
        elif kind != NOTHING:
            vlen = 8
        if klen > 0xFFFF:
            meta |= LONG_KEY
            size += 8
        if expire >= 0:
            meta |= EXPIRES
            size += 8
        if self.count >= self.nbuckets:
            self.grow()
        rec = <Rec*>PyObject_Malloc(block_size(size + vlen))
        if rec == NULL:
            raise MemoryError
        rec.meta = meta
        rec.klen = <uint16_t>klen
        rec.vlen = <uint16_t>vlen
        if meta & LONG_KEY:
            memcpy(rec_data(rec), &n, 8)
        if expire >= 0:
            rec_expiry(rec)[0] = expire
            self.note_expiry(expire)
        memcpy(rec_key(rec), PyBytes_AS_STRING(key), klen)
        if kind == PACKED:
            memcpy(rec_value(rec), PyBytes_AS_STRING(value), vlen)
        elif kind == OBJECT:
            Py_INCREF(value)
            obj = <PyObject*>value
            memcpy(rec_value(rec), &obj, 8)
        elif kind == SCORE:
            rec_set_score(rec, score)
        self.account(
            allocated(size + vlen) + (string_bytes(value) if kind == OBJECT else 0)
        )
        self.link(rec, PyObject_Hash(key))
        return 0

    cdef void note_expiry(self, long long expire) noexcept:
        if self.volatile_count == 0 or expire < self.expire_hint:
            self.expire_hint = expire
        if expire < self.walk_soonest:
            self.walk_soonest = expire
        self.volatile_count += 1

    cdef Rec* resize_rec(self, Rec** where, Rec* rec, bint expires, Py_ssize_t vlen) except NULL:
        """Make room for another value length or for an expiry; the value's bytes are undefined
        afterwards unless vlen is unchanged."""
        cdef Py_ssize_t old = rec_size(rec), keep = rec_klen(rec)
        cdef bint had = (rec.meta & EXPIRES) != 0
        cdef Py_ssize_t size = old - rec.vlen + vlen + 8 * (<int>expires - <int>had)
        cdef Rec* moved = rec
        if vlen == rec.vlen:
            keep += vlen
        if had and not expires:
            # The value, too: without memory the record stays as it was.
            memmove(rec_key(rec) - 8, rec_key(rec), rec_klen(rec) + rec.vlen)
            rec.meta &= ~<uint32_t>EXPIRES
            self.volatile_count -= 1
        # In one 16-byte size class (block_size) the block stays where it is.
        if size > 512 or old > 512 or (size + 15) >> 4 != (old + 15) >> 4:
            moved = <Rec*>PyObject_Realloc(rec, block_size(size))
            if moved == NULL:
                raise MemoryError
            where[0] = moved
        if expires and not had:
            memmove(rec_key(moved) + 8, rec_key(moved), keep)
            moved.meta |= EXPIRES
        moved.vlen = <uint16_t>vlen
        self.account(allocated(size) - allocated(old))
        return moved

    cdef int overwrite(self, Rec** where, object value, long long expire) except -1:
        """Replace the value of a record that is here; expire -1: none, -2: as it is."""
        cdef Rec* rec = where[0]
        cdef PyObject* old = NULL
        cdef PyObject* obj
        cdef int kind = OBJECT
        cdef Py_ssize_t vlen = 8
        cdef bint had = (rec.meta & EXPIRES) != 0, expires = expire >= 0 or (expire == -2 and had)
        if rec_kind(rec) == OBJECT:
            old = rec_object(rec)
            self.account(-string_bytes(<object>old))
        if type(value) is bytes and PyBytes_GET_SIZE(value) <= PACKED_BYTES_MAX:
            kind = PACKED
            vlen = PyBytes_GET_SIZE(value)
        if vlen != rec.vlen or had != expires:
            rec = self.resize_rec(where, rec, expires, vlen)
        if expire >= 0:
            rec_expiry(rec)[0] = expire
            if had:
                self.volatile_count -= 1
            self.note_expiry(expire)
        rec.meta = (
            (rec.meta & (EXPIRES | LONG_KEY)) | (<uint32_t>kind << KIND_SHIFT)
            | stamped(rec.meta & MARK)
        )
        if kind == PACKED:
            memcpy(rec_value(rec), PyBytes_AS_STRING(value), vlen)
        else:
            self.account(string_bytes(value))
            Py_INCREF(value)
            obj = <PyObject*>value
            memcpy(rec_value(rec), &obj, 8)
        Py_XDECREF(old)
        return 0

    cpdef bint put(self, bytes key, object value, long long expire=-1):
        cdef Rec** where = self.find_link(key)
        if where != NULL:
            self.overwrite(where, value, expire)
            return False
        if type(value) is bytes and PyBytes_GET_SIZE(value) <= PACKED_BYTES_MAX:
            self.insert(key, PACKED, value, 0, expire)
        else:
            self.insert(key, OBJECT, value, 0, expire)
        return True

    cpdef bint put_keep(self, bytes key, object value):
        cdef Rec** where = self.find_link(key)
        if where != NULL:
            self.overwrite(where, value, -2)
            return False
        return self.put(key, value, -1)

    cpdef bint add(self, bytes key):
        if self.find(key) != NULL:
            return False
        self.insert(key, NOTHING, None, 0, -1)
        return True

    cpdef bint put_score(self, bytes key, double score):
        cdef Rec* rec = self.find(key)
        if rec != NULL:
            rec_set_score(rec, score)
            return False
        self.insert(key, SCORE, None, score, -1)
        return True

    cpdef bint discard(self, bytes key):
        cdef Rec** where = self.find_link(key)
        if where == NULL:
            return False
        self.unlink(where)
        return True

    cpdef object pop(self, bytes key):
        cdef Rec** where = self.find_link(key)
        cdef object value
        if where == NULL:
            return None
        value = rec_load(where[0])
        self.unlink(where)
        return value

    cpdef bint set_expiry(self, bytes key, long long expire):
        cdef Rec** where = self.find_link(key)
        cdef Rec* rec
        cdef bint had, expires = expire >= 0
        if where == NULL:
            return False
        rec = where[0]
        had = (rec.meta & EXPIRES) != 0
        if had != expires:
            rec = self.resize_rec(where, rec, expires, rec.vlen)
        elif had:
            self.volatile_count -= 1
        if expires:
            rec_expiry(rec)[0] = expire
            self.note_expiry(expire)
        return True

    cpdef long long clear_slice(self, long long limit):
        cdef Rec* rec
        cdef Rec* following
        cdef Rec** less
        if self.capacity - self.nbuckets > SHRINK_BUCKETS and self.nbuckets > BUCKETS_MIN:
            # A large array is given back bit by bit, too: unmapping all of it at once takes long.
            less = <Rec**>PyMem_Realloc(self.buckets, self.nbuckets * sizeof(Rec*))
            if less != NULL:
                self.account((self.nbuckets - self.capacity) * <Py_ssize_t>sizeof(Rec*))
                self.buckets = less
                self.capacity = self.nbuckets
        while self.nbuckets > 0 and limit > 0:
            self.nbuckets -= 1
            limit -= 1
            rec = self.buckets[self.nbuckets]
            while rec != NULL:
                following = rec.next
                self.count -= 1
                limit -= 1
                self.free_rec(rec)
                rec = following
        if self.nbuckets == 0 and self.buckets != NULL:
            PyMem_Free(self.buckets)
            self.buckets = NULL
            self.account(-self.capacity * <Py_ssize_t>sizeof(Rec*))
            self.capacity = 0
            self.mask = BUCKETS_MIN - 1
        return self.count

    cpdef object fetch(self, bytes key, long long now):
        cdef Rec* rec = self.find(key)
        if rec == NULL:
            return None
        if rec.meta & EXPIRES and rec_expiry(rec)[0] <= now:
            return None
        rec.meta = (rec.meta & ~<uint32_t>MARK) | stamped(rec.meta & MARK)
        return rec_load(rec)

    cpdef object get(self, bytes key):
        cdef Rec* rec = self.find(key)
        return None if rec == NULL else rec_load(rec)

    cpdef bint contains(self, bytes key):
        return self.find(key) != NULL

    cpdef bint expired(self, bytes key, long long now):
        cdef Rec* rec
        if self.volatile_count == 0:
            return False
        rec = self.find(key)
        return rec != NULL and rec.meta & EXPIRES != 0 and rec_expiry(rec)[0] <= now

    cpdef object score(self, bytes key):
        cdef Rec* rec = self.find(key)
        return None if rec == NULL else rec_score(rec)

    cpdef long long expiry(self, bytes key):
        cdef Rec* rec = self.find(key)
        if rec == NULL:
            return -2
        return rec_expiry(rec)[0] if rec.meta & EXPIRES else -1

    cpdef int mark(self, bytes key, long long word) except -1:
        cdef Rec* rec = self.find(key)
        if rec != NULL:
            rec.meta = (rec.meta & ~<uint32_t>MARK) | <uint32_t>(word & MARK)
        return 0

    cpdef long long access(self, bytes key):
        cdef Rec* rec = self.find(key)
        return -1 if rec == NULL else rec.meta & MARK

    cpdef int increment(self, bytes key, long long delta) except -1:
        cdef Rec** where = self.find_link(key)
        cdef Rec* rec
        cdef char digits[20]
        cdef int size
        cdef long long value = 0
        if where != NULL:
            rec = where[0]
            if rec_kind(rec) != PACKED:
                return 3
            if not read_int(rec_value(rec), rec.vlen, &value):
                return 1
        if (delta > 0 and value > 0x7FFFFFFFFFFFFFFF - delta) or (
                delta < 0 and value < -0x7FFFFFFFFFFFFFFF - 1 - delta):
            return 2
        value += delta
        self.total = value
        if where == NULL:
            self.insert(key, PACKED, format_int(value), 0, -1)
            return 4
        size = write_int(digits, value)
        if size != rec.vlen:
            rec = self.resize_rec(where, rec, (rec.meta & EXPIRES) != 0, size)
        rec.meta = (rec.meta & ~<uint32_t>MARK) | stamped(rec.meta & MARK)
        memcpy(rec_value(rec), digits, size)
        return 0

    cpdef int write_string(self, bytes key, long long now, ReplyWriter reply) except -2:
        cdef Rec* rec = self.find(key)
        cdef object value
        if rec == NULL or (rec.meta & EXPIRES and rec_expiry(rec)[0] <= now):
            return 0
        rec.meta = (rec.meta & ~<uint32_t>MARK) | stamped(rec.meta & MARK)
        if rec_kind(rec) == PACKED:
            reply.bulk_raw(rec_value(rec), rec.vlen)
            return 1
        value = rec_load(rec)
        if type(value) is bytes:
            reply.bulk(value)
        elif type(value) is bytearray:
            reply.bulk(bytes(value))
        else:
            return -1
        return 1

    cpdef bint write_value(self, bytes key, ReplyWriter reply):
        cdef Rec* rec = self.find(key)
        if rec == NULL:
            return False
        if rec_kind(rec) == PACKED:
            reply.bulk_raw(rec_value(rec), rec.vlen)
        else:
            reply.bulk(rec_load(rec))
        return True

    cpdef long long write_all(self, ReplyWriter reply, bint keys, bint values):
        cdef Py_ssize_t i
        cdef Rec* rec
        for i in range(self.nbuckets):
            rec = self.buckets[i]
            while rec != NULL:
                if keys:
                    reply.bulk_raw(rec_key(rec), rec_klen(rec))
                if values:
                    if rec_kind(rec) == PACKED:
                        reply.bulk_raw(rec_value(rec), rec.vlen)
                    else:
                        reply.bulk(rec_load(rec))
                rec = rec.next
        return self.count

    cpdef bytes random_key(self, Rng rng):
        # A few records are counted out, with chances that are exactly the same. Of many, a cell
        # (bucket, place in chain) is drawn until it is occupied: every record has the same chance,
        # but that records from the fourth place on (about 2 %) share the last one. More cells would
        # be more exact and cost a cache miss for each that is empty.
        cdef Rec* rec
        cdef Rec* chosen
        cdef uint64_t number
        cdef int place, length
        if self.count == 0:
            return None
        if self.count <= COUNTED_OUT_RECORDS:
            place = rng.below(self.count)
            length = 0
            rec = self.buckets[0]
            while rec == NULL or place > 0:
                if rec == NULL:
                    length += 1
                    rec = self.buckets[length]
                else:
                    place -= 1
                    rec = rec.next
            return PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec))
        while True:
            number = rng.next64()
            # The upper half scaled to the buckets: no division, and biased by 2**-32 each at most.
            rec = self.buckets[((number >> 32) * <uint64_t>self.nbuckets) >> 32]
            if rec == NULL:
                continue
            place = <int>(number >> 29) & 3
            if place == 3:
                length = 0
                chosen = NULL
                while rec != NULL:
                    length += 1
                    if length > 3 and rng.below(length - 3) == 0:
                        chosen = rec
                    rec = rec.next
                if chosen != NULL:
                    return PyBytes_FromStringAndSize(rec_key(chosen), rec_klen(chosen))
                continue
            while rec != NULL and place > 0:
                rec = rec.next
                place -= 1
            if rec != NULL:
                return PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec))

    cpdef int sample(self, Rng rng, bint volatile_only, int limit, list out) except -1:
        cdef Py_ssize_t bucket, steps = min(<Py_ssize_t>16 * limit, self.nbuckets)
        cdef Rec* rec
        if self.count == 0:
            return 0
        bucket = rng.below(self.nbuckets)
        while limit > 0 and steps > 0:
            rec = self.buckets[bucket]
            while rec != NULL:
                if rec.meta & EXPIRES or not volatile_only:
                    out.append((
                        PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)), rec.meta & MARK,
                        rec_expiry(rec)[0] if rec.meta & EXPIRES else -1,
                    ))
                    limit -= 1
                rec = rec.next
            steps -= 1
            bucket += 1
            if bucket == self.nbuckets:
                bucket = 0
        return 0

    cpdef unsigned long long scan(
        self, unsigned long long cursor, list out, bint with_values, long long now
    ):
        cdef Py_ssize_t bucket, low = self.mask >> 1
        cdef uint64_t width
        cdef Rec* rec
        if self.count == 0:
            return 0
        bucket = self.index(<Py_ssize_t>reverse32(cursor & 0xFFFFFFFF))
        # A bucket that was split (or came from a split) answers for one more bit of the hash.
        if bucket > low or bucket + low + 1 < self.nbuckets:
            width = (<uint64_t>1 << 32) / <uint64_t>(self.mask + 1)
        else:
            width = (<uint64_t>1 << 32) / <uint64_t>(low + 1)
        rec = self.buckets[bucket]
        while rec != NULL:
            if not (rec.meta & EXPIRES and rec_expiry(rec)[0] <= now):
                out.append(PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)))
                if with_values:
                    out.append(rec_load(rec))
            rec = rec.next
        cursor = (cursor & ~(width - 1)) + width
        return 0 if cursor >> 32 else cursor

    def keys(self):
        """All keys, as a new list."""
        cdef list out = []
        cdef Py_ssize_t i
        cdef Rec* rec
        for i in range(self.nbuckets):
            rec = self.buckets[i]
            while rec != NULL:
                out.append(PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)))
                rec = rec.next
        return out

    def items(self):
        """All (key, value), as a new list; the value of a bare member is True."""
        cdef list out = []
        cdef Py_ssize_t i
        cdef Rec* rec
        for i in range(self.nbuckets):
            rec = self.buckets[i]
            while rec != NULL:
                out.append((PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)), rec_load(rec)))
                rec = rec.next
        return out

    cpdef list expired_keys(self, long long now, long long limit):
        cdef list out = []
        cdef Rec* rec
        if self.walked == 0:
            self.walk_soonest = 0x7FFFFFFFFFFFFFFF
        while limit > 0 and self.walked < self.nbuckets:
            rec = self.buckets[self.walked]
            while rec != NULL:
                if rec.meta & EXPIRES:
                    if rec_expiry(rec)[0] <= now:
                        out.append(PyBytes_FromStringAndSize(rec_key(rec), rec_klen(rec)))
                    elif rec_expiry(rec)[0] < self.walk_soonest:
                        self.walk_soonest = rec_expiry(rec)[0]
                rec = rec.next
            self.walked += 1
            limit -= 1
        if self.walked >= self.nbuckets:
            self.walked = 0
            self.expire_hint = self.walk_soonest
        return out

    def check(self):
        """Assert the invariants; O(n), for tests."""
        cdef Py_ssize_t i, n = 0, volatile = 0
        cdef Rec* rec
        for i in range(self.nbuckets):
            rec = self.buckets[i]
            while rec != NULL:
                assert self.index(isthmus_hash(rec_key(rec), rec_klen(rec))) == i, "wrong bucket"
                n += 1
                volatile += (rec.meta & EXPIRES) != 0
                rec = rec.next
        assert n == self.count, "count"
        assert volatile == self.volatile_count, "volatile count"
        assert self.count == 0 or self.count <= self.nbuckets, "load"
