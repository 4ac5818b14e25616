from libc.stdint cimport uint8_t, uint64_t

cdef Py_ssize_t lzf_pack(
    const uint8_t* data, Py_ssize_t size, uint8_t* out, Py_ssize_t room
) noexcept nogil
cdef bint lzf_fits(Py_ssize_t size, uint64_t out_size) noexcept nogil
cdef bint lzf_expand(
    const uint8_t* source, Py_ssize_t size, uint8_t* out, Py_ssize_t out_size
) noexcept nogil
cpdef bytes decompress(object data, Py_ssize_t size)
