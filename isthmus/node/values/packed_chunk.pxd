# One chunk of a packed list: its layout, the coding of elements, and what a listpack would take.
#
# Only inline functions: this file is compiled into packed_list.pyx, whose essay explains it. None
# of them allocates, raises, or follows `prev` and `next`.
from libc.string cimport memcmp, memcpy, memmove

cdef extern from *:
    """
    /* What malloc adds to a block, so that a whole chunk is 8 KiB of the heap. */
    #define MALLOC_HEADER ((Py_ssize_t)sizeof(size_t))
    #define CHUNK_HEADER ((Py_ssize_t)(6 * sizeof(void *)))
    #define CHUNK_CAP (8192 - MALLOC_HEADER - CHUNK_HEADER)
    """
    const Py_ssize_t MALLOC_HEADER
    const Py_ssize_t CHUNK_HEADER       # the size of the struct Chunk
    const Py_ssize_t CHUNK_CAP


cdef struct Chunk:
    Chunk* prev
    Chunk* next
    Py_ssize_t cap      # bytes of room after this header
    Py_ssize_t head     # offset of the first used byte
    Py_ssize_t tail     # offset after the last used byte
    Py_ssize_t count    # elements


cdef inline char* data_of(Chunk* chunk) noexcept nogil:
    return <char*>chunk + CHUNK_HEADER


cdef inline Py_ssize_t used_in(Chunk* chunk) noexcept nogil:
    return chunk.tail - chunk.head


cdef inline Py_ssize_t tag_size(Py_ssize_t n) noexcept nogil:
    if n < 254:
        return 1
    return 3 if n <= 0xFFFF else 9


cdef inline Py_ssize_t packed_size(Py_ssize_t n) noexcept nogil:
    return n + 2 * tag_size(n)


cdef inline void pack(char* at, const char* p, Py_ssize_t n) noexcept nogil:
    cdef unsigned short small
    cdef unsigned long long large
    if n < 254:
        at[0] = <char>n
        memcpy(at + 1, p, n)
        at[n + 1] = <char>n
    elif n <= 0xFFFF:
        small = <unsigned short>n
        at[0] = <char>254
        memcpy(at + 1, &small, 2)
        memcpy(at + 3, p, n)
        memcpy(at + 3 + n, &small, 2)
        at[n + 5] = <char>254
    else:
        large = <unsigned long long>n
        at[0] = <char>255
        memcpy(at + 1, &large, 8)
        memcpy(at + 9, p, n)
        memcpy(at + 9 + n, &large, 8)
        at[n + 17] = <char>255


cdef inline char* payload(char* at, Py_ssize_t* n) noexcept nogil:
    """The payload of the element that begins at `at`."""
    cdef unsigned char tag = <unsigned char>at[0]
    cdef unsigned short small
    cdef unsigned long long large
    if tag < 254:
        n[0] = tag
        return at + 1
    if tag == 254:
        memcpy(&small, at + 1, 2)
        n[0] = small
        return at + 3
    memcpy(&large, at + 1, 8)
    n[0] = <Py_ssize_t>large
    return at + 9


cdef inline Py_ssize_t size_before(char* end) noexcept nogil:
    """The packed size of the element that ends at `end`."""
    cdef unsigned char tag = <unsigned char>(end - 1)[0]
    cdef unsigned short small
    cdef unsigned long long large
    if tag < 254:
        return <Py_ssize_t>tag + 2
    if tag == 254:
        memcpy(&small, end - 3, 2)
        return <Py_ssize_t>small + 6
    memcpy(&large, end - 9, 8)
    return <Py_ssize_t>large + 18


cdef inline bint equals(const char* a, const char* b, Py_ssize_t n) noexcept nogil:
    return n == 0 or (a[0] == b[0] and memcmp(a, b, n) == 0)


cdef inline bint as_integer(const char* p, Py_ssize_t n, long long* value) noexcept nogil:
    """Whether these bytes are a canonical int64, as Redis' listpack stores numbers."""
    cdef bint negative = p[0] == b'-'
    cdef Py_ssize_t i = 1 if negative else 0
    cdef unsigned long long number = 0
    cdef unsigned int digit
    if n > 20 or i == n:
        return False
    if p[i] == b'0':
        value[0] = 0
        return n == 1
    while i < n:
        digit = <unsigned char>p[i] - 48u
        if digit > 9 or number > (0xFFFFFFFFFFFFFFFFULL - digit) / 10:
            return False
        number = number * 10 + digit
        i += 1
    if negative:
        if number > 0x8000000000000000ULL:
            return False
        value[0] = <long long>(0 - number)
    else:
        if number > 0x7FFFFFFFFFFFFFFFULL:
            return False
        value[0] = <long long>number
    return True


cdef inline Py_ssize_t listpack_entry(const char* p, Py_ssize_t n) noexcept nogil:
    """The bytes that Redis' listpack spends on this element (its header, body, back length)."""
    cdef long long v
    cdef Py_ssize_t size
    if 0 < n <= 20 and (p[0] == b'-' or b'0' <= p[0] <= b'9') and as_integer(p, n, &v):
        if 0 <= v <= 127:
            return 2
        if -4096 <= v <= 4095:
            return 3
        if -32768 <= v <= 32767:
            return 4
        if -8388608 <= v <= 8388607:
            return 5
        return 6 if -2147483648 <= v <= 2147483647 else 10
    size = n + (1 if n < 64 else 2 if n < 4096 else 5)
    if size <= 127:
        return size + 1
    if size < 16383:
        return size + 2
    if size < 2097151:
        return size + 3
    return size + (4 if size < 268435455 else 5)


cdef inline Py_ssize_t listpack_entries(Chunk* chunk) noexcept nogil:
    cdef Py_ssize_t total = 0, n
    cdef char* at = data_of(chunk) + chunk.head
    cdef char* end = data_of(chunk) + chunk.tail
    cdef char* p
    while at < end:
        p = payload(at, &n)
        total += listpack_entry(p, n)
        at += packed_size(n)
    return total


cdef inline Py_ssize_t grown(Py_ssize_t need) noexcept nogil:
    """The room to reserve for `need` bytes: half as much again, in whole malloc units."""
    cdef Py_ssize_t fixed = MALLOC_HEADER + CHUNK_HEADER
    cdef Py_ssize_t room = ((need + need // 2 + 16 + fixed + 15) & ~<Py_ssize_t>15) - fixed
    if need > CHUNK_CAP:
        return need
    return room if room < CHUNK_CAP else CHUNK_CAP


cdef inline Py_ssize_t footprint(Py_ssize_t cap) noexcept nogil:
    """The heap bytes of a chunk with this capacity, in malloc's own units."""
    return (cap + CHUNK_HEADER + MALLOC_HEADER + 15) & ~<Py_ssize_t>15


cdef inline Py_ssize_t drop_equal(Chunk* chunk, const char* p, Py_ssize_t n, Py_ssize_t most,
                                   bint backwards) noexcept nogil:
    """Close up the chunk over at most `most` elements equal to p; returns how many."""
    cdef char* data = data_of(chunk)
    cdef Py_ssize_t read = chunk.tail if backwards else chunk.head
    cdef Py_ssize_t write = read
    cdef Py_ssize_t dropped = 0, size, length
    cdef char* q
    while (read > chunk.head if backwards else read < chunk.tail) and dropped < most:
        if backwards:
            size = size_before(data + read)
            read -= size
            q = payload(data + read, &length)
        else:
            q = payload(data + read, &length)
            size = packed_size(length)
        if length == n and equals(q, p, n):
            dropped += 1
            if not backwards:
                read += size
            continue
        if backwards:
            write -= size
            if write != read:
                memmove(data + write, data + read, size)
        else:
            if write != read:
                memmove(data + write, data + read, size)
            write += size
            read += size
    if dropped:
        if backwards:
            size = read - chunk.head
            memmove(data + write - size, data + chunk.head, size)
            chunk.head = write - size
        else:
            memmove(data + write, data + read, chunk.tail - read)
            chunk.tail = write + chunk.tail - read
        chunk.count -= dropped
    return dropped
