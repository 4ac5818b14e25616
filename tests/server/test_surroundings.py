"""What the machine is told: pid file, supervisor, system log, OOM score, folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from isthmus.node.engine.config import Config, ConfigError
from isthmus.node.server import surroundings
from isthmus.node.server.surroundings import Surroundings
from isthmus.wire import logs


def test_the_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "node.pid"
    around = Surroundings(Config({"pidfile": str(path)}))
    around.enter()
    assert path.read_text() == f"{os.getpid()}\n"
    around.leave()
    assert not path.exists()


def test_the_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(5)
        around = Surroundings(Config({"supervised": "systemd"}))
        around.ready()
        around.leave()
        assert b"READY=1" in ear.recv(100)
        assert ear.recv(100) == b"STOPPING=1\n"
        Surroundings(Config()).ready()
        ear.setblocking(False)
        with pytest.raises(BlockingIOError):
            ear.recv(100)


def test_a_supervisor_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@nobody-listens-here")
    Surroundings(Config({"supervised": "auto"})).ready()
    assert "supervisor_unreachable" in capsys.readouterr().err


def test_the_oom_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "score"
    file.write_text("100\n")
    monkeypatch.setattr(surroundings, "OOM_FILE", file)
    config = Config()
    Surroundings(config).enter()
    assert file.read_text() == "100\n", "left alone unless asked"
    config.set_many([("oom-score-adj", "relative"), ("oom-score-adj-values", "50 0 0")])
    assert file.read_text() == "150"
    config.set_many([("oom-score-adj", "absolute")])
    assert file.read_text() == "50"
    config.set_many([("oom-score-adj", "no")])
    assert file.read_text() == "100"
    monkeypatch.setattr(surroundings, "OOM_FILE", tmp_path / "no" / "such")
    with pytest.raises(ConfigError, match="Failed to apply new oom_score_adj"):
        config.set_many([("oom-score-adj", "yes")])
    assert config.text("oom-score-adj") == "no"


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config({"enable-protected-configs": "local"})
    Surroundings(config)
    with pytest.raises(ConfigError, match="can't set protected config"):
        config.set_many([("dir", "/")])
    with pytest.raises(ConfigError, match="No such file"):
        config.set_many([("dir", str(tmp_path / "no"))], local=True)
    (tmp_path / "sub").mkdir()
    config.set_many([("dir", "sub")], local=True)
    assert config.text("dir") == os.getcwd() == str(tmp_path / "sub")


def test_log_files_and_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs._Target, "file", None)
    monkeypatch.setattr(logs._Target, "other", None)
    monkeypatch.setattr(logs._Target, "least", 0)
    lines: list[tuple[str, str]] = []
    logs.also_to(lambda level, line: lines.append((level, line)))
    logs.with_level("WARN")
    logs.log("quiet")
    logs.log("loud", level="WARN")
    logs.with_level("NONE")
    logs.log("louder", level="ERROR")
    assert [level for level, _ in lines] == ["WARN"]
    assert capsys.readouterr().err == lines[0][1]
    logs.with_level("INFO")
    path = tmp_path / "log"
    logs.to_file(str(path))
    logs.log("here")
    assert logs._Target.file is not None
    logs._Target.file.close()
    assert " here\n" in path.read_text()
