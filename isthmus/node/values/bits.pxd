# Counting, searching and combining bits of strings; bits.pyx explains it.
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    static inline int isthmus_popcount(unsigned long long word) {
        word -= (word >> 1) & 0x5555555555555555ULL;
        word = (word & 0x3333333333333333ULL) + ((word >> 2) & 0x3333333333333333ULL);
        word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
        return (int)((word * 0x0101010101010101ULL) >> 56);
    }
    """
    int popcount "isthmus_popcount"(unsigned long long word) noexcept nogil

cdef long long count_raw(const unsigned char* p, Py_ssize_t n) noexcept nogil
cpdef long long count_ones(object data, long long first, long long last) except -1
cpdef long long first_bit(object data, long long first, long long last, long long bit) except -2
cpdef bytes combine(long long operation, list operands, long long length)
