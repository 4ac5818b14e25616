"""What the C allocator says of itself (io): bytes in use, bytes held, and a way to give some back.

Python's small objects live in arenas that it maps itself; everything else, and all that the
compiled structures hold, comes from the C library's malloc. The GNU library tells of its heaps and
of its mapped blocks (`mallinfo2`), and returns free pages to the system when asked
(`malloc_trim`). With another C library these figures are absent, never invented.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import NamedTuple


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


class Heap(NamedTuple):
    """Bytes: given out by malloc, held by it, and held free at the top of its heap."""

    allocated: int
    active: int
    trimmable: int


_LIBC = ctypes.CDLL(None)
_INFO = getattr(_LIBC, "mallinfo2", None)
_TRIM = getattr(_LIBC, "malloc_trim", None)
if _INFO is not None:
    _INFO.restype = _Mallinfo2


def heap() -> Heap | None:
    """The state of malloc, or None if the C library does not tell."""
    if _INFO is None:
        return None
    info = _INFO()
    return Heap(info.uordblks + info.hblkhd, info.arena + info.hblkhd, info.keepcost)


def give_back() -> bool:
    """Return free pages to the system; False if the C library cannot."""
    gc.collect()
    if _TRIM is None:
        return False
    _TRIM(0)
    return True


def report() -> str:
    """The figures of both allocators, one to a line, for people."""
    lines = [f"Python objects: {sys.getallocatedblocks()} blocks in arenas of its own"]
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
