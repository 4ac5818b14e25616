# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `slots.py`, which states the rule.

The CRC table is computed once at import from the polynomial instead of being written out, so
there is nothing in it to mistype.
"""

from libc.string cimport memchr

SLOTS = 16384

cdef unsigned short _table[256]


cdef void _fill_table() noexcept:
    cdef unsigned int byte, crc, bit
    for byte in range(256):
        crc = byte << 8
        for bit in range(8):
            crc = ((crc << 1) ^ 0x1021) if crc & 0x8000 else crc << 1
        _table[byte] = <unsigned short>(crc & 0xFFFF)


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
    while key < end:
        crc = ((crc << 8) ^ _table[((crc >> 8) ^ <unsigned char>key[0]) & 0xFF]) & 0xFFFF
        key += 1
    return <int>(crc & 16383)


cpdef long long key_slot(bytes key) except -1:
    """Return the slot of `key`, 0 to 16383."""
    return slot_of(<const char*>key, len(key))
