"""Compiled twin of arenas.py (see there).

Python's own functions are called for what is not kept, so arenas from before install() and from
after it are alike.
"""

cdef extern from "Python.h":
    ctypedef struct PyObjectArenaAllocator:
        void* ctx
        void* (*alloc)(void* ctx, size_t size) noexcept
        void (*free)(void* ctx, void* block, size_t size) noexcept
    void PyObject_GetArenaAllocator(PyObjectArenaAllocator* allocator) noexcept
    void PyObject_SetArenaAllocator(PyObjectArenaAllocator* allocator) noexcept

cdef PyObjectArenaAllocator system
cdef bint installed = False
cdef Kept* chain = NULL
cdef Py_ssize_t count_kept = 0
# Arenas are all of one size; should that change, others are passed through.
cdef size_t arena_bytes = 0


cdef void* take(void* ctx, size_t size) noexcept:
    global chain, count_kept
    cdef Kept* block = chain
    if block == NULL or size != arena_bytes:
        return system.alloc(system.ctx, size)
    chain = block.next
    count_kept -= 1
    return block


cdef void keep(void* ctx, void* block, size_t size) noexcept:
    global chain, count_kept, arena_bytes
    if chain == NULL:
        arena_bytes = size
    elif size != arena_bytes:
        system.free(system.ctx, block, size)
        return
    (<Kept*>block).next = chain
    chain = <Kept*>block
    count_kept += 1


def install():
    """Keep empty arenas from now on. False: they are unmapped at once."""
    global installed
    cdef PyObjectArenaAllocator ours
    if not installed:
        PyObject_GetArenaAllocator(&system)
        ours.ctx = NULL
        ours.alloc = take
        ours.free = keep
        PyObject_SetArenaAllocator(&ours)
        installed = True
    return True


def kept():
    """Empty arenas that wait to be given back."""
    return count_kept


def give_back(Py_ssize_t count):
    """Return at most `count` kept arenas to the system; how many are left."""
    global chain, count_kept
    cdef Kept* block
    while chain != NULL and count > 0:
        block = chain
        chain = block.next
        count_kept -= 1
        count -= 1
        system.free(system.ctx, block, arena_bytes)
    return count_kept
