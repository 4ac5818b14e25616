cimport cython

from isthmus.node.engine.context cimport Context
from isthmus.node.values.geo_math cimport decode, distance, encode
from isthmus.node.values.keys cimport delete
from isthmus.node.values.zsets cimport Added, ZSetValue, add_pairs, create, store_result
