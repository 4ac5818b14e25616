# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""PackedList, compiled: a doubly linked list of chunks of packed elements.

The twin `packed_list.py` states the contract; this file keeps it without one Python object per
element. A chunk is one malloc: a header, then `cap` bytes of which `head..tail` are used:

    | free | element | element | ... | element | free |
           ^ head                              ^ tail

An element can be read from either side, because its length stands on both (packed_chunk.pxd):

    length < 254        1 byte  (length)                       payload   (length)
    length <= 65535     3 bytes (254, u16)                     payload   (u16, 254)
    longer              9 bytes (255, u64)                     payload   (u64, 255)

Free room is kept on both sides of the first and the last chunk, so that a push or a pop at either
end writes a few bytes and moves nothing. A chunk that belongs to a short list is as small as the
list and grows by half; a chunk that is followed by another is cut to its size. An element that is
larger than a chunk has a chunk of its own.

Invariants (`check()` verifies them): no chunk is empty; `cap <= CHUNK_CAP` unless the chunk holds
exactly one element; `_length` and `nbytes` are the sums over the chunks; `_listpack` is -1
(unknown) or exact; `_hint` is NULL or a chunk of this list whose first index is `_hint_first`.

It may not: raise from the middle of a change (memory is reserved first), keep a pointer across a
call that may move chunks, or hand out pointers into chunks to anything but the reply writer.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from isthmus.node.engine.heap cimport heap_add
from isthmus.node.values.packed_chunk cimport (
    CHUNK_CAP, CHUNK_HEADER, Chunk, data_of, drop_equal, equals, footprint, grown, listpack_entries,
    listpack_entry, pack, packed_size, payload, size_before, used_in
)
from isthmus.wire.reply cimport ReplyWriter

cdef Py_ssize_t SHRINK_ABOVE = 512
cdef Py_ssize_t LISTPACK_FRAME = 7      # a listpack's header and end mark
cdef Py_ssize_t OBJECT_BYTES = 88       # the Python object itself
cdef Py_ssize_t SLICE_BATCH = 1024

assert CHUNK_HEADER == sizeof(Chunk)


cdef class PackedList:
    """An ordered list of byte strings in packed chunks; the contract is in packed_list.py."""

    def __cinit__(self):
        self._head = self._tail = self._hint = NULL
        self._length = 0
        self._listpack = LISTPACK_FRAME
        self.outgrown = False
        self.nbytes = OBJECT_BYTES
        heap_add(OBJECT_BYTES)

    def __dealloc__(self):
        cdef Chunk* chunk = self._head
        cdef Chunk* after
        heap_add(-self.nbytes)
        while chunk != NULL:
            after = chunk.next
            free(chunk)
            chunk = after

    def __len__(self):
        return self._length

    # --- both ends ------------------------------------------------------------------------------

    cpdef push_head(self, bytes element):
        self.push_raw(PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element), True)

    cpdef push_tail(self, bytes element):
        self.push_raw(PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element), False)

    cdef int push_raw(self, const char* p, Py_ssize_t n, bint front) except -1:
        cdef Py_ssize_t size = packed_size(n)
        cdef Chunk* chunk
        if front:
            chunk = self._head
            if chunk == NULL or chunk.head < size:
                chunk = self._room_at_end(size, True)
            chunk.head -= size
            pack(data_of(chunk) + chunk.head, p, n)
            self._hint = NULL
        else:
            chunk = self._tail
            if chunk == NULL or chunk.cap - chunk.tail < size:
                chunk = self._room_at_end(size, False)
            pack(data_of(chunk) + chunk.tail, p, n)
            chunk.tail += size
        chunk.count += 1
        self._length += 1
        if self._listpack >= 0:
            self._listpack += listpack_entry(p, n)
        return 0

    cdef Chunk* _room_at_end(self, Py_ssize_t size, bint front) except NULL:
        """The end chunk with `size` free bytes on its outer side; makes room or a new chunk."""
        cdef Chunk* chunk = self._head if front else self._tail
        cdef Chunk* fresh
        cdef Py_ssize_t used, cap
        if chunk != NULL:
            used = used_in(chunk)
            if used + size <= chunk.cap and 2 * used <= chunk.cap:
                # Sliding a half-empty chunk is paid for by the pushes that fill the other half.
                cap = chunk.cap - used if front else 0
                memmove(data_of(chunk) + cap, data_of(chunk) + chunk.head, used)
                chunk.head = cap
                chunk.tail = cap + used
                return chunk
            if used + size <= CHUNK_CAP and chunk.cap < CHUNK_CAP:
                cap = grown(used + size)
                return self._resize(chunk, cap, cap - used if front else 0)
            if chunk.cap - used > chunk.cap // 8:
                self._resize(chunk, used, 0)
        cap = size if size > CHUNK_CAP // 2 else CHUNK_CAP if chunk != NULL else grown(size)
        fresh = self._new_chunk(cap)
        fresh.head = fresh.tail = cap if front else 0
        self._link_after(fresh, NULL if front else self._tail)
        return fresh

    cpdef pop_head(self):
        cdef Chunk* chunk = self._head
        cdef Py_ssize_t n
        cdef char* p
        if chunk == NULL:
            return None
        p = payload(data_of(chunk) + chunk.head, &n)
        element = PyBytes_FromStringAndSize(p, n)
        chunk.head += packed_size(n)
        self._hint = NULL
        self._popped(chunk, p, n)
        return element

    cpdef pop_tail(self):
        cdef Chunk* chunk = self._tail
        cdef Py_ssize_t n, size
        cdef char* p
        if chunk == NULL:
            return None
        size = size_before(data_of(chunk) + chunk.tail)
        p = payload(data_of(chunk) + chunk.tail - size, &n)
        element = PyBytes_FromStringAndSize(p, n)
        chunk.tail -= size
        self._popped(chunk, p, n)
        return element

    cdef int _popped(self, Chunk* chunk, const char* p, Py_ssize_t n) except -1:
        """Account for one element that left an end; `p` is still readable."""
        self._length -= 1
        chunk.count -= 1
        if self._listpack >= 0:
            self._listpack -= listpack_entry(p, n)
        if chunk.count == 0:
            self._unlink(chunk)
        elif chunk.cap > SHRINK_ABOVE and used_in(chunk) * 4 < chunk.cap:
            self._shrink_if_sparse()
        return 0

    # --- by index -------------------------------------------------------------------------------

    cpdef bytes get(self, Py_ssize_t i):
        cdef Py_ssize_t offset, n
        cdef Chunk* chunk
        cdef char* p
        if i < 0 or i >= self._length:
            raise IndexError(i)
        chunk = self._locate(i, &offset)
        p = payload(data_of(chunk) + offset, &n)
        return PyBytes_FromStringAndSize(p, n)

    cpdef set(self, Py_ssize_t i, bytes element):
        cdef const char* fresh = PyBytes_AS_STRING(element)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(element)
        cdef Py_ssize_t offset, n
        cdef Chunk* chunk
        cdef char* p
        if i < 0 or i >= self._length:
            raise IndexError(i)
        chunk = self._locate(i, &offset)
        p = payload(data_of(chunk) + offset, &n)
        if n == size:
            if self._listpack >= 0:
                self._listpack += listpack_entry(fresh, size) - listpack_entry(p, n)
            memcpy(p, fresh, n)
            return
        # The new element goes in first: should memory run out, nothing has changed.
        self.insert(i, element)
        self.remove_range(i + 1, 1)

    cpdef insert(self, Py_ssize_t i, bytes element):
        cdef const char* p = PyBytes_AS_STRING(element)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(element)
        cdef Py_ssize_t offset
        cdef Chunk* chunk
        if i < 0 or i > self._length:
            raise IndexError(i)
        if i == 0:
            self.push_raw(p, n, True)
        elif i == self._length:
            self.push_raw(p, n, False)
        else:
            chunk = self._locate(i, &offset)
            self._place(chunk, offset, p, n)
            self._length += 1
            if self._listpack >= 0:
                self._listpack += listpack_entry(p, n)

    cdef int _place(self, Chunk* chunk, Py_ssize_t offset, const char* p,
                    Py_ssize_t n) except -1:
        """Open a gap before `offset` (an element's start, or the end) and pack the element in."""
        cdef Py_ssize_t size = packed_size(n)
        cdef Py_ssize_t before, cap
        cdef Chunk* fresh
        cdef char* data
        while used_in(chunk) + size > CHUNK_CAP:
            if offset == chunk.head and chunk.prev != NULL \
                    and used_in(chunk.prev) + size <= CHUNK_CAP:
                chunk = chunk.prev
                offset = chunk.tail
                self._hint = NULL
            elif offset == chunk.head or offset == chunk.tail:
                cap = size if size > CHUNK_CAP // 2 else grown(size)
                fresh = self._new_chunk(cap)
                self._link_after(fresh, chunk.prev if offset == chunk.head else chunk)
                chunk = fresh
                offset = 0
                break
            else:
                before = offset - chunk.head
                fresh = self._split(chunk, offset if size > CHUNK_CAP // 2 else -1)
                if before > used_in(chunk):
                    offset = fresh.head + before - used_in(chunk)
                    chunk = fresh
                else:
                    offset = chunk.head + before
        before = offset - chunk.head
        if used_in(chunk) + size > chunk.cap:
            chunk = self._resize(chunk, grown(used_in(chunk) + size), 0)
        elif chunk.cap - chunk.tail < size and chunk.head < size:
            memmove(data_of(chunk), data_of(chunk) + chunk.head, used_in(chunk))
            chunk.tail -= chunk.head
            chunk.head = 0
        offset = chunk.head + before
        data = data_of(chunk)
        if chunk.cap - chunk.tail >= size and (chunk.head < size
                                               or 2 * before >= used_in(chunk)):
            memmove(data + offset + size, data + offset, chunk.tail - offset)
            chunk.tail += size
        else:
            memmove(data + chunk.head - size, data + chunk.head, before)
            chunk.head -= size
            offset -= size
        pack(data + offset, p, n)
        chunk.count += 1
        return 0

    cpdef remove_range(self, Py_ssize_t start, Py_ssize_t count):
        cdef Py_ssize_t first, end, n, taken
        cdef Chunk* chunk
        cdef Chunk* after
        cdef char* data
        cdef char* p
        if start < 0 or start >= self._length or count <= 0:
            return
        count = min(count, self._length - start)
        chunk = self._locate(start, &first)
        while count > 0:
            after = chunk.next
            if first == chunk.head and count >= chunk.count:
                taken = chunk.count
                if self._listpack >= 0:
                    self._listpack -= listpack_entries(chunk)
                self._unlink(chunk)
            else:
                data = data_of(chunk)
                end = first
                taken = 0
                while taken < count and end < chunk.tail:
                    p = payload(data + end, &n)
                    if self._listpack >= 0:
                        self._listpack -= listpack_entry(p, n)
                    end += packed_size(n)
                    taken += 1
                if first == chunk.head:
                    chunk.head = end
                else:
                    memmove(data + first, data + end, chunk.tail - end)
                    chunk.tail -= end - first
                chunk.count -= taken
            count -= taken
            self._length -= taken
            if count > 0:
                chunk = after
                first = chunk.head
        self._hint = NULL
        if self._length == 0:
            self._listpack = LISTPACK_FRAME
            return
        if start >= self._length:
            start = self._length - 1
        chunk = self._seek(start, &first)
        if chunk.prev == NULL or not self._merge(chunk.prev, chunk):
            if chunk.next != NULL:
                self._merge(chunk, chunk.next)
        self._shrink_if_sparse()

    cpdef Py_ssize_t remove_equal(self, bytes element, Py_ssize_t count) except -1:
        cdef const char* p = PyBytes_AS_STRING(element)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(element)
        cdef bint backwards = count < 0
        cdef Py_ssize_t most = count
        cdef Py_ssize_t removed = 0, dropped
        cdef Chunk* chunk = self._tail if backwards else self._head
        cdef Chunk* after
        if backwards:
            most = self._length if count < -self._length else -count
        if count == 0 or most > self._length:
            most = self._length
        while chunk != NULL and removed < most:
            after = chunk.prev if backwards else chunk.next
            dropped = drop_equal(chunk, p, n, most - removed, backwards)
            if dropped:
                removed += dropped
                self._length -= dropped
                self._hint = NULL
                if chunk.count == 0:
                    self._unlink(chunk)
                elif backwards and chunk.next != NULL:
                    self._merge(chunk, chunk.next)
                elif not backwards and chunk.prev != NULL:
                    self._merge(chunk.prev, chunk)
            chunk = after
        if self._listpack >= 0:
            self._listpack -= removed * listpack_entry(p, n)
        if removed and self._length:
            self._shrink_if_sparse()
        return removed

    # --- reading --------------------------------------------------------------------------------

    cpdef write_range(self, ReplyWriter reply, Py_ssize_t start, Py_ssize_t count,
                      bint reverse=False):
        cdef Py_ssize_t offset, n
        cdef Chunk* chunk
        cdef char* data
        cdef char* p
        if count <= 0 or start < 0 or start >= self._length:
            return
        chunk = self._locate(start, &offset)
        data = data_of(chunk)
        if not reverse:
            count = min(count, self._length - start)
            while True:
                p = payload(data + offset, &n)
                reply.bulk_raw(p, n)
                count -= 1
                if count == 0:
                    return
                offset += packed_size(n)
                if offset == chunk.tail:
                    chunk = chunk.next
                    offset = chunk.head
                    data = data_of(chunk)
        count = min(count, start + 1)
        while True:
            p = payload(data + offset, &n)
            reply.bulk_raw(p, n)
            count -= 1
            if count == 0:
                return
            if offset == chunk.head:
                chunk = chunk.prev
                offset = chunk.tail
                data = data_of(chunk)
            offset -= size_before(data + offset)

    cpdef list slice(self, Py_ssize_t start, Py_ssize_t count, bint reverse=False):
        cdef Py_ssize_t offset, n
        cdef Chunk* chunk
        cdef char* p
        cdef list out = []
        if count <= 0 or start < 0 or start >= self._length:
            return out
        count = min(count, start + 1 if reverse else self._length - start)
        chunk = self._locate(start, &offset)
        while True:
            p = payload(data_of(chunk) + offset, &n)
            out.append(PyBytes_FromStringAndSize(p, n))
            count -= 1
            if count == 0:
                return out
            if reverse:
                if offset == chunk.head:
                    chunk = chunk.prev
                    offset = chunk.tail
                offset -= size_before(data_of(chunk) + offset)
            else:
                offset += packed_size(n)
                if offset == chunk.tail:
                    chunk = chunk.next
                    offset = chunk.head

    def iter_from(self, Py_ssize_t i):
        # By batches of copies, so that a list that changes meanwhile cannot leave us a pointer.
        while i < self._length:
            batch = self.slice(i, SLICE_BATCH)
            yield from batch
            i += SLICE_BATCH

    def __iter__(self):
        return self.iter_from(0)

    cpdef Py_ssize_t find(self, bytes element, Py_ssize_t start, Py_ssize_t step):
        cdef list found
        if start < 0 or start >= self._length:
            return -1
        found = self._matches(element, start, step < 0, 1, 1, self._length)
        return found[0] if found else -1

    cpdef list find_all(self, bytes element, Py_ssize_t rank, Py_ssize_t count,
                        Py_ssize_t compared_max):
        if self._length == 0:
            return []
        if rank > 0:
            return self._matches(element, 0, False, rank, count, compared_max)
        return self._matches(element, self._length - 1, True, -rank, count, compared_max)

    cdef list _matches(self, bytes element, Py_ssize_t i, bint backwards, Py_ssize_t rank,
                       Py_ssize_t count, Py_ssize_t compared_max):
        cdef const char* p = PyBytes_AS_STRING(element)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(element)
        cdef Py_ssize_t left = i + 1 if backwards else self._length - i
        cdef Py_ssize_t offset, length
        cdef list out = []
        cdef Chunk* chunk = self._locate(i, &offset)
        cdef char* q
        if 0 < compared_max < left:
            left = compared_max
        while True:
            q = payload(data_of(chunk) + offset, &length)
            if length == n and equals(q, p, n):
                if rank > 1:
                    rank -= 1
                else:
                    out.append(i)
                    if count and len(out) >= count:
                        return out
            left -= 1
            if left == 0:
                return out
            if backwards:
                i -= 1
                if offset == chunk.head:
                    chunk = chunk.prev
                    offset = chunk.tail
                offset -= size_before(data_of(chunk) + offset)
            else:
                i += 1
                offset += packed_size(length)
                if offset == chunk.tail:
                    chunk = chunk.next
                    offset = chunk.head

    cpdef Py_ssize_t listpack_bytes(self):
        cdef Py_ssize_t total = LISTPACK_FRAME
        cdef Chunk* chunk = self._head
        if self._listpack >= 0:
            return self._listpack
        while chunk != NULL:
            total += listpack_entries(chunk)
            chunk = chunk.next
        self._listpack = total
        return total

    cpdef int forget_listpack_bytes(self) except -1:
        self._listpack = -1
        return 0

    # --- whole ----------------------------------------------------------------------------------

    cpdef Py_ssize_t clear_slice(self, Py_ssize_t chunks_max):
        self._hint = NULL
        while chunks_max > 0 and self._head != NULL:
            self._length -= self._head.count
            self._unlink(self._head)
            chunks_max -= 1
        self._listpack = -1 if self._length else LISTPACK_FRAME
        return self._length

    cpdef PackedList copy(self):
        cdef type cls = type(self)
        cdef PackedList other = cls.__new__(cls)
        cdef Chunk* chunk = self._head
        cdef Chunk* twin
        while chunk != NULL:
            twin = other._new_chunk(used_in(chunk))
            twin.tail = twin.cap
            twin.count = chunk.count
            memcpy(data_of(twin), data_of(chunk) + chunk.head, twin.tail)
            other._link_after(twin, other._tail)
            other._length += twin.count
            chunk = chunk.next
        other._listpack = self._listpack
        other.outgrown = self.outgrown
        return other

    def check(self):
        """Walk everything, both ways, and assert the invariants of the module essay."""
        cdef Chunk* chunk = self._head
        cdef Chunk* before = NULL
        cdef Py_ssize_t offset, n, count, packed = LISTPACK_FRAME, total = 0
        cdef Py_ssize_t nbytes = OBJECT_BYTES
        cdef char* p
        cdef bint hint_found = self._hint == NULL
        while chunk != NULL:
            assert chunk.prev == before, "backward link"
            assert 0 <= chunk.head < chunk.tail <= chunk.cap, "chunk bounds"
            assert chunk.cap <= CHUNK_CAP or chunk.count == 1, "an overlong chunk is shared"
            if chunk == self._hint:
                hint_found = self._hint_first == total
            offset = chunk.head
            count = 0
            while offset < chunk.tail:
                p = payload(data_of(chunk) + offset, &n)
                packed += listpack_entry(p, n)
                offset += packed_size(n)
                assert size_before(data_of(chunk) + offset) == packed_size(n), "tags differ"
                count += 1
            assert offset == chunk.tail and count == chunk.count, "chunk count"
            total += count
            nbytes += footprint(chunk.cap)
            before = chunk
            chunk = chunk.next
        assert before == self._tail and total == self._length, "length"
        assert nbytes == self.nbytes, "nbytes"
        assert self._listpack in (-1, packed), "listpack bytes"
        assert hint_found, "hint"

    # --- chunks ---------------------------------------------------------------------------------

    cdef Chunk* _new_chunk(self, Py_ssize_t cap) except NULL:
        cdef Chunk* chunk = <Chunk*>malloc(CHUNK_HEADER + cap)
        if chunk == NULL:
            raise MemoryError
        chunk.prev = chunk.next = NULL
        chunk.cap = cap
        chunk.head = chunk.tail = chunk.count = 0
        self.nbytes += footprint(cap)
        heap_add(footprint(cap))
        return chunk

    cdef void _link_after(self, Chunk* chunk, Chunk* before) noexcept:
        """Link a new chunk behind `before` (NULL: in front of all)."""
        self._hint = NULL
        chunk.prev = before
        chunk.next = self._head if before == NULL else before.next
        if before == NULL:
            self._head = chunk
        else:
            before.next = chunk
        if chunk.next == NULL:
            self._tail = chunk
        else:
            chunk.next.prev = chunk

    cdef void _unlink(self, Chunk* chunk) noexcept:
        self._hint = NULL
        if chunk.prev == NULL:
            self._head = chunk.next
        else:
            chunk.prev.next = chunk.next
        if chunk.next == NULL:
            self._tail = chunk.prev
        else:
            chunk.next.prev = chunk.prev
        self.nbytes -= footprint(chunk.cap)
        heap_add(-footprint(chunk.cap))
        free(chunk)

    cdef Chunk* _resize(self, Chunk* chunk, Py_ssize_t cap, Py_ssize_t head) except NULL:
        """Replace a chunk by one of `cap` bytes with the used bytes beginning at `head`."""
        cdef Chunk* fresh = self._new_chunk(cap)
        memcpy(data_of(fresh) + head, data_of(chunk) + chunk.head, used_in(chunk))
        fresh.head = head
        fresh.tail = head + used_in(chunk)
        fresh.count = chunk.count
        self._link_after(fresh, chunk)
        self._unlink(chunk)
        return fresh

    cdef Chunk* _split(self, Chunk* chunk, Py_ssize_t offset) except NULL:
        """Move what lies from `offset` on (-1: about the second half) to a new next chunk."""
        cdef Py_ssize_t kept = 0, n, last
        cdef Py_ssize_t middle = offset if offset >= 0 else chunk.head + used_in(chunk) // 2
        cdef Chunk* fresh
        cdef Py_ssize_t at = chunk.head
        last = chunk.tail - size_before(data_of(chunk) + chunk.tail)
        while at < middle and at < last:
            payload(data_of(chunk) + at, &n)
            at += packed_size(n)
            kept += 1
        fresh = self._new_chunk(grown(chunk.tail - at))
        fresh.tail = chunk.tail - at
        fresh.count = chunk.count - kept
        memcpy(data_of(fresh), data_of(chunk) + at, fresh.tail)
        chunk.tail = at
        chunk.count = kept
        self._link_after(fresh, chunk)
        return fresh

    cdef int _shrink_if_sparse(self) except -1:
        """Give back the room of a list that has become short; nothing is lost if that fails."""
        cdef Chunk* chunk = self._head
        if chunk == self._tail and chunk.cap > SHRINK_ABOVE and used_in(chunk) * 4 < chunk.cap:
            try:
                self._resize(chunk, grown(used_in(chunk)), 0)
            except MemoryError:
                return 0
        return 1

    cdef int _merge(self, Chunk* left, Chunk* right) except -1:
        """Join two neighbours that together fill less than half a chunk; returns whether."""
        cdef Py_ssize_t both = used_in(left) + used_in(right)
        if both > CHUNK_CAP // 2:
            return 0
        if left.cap - left.tail < used_in(right):
            try:
                left = self._resize(left, grown(both), 0)
            except MemoryError:
                return 0    # nothing is lost but compactness
        memcpy(data_of(left) + left.tail, data_of(right) + right.head, used_in(right))
        left.tail += used_in(right)
        left.count += right.count
        self._unlink(right)
        return 1

    cdef Chunk* _seek(self, Py_ssize_t i, Py_ssize_t* first) except NULL:
        """The chunk that holds element i, walked to from the nearest known place."""
        cdef Chunk* chunk = self._head
        cdef Py_ssize_t base = 0
        cdef Py_ssize_t away = i
        if self._length - i < away:
            chunk = self._tail
            base = self._length - chunk.count
            away = self._length - i
        if self._hint != NULL and -away < i - self._hint_first < away:
            chunk = self._hint
            base = self._hint_first
        while i < base:
            chunk = chunk.prev
            base -= chunk.count
        while i >= base + chunk.count:
            base += chunk.count
            chunk = chunk.next
        self._hint = chunk
        self._hint_first = base
        first[0] = base
        return chunk

    cdef Chunk* _locate(self, Py_ssize_t i, Py_ssize_t* offset) except NULL:
        """The chunk of element i and the element's offset in it; i is in range."""
        cdef Py_ssize_t first, n, at
        cdef Chunk* chunk = self._seek(i, &first)
        cdef char* data = data_of(chunk)
        if 2 * (i - first) <= chunk.count:
            at = chunk.head
            while first < i:
                payload(data + at, &n)
                at += packed_size(n)
                first += 1
        else:
            at = chunk.tail
            first += chunk.count
            while first > i:
                at -= size_before(data + at)
                first -= 1
        offset[0] = at
        return chunk
