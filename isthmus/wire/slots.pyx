# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `slots.py`, which states the rule.

The CRC table is computed once at import from the polynomial instead of being written out, so
there is nothing in it to mistype.
"""

from libc.string cimport memchr

SLOTS = 16384

# Row k holds the CRC of a byte followed by k zero bytes, so four bytes take four look-ups that do
# not wait for each other.
cdef unsigned short _table[4][256]


cdef void _fill_table() noexcept:
    cdef unsigned int byte, crc, bit, row
    for byte in range(256):
        crc = byte << 8
        for row in range(4):
            for bit in range(8):
                crc = ((crc << 1) ^ 0x1021) if crc & 0x8000 else crc << 1
            crc &= 0xFFFF
            _table[row][byte] = <unsigned short>crc


_fill_table()


cdef int slot_of(const char* key, Py_ssize_t size) noexcept nogil:
    """The slot of the `size` bytes at `key`; needs no GIL and cannot fail."""
    cdef const char* start
    cdef const char* stop
    cdef const char* end = key + size
    cdef unsigned int crc = 0
    if size > 0:
        start = <const char*>memchr(key, c'{', <size_t>size)
        if start != NULL:
            start += 1
            stop = <const char*>memchr(start, c'}', <size_t>(end - start))
            if stop != NULL and stop != start:
                key = start
                end = stop
    while end - key >= 4:
        crc = (_table[3][(crc >> 8) ^ <unsigned char>key[0]]
               ^ _table[2][(crc & 0xFF) ^ <unsigned char>key[1]]
               ^ _table[1][<unsigned char>key[2]] ^ _table[0][<unsigned char>key[3]])
        key += 4
    while key < end:
        crc = ((crc << 8) ^ _table[0][((crc >> 8) ^ <unsigned char>key[0]) & 0xFF]) & 0xFFFF
        key += 1
    return <int>(crc & 16383)


cpdef long long key_slot(bytes key) except -1:
    """Return the slot of `key`, 0 to 16383."""
    return slot_of(<const char*>key, len(key))
