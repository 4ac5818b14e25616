# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""PendingList, compiled: sorted blocks of records; pending_list.py states the contract.

A record is 40 bytes (id, delivery time, deliveries, owner), in a bare list the 16 of the id. A
block holds at most 128 of them. Deliveries arrive in the order of ids, so a full last block is left
full and a new one begins behind it; elsewhere a full block is split in half.

Invariants (`check()` verifies them): no block is empty; a block's key is not greater than its first
id; ids rise; `length` and `nbytes` are the sums over the blocks.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from isthmus.node.values.stream_blocks cimport (
    Block, Blocks, Id, account, find, free_all, less, make_place, resize, same, take_away
)
from isthmus.node.values.stream_ids cimport id_bytes, read_id

cdef enum:
    RECORDS_MAX = 128
    BARE_BYTES = 16
    OBJECT_BYTES = 80

cdef struct Record:
    Id id
    int64_t time_ms
    int64_t count
    int64_t owner


cdef inline Id id_at(Block* block, Py_ssize_t position, Py_ssize_t width) noexcept nogil:
    return (<Record*>(block.data + position * width)).id


cdef inline Py_ssize_t position_of(Block* block, Id id, Py_ssize_t width) noexcept nogil:
    """How many records of the block are below id."""
    cdef Py_ssize_t low = 0, high = block.count, middle
    if high > 0 and less(id_at(block, high - 1, width), id):
        return high
    while low < high:
        middle = (low + high) >> 1
        if less(id_at(block, middle, width), id):
            low = middle + 1
        else:
            high = middle
    return low


cdef class PendingList:
    """A map from ids to records in packed blocks; the contract is in pending_list.py."""

    def __cinit__(self, bint bare):
        self.blocks.base = self.blocks.at = NULL
        self.blocks.count = self.blocks.room = 0
        self.width = BARE_BYTES if bare else sizeof(Record)
        self.length = 0
        self.nbytes = 0
        account(&self.nbytes, OBJECT_BYTES)

    def __dealloc__(self):
        free_all(&self.blocks, self.nbytes)

    def __len__(self):
        return self.length

    cdef bint _locate(self, Id id, Py_ssize_t* at, Py_ssize_t* position) noexcept:
        """Where id is (True) or belongs; block 0 also for what is below all."""
        cdef Block* block
        at[0] = find(&self.blocks, id)
        if at[0] < 0:
            at[0] = 0
            position[0] = 0
            return False
        block = &self.blocks.at[at[0]]
        position[0] = position_of(block, id, self.width)
        return position[0] < block.count and same(id_at(block, position[0], self.width), id)

    cdef Block* _split(self, Py_ssize_t at) except NULL:
        """Move the second half of a full block into a new one behind it."""
        cdef Py_ssize_t half = RECORDS_MAX // 2
        cdef Block* left
        cdef Block* right = make_place(&self.blocks, at + 1, &self.nbytes)
        if right == NULL:
            raise MemoryError
        if not resize(right, RECORDS_MAX * self.width, &self.nbytes):
            take_away(&self.blocks, at + 1, &self.nbytes)
            raise MemoryError
        left = right - 1
        right.key = id_at(left, half, self.width)
        right.count = <uint32_t>(left.count - half)
        memcpy(right.data, left.data + half * self.width, right.count * self.width)
        left.count = <uint32_t>half
        return right

    cpdef bint put(self, bytes id, long long time_ms, long long count,
                   long long owner) except -1:
        """Set what is known of id; True if it is new. A bare list forgets all but the id."""
        cdef Id key = read_id(id)
        cdef Py_ssize_t at, position, room
        cdef Block* block
        cdef Record record
        cdef bint found = self._locate(key, &at, &position)
        record.id = key
        record.time_ms = time_ms
        record.count = count
        record.owner = owner
        if found:
            memcpy(self.blocks.at[at].data + position * self.width, &record, self.width)
            return False
        if self.blocks.count > 0 and self.blocks.at[at].count == RECORDS_MAX:
            if position == RECORDS_MAX and at == self.blocks.count - 1:
                at += 1
                position = 0
            else:
                self._split(at)
                if position > RECORDS_MAX // 2:
                    at += 1
                    position -= RECORDS_MAX // 2
        if at == self.blocks.count:
            block = make_place(&self.blocks, at, &self.nbytes)
            if block == NULL:
                raise MemoryError
            block.key = key
            if not resize(block, 4 * self.width, &self.nbytes):
                take_away(&self.blocks, at, &self.nbytes)
                raise MemoryError
        block = &self.blocks.at[at]
        if (block.count + 1) * self.width > <Py_ssize_t>block.cap:
            room = block.count * 2
            if room > RECORDS_MAX:
                room = RECORDS_MAX
            if not resize(block, room * self.width, &self.nbytes):
                raise MemoryError
        memmove(block.data + (position + 1) * self.width, block.data + position * self.width,
                (block.count - position) * self.width)
        memcpy(block.data + position * self.width, &record, self.width)
        block.count += 1
        if less(key, block.key):
            block.key = key
        self.length += 1
        return True

    cpdef object get(self, bytes id):
        """(delivery time, deliveries, owner) of id, or None."""
        cdef Py_ssize_t at, position
        cdef Record* record
        if not self._locate(read_id(id), &at, &position):
            return None
        if self.width == BARE_BYTES:
            return 0, 0, 0
        record = <Record*>(self.blocks.at[at].data + position * self.width)
        return record.time_ms, record.count, record.owner

    cpdef bint remove(self, bytes id):
        """Take id out; False if it was not there."""
        cdef Py_ssize_t at, position
        cdef Block* block
        if not self._locate(read_id(id), &at, &position):
            return False
        block = &self.blocks.at[at]
        block.count -= 1
        self.length -= 1
        memmove(block.data + position * self.width, block.data + (position + 1) * self.width,
                (block.count - position) * self.width)
        if block.count == 0:
            take_away(&self.blocks, at, &self.nbytes)
        return True

    cpdef list page(self, bytes start, bytes end, Py_ssize_t count):
        """The ids from start to end, both included, at most `count` (0: all)."""
        cdef list out = []
        cdef Py_ssize_t at, position
        cdef Id high = read_id(end), id
        self._locate(read_id(start), &at, &position)
        while at < self.blocks.count:
            if position == self.blocks.at[at].count:
                at += 1
                position = 0
                continue
            id = id_at(&self.blocks.at[at], position, self.width)
            if less(high, id):
                break
            out.append(id_bytes(id))
            if len(out) == count:
                break
            position += 1
        return out

    cpdef bytes last(self):
        """The largest id, or None."""
        cdef Block* block
        if self.length == 0:
            return None
        block = &self.blocks.at[self.blocks.count - 1]
        return id_bytes(id_at(block, block.count - 1, self.width))

    cpdef Py_ssize_t clear_slice(self, Py_ssize_t blocks_max):
        """Free at most so many blocks; returns how many ids are left."""
        while blocks_max > 0 and self.blocks.count > 0:
            self.length -= self.blocks.at[0].count
            take_away(&self.blocks, 0, &self.nbytes)
            blocks_max -= 1
        return self.length

    cpdef take_copy(self, PendingList other):
        """Become equal to other, which has the same form; this one is empty."""
        cdef Py_ssize_t i, used
        cdef Block* block
        for i in range(other.blocks.count):
            used = other.blocks.at[i].count * self.width
            block = make_place(&self.blocks, i, &self.nbytes)
            if block == NULL:
                raise MemoryError
            block.key = other.blocks.at[i].key
            if not resize(block, used, &self.nbytes):
                raise MemoryError
            memcpy(block.data, other.blocks.at[i].data, used)
            block.count = other.blocks.at[i].count
            self.length += block.count

    def check(self):
        """Assert the invariants of the module essay."""
        cdef Py_ssize_t i, j, length = 0
        cdef Py_ssize_t nbytes = OBJECT_BYTES + self.blocks.room * <Py_ssize_t>sizeof(Block)
        cdef Id before, id
        before.ms = before.seq = 0
        for i in range(self.blocks.count):
            assert self.blocks.at[i].count > 0, "empty block"
            assert not less(id_at(&self.blocks.at[i], 0, self.width), self.blocks.at[i].key), "key"
            nbytes += self.blocks.at[i].cap
            for j in range(self.blocks.at[i].count):
                id = id_at(&self.blocks.at[i], j, self.width)
                assert length == 0 or less(before, id), "order"
                before = id
                length += 1
        assert length == self.length, "length"
        assert nbytes == self.nbytes, "nbytes"
