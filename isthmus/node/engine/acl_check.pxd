cimport cython

from isthmus.node.engine.acl_rules cimport Selector, User
from isthmus.node.engine.patterns cimport glob_match
from isthmus.node.engine.spec cimport CommandSpec

@cython.locals(selector=Selector, worst="long long", found="long long")
cpdef long long denied(User user, CommandSpec spec, list[bytes] argv) except -1
@cython.locals(allowed=dict, key="long long", position="long long", last="long long")
cpdef long long denied_by(Selector selector, CommandSpec spec, list[bytes] argv) except -1
@cython.locals(pattern=bytes, given="long long")
cdef bint key_allowed(Selector selector, bytes key, long long access) except -1
