cimport cython

from isthmus.node.engine.rng cimport Rng
from isthmus.node.engine.table cimport Table
from isthmus.wire.reply cimport ReplyWriter

@cython.locals(drawn=dict)
cpdef list[bytes] distinct_keys(Table table, long long count, Rng rng)
@cython.locals(size="Py_ssize_t", at="Py_ssize_t", other="Py_ssize_t")
cpdef void shuffle(list[bytes] keys, long long count, Rng rng)
@cython.locals(start="Py_ssize_t", key=bytes)
cpdef void write_repeats(Table table, long long count, Rng rng, ReplyWriter reply,
                         bint values, bint nested)
@cython.locals(key=bytes)
cpdef void write_distinct(Table table, long long count, Rng rng, ReplyWriter reply,
                          bint values, bint nested)
