cimport cython

cdef long long STAR, QUESTION, OPEN, CLOSE, CARET, DASH, BACKSLASH

@cython.locals(size="long long", length="long long", at="long long", pos="long long",
               retry="long long", retry_pos="long long", following="long long", steps="long long")
cpdef bint glob_match(bytes pattern, bytes text)

@cython.locals(kind="long long")
cdef long long element(bytes pattern, long long at, long long size, long long byte)

@cython.locals(negated=bint, found=bint, low="long long", high="long long", one="long long")
cdef long long in_class(bytes pattern, long long at, long long size, long long byte)

cdef long long as_char(long long byte)
