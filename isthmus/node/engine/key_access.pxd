cimport cython

from isthmus.node.engine.spec cimport CommandSpec

cpdef list accesses(CommandSpec spec, list[bytes] argv)
