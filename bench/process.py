"""Processes under measurement: start them, read what they spent, end them (io).

CPU is the sum over a process's threads of the first field of /proc/PID/task/TID/schedstat:
nanoseconds on a CPU, where utime and stime would tick every 10 ms. Peak memory is VmHWM, which
writing 5 to /proc/PID/clear_refs sets back to the present size, so that each run has its own.

Every process is started with a log file, waited for with a bound, and ended by its own handle:
SIGTERM, then SIGKILL. Nothing is ever ended by name.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hiredis

from bench.workloads import Argv

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
REPLY_SECONDS_MAX = 60.0
SEND_BYTES = 256 * 1024


class BenchError(Exception):
    """A server or redis-benchmark did not do its part; the text is for the user."""


@dataclass(slots=True)
class Server:
    """A server being measured: where it listens and which process pays for it."""

    name: str
    port: int
    pid: int
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def stop(self) -> None:
        """End what was started for this server, in reverse order, each within a bound."""
        for child in reversed(self.children):
            stop(child)
        self.children.clear()


def stop(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, wait, SIGKILL."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that writes to ``log``; BenchError if there is no such program."""
    with log.open("ab") as out:
        try:
            return subprocess.Popen(
                argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise BenchError(f"cannot start {argv[0]}: {error.strerror}") from error


def wait_ready(port: int, child: subprocess.Popen[bytes], name: str, log: Path) -> None:
    """Return once the server answers PING; BenchError with its last log lines if it does not."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise BenchError(f"{name} ended with status {child.returncode}:\n{last_lines(log)}")
        try:
            with Raw(port, seconds_max=2.0) as raw:
                if raw.call(b"PING") == b"PONG":
                    return
        except (OSError, BenchError):
            pass
        time.sleep(0.05)
    raise BenchError(f"{name} did not answer PING on port {port}:\n{last_lines(log)}")


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a process's threads have been on a CPU."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return total


def reset_peak(pid: int) -> None:
    """Set the peak of resident memory back to the present size, where the kernel lets us."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except PermissionError:
        return


def status_kib(pid: int, name: str) -> int:
    """A size from /proc/PID/status (VmHWM, VmRSS) in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise BenchError(f"/proc/{pid}/status has no {name}")


def _packed(argv: Sequence[bytes]) -> bytes:
    arguments: Any = tuple(argv)  # hiredis' own hint says a tuple of exactly one
    packed: bytes = hiredis.pack_command(arguments)
    return packed


class Raw:
    """A blocking connection that pipelines commands through one socket."""

    def __init__(self, port: int, *, seconds_max: float = REPLY_SECONDS_MAX) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds_max)
        self._reader = hiredis.Reader()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def call(self, *argv: bytes) -> object:
        """Send one command and return its reply; BenchError for an error reply."""
        self._socket.sendall(_packed(argv))
        return self._reply()

    def run(self, commands: Iterable[Argv]) -> int:
        """Pipeline commands in windows of about 256 KiB; return how many were answered."""
        done = 0
        window: list[bytes] = []
        size = 0
        for argv in commands:
            packed = _packed(argv)
            window.append(packed)
            size += len(packed)
            if size >= SEND_BYTES:
                done += self._exchange(window)
                window, size = [], 0
        return done + self._exchange(window)

    def _exchange(self, window: list[bytes]) -> int:
        self._socket.sendall(b"".join(window))
        for _ in window:
            self._reply()
        return len(window)

    def _reply(self) -> object:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65536)
            if not data:
                raise BenchError("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise BenchError(f"the server answered: {reply}")
        return reply
