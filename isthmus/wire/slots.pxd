cdef int slot_of(const char* key, Py_ssize_t size) noexcept nogil
cpdef long long key_slot(bytes key) except -1
