"""The directory of a local cluster: lock, state file, who still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.cli import local, process


def noted(pid: int, started: int, role: str = "node") -> local.Noted:
    return local.Noted(f"{role}-0", role, pid, started, "log")


def cluster(*processes: local.Noted, supervisor: local.Noted | None = None) -> local.Cluster:
    return local.Cluster(
        ready=True,
        coordinator="127.0.0.1:9400",
        proxies=("127.0.0.1:10000",),
        nodes=("127.0.0.1:8500",),
        supervisor=supervisor or noted(0, 0, "supervisor"),
        processes=processes,
    )


def test_state_file_round_trip(tmp_path: Path) -> None:
    saved = cluster(noted(1, 2))
    local.save(tmp_path, saved)
    local.save(tmp_path, replace(saved, ready=False))
    assert local.load(tmp_path) == replace(saved, ready=False)
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.json"]
    local.remove(tmp_path)
    local.remove(tmp_path)
    assert local.load(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 2}', '{"version": 1, "ready": true}', "[]"]
)
def test_a_file_that_is_not_ours(tmp_path: Path, text: str) -> None:
    local.state_file(tmp_path).write_text(text)
    with pytest.raises(ValueError):
        local.load(tmp_path)


def test_a_pid_used_again_is_not_ours() -> None:
    me = os.getpid()
    started = process.started_at(me)
    assert started is not None
    assert process.is_ours(me, started)
    assert not process.is_ours(me, started + 1)
    running = cluster(noted(me, started), noted(me, started + 1), noted(0, 0)).running()
    assert running == [noted(me, started)]


def test_one_supervisor_per_directory(tmp_path: Path) -> None:
    with local.locked(tmp_path / "new"):
        with pytest.raises(local.InUse), local.locked(tmp_path / "new"):
            pass
    with local.locked(tmp_path / "new"):
        pass


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from isthmus.cli import local\n"
        "with local.locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(local.InUse), local.locked(tmp_path):
        pass
    child.kill()
    child.communicate(timeout=10)
    with local.locked(tmp_path):
        pass


def test_default_directory() -> None:
    found = local.default_data_dir
    assert found({"ISTHMUS_DATA_DIR": "/d", "HOME": "/h"}) == Path("/d")
    assert found({"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x/isthmus/local")
    assert found({"HOME": "/h"}) == Path("/h/.local/share/isthmus/local")
