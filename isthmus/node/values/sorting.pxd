from isthmus.node.engine.keyspace cimport Database
from isthmus.node.values.keys cimport delete
from isthmus.node.values.lists cimport ListValue, grows
from isthmus.node.values.score_index cimport read_score

cpdef double weight(bytes text) except? -1
cpdef void store_list(Database db, bytes key, list[bytes] elements)
