"""A real node process for hostile tests, and the sockets to be hostile with.

The node's log goes to a file that the tests read: a fault of ours shows there as `command_fault` or
as a traceback, and `Process.check` fails on either. The process is ended by its pid, always.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hiredis

from tests.support import ports, servers

PING = b"*1\r\n$4\r\nPING\r\n"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PATIENCE_SECONDS = 10.0


class Process:
    """One node, its port, its log."""

    def __init__(self, popen: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.port = port
        self.log_path = log

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def resident_bytes(self) -> int:
        return self._statm(1)

    def address_space_bytes(self) -> int:
        return self._statm(0)

    def _statm(self, field: int) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[field]) * PAGE_BYTES

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        made = socket.socket()
        made.settimeout(PATIENCE_SECONDS)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.connect(("127.0.0.1", self.port))
        return made

    def alive(self, password: bytes = b"") -> None:
        """A new client is served, now."""
        with self.connect() as stream:
            stream.sendall(b"AUTH " + password + b"\r\n" + PING if password else PING)
            want = b"+OK\r\n+PONG\r\n" if password else b"+PONG\r\n"
            got = b""
            while len(got) < len(want):
                data = stream.recv(100)
                assert data, f"closed after {got!r}"
                got += data
            assert got == want

    def check(self) -> None:
        """Still running, and nothing in the log that is our fault."""
        assert self.popen.poll() is None, self.log()
        log = self.log()
        assert "command_fault" not in log, log
        assert "Traceback" not in log, log


@contextmanager
def node(folder: Path, *arguments: str, open_files: int = 0) -> Iterator[Process]:
    """A standalone node on a free port, for the length of the block."""
    port = ports.free_port()
    log = folder / "node.log"
    command = [sys.executable, "-m", "isthmus.cli.main", "node", "--standalone"]
    # Some commands write files, and a start reads them.
    command += ["--port", str(port), *arguments, "--dir", str(folder)]
    if open_files:
        command = ["prlimit", f"--nofile={open_files}:{open_files}", *command]
    with log.open("wb") as stderr:
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    process = Process(popen, port, log)
    try:
        await_log(process, "node_ready")
        yield process
    finally:
        servers.stop(popen)
    assert popen.returncode == 0, process.log()


def await_log(process: Process, text: str) -> None:
    """Wait until the log has `text`; the wait is for the end of the process, so it ends with it."""
    poller = select.poll()
    watched = os.pidfd_open(process.pid)
    poller.register(watched, select.POLLIN)
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while text not in process.log():
            assert not poller.poll(20), process.log()
            assert time.monotonic() < deadline, f"no {text}: {process.log()}"
    finally:
        os.close(watched)


def exit_code(process: Process, number: signal.Signals = signal.SIGTERM) -> int:
    """Send the signal and wait for the end."""
    process.popen.send_signal(number)
    return process.popen.wait(PATIENCE_SECONDS)


def replies(stream: socket.socket, data: bytes, wanted: int) -> tuple[list[object], bool]:
    """Send, then read `wanted` replies (-1: up to the end of the stream); and whether it ended."""
    reader = hiredis.Reader()
    found: list[object] = []
    try:
        stream.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        pass  # it was closed while we were talking; what it said before can still be read
    while wanted < 0 or len(found) < wanted:
        try:
            received = stream.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received:
            return found, True
        reader.feed(received)
        while (reply := reader.gets()) is not False:
            found.append(reply)
    return found, False
