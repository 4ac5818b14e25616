cimport cython

from isthmus.node.engine.effect_log cimport Effect
from isthmus.wire.resp cimport pack, pack_all

@cython.locals(
    argv=list, effect=Effect, commands=list, changes=list, count=Py_ssize_t, db="long long",
)
cpdef tuple encode_batch(list[Effect] batch, long long selected_db)
cdef list select(long long db)
