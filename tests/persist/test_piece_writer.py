"""PieceWriter: what is put stands in the file, in order; errors and ends come through."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isthmus.wire.crc64 import crc64
from tests.support.twins import both

MODULES = both("isthmus.node.persist.piece_writer")


class Running:
    """A writer and its thread."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.problem: OSError | None = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            self.writer.run()
        except OSError as problem:
            self.problem = problem

    def wait(self) -> OSError | None:
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.problem


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"head")
    yield descriptor
    os.close(descriptor)


def contents(descriptor: int) -> bytes:
    return os.pread(descriptor, 1 << 26, 0)


@pytest.mark.parametrize("module", MODULES)
def test_all_pieces_in_order(module: ModuleType, opened: int) -> None:
    writer = module.PieceWriter(opened, 4, crc64(b"head"), True, True)
    pieces = [b"%d" % number * 20_000 for number in range(60)]
    running = Running(writer)
    for piece in pieces:
        writer.put(piece)
        assert 0 <= writer.waiting() <= sum(map(len, pieces))
    writer.close()
    writer.close()
    assert running.wait() is None
    whole = b"head" + b"".join(pieces)
    assert contents(opened) == whole
    assert (writer.size, writer.crc) == (len(whole), crc64(whole))
    assert writer.waiting() == 0
    assert writer.closed


@pytest.mark.parametrize("module", MODULES)
def test_no_checksum_is_none(module: ModuleType, opened: int) -> None:
    writer = module.PieceWriter(opened, 4, 0, False, False)
    writer.put(b"body")
    writer.close()
    writer.run()
    assert (contents(opened), writer.crc) == (b"headbody", 0)


@pytest.mark.parametrize("module", MODULES)
def test_stopped_writes_nothing_more(module: ModuleType, opened: int) -> None:
    writer = module.PieceWriter(opened, 4, 0, True, True)
    writer.put(b"never")
    writer.stop()
    writer.run()
    assert writer.stopped
    assert contents(opened) == b"head"
    assert writer.waiting() == 0


def refuse_by_size(opened: int) -> int:
    return os.open("/dev/full", os.O_WRONLY)


def refuse_by_mode(opened: int) -> int:
    return os.open(f"/proc/self/fd/{opened}", os.O_RDONLY)


@pytest.mark.parametrize("refused", [refuse_by_size, refuse_by_mode])
@pytest.mark.parametrize("module", MODULES)
def test_what_the_disk_refuses_is_told(
    module: ModuleType, refused: Callable[[int], int], opened: int
) -> None:
    descriptor = refused(opened)
    writer = module.PieceWriter(descriptor, 0, 0, True, True)
    running = Running(writer)
    for _ in range(10):
        writer.put(b"x" * 1000)
    writer.close()
    problem = running.wait()
    os.close(descriptor)
    assert problem is not None and problem.errno
    # What comes behind the error is dropped, so nobody waits for it.
    assert writer.waiting() == 0


@pytest.mark.parametrize("module", MODULES)
def test_a_full_queue_is_an_error(module: ModuleType, opened: int) -> None:
    writer = module.PieceWriter(opened, 4, 0, False, False)
    for _ in range(module.PIECES_MAX):
        writer.put(b".")
    with pytest.raises(OverflowError):
        writer.put(b".")
    assert writer.waiting() == module.PIECES_MAX
