from isthmus.node.engine.context cimport Context
from isthmus.node.values cimport hll
from isthmus.node.values.hyperloglogs cimport add_elements, count, make_dense, mutable, store_merged
