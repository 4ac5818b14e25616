"""CutFile with a loop that walks the cut: what stands in the file, and every way it may not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from isthmus.node.persist import cut, cut_file
from tests.persist.kept import Kept

KEYS = 6000


class Walked:
    """A store whose cuts are walked by a task in the place of the pump."""

    def __init__(self) -> None:
        self.store = Kept(save="").load()
        self.on = False
        self.snapshots = self.store.kept.snapshots
        self.snapshots.background = self.walk
        for number in range(KEYS):
            self.store.raw("SET", f"key:{number}", "v" * 60)

    def walk(self, on: bool) -> None:
        self.on = on

    def save(self, between: Callable[[], None] = lambda: None) -> None:
        """BGSAVE to its end; `between` is called in each turn."""
        assert self.store.raw("BGSAVE") == b"+Background saving started\r\n"
        ended = False

        async def turns() -> None:
            while not ended:
                walking = self.store.node.keyspace.cut
                if walking is not None:
                    walking.between_turns(0)
                between()
                await trio.lowlevel.checkpoint()

        async def work() -> None:
            nonlocal ended
            async with trio.open_nursery() as nursery:
                nursery.start_soon(turns)
                assert self.snapshots.job is not None
                await self.snapshots.write(self.snapshots.job)
                ended = True

        trio.run(work)
        assert not self.on
        assert self.store.node.keyspace.cut is None

    def loads(self) -> dict[Any, Any]:
        return Kept(save="").load().held()


@pytest.fixture
def walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Walked:
    monkeypatch.chdir(tmp_path)
    # The clock of a store stands still: a step ends behind the first thing it does.
    monkeypatch.setattr(cut, "SLICE_NS", -1)
    return Walked()


def test_the_file_is_the_data_at_the_beginning(walked: Walked) -> None:
    before = walked.store.held()
    turn = iter(range(10**9))

    def change() -> None:
        number = next(turn)
        walked.store.raw("SET", f"key:{number * 31 % KEYS}", "changed")

    walked.save(change)
    assert next(turn) > 100
    assert walked.snapshots.last_ok
    assert walked.snapshots.last_cow_bytes > 0
    assert walked.store.held() != before
    assert walked.loads() == before
    assert os.listdir() == ["dump.rdb"]


def test_a_disk_that_refuses(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    original = cut_file.PieceWriter
    full = os.open("/dev/full", os.O_WRONLY)

    def refusing(descriptor: int, *rest: Any) -> Any:
        return original(full, *rest)

    monkeypatch.setattr(cut_file, "PieceWriter", refusing)
    walked.save()
    os.close(full)
    assert not walked.snapshots.last_ok
    assert os.listdir() == []


def test_nobody_wants_it_any_more(walked: Walked) -> None:
    turn = iter(range(10**9))

    def change() -> None:
        if next(turn) == 2:
            walked.snapshots.cancel("test")

    walked.save(change)
    assert walked.snapshots.last_ok, "given up is not failed"
    assert os.listdir() == []


def test_more_waits_than_may(walked: Walked) -> None:
    def change() -> None:
        if walked.store.node.keyspace.cut is not None:
            walked.store.node.keyspace.cut.pending_bytes_max = 10

    walked.save(change)
    assert not walked.snapshots.last_ok
    assert os.listdir() == []


def test_nothing_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.persist.test_cut_file.KEYS", 0)
    monkeypatch.chdir(tmp_path)
    walked = Walked()
    walked.save()
    assert walked.snapshots.last_ok
    assert walked.loads() == {}
