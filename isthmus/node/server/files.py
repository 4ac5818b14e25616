"""The small files of a node (io): users and configuration, read as a whole and replaced as a whole.

A reader sees the old file or the new one, never half of it, and after a crash there is one of the
two: the new text is written beside the old file and synced, takes its name, and the folder is
synced. The new file has the old one's permissions. A file that is a symbolic link stays one.
"""

from __future__ import annotations

import os
import tempfile

FILE_BYTES_MAX = 64 * 1024 * 1024


def read_file(path: bytes) -> bytes:
    """The contents; raises OSError, also for a file beyond FILE_BYTES_MAX."""
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise OSError(f"more than {FILE_BYTES_MAX} bytes")
    return data


def replace_file(path: bytes, data: bytes) -> None:
    """Put data in the place of the file; raises OSError, and then the old file is as it was."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    try:
        mode = os.stat(target).st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    descriptor, made = tempfile.mkstemp(prefix=b"." + os.path.basename(target), dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(made, target)
    except BaseException:
        os.unlink(made)
        raise
    holder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(holder)
    finally:
        os.close(holder)
