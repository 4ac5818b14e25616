from libc.stdint cimport uint8_t

# The same over memory that the caller holds on to.
cdef list listpack_items(const uint8_t* p, Py_ssize_t n)
cdef list ziplist_items(const uint8_t* p, Py_ssize_t n)
cdef list intset_items(const uint8_t* p, Py_ssize_t n)
cdef list zipmap_items(const uint8_t* p, Py_ssize_t n)

cpdef list read_mixed(object source)
cpdef list read_listpack(object source)
cpdef list read_ziplist(object source)
cpdef list read_intset(object source)
cpdef list read_zipmap(object source)
