cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.values.bitmaps cimport put_result, record_fields, set_bit
from isthmus.node.values.bits cimport combine, count_ones, first_bit
from isthmus.node.values.keys cimport delete
from isthmus.node.values.strings cimport grown

cdef long long bit_offset(Context ctx, bytes text, long long bits=*) except -1
