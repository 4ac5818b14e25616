"""RDB files opened for reading, plain or gzip, as one mapped buffer (io).

A plain file is mapped; a gzip one is unpacked into a file without a name first, which is mapped
then: so memory stays small however large the file is, at the price of disk space in the temporary
folder (TMPDIR moves it). What is mapped must not be cut while it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import mmap
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

GZIP_MAGIC = b"\x1f\x8b"
PIECE_BYTES = 1 << 20


class BadFile(ValueError):
    """This file cannot be read as an RDB file; the text says why."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The bytes of an RDB file for the length of the block; BadFile, OSError."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            with _mapped(file, path) as data:
                yield data
            return
        with tempfile.TemporaryFile(prefix="isthmus-") as plain:
            _unpack(path, plain)
            with _mapped(plain, path) as data:
                yield data


def _unpack(path: Path, plain: IO[bytes]) -> None:
    try:
        with gzip.open(path) as source:
            while piece := source.read(PIECE_BYTES):
                plain.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFile(f"{path.name} is no whole gzip file: {error}") from error
    plain.flush()


@contextmanager
def _mapped(file: IO[bytes], path: Path) -> Iterator[Any]:
    file.seek(0, 2)
    if file.tell() == 0:
        raise BadFile(f"{path.name} is empty")
    # The mapping ends with the last reader of a piece of it, which may outlive the block.
    yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def digest(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    size = 0
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            size += len(piece)
            found.update(piece)
    return size, found.hexdigest()
