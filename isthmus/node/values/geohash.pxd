cimport cython

from isthmus.node.values.geo_math cimport decode, encode, filter_places
from isthmus.node.values.score_index cimport ScoreIndex

@cython.locals(start="long long", stop="long long")
cpdef list search(ScoreIndex index, object area, long long limit)
