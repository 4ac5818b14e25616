cdef unsigned int access_word
cdef int access_mode
cpdef long long hinted(long long idle_s, long long freq) noexcept
cdef unsigned int bump(unsigned int word) noexcept
cdef inline unsigned int stamped(unsigned int word) noexcept:
    if access_mode == 0:
        return access_word
    return word if access_mode == 2 else bump(word)
cpdef unsigned int decayed(unsigned int word) noexcept
