"""The two allocators and the system (io): what they say of themselves, and memory given back.

Python's small objects live in arenas that it maps itself (arenas.py); everything else, and the
larger parts of the compiled structures, comes from the C library's malloc.

*Giving back must not stop the loop.* Left alone, both allocators return memory in the middle of a
`free`, however much has come together by then: fifty arenas at once, or tens of megabytes at the
top of the heap with one `brk`, because the last block that lay above them went. The kernel takes
60 to 100 us for each megabyte of pages, so that is milliseconds in which nobody is served.
`settle()` therefore turns this off, and `give_back_slice()`, called by the timer as long as it
has time, returns about a megabyte. Three settings of the GNU library are involved (mallopt(3)):

    M_TRIM_THRESHOLD  never trim by itself
    M_TOP_PAD         how much a trim leaves: so chosen that one goes no further than a slice
    M_MMAP_THRESHOLD  fixed. By itself it grows to the largest mapped block that was freed, up to
                      32 MiB; then the array of a large table would lie in the heap, where growing
                      means to copy it, while the kernel moves mapped pages without touching them

*How far the top reaches* is not asked of the library: `mallinfo2` counts every free block on the
way to its answer, which takes 20 ms when there are 200,000. A block of a known size is allocated
instead: what lies between it and the end of the heap is at least what is free at the top. So
`report()` is for people who ask for it, and nothing that is asked every second may use that
figure.

With another C library nothing is settled, and these figures are absent, never invented.
"""

from __future__ import annotations

import ctypes
import gc
import sys

from isthmus.node.server import arenas

MMAP_BYTES = 1 << 20
# Smaller than MMAP_BYTES, so from the heap; so large that hardly a gap in the heap is as large.
PROBE_BYTES = MMAP_BYTES - 8192
# Behind a gap, and towards the end of a top that is larger than mallopt(3) can say, the blocks
# double, up to the largest that may come from the heap.
GAPS_MAX = 24
ROOM_BYTES_MAX = 1 << 30
STRIDE_BYTES = 31 << 20
STRIDES_MAX = 2048
SLICE_BYTES = 1 << 20
# Free bytes at the top of the heap that stay: a probe fits, and requests come and go in them.
KEPT_BYTES = 2 << 20
TOP_PAD_BYTES = 128 << 10
NEVER = -1
# The numbers of mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


# PyDLL keeps the interpreter's lock: letting go of it costs more than these calls, and nobody of
# ours may come between two of them.
_LIBC = ctypes.PyDLL(None)
_INFO = getattr(_LIBC, "mallinfo2", None)
_TRIM = getattr(_LIBC, "malloc_trim", None)
_MALLOPT = getattr(_LIBC, "mallopt", None)
_GNU = _INFO is not None and _TRIM is not None and _MALLOPT is not None
if _INFO is not None:
    _INFO.restype = _Mallinfo2
if _GNU:
    _LIBC.malloc.restype = ctypes.c_void_p
    _LIBC.malloc.argtypes = [ctypes.c_size_t]
    _LIBC.free.restype = None
    _LIBC.free.argtypes = [ctypes.c_void_p]
    _LIBC.sbrk.restype = ctypes.c_void_p
    _LIBC.sbrk.argtypes = [ctypes.c_ssize_t]

_settled = False


def settle() -> None:
    """From now on memory goes back to the system by give_back_slice() only."""
    global _settled
    arenas.install()
    if _GNU:
        _set(M_MMAP_THRESHOLD, MMAP_BYTES)
        _set(M_TRIM_THRESHOLD, NEVER)
        _settled = True


def give_back_slice() -> bool:
    """Return about a megabyte to the system. False if there was nothing to return."""
    if arenas.kept():
        arenas.give_back(1)
        return True
    return _settled and _trim_top()


def give_back() -> bool:
    """Return all free pages to the system, however long it takes; False if the C library cannot."""
    gc.collect()
    arenas.give_back(arenas.kept())
    if _TRIM is None:
        return False
    _TRIM(0)
    return True


def _set(name: int, value: int) -> None:
    if _MALLOPT is not None:
        _MALLOPT(name, value)


def _trim_top() -> bool:
    """Give back at most a slice of what is free at the top of the heap. True if some was."""
    held: list[int] = []
    size = PROBE_BYTES
    gaps = 0
    try:
        while gaps < GAPS_MAX and len(held) < STRIDES_MAX:
            before = _LIBC.sbrk(0)
            block = _LIBC.malloc(size)
            end = _LIBC.sbrk(0)
            if block is None:
                return False
            room = end - block
            if room <= size + KEPT_BYTES or before < end:
                # It is mapped, or at the top with little behind it, or found no room there.
                _free_trimming(block, max(room - (end - before), KEPT_BYTES))
                return False
            if room <= ROOM_BYTES_MAX:
                if _free_trimming(block, room - SLICE_BYTES):
                    return True
                # It lay in a gap, far from the top: fill that gap, and look behind it.
                gaps += 1
                block = _LIBC.malloc(size)
            if size == PROBE_BYTES:
                _set(M_MMAP_THRESHOLD, STRIDE_BYTES + MMAP_BYTES)
            size = min(2 * size, STRIDE_BYTES)
            if block is not None:
                held.append(block)
        return False
    finally:
        if size != PROBE_BYTES:
            _set(M_MMAP_THRESHOLD, MMAP_BYTES)
        for block in held:
            _LIBC.free(block)


def _free_trimming(block: int, pad: int) -> bool:
    """Free a block; leave pad bytes at the top of the heap, if there are more. True if it shrank.

    The library looks at the top of the heap when a block of at least 64 KiB is freed.
    """
    end = _LIBC.sbrk(0)
    _set(M_TOP_PAD, pad)
    _set(M_TRIM_THRESHOLD, 0)
    _LIBC.free(block)
    _set(M_TRIM_THRESHOLD, NEVER)
    _set(M_TOP_PAD, TOP_PAD_BYTES)
    return bool(_LIBC.sbrk(0) < end)


def report() -> str:
    """The figures of both allocators, one to a line, for people; takes long if much is free."""
    lines = [
        f"Python objects: {sys.getallocatedblocks()} blocks in arenas of its own, of which "
        f"{arenas.kept()} are empty"
    ]
    if _INFO is None:
        return "\n".join([*lines, "The C library does not tell how its memory is used.", ""])
    info = _INFO()
    lines += [
        f"malloc: {info.uordblks + info.hblkhd} bytes in use, {info.arena + info.hblkhd} held",
        f"heap: {info.arena} bytes, {info.uordblks} in use, {info.fordblks} free in "
        f"{info.ordblks} pieces, {info.keepcost} could be returned",
        f"mapped: {info.hblkhd} bytes in {info.hblks} blocks",
        f"fast bins: {info.fsmblks} bytes in {info.smblks} pieces",
        "",
    ]
    return "\n".join(lines)
