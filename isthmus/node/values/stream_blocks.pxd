# What a stream is made of in memory: blocks in the order of ids, and the coding of their elements.
#
# Only inline functions: this file is compiled into stream_log.pyx, pending_list.pyx and
# rdb_walk.pyx, whose essays explain it. None of them raises; those that allocate answer NULL
# without memory.
#
# An element is coded as in Redis' listpack: a head, its bytes, and its length again, in groups of 7
# bits that are read from the right, so that blocks can be walked both ways:
#
#     0xxxxxxx            a number of 0..127         10xxxxxx  a text of up to 63 bytes
#     110xxxxx +1         a number of 13 bits        1110xxxx +1  a text of up to 4095 bytes
#     F1 +2, F2 +3, F3 +4, F4 +8  a number, little-endian        F0 +4  a longer text
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from isthmus.node.engine.heap cimport heap_add
from isthmus.wire.listpack_write cimport back_size, number_size, put_number


cdef struct Id:
    uint64_t ms
    uint64_t seq


cdef struct Block:
    Id key              # no id in the block is smaller, every id of the block before is
    char* data
    uint32_t used       # bytes
    uint32_t cap        # bytes
    uint32_t count      # what is in it
    uint32_t gone       # and is still there, but marked as deleted


cdef struct Blocks:
    Block* base
    Block* at           # the first one; there may be room before it
    Py_ssize_t count
    Py_ssize_t room     # from base on


# -- ids ------------------------------------------------------------------------------------------


cdef inline bint less(Id a, Id b) noexcept nogil:
    return a.ms < b.ms or (a.ms == b.ms and a.seq < b.seq)


cdef inline bint same(Id a, Id b) noexcept nogil:
    return a.ms == b.ms and a.seq == b.seq


cdef inline Id unpack(const char* p) noexcept nogil:
    """The id in 16 bytes, big-endian."""
    cdef Id id
    cdef int i
    id.ms = 0
    id.seq = 0
    for i in range(8):
        id.ms = id.ms << 8 | <uint8_t>p[i]
        id.seq = id.seq << 8 | <uint8_t>p[i + 8]
    return id


cdef inline void pack(char* out, Id id) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <char>(id.ms >> (56 - 8 * i))
        out[i + 8] = <char>(id.seq >> (56 - 8 * i))


# -- the sequence of blocks -----------------------------------------------------------------------


cdef inline void account(Py_ssize_t* nbytes, Py_ssize_t count) noexcept nogil:
    """Note what was allocated (or freed) in the value's own total and in that of the process."""
    nbytes[0] += count
    heap_add(count)


cdef inline Py_ssize_t find(Blocks* blocks, Id id) noexcept nogil:
    """The last block whose key is not greater than id; -1 if there is none."""
    cdef Py_ssize_t low = 0, high = blocks.count, middle
    while low < high:
        middle = (low + high) >> 1
        if less(id, blocks.at[middle].key):
            high = middle
        else:
            low = middle + 1
    return low - 1


cdef inline Block* make_place(Blocks* blocks, Py_ssize_t at, Py_ssize_t* nbytes) noexcept nogil:
    """An empty block before the one at `at`; `nbytes` grows by what was allocated for it."""
    cdef Py_ssize_t before = blocks.at - blocks.base, room
    cdef Block* base
    if before + blocks.count == blocks.room:
        if before > blocks.count >> 1:
            memmove(blocks.base, blocks.at, blocks.count * sizeof(Block))
            blocks.at = blocks.base
        else:
            room = blocks.count + (blocks.count >> 2) + 1
            base = <Block*>malloc(room * sizeof(Block))
            if base == NULL:
                return NULL
            memcpy(base, blocks.at, blocks.count * sizeof(Block))
            free(blocks.base)
            account(nbytes, (room - blocks.room) * <Py_ssize_t>sizeof(Block))
            blocks.base = base
            blocks.at = base
            blocks.room = room
    memmove(&blocks.at[at + 1], &blocks.at[at], (blocks.count - at) * sizeof(Block))
    blocks.count += 1
    blocks.at[at].data = NULL
    blocks.at[at].used = blocks.at[at].cap = blocks.at[at].count = blocks.at[at].gone = 0
    return &blocks.at[at]


cdef inline void take_away(Blocks* blocks, Py_ssize_t at, Py_ssize_t* nbytes) noexcept nogil:
    """Free the block at `at`; the shorter side closes up."""
    cdef Block* smaller
    account(nbytes, -<Py_ssize_t>blocks.at[at].cap)
    free(blocks.at[at].data)
    blocks.count -= 1
    if at < blocks.count - at:
        memmove(&blocks.at[1], &blocks.at[0], at * sizeof(Block))
        blocks.at += 1
    else:
        memmove(&blocks.at[at], &blocks.at[at + 1], (blocks.count - at) * sizeof(Block))
    if blocks.count == 0:
        account(nbytes, -blocks.room * <Py_ssize_t>sizeof(Block))
        free(blocks.base)
        blocks.base = blocks.at = NULL
        blocks.room = 0
    elif blocks.room > 64 and blocks.count < blocks.room >> 2:
        if blocks.at != blocks.base:
            memmove(blocks.base, blocks.at, blocks.count * sizeof(Block))
            blocks.at = blocks.base
        smaller = <Block*>realloc(blocks.base, (blocks.room >> 1) * sizeof(Block))
        if smaller != NULL:
            account(nbytes, ((blocks.room >> 1) - blocks.room) * <Py_ssize_t>sizeof(Block))
            blocks.base = blocks.at = smaller
            blocks.room >>= 1


cdef inline void free_all(Blocks* blocks, Py_ssize_t nbytes) noexcept nogil:
    """Free every block; `nbytes` is what the value took in all."""
    cdef Py_ssize_t i
    for i in range(blocks.count):
        free(blocks.at[i].data)
    free(blocks.base)
    heap_add(-nbytes)


cdef inline bint resize(Block* block, Py_ssize_t cap, Py_ssize_t* nbytes) noexcept nogil:
    """Give the block another capacity; False without memory."""
    cdef char* data = <char*>realloc(block.data, cap)
    if data == NULL:
        return False
    account(nbytes, cap - <Py_ssize_t>block.cap)
    block.data = data
    block.cap = <uint32_t>cap
    return True


# -- elements -------------------------------------------------------------------------------------


cdef inline Py_ssize_t size_at(const char* at) noexcept nogil:
    """The size of the element that begins here."""
    cdef uint8_t head = <uint8_t>at[0]
    cdef uint32_t n
    cdef Py_ssize_t size
    if head < 0x80:
        return 2
    if head < 0xC0:
        return (head & 0x3F) + 2
    if head < 0xE0:
        return 3
    if head < 0xF0:
        size = ((head & 0x0F) << 8 | <uint8_t>at[1]) + 2
    elif head == 0xF0:
        memcpy(&n, at + 1, 4)
        size = <Py_ssize_t>n + 5
    elif head == 0xF4:
        return 10
    else:
        return head - 0xF1 + 4
    return size + back_size(size)


cdef inline Py_ssize_t size_before(const char* end) noexcept nogil:
    """The size of the element that ends here."""
    cdef const char* p = end - 1
    cdef Py_ssize_t size = 0
    cdef int shift = 0
    while True:
        size |= <Py_ssize_t>(<uint8_t>p[0] & 127) << shift
        if not <uint8_t>p[0] & 128:
            return size + (end - p)
        shift += 7
        p -= 1


cdef inline const char* get(const char* at, Py_ssize_t* n, int64_t* v) noexcept nogil:
    """The text of the element that begins here and its length; NULL if it is the number v."""
    cdef uint8_t head = <uint8_t>at[0]
    cdef uint32_t length
    cdef uint64_t bits = 0
    cdef int i, width
    if head < 0x80:
        v[0] = head
        return NULL
    if head < 0xC0:
        n[0] = head & 0x3F
        return at + 1
    if head < 0xE0:
        v[0] = (head & 0x1F) << 8 | <uint8_t>at[1]
        if v[0] >= 4096:
            v[0] -= 8192
        return NULL
    if head < 0xF0:
        n[0] = (head & 0x0F) << 8 | <uint8_t>at[1]
        return at + 2
    if head == 0xF0:
        memcpy(&length, at + 1, 4)
        n[0] = length
        return at + 5
    width = 8 if head == 0xF4 else head - 0xF1 + 2
    for i in range(width):
        bits |= <uint64_t><uint8_t>at[1 + i] << (8 * i)
    if width < 8 and bits >> (8 * width - 1):
        bits |= ~<uint64_t>0 << (8 * width)
    v[0] = <int64_t>bits
    return NULL


cdef inline int64_t number_at(const char* at) noexcept nogil:
    """The number that begins here."""
    cdef Py_ssize_t n
    cdef int64_t v = 0
    get(at, &n, &v)
    return v


# -- blocks of a stream as listpacks --------------------------------------------------------------


cdef inline Py_ssize_t listpack_bytes(Block* block) noexcept nogil:
    """The size of the listpack that Redis would have in place of this block."""
    return 7 + block.used + number_size(block.count) + number_size(block.gone)


cdef inline void write_listpack(char* at, Block* block) noexcept nogil:
    """Write that listpack: the block behind a head and its two counts, and the end mark."""
    cdef uint32_t total = <uint32_t>listpack_bytes(block)
    cdef Py_ssize_t elements = 2
    cdef char* p = at + 6
    memcpy(at, &total, 4)
    p += put_number(p, block.count)
    p += put_number(p, block.gone)
    memcpy(p, block.data, block.used)
    at[total - 1] = <char>0xFF
    while p < at + total - 1:
        p += size_at(p)
        elements += 1
    if elements > 0xFFFF:
        elements = 0xFFFF
    at[4] = <char>(elements & 0xFF)
    at[5] = <char>(elements >> 8)
