"""Handing written pages to the disk before anybody waits for them (io).

As Redis does while it saves: what is left for the sync at the end is little then. Only a hint, so
errors are those of the next write or sync.
"""

from __future__ import annotations

import ctypes
import os

WRITEBACK_BYTES = 4 * 1024 * 1024
SYNC_FILE_RANGE_WRITE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_RANGE = getattr(_LIBC, "sync_file_range", None)
if _SYNC_RANGE is not None:
    _SYNC_RANGE.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


def write_back(descriptor: int, offset: int, count: int) -> None:
    """Let the system begin to write a range of a file."""
    if _SYNC_RANGE is not None:
        _SYNC_RANGE(descriptor, offset, count, SYNC_FILE_RANGE_WRITE)
    else:
        os.fdatasync(descriptor)
