"""What people are told, and the exit status, when something cannot be done."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import isthmus
from isthmus.cli import local, process, screen
from isthmus.cli.app import run
from isthmus.cli.main import ROLES
from tests.cli.test_local import cluster, noted


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == run(["--version"]) == 0
    assert capsys.readouterr().out == f"isthmus {isthmus.__version__}\n" * 2


@pytest.mark.parametrize("command", ["up", "down", "status", "persistence"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert "Examples" in told
    assert f"isthmus {command}" in told


def test_help_lists_commands_and_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    told = capsys.readouterr().out
    for name in ("up", "down", "status", "persistence", "version", *ROLES):
        assert f" {name} " in told


@pytest.mark.parametrize("command", ["status", "down"])
def test_no_cluster(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--data-dir", str(tmp_path / "none")]) == 1
    assert f"no cluster runs in {tmp_path / 'none'}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_down_forgets_a_cluster_that_died(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local.save(tmp_path, cluster(noted(os.getpid(), 1)))
    assert run(["down", "--data-dir", str(tmp_path)]) == 1
    assert "no cluster runs in" in capsys.readouterr().err
    assert local.load(tmp_path) is None


@pytest.mark.slow
def test_down_ends_what_a_dead_supervisor_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its parent shell is gone at once: like a node whose supervisor was killed, it has nobody.
    shell = subprocess.run(
        ["/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"],
        capture_output=True,
        check=True,
        timeout=10,
    )
    pid = int(shell.stdout)
    started = process.started_at(pid)
    assert started is not None
    local.save(tmp_path, cluster(noted(pid, started)))
    assert run(["up", "--data-dir", str(tmp_path)]) == 1
    assert f"left processes behind ({pid})" in capsys.readouterr().err
    assert run(["down", "--data-dir", str(tmp_path)]) == 0
    assert process.started_at(pid) is None


@pytest.mark.parametrize("words", [["persistence"], ["persistence", "set", "off"]])
def test_persistence_of_no_cluster(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--data-dir", str(tmp_path)]) == 1
    assert f"no cluster runs in {tmp_path}" in capsys.readouterr().err


def test_what_is_no_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["persistence", "set", "rdb:5", "--data-dir", str(tmp_path)]) == 2
    assert "'5' is no period" in capsys.readouterr().err
    assert run(["up", "--persistence", "rdb:1s", "--data-dir", str(tmp_path)]) == 2
    assert "--persistence: the period of rdb:1s is not between 1m" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_problems_are_shown() -> None:
    def row(address: str, **disk: object) -> dict[str, object]:
        return {"role": "primary", "address": address, "state": "up", "disk": disk}

    status = {
        "persistence": "aof:always",
        "processes": [
            {"role": "proxy", "address": "h:1", "disk": None},
            row("h:2", policy="aof:always", saved_s=0, aof_bytes=2_500_000, problem=""),
            row("h:3", policy="off", saved_s=1_700_000_000, aof_bytes=0,
                problem="writes are refused (MISCONF): the disk is full"),
            {**row("h:4", policy="rdb:1h", saved_s="?", problem=5), "state": "dead"},
        ],
    }  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(screen.disks(status))
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()[2:]]
    assert lines[0] == ["h:2", "aof:always", "-", "2.4", "MiB", "-"]
    assert lines[1][:2] == ["h:3", "off"] and lines[1][2].startswith("2023-11-1")
    assert " ".join(lines[1][5:]) == "writes are refused (MISCONF): the disk is full"
    assert lines[2][0] == "h:4"


def test_too_many_replicas_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--replicas", "9", "--data-dir", str(tmp_path)]) == 2
    assert "--replicas must be from 0 to 6" in capsys.readouterr().err


def test_what_a_cluster_is_to_be_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        (tmp_path / f"node-{number}").mkdir()
    (tmp_path / "shards").write_text("2\n")
    assert (local.shards_kept(tmp_path), local.replicas_kept(tmp_path)) == (2, 1)
    # Two of the nodes hold nothing.
    local.note_shape(tmp_path, 2, 0)
    assert (local.shards_kept(tmp_path), local.replicas_kept(tmp_path)) == (2, 0)
    assert run(["up", "--shards", "4", "--data-dir", str(tmp_path)]) == 2
    assert "holds a cluster of 2 shards" in capsys.readouterr().err


def test_another_number_of_shards_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        (tmp_path / f"node-{i}").mkdir()
    assert run(["up", "--shards", "3", "--data-dir", str(tmp_path)]) == 2
    assert "holds a cluster of 2 shards" in capsys.readouterr().err


def test_a_port_in_use_is_named_with_its_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert process.port_in_use("127.0.0.1", port) is not None
        arguments = ["up", "--coordinator-port", str(port), "--data-dir", str(tmp_path)]
        assert run(arguments) == 1
    told = capsys.readouterr().err
    assert f"port {port}, wanted for coordinator, is already in use by process" in told
    assert f"process {os.getpid()} (" in told
    assert "--coordinator-port" in told


def test_a_directory_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    me = noted(os.getpid(), process.started_at(os.getpid()) or 0, "supervisor")
    local.save(tmp_path, replace(cluster(), supervisor=me))
    with local.locked(tmp_path):
        assert run(["up", "--data-dir", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"a cluster already runs in {tmp_path} (process {os.getpid()})" in told


def test_a_directory_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["up", "--data-dir", str(tmp_path / "file")]) == 1
    assert "cannot use" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["9400", "host:", "127.0.0.1:port"])
def test_not_an_address(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--coordinator", address]) == 1
    assert "HOST:PORT" in capsys.readouterr().err


def test_nobody_at_that_address(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert run(["status", "--coordinator", address]) == 1
    told = capsys.readouterr().err
    assert f"no coordinator answers at {address}: connection refused" in told


@pytest.mark.slow
@pytest.mark.parametrize("role", sorted(ROLES))
def test_servers_load_nothing_of_the_command_line(role: str) -> None:
    code = (
        "import sys\nfrom isthmus.cli.main import main\n"
        f"try: main([{role!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('typer', 'rich', 'isthmus.cli.app') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
