cimport cython

from isthmus.wire.resp cimport pack, pack_all

@cython.locals(argv=list, commands=list, changes=list, count=Py_ssize_t, db="long long")
cpdef tuple encode_batch(list batch, long long selected_db)
cdef list select(long long db)
