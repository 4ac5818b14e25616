"""A real etcd for tests: one member on free ports of 127.0.0.1, ended by pid.

It tells when it is ready as it tells systemd, by a datagram; so nothing here sleeps or polls. It
can be killed, started again on the same data, and stopped in its tracks.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port

START_SECONDS_MAX = 20.0


class EtcdServer:
    """One etcd and its data, which outlives the process."""

    def __init__(self, program: str, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._peer = f"http://127.0.0.1:{free_port()}"
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, prefix: str) -> str:
        """What --store takes, for keys under `prefix`."""
        return f"etcd://{self.address}/{prefix}"

    def start(self) -> None:
        """Start it and wait until it serves."""
        client = f"http://{self.address}"
        # A path would have to be short; an abstract name needs no folder.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            name = f"\0isthmus-etcd-{os.getpid()}-{self.address}"
            ready.bind(name)
            self._process = subprocess.Popen(
                [self._program, "--data-dir", str(self._folder / "etcd"),
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer,
                 "--initial-cluster", f"default={self._peer}",
                 "--heartbeat-interval", "50", "--election-timeout", "500",
                 "--logger", "zap", "--log-level", "error", "--log-outputs", "/dev/null"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, "NOTIFY_SOCKET": "@" + name[1:]},
            )  # fmt: skip
            readable, _, _ = select.select([ready], [], [], START_SECONDS_MAX)
            if not readable:
                self.kill()
                raise AssertionError("etcd did not start")

    def kill(self) -> None:
        """SIGKILL, and gone for certain; what it acknowledged is on the disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stand, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Its threads stop one after the other, and until the last one has it may answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def etcd_server(folder: Path) -> Iterator[EtcdServer]:
    """A running etcd for the length of the block; skips where there is none."""
    program = shutil.which("etcd")
    if program is None:
        pytest.skip("etcd is not installed: apt-get install etcd-server")
    server = EtcdServer(program, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
