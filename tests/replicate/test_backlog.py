"""The backlog: whatever the pieces were in which a stream came, what is held reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.node.replicate import backlog as module
from isthmus.node.replicate import segments
from isthmus.node.replicate.backlog import NOTHING, Backlog
from isthmus.node.replicate.segments import Segments

PIECES = st.lists(st.integers(1, 400), min_size=1, max_size=40)


def stream(start: int, end: int) -> bytes:
    """Bytes start..end of a stream in which each byte tells its place."""
    return bytes(at * 7 % 251 for at in range(start, end + 1))


def read_all(backlog: Backlog, offset: int, step: int) -> bytes:
    data = b""
    while piece := backlog.read(offset + len(data), step):
        data += piece
    return data


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 64)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 256)


def filled(backlog: Backlog, sizes: list[int]) -> Backlog:
    for size in sizes:
        backlog.append(stream(backlog.end + 1, backlog.end + size))
    return backlog


@given(PIECES, st.integers(1, 500), st.integers(1, 300))
def test_what_is_held_reads_back(sizes: list[int], bytes_max: int, step: int) -> None:
    backlog = filled(Backlog(bytes_max), sizes)
    total = sum(sizes)
    assert backlog.end == total
    # What is more than asked for is less than two chunks and the longest piece.
    held = backlog.end + 1 - backlog.start
    assert min(total, bytes_max) <= held < bytes_max + 64 + max(sizes)
    for offset in {backlog.start, (backlog.start + total) // 2, total, total + 1}:
        assert backlog.holds(offset)
        assert read_all(backlog, offset, step) == stream(offset, total)
    assert not backlog.holds(backlog.start - 1) and not backlog.holds(total + 2)


@given(PIECES, st.integers(1, 300), st.integers(1, 3000), st.integers(1, 300))
def test_what_memory_has_no_room_for_is_on_disk(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], bytes_max: int, disk_max: int,
    step: int,
) -> None:  # fmt: skip
    older = Segments(str(tmp_path_factory.getbasetemp()))
    try:
        backlog = filled(Backlog(bytes_max, older, disk_max), sizes)
        total = sum(sizes)
        held = total + 1 - backlog.start
        assert held >= min(total, bytes_max + disk_max - 1)
        assert held < bytes_max + disk_max + 256 + 2 * (64 + max(sizes))
        for offset in {backlog.start, (backlog.start + total) // 2, total, total + 1}:
            assert backlog.holds(offset)
            assert read_all(backlog, offset, step) == stream(offset, total)
    finally:
        older.clear()


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_a_full_sync_needs_is_kept(tmp_path: Path, on_disk: bool) -> None:
    older = Segments(str(tmp_path)) if on_disk else None
    backlog = filled(Backlog(100, older, 100), [50])
    backlog.keep_from = 51
    filled(backlog, [100] * 50)
    assert read_all(backlog, 51, 77) == stream(51, 5050)
    backlog.keep_from = NOTHING
    filled(backlog, [100])
    assert not backlog.holds(51) and backlog.memory() < 300
    assert not list(tmp_path.iterdir())
    backlog.restart(9)
    assert (backlog.start, backlog.end, backlog.read(10, 5)) == (10, 9, b"")
    assert backlog.holds(10) and not backlog.holds(9)


def test_a_disk_that_refuses_costs_only_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = filled(Backlog(100, Segments(str(tmp_path)), 10_000), [100] * 20)
    assert backlog.start == 1

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "pwrite", full)
        filled(backlog, [100] * 5)
    assert backlog.start > 2000
    assert read_all(backlog, backlog.start, 50) == stream(backlog.start, 2500)
    filled(backlog, [100] * 5)
    assert read_all(backlog, backlog.start, 50) == stream(backlog.start, 3000)
    assert backlog.older is not None
    backlog.older.clear()
