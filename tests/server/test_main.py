"""The process: its exit codes, what it leaves behind, and what it says when it cannot start."""

from __future__ import annotations

import signal
import socket
import stat
from pathlib import Path

import pytest

from isthmus.node.server.main import main
from tests.hostile.process import exit_code, node

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "node.sock"
    with node(tmp_path, "--unixsocket", str(path), "--unixsocketperm", "770") as process:
        assert stat.S_IMODE(path.stat().st_mode) == 0o770
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(5)
            stream.connect(str(path))
            stream.sendall(b"PING\r\n")
            assert stream.recv(10) == b"+PONG\r\n"
            assert exit_code(process, number) == 0
            assert stream.recv(10) == b""
        assert not path.exists()
        assert "node_stopped" in process.log()
        assert "Traceback" not in process.log()


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--standalone", "--port", str(port)]) == 1
    assert "node_failed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["--standalone", "--nonsense", "1"], ["--standalone", "--maxclients", "x"],
    ["--standalone", "--maxclients"],
])  # fmt: skip
def test_arguments_that_make_no_sense(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "isthmus node: " in capsys.readouterr().err
