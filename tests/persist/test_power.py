"""Power cuts: only what was synced is certain; `always` loses nothing, `everysec` two seconds."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from isthmus.node.persist import aof, cut_file
from isthmus.node.persist.recover import RecoverError
from tests.persist.disks import PowerCut
from tests.persist.kept import Kept

LOSS_SECONDS_MAX = 2.0


class Outage:
    """A node that writes, and images of its disk at random moments."""

    def __init__(self, policy: str, seed: int, folder: Path, monkeypatch: Any) -> None:
        self.rng = random.Random(seed)
        self.disk_folder, self.images = folder / "disk", folder / "images"
        self.disk_folder.mkdir()
        monkeypatch.chdir(self.disk_folder)
        self.settings = {"appendonly": "yes", "save": "", "appendfsync": policy}
        self.counting = False
        self.disk = PowerCut(monkeypatch, self.disk_folder, self.rng, self.passed)
        self.store = Kept(**self.settings).load()
        self.disk.names.setdefault(str(self.disk_folder), {})
        # What the node held after each turn; how many of these turns were acknowledged; when.
        self.states: list[Any] = [self.store.held()]
        self.times: list[float] = [0.0]
        self.acknowledged = 0
        self.now = 0.0
        self.taken: list[tuple[Path, int, float]] = []
        self.counting = True

    def passed(self) -> None:
        """Something happened on the disk: perhaps the power goes now."""
        if self.counting and self.rng.random() < 0.1:
            target = self.images / str(len(self.taken))
            self.disk.image(target)
            self.taken.append((target, self.acknowledged, self.now))

    def turn(self) -> None:
        rng, number = self.rng, len(self.states)
        requests: list[tuple[Any, ...]] = [("SET", "last", number)]
        if rng.random() < 0.4:
            requests = [("MULTI",), ("RPUSH", "l", number), ("INCR", "n"), ("EXEC",)]
        if rng.random() < 0.12:
            # In the same turn, behind a write that waits for its sync.
            requests.append(("BGREWRITEAOF",))
        # What is in the memory is told to nobody before commit.
        replies = [self.store.raw(*request) for request in requests]
        assert not any(reply.startswith(b"-MISCONF") for reply in replies)
        self.states.append(self.store.held())
        self.times.append(self.now)
        if self.store.kept.commit():
            self.acknowledged = number

    def check(self, monkeypatch: Any, seconds: float | None) -> int:
        """Start from every image; the most turns that one of them had lost."""
        self.counting = False
        self.store.aof.close()
        for module in (aof, cut_file):
            monkeypatch.setattr(module, "os", os)
        worst = 0
        for target, acknowledged, at in self.taken:
            monkeypatch.chdir(target)
            store = Kept(**self.settings)
            try:
                held = store.load().held()
            except RecoverError as error:
                raise AssertionError(f"{target}: {error}; {os.listdir(target)}") from None
            finally:
                store.kept.close()
            assert held in self.states, target
            found = len(self.states) - 1 - self.states[::-1].index(held)
            worst = max(worst, acknowledged - found)
            if seconds is None:
                assert found >= acknowledged, f"{target}: {found} of {acknowledged}"
            else:
                lost = [self.times[n] for n in range(found + 1, acknowledged + 1)]
                assert not lost or at - lost[0] <= seconds, (target, at, lost)
        return worst


@pytest.mark.parametrize("seed", range(4))
def test_always_loses_nothing(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outage = Outage("always", seed, tmp_path, monkeypatch)
    for _ in range(25):
        outage.turn()
        if outage.rng.random() < 0.3:
            outage.store.work()
    outage.store.work()
    assert outage.taken
    outage.check(monkeypatch, None)


async def at_once(function: Any, *arguments: Any) -> Any:
    """In the place of a thread: virtual time does not wait for those."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


@pytest.mark.parametrize("seed", range(4))
def test_everysec_loses_two_seconds(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    outage = Outage("everysec", seed, tmp_path, monkeypatch)

    async def live() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outage.store.aof.run)
            nursery.start_soon(outage.store.kept.snapshots.run)
            for _ in range(40):
                outage.now = trio.current_time() - began
                outage.turn()
                await trio.sleep(outage.rng.choice((0.01, 0.1, 0.3)))
            nursery.cancel_scope.cancel()

    clock = trio.testing.MockClock(autojump_threshold=0)
    began = clock.current_time()
    trio.run(live, clock=clock)
    assert outage.taken
    outage.check(monkeypatch, LOSS_SECONDS_MAX)
