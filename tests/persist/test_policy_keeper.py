"""A node held to policies: what is remembered is on the disk, whatever fails in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from isthmus.node.engine.config import Config
from isthmus.node.persist import policy_keeper
from isthmus.node.persist.persistence import Persistence
from isthmus.node.persist.policy_keeper import (
    FILE,
    HOMELESS,
    PROBLEM_CHARS_MAX,
    PolicyFileError,
    PolicyKeeper,
    remember,
    remembered,
    set_before_loading,
)
from isthmus.node.persist.recover import Recovery
from isthmus.wire.policy import OFF, parse
from tests.support.store import RedisReplyError, Store

EVERY_POLICY = ["off", "rdb:1h", "aof:everysec", "aof:always"]


class Member(Store):
    """A node of a cluster on the working folder, without a server; time passes by hand."""

    def __init__(self, folder: Path | None) -> None:
        config = Config()
        self.in_force = set_before_loading(config, folder)
        super().__init__(**{name: config.text(name) for name in policy_keeper.PARAMETERS})
        self.now = 0.0
        self.kept = self.node.persistence = Persistence(self.node)
        for _ in Recovery(self.node).run() if folder else ():
            pass
        self.keeper = PolicyKeeper(self.node, folder, self.in_force, lambda: self.now)

    def told(self, policy: str) -> None:
        self.keeper.told(policy)

    def work(self, steps: int = 5) -> None:
        """Let the node do what it can: its policy, its timer, its cuts."""

        async def write() -> None:
            for _ in range(steps):
                if self.keeper.pending:
                    self.keeper.step()
                self.kept.cron()
                job = self.kept.snapshots.job
                if job is not None:
                    await self.kept.snapshots.write(job)

        trio.run(write)

    def health(self) -> dict[str, object]:
        return self.keeper.health()

    def end(self) -> None:
        """As after kill -9, but for what the system holds."""
        self.kept.commit()
        self.kept.aof.enabled = False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("second", EVERY_POLICY)
@pytest.mark.parametrize("first", EVERY_POLICY)
def test_from_each_policy_to_each(folder: Path, first: str, second: str) -> None:
    it = Member(folder)
    for policy in (first, second):
        it.told(policy)
        it("SET", policy, "v")
        it.work()
        assert str(remembered(folder)) == policy
        assert it.health()["policy"] == policy and it.health()["problem"] == ""
        wanted = parse(policy).parameters()
        assert {name: it.node.config.text(name) for name in wanted} == wanted
        assert it.kept.aof.enabled == policy.startswith("aof")
    assert it.health()["saved_s"] == 0 or "rdb:1h" in (first, second)
    it.end()
    back = Member(folder)
    assert back.health()["policy"] == second
    if second != "off":
        assert back("EXISTS", first, second) == 2
    back.end()


@pytest.mark.parametrize("second", EVERY_POLICY)
@pytest.mark.parametrize("first", ["rdb:1h", "aof:everysec"])
def test_killed_in_the_middle_of_a_change(folder: Path, first: str, second: str) -> None:
    it = Member(folder)
    it("SET", "k", "v")
    it.told(first)
    it.work()
    it.told(second)
    it.keeper.step()
    it.end()
    assert Member(folder)("GET", "k") == (None if second == "off" and first != "rdb:1h" else b"v")


def test_the_same_policy_with_another_detail_writes_no_files(folder: Path) -> None:
    it = Member(folder)
    it.told("aof:everysec")
    it.work()
    it.told("aof:always")
    it.keeper.step()
    assert it.health()["policy"] == "aof:always" and it.kept.aof.rewrites == 1
    it.told("rdb:1h")
    it.work()
    it.told("rdb:2h")
    it.keeper.step()
    assert it.health()["policy"] == "rdb:2h" and it.kept.snapshots.saves == 1


def test_a_change_of_mind_before_it_is_done(folder: Path) -> None:
    it = Member(folder)
    it("SET", "k", "v")
    it.told("aof:always")
    it.work()
    it.told("rdb:1h")
    it.keeper.step()
    assert it.health()["problem"] == "changing to rdb:1h" and it.health()["policy"] == "aof:always"
    it.told("aof:always")
    it.work()
    assert it.node.config.text("save") == "" and it.health()["problem"] == ""
    it.end()
    assert Member(folder)("GET", "k") == b"v"


@pytest.mark.parametrize("policy", ["rdb:1h", "aof:always"])
def test_a_disk_that_is_in_the_way(folder: Path, policy: str) -> None:
    """The policy before stays in force, somebody is told, and it is tried again."""
    it = Member(folder)
    it("SET", "k", "v")
    it.told("aof:everysec" if policy.startswith("rdb") else "rdb:1h")
    it.work()
    before = it.health()["policy"]
    broken = it.kept.snapshots.new_file
    it.kept.snapshots.new_file = refuse  # type: ignore[method-assign]
    it.told(policy)
    it.work()
    assert it.health()["policy"] == before == str(remembered(folder))
    problem = str(it.health()["problem"])
    assert "cannot change" in problem and len(problem) <= PROBLEM_CHARS_MAX
    it.kept.snapshots.new_file = broken  # type: ignore[method-assign]
    it.work()
    assert it.health()["policy"] == before, "not at once again"
    it.now += policy_keeper.RETRY_SECONDS
    it.work()
    assert it.health()["policy"] == policy and it.health()["problem"] == ""
    it.end()
    assert Member(folder)("GET", "k") == b"v"


def refuse(*arguments: Any) -> Any:
    raise OSError(28, "No space left on device")


def test_misconf_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Member(folder)
    it.told("aof:always")
    it.work()
    monkeypatch.setattr(os, "write", refuse)
    it("SET", "k", "v")
    assert not it.kept.commit()
    problem = it.health()["problem"]
    assert problem == "writes are refused (MISCONF): append only file: No space left on device"


def test_a_folder_of_an_older_version(folder: Path) -> None:
    """An append only file wins over a snapshot; there is no policy until somebody tells one."""
    it = Member(folder)
    assert it.health()["policy"] == "off" and it.keeper.in_force is None
    it.told("rdb:1h")
    it("SET", "k", "old")
    it.work()
    it.told("aof:always")
    it("SET", "k", "new")
    it.work()
    it.end()
    (folder / FILE).unlink()
    back = Member(folder)
    assert back("GET", "k") == b"new" and back.kept.aof.enabled
    back.told("off")
    back.work()
    assert not back.kept.aof.enabled
    (folder / FILE).unlink()
    (folder / "appendonlydir/appendonly.aof.manifest").unlink()
    assert Member(folder)("GET", "k") == b"old"


def test_a_node_without_a_folder_keeps_nothing_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = Member(None)
    it.told("aof:always")
    it.work()
    assert it.health() == {"policy": "off", "saved_s": 0, "aof_bytes": 0, "problem": HOMELESS}
    assert "persistence_without_folder" in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_what_was_given_by_hand_loses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember(folder, parse("rdb:2h"))
    config = Config()
    config.load("save", ["100", "10"])
    config.load("appendonly", ["yes"])
    assert str(set_before_loading(config, folder)) == "rdb:2h"
    assert (config.text("save"), config.text("appendonly")) == ("7200 1", "no")
    told = capsys.readouterr().err
    assert "parameters_overridden" in told and 'names="appendonly save"' in told


def test_config_set_is_refused(folder: Path) -> None:
    it = Member(folder)
    for name in ("save", "AppendOnly", "appendfsync"):
        error = it("CONFIG", "SET", "maxmemory", "1gb", name, "no")
        assert isinstance(error, RedisReplyError)
        assert "isthmus persistence set POLICY" in str(error)
    assert it("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"0"]


@pytest.mark.parametrize("data", [b"", b"on\n", b"aof:always\n\n", b"\xff" * 10, b"x" * 10_000])
def test_a_file_that_holds_no_policy(folder: Path, data: bytes) -> None:
    (folder / FILE).write_bytes(data)
    with pytest.raises(PolicyFileError, match=r"node\.policy does not hold a persistence policy"):
        set_before_loading(Config(), folder)


def test_a_policy_of_a_later_version_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = Member(folder)
    it.told("aof:always")
    it.work()
    for text in ("tape:daily", None, 7):
        it.keeper.told(text)
        assert not it.keeper.pending
    assert "persistence_not_understood" in capsys.readouterr().err
    assert it.health()["policy"] == "aof:always"


def test_remembering_is_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(folder, OFF)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        remember(folder, parse("aof:always"))
    assert remembered(folder) == OFF
