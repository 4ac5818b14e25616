# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""StreamLog, compiled: blocks of packed entries in the order of their ids.

The twin `stream_log.py` states the contract. A block is one malloc of elements (stream_blocks.pxd
has their coding), the same that Redis keeps in a node of its radix tree, without the frame and the
two counts in front, which stand in the descriptor:

    number of fields | field ... | 0 | entry | entry ...

    an entry:   flags | ms - key.ms | seq - key.seq | value ...                              | n
    or:         flags | ms - key.ms | seq - key.seq | number of fields | field | value | ... | n

The first form is that of an entry whose fields are those at the head of the block (flag 2). Flag 1
says deleted. `n` counts the elements before it, so that entries can be walked from their end, down
to the 0. Flags are below 128 and take one fixed byte, so an entry is marked in place.

The last block has room to grow by half; it is cut to its size when the next one begins. The
descriptors are one array, searched by halving. Trimming frees whole blocks from the front.

Invariants (`check()` verifies them): a block has at least one entry, deleted or not; keys and ids
rise; `length` and `nbytes` are the sums over the blocks; `first` is the first live entry.

It may not: raise from the middle of a change (memory is reserved first), or keep a pointer into a
block across a change.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from isthmus.node.values.stream_blocks cimport (
    Block, Blocks, Id, account, find, free_all, get, less, listpack_bytes, make_place, number_at,
    resize, same, size_at, size_before, take_away, write_listpack
)
from isthmus.node.values.stream_ids cimport ID_ROOM, after, id_bytes, put_id, read_id
from isthmus.wire.digits cimport write_int
from isthmus.wire.listpack_write cimport number_size, put_number, put_text, text_size
from isthmus.wire.reply cimport ReplyWriter

cdef enum:
    GONE = 1
    SHARED = 2              # the fields are those of the block
    BLOCK_MIN = 120

cdef Py_ssize_t LISTPACK_BYTES_MAX = 1 << 30
cdef Py_ssize_t OBJECT_BYTES = 176
cdef uint64_t U64 = <uint64_t>0 - 1


# -- blocks ---------------------------------------------------------------------------------------


cdef inline char* entries_of(Block* block, Py_ssize_t* pairs, char** fields) noexcept nogil:
    """Where the entries begin, and what the head says."""
    cdef char* at = block.data
    cdef Py_ssize_t i
    pairs[0] = <Py_ssize_t>number_at(at)
    at += size_at(at)
    fields[0] = at
    for i in range(pairs[0]):
        at += size_at(at)
    return at + 2


cdef inline void read_entry(Block* block, char* at, Entry* entry) noexcept nogil:
    """Decode what stands before the texts; `pairs` is set only if the entry has its own fields."""
    entry.begin = at
    entry.gone = at[0] & GONE
    entry.own_fields = not at[0] & SHARED
    at += 2
    entry.id.ms = block.key.ms + <uint64_t>number_at(at)
    at += size_at(at)
    entry.id.seq = block.key.seq + <uint64_t>number_at(at)
    at += size_at(at)
    if entry.own_fields:
        entry.pairs = <Py_ssize_t>number_at(at)
        at += size_at(at)
    entry.texts = at


cdef inline char* entry_before(char* end) noexcept nogil:
    """Where the entry that ends here begins; NULL if the head of the block ends here."""
    cdef char* at = end - size_before(end)
    cdef Py_ssize_t elements = <Py_ssize_t>number_at(at)
    if elements == 0:
        return NULL
    while elements > 0:
        at -= size_before(at)
        elements -= 1
    return at


cdef bint fields_equal(char* at, list argv, Py_ssize_t first) noexcept:
    """True if the fields that begin here are argv[first], argv[first + 2] ..."""
    cdef Py_ssize_t i, n
    cdef int64_t v = 0
    cdef const char* p
    cdef char spelt[24]
    cdef bytes field
    for i in range(first, len(argv), 2):
        p = get(at, &n, &v)
        if p == NULL:
            n = write_int(spelt, v)
            p = spelt
        field = <bytes>argv[i]
        if n != PyBytes_GET_SIZE(field) or memcmp(p, PyBytes_AS_STRING(field), n) != 0:
            return False
        at += size_at(at)
    return True


cdef inline int write_text(ReplyWriter reply, const char* at) except -1:
    """Write the element that begins here as a bulk string."""
    cdef Py_ssize_t n
    cdef int64_t v = 0
    cdef char spelt[24]
    cdef const char* p = get(at, &n, &v)
    if p == NULL:
        return reply.bulk_raw(spelt, write_int(spelt, v))
    return reply.bulk_raw(p, n)


cdef bytes text_at(const char* at):
    cdef Py_ssize_t n
    cdef int64_t v = 0
    cdef char spelt[24]
    cdef const char* p = get(at, &n, &v)
    if p == NULL:
        return PyBytes_FromStringAndSize(spelt, write_int(spelt, v))
    return PyBytes_FromStringAndSize(p, n)


cdef int write_count(ReplyWriter reply, Py_ssize_t mark, Py_ssize_t guess,
                     Py_ssize_t count) except -1:
    """Put the right number into the head of an array that was written at `mark` for a guess."""
    cdef char head[24]
    cdef Py_ssize_t old, new
    if guess == count:
        return 0
    old = 3 + write_int(head + 1, guess)
    new = 3 + write_int(head + 1, count)
    head[0] = c'*'
    head[new - 2] = c'\r'
    head[new - 1] = c'\n'
    if new > old:
        reply.reserve(new - old)
    memmove(reply.buf + mark + new, reply.buf + mark + old, reply.size - mark - old)
    memcpy(reply.buf + mark, head, new)
    reply.size += new - old
    return 0


cdef class StreamLog:
    """The entries of a stream in packed blocks; the contract is in stream_log.py."""

    def __cinit__(self, *args, **kwargs):
        self.blocks.base = self.blocks.at = NULL
        self.blocks.count = self.blocks.room = 0
        self.first.ms = self.first.seq = 0
        self.last = self.top = self.first
        self.length = 0
        self.entries_added = 0
        self.nbytes = 0
        account(&self.nbytes, OBJECT_BYTES)

    def __dealloc__(self):
        free_all(&self.blocks, self.nbytes)

    def __len__(self):
        return self.length

    @property
    def first_id(self):
        return id_bytes(self.first)

    @property
    def last_id(self):
        return id_bytes(self.last)

    @property
    def top_deleted(self):
        return id_bytes(self.top)

    @property
    def block_count(self):
        return self.blocks.count

    # -- writing ------------------------------------------------------------------------------

    cpdef bytes auto_id(self, unsigned long long now_ms):
        """The id that an entry added now gets; None if there is none left."""
        cdef Id id
        if now_ms > self.last.ms:
            id.ms = now_ms
            id.seq = 0
            return id_bytes(id)
        id = after(self.last)
        return None if id.ms == 0 and id.seq == 0 else id_bytes(id)

    cdef Block* _room(self, Block* block, Py_ssize_t need, Py_ssize_t most) except NULL:
        """Let the block take `need` more bytes; it grows by half, up to `most` if that does."""
        cdef Py_ssize_t wanted = block.used + need, cap
        if wanted <= <Py_ssize_t>block.cap:
            return block
        cap = wanted + (wanted >> 1)
        if cap < BLOCK_MIN:
            cap = BLOCK_MIN
        if cap > most:
            cap = wanted if wanted > most else most
        if not resize(block, (cap + 23 & ~<Py_ssize_t>15) - 8, &self.nbytes) and (
            not resize(block, wanted, &self.nbytes)
        ):
            raise MemoryError
        return block

    cpdef int append(self, list argv, Py_ssize_t first, bytes id, long long bytes_max,
                     long long entries_max) except -1:
        """Add the entry argv[first:] with an id behind last_id."""
        cdef Id key = read_id(id)
        cdef Py_ssize_t count = len(argv), pairs = (count - first) >> 1, total = 0, need, i
        cdef Py_ssize_t head_pairs
        cdef Block* block = NULL
        cdef char* at
        cdef bint own_fields = True, fresh = False
        cdef bytes text
        if bytes_max <= 0 or bytes_max > LISTPACK_BYTES_MAX:
            bytes_max = LISTPACK_BYTES_MAX
        need = 48
        for i in range(first, count):
            text = <bytes>argv[i]
            total += PyBytes_GET_SIZE(text)
            # A number may take a byte more than its digits.
            need += PyBytes_GET_SIZE(text) + 10
        if self.blocks.count > 0:
            block = &self.blocks.at[self.blocks.count - 1]
            if listpack_bytes(block) + total >= bytes_max or (
                entries_max and block.count + block.gone >= entries_max
            ):
                # What remains of its room is given back; nothing is lost if that fails.
                if block.cap - block.used >= 16:
                    resize(block, block.used, &self.nbytes)
                block = NULL
        if block == NULL:
            fresh = True
            block = make_place(&self.blocks, self.blocks.count, &self.nbytes)
            if block == NULL:
                raise MemoryError
            block.key = key
            try:
                self._room(block, entry_bytes(argv, first, key, key, False, True), bytes_max)
            except MemoryError:
                take_away(&self.blocks, self.blocks.count - 1, &self.nbytes)
                raise
            own_fields = False
            at = block.data
            at += put_number(at, pairs)
            for i in range(first, count, 2):
                text = <bytes>argv[i]
                at += put_text(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            at += put_number(at, 0)
        else:
            head_pairs = <Py_ssize_t>number_at(block.data)
            if head_pairs == pairs:
                own_fields = not fields_equal(block.data + size_at(block.data), argv, first)
            if need > <Py_ssize_t>(block.cap - block.used):
                need = entry_bytes(argv, first, key, block.key, own_fields, False)
                self._room(block, need, bytes_max)
            at = block.data + block.used
        block.used = <uint32_t>(put_entry(at, argv, first, key, block.key, own_fields) - block.data)
        block.count += 1
        self.length += 1
        self.entries_added += 1
        self.last = key
        if self.length == 1:
            self.first = key
        return 0

    cpdef set_state(self, bytes last_id, bytes top_deleted, long long entries_added):
        """XSETID: what is known of entries that are no longer there."""
        self.last = read_id(last_id)
        self.top = read_id(top_deleted)
        self.entries_added = entries_added

    cpdef bint remove(self, bytes id) except -1:
        """Mark an entry as deleted; a block of which nothing is left goes. False if not there."""
        cdef Id wanted = read_id(id)
        cdef Walk walk
        if not self._begin(&walk, wanted, wanted, False) or not self._next(&walk, wanted, wanted):
            return False
        if walk.block.count == 1:
            take_away(&self.blocks, walk.index, &self.nbytes)
        else:
            walk.entry.begin[0] |= GONE
            walk.block.count -= 1
            walk.block.gone += 1
        self.length -= 1
        if less(self.top, wanted):
            self.top = wanted
        if same(self.first, wanted):
            self._find_first()
        return True

    cpdef Py_ssize_t trim_length(self, Py_ssize_t most, bint exact, Py_ssize_t limit):
        """Remove the oldest entries beyond `most`, at most about `limit` (0: all); how many."""
        return self._trim(most, False, self.first, exact, limit)

    cpdef Py_ssize_t trim_before(self, bytes id, bint exact, Py_ssize_t limit):
        """Remove the entries before id, at most about `limit` (0: all); how many."""
        return self._trim(0, True, read_id(id), exact, limit)

    cdef Py_ssize_t _trim(self, Py_ssize_t most, bint by_id, Id before, bint exact,
                          Py_ssize_t limit):
        cdef Py_ssize_t removed = 0, entries
        cdef Block* block
        cdef Entry entry
        cdef Walk walk
        cdef bint whole
        while self.blocks.count > 0 and (by_id or self.length > most):
            block = self.blocks.at
            entries = block.count
            if limit and removed + entries > limit:
                break
            if by_id:
                read_entry(block, entry_before(block.data + block.used), &entry)
                whole = less(entry.id, before)
            else:
                whole = self.length - entries >= most
            if whole:
                removed += entries
                self.length -= entries
                take_away(&self.blocks, 0, &self.nbytes)
                continue
            if exact:
                walk.index = 0
                self._enter(&walk, False)
                while walk.at < block.data + block.used:
                    read_entry(block, walk.at, &walk.entry)
                    if not less(walk.entry.id, before) if by_id else self.length <= most:
                        break
                    if not walk.entry.gone:
                        walk.at[0] |= GONE
                        block.count -= 1
                        block.gone += 1
                        self.length -= 1
                        removed += 1
                    skip_texts(&walk)
            break
        if removed or self.length == 0:
            self._find_first()
        return removed

    cdef void _find_first(self) noexcept:
        cdef Walk walk
        cdef Id low, high
        low.ms = low.seq = 0
        high.ms = high.seq = U64
        self.first = low
        if self._begin(&walk, low, high, False) and self._next(&walk, low, high):
            self.first = walk.entry.id

    cpdef Py_ssize_t clear_slice(self, Py_ssize_t blocks_max):
        """Free at most so many blocks; returns the entries that are left."""
        while blocks_max > 0 and self.blocks.count > 0:
            self.length -= self.blocks.at[0].count
            take_away(&self.blocks, 0, &self.nbytes)
            blocks_max -= 1
        return self.length

    cpdef take_copy(self, StreamLog other):
        """Become equal to other; this one is empty."""
        cdef Py_ssize_t i
        cdef Block* block
        for i in range(other.blocks.count):
            block = make_place(&self.blocks, i, &self.nbytes)
            if block == NULL:
                raise MemoryError
            block.key = other.blocks.at[i].key
            if not resize(block, other.blocks.at[i].used, &self.nbytes):
                raise MemoryError
            block.used = other.blocks.at[i].used
            block.count = other.blocks.at[i].count
            block.gone = other.blocks.at[i].gone
            memcpy(block.data, other.blocks.at[i].data, block.used)
        self.length = other.length
        self.first = other.first
        self.last = other.last
        self.top = other.top
        self.entries_added = other.entries_added

    # -- walking ------------------------------------------------------------------------------

    cdef bint _begin(self, Walk* walk, Id start, Id end, bint reverse) noexcept:
        """Put the walk into the block that has the first entry from start (or the last to end)."""
        if self.length == 0 or less(end, start):
            return False
        walk.index = find(&self.blocks, end if reverse else start)
        if walk.index < 0:
            if reverse:
                return False
            walk.index = 0
        self._enter(walk, reverse)
        return True

    cdef void _enter(self, Walk* walk, bint reverse) noexcept:
        walk.block = &self.blocks.at[walk.index]
        walk.at = entries_of(walk.block, &walk.pairs, &walk.fields)
        if reverse:
            walk.at = walk.block.data + walk.block.used

    cdef bint _next(self, Walk* walk, Id start, Id end) noexcept:
        """Step onto the next live entry from start to end; False if there is none."""
        while True:
            if walk.at >= walk.block.data + walk.block.used:
                walk.index += 1
                if walk.index >= self.blocks.count:
                    return False
                self._enter(walk, False)
                if less(end, walk.block.key):
                    return False
            read_entry(walk.block, walk.at, &walk.entry)
            if less(end, walk.entry.id):
                return False
            skip_texts(walk)
            if not walk.entry.gone and not less(walk.entry.id, start):
                return True

    cdef bint _previous(self, Walk* walk, Id start, Id end) noexcept:
        """Step onto the live entry before, from start to end; False if there is none."""
        cdef char* begin
        while True:
            begin = entry_before(walk.at)
            if begin == NULL:
                walk.index -= 1
                if walk.index < 0:
                    return False
                self._enter(walk, True)
                continue
            walk.at = begin
            read_entry(walk.block, begin, &walk.entry)
            if not walk.entry.own_fields:
                walk.entry.pairs = walk.pairs
            if less(walk.entry.id, start):
                return False
            if not walk.entry.gone and not less(end, walk.entry.id):
                return True

    # -- reading ------------------------------------------------------------------------------

    cpdef bint contains(self, bytes id):
        """True if there is an entry of this id that was not deleted."""
        cdef Walk walk
        cdef Id wanted = read_id(id)
        return self._begin(&walk, wanted, wanted, False) and self._next(&walk, wanted, wanted)

    cpdef bytes last_valid(self):
        """The id of the last entry that was not deleted; zero if there is none."""
        cdef Walk walk
        cdef Id low, high
        low.ms = low.seq = 0
        high.ms = high.seq = U64
        if self._begin(&walk, low, high, True) and self._previous(&walk, low, high):
            return id_bytes(walk.entry.id)
        return id_bytes(low)

    cpdef list slice(self, bytes start, bytes end, Py_ssize_t count, bint reverse):
        """Ids and texts from start to end, both included, at most `count` (0: all)."""
        cdef Id low = read_id(start), high = read_id(end)
        cdef Walk walk
        cdef list out = [], texts
        cdef char* at
        cdef char* field
        cdef Py_ssize_t i
        if not self._begin(&walk, low, high, reverse):
            return out
        while self._previous(&walk, low, high) if reverse else self._next(&walk, low, high):
            at = walk.entry.texts
            field = walk.fields
            texts = []
            for i in range(walk.entry.pairs):
                if walk.entry.own_fields:
                    texts.append(text_at(at))
                    at += size_at(at)
                else:
                    texts.append(text_at(field))
                    field += size_at(field)
                texts.append(text_at(at))
                at += size_at(at)
            out.append((id_bytes(walk.entry.id), texts))
            if len(out) == count:
                break
        return out

    cpdef Py_ssize_t write_range(self, ReplyWriter reply, bytes start, bytes end,
                                 Py_ssize_t count, bint reverse, bint framed,
                                 list ids) except -1:
        """Write the entries of slice(), each an id and an array of texts; returns how many."""
        cdef Id low = read_id(start), high = read_id(end)
        cdef Walk walk
        cdef char spelt[ID_ROOM]
        cdef char* at
        cdef char* field
        cdef Py_ssize_t i, written = 0, mark = reply.size
        # The head of the array is written for the number that is most likely.
        cdef Py_ssize_t guess = count if 0 < count < self.length else self.length
        if framed:
            reply.array(guess)
        if self._begin(&walk, low, high, reverse):
            while self._previous(&walk, low, high) if reverse else self._next(&walk, low, high):
                reply.append(b"*2\r\n", 4)
                reply.bulk_raw(spelt, put_id(spelt, walk.entry.id))
                reply.array(2 * walk.entry.pairs)
                at = walk.entry.texts
                field = walk.fields
                for i in range(walk.entry.pairs):
                    if walk.entry.own_fields:
                        write_text(reply, at)
                        at += size_at(at)
                    else:
                        write_text(reply, field)
                        field += size_at(field)
                    write_text(reply, at)
                    at += size_at(at)
                if ids is not None:
                    ids.append(id_bytes(walk.entry.id))
                written += 1
                if written == count:
                    break
        if framed:
            write_count(reply, mark, guess, written)
        return written

    cpdef list listpacks(self):
        """Key and listpack of each block, byte for byte as Redis stores and saves them."""
        cdef list out = []
        cdef Py_ssize_t i
        cdef Block* block
        cdef bytes made
        for i in range(self.blocks.count):
            block = &self.blocks.at[i]
            made = PyBytes_FromStringAndSize(NULL, listpack_bytes(block))
            write_listpack(PyBytes_AS_STRING(made), block)
            out.append((id_bytes(block.key), made))
        return out

    cpdef Py_ssize_t tree_nodes(self):
        """How many nodes Redis' radix tree would have over the keys of the blocks."""
        cdef int open_depths[17]
        cdef int depth, before = -1, above, top = 0
        cdef Py_ssize_t i, nodes = self.blocks.count
        if nodes == 0:
            return 1
        for i in range(self.blocks.count):
            depth = -1
            if i + 1 < self.blocks.count:
                depth = common(self.blocks.at[i].key, self.blocks.at[i + 1].key)
            # The rest of the key, below the last place where it branches.
            nodes += (before if before > depth else depth) + 1 < 16
            # The nodes that branch deeper than that have got all their keys.
            while top > 0 and open_depths[top - 1] > depth:
                top -= 1
                above = open_depths[top - 1] if top > 0 else -1
                if above < depth:
                    above = depth
                nodes += 1 + (open_depths[top] > above + 1)
            if depth >= 0 and (top == 0 or open_depths[top - 1] < depth):
                open_depths[top] = depth
                top += 1
            before = depth
        return nodes

    def check(self):
        """Walk everything and assert the invariants of the module essay."""
        cdef Py_ssize_t i, nbytes = OBJECT_BYTES + self.blocks.room * sizeof(Block), length = 0
        cdef Py_ssize_t count, gone
        cdef Block* block
        cdef Walk walk
        cdef char* last = NULL
        cdef Id before, first
        cdef bint started = False
        first.ms = first.seq = 0
        before = first
        for i in range(self.blocks.count):
            block = &self.blocks.at[i]
            assert 0 < block.used <= block.cap, "block bounds"
            nbytes += block.cap
            walk.index = i
            self._enter(&walk, False)
            count = gone = 0
            while walk.at < block.data + block.used:
                last = walk.at
                read_entry(block, walk.at, &walk.entry)
                skip_texts(&walk)
                assert not started or less(before, walk.entry.id), "order"
                assert not less(walk.entry.id, block.key), "key"
                assert entry_before(walk.at) == last, "count of elements"
                if count == 0 and length == 0 and not walk.entry.gone:
                    first = walk.entry.id
                before = walk.entry.id
                started = True
                gone += walk.entry.gone
                count += not walk.entry.gone
            assert count == block.count and gone == block.gone, "counts"
            assert count + gone > 0, "empty block"
            length += count
        assert length == self.length, "length"
        assert nbytes == self.nbytes, "nbytes"
        assert same(first, self.first), "first id"
        assert not less(self.last, before), "last id"


cdef inline int common(Id a, Id b) noexcept nogil:
    """How many bytes of their 16 two different ids share."""
    cdef uint64_t differing = a.ms ^ b.ms
    cdef int shared = 0
    if differing == 0:
        differing = a.seq ^ b.seq
        shared = 8
    while not differing >> 56:
        differing <<= 8
        shared += 1
    return shared


cdef inline void skip_texts(Walk* walk) noexcept nogil:
    """Move behind the entry that was read, and say how many pairs it has."""
    cdef char* at = walk.entry.texts
    cdef Py_ssize_t elements
    if walk.entry.own_fields:
        elements = 2 * walk.entry.pairs
    else:
        walk.entry.pairs = walk.pairs
        elements = walk.pairs
    while elements > 0:
        at += size_at(at)
        elements -= 1
    walk.at = at + size_at(at)


cdef Py_ssize_t entry_bytes(list argv, Py_ssize_t first, Id id, Id key, bint own_fields,
                            bint head) noexcept:
    """What the entry takes, and with it the head of a block that begins with it."""
    cdef Py_ssize_t i, size, pairs = (len(argv) - first) >> 1
    cdef Py_ssize_t total = 2 + number_size(<int64_t>(id.ms - key.ms))
    cdef bint field = True
    cdef bytes text
    total += number_size(<int64_t>(id.seq - key.seq)) + number_size(2 * pairs + 4)
    total += number_size(pairs) + 2
    for i in range(first, len(argv)):
        text = <bytes>argv[i]
        if not field or own_fields or head:
            total += text_size(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        field = not field
    return total


cdef char* put_entry(char* at, list argv, Py_ssize_t first, Id id, Id key,
                     bint own_fields) noexcept:
    """Write the entry; returns where it ends."""
    cdef Py_ssize_t i, count = len(argv), pairs = (count - first) >> 1
    cdef bytes text
    at += put_number(at, 0 if own_fields else SHARED)
    at += put_number(at, <int64_t>(id.ms - key.ms))
    at += put_number(at, <int64_t>(id.seq - key.seq))
    if own_fields:
        at += put_number(at, pairs)
    i = first if own_fields else first + 1
    while i < count:
        text = <bytes>argv[i]
        at += put_text(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        i += 1 if own_fields else 2
    at += put_number(at, 3 + pairs + (pairs + 1 if own_fields else 0))
    return at
