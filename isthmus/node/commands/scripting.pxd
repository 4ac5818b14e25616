from isthmus.node.engine.context cimport Context
from isthmus.node.engine.spec cimport CommandSpec

cpdef long long keys_count(list[bytes] argv, bytes not_a_number=?)
