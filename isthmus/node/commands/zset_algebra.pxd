cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.engine.keyspace cimport Database
from isthmus.node.engine.table cimport Table
from isthmus.node.values.zsets cimport ZSetValue, store_result

cdef class Source:
    cdef public Table value
    cdef public double weight
    cpdef object score(self, bytes member)
    cpdef list entries(self)

cpdef double combine(double total, double score, bytes how)
@cython.locals(result=ZSetValue, source=Source, score=double)
cpdef ZSetValue union(list[Source] sources, bytes how)
@cython.locals(result=ZSetValue, source=Source, smallest=Source, total=double)
cpdef ZSetValue intersection(list[Source] sources, bytes how)
@cython.locals(result=ZSetValue, source=Source, first=Source)
cpdef ZSetValue difference(list[Source] sources)
