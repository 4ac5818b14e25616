"""Real servers for tests: started on a free port of 127.0.0.1, ended by pid, bounded in time.

A server that does not answer within `START_SECONDS_MAX` is killed and its output is part of the
error. Nothing here sleeps: readiness is a line of output that is read, not a pause that is guessed.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port

START_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 5.0


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and its process id."""

    host: str
    port: int
    pid: int


def await_output(process: subprocess.Popen[bytes], ready: bytes, seconds: float) -> None:
    """Read the process' stdout until it contains `ready`; AssertionError with the output if not."""
    assert process.stdout is not None
    seen = b""
    deadline = time.monotonic() + seconds
    while ready not in seen:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([process.stdout], [], [], max(left, 0))
        piece = process.stdout.read1() if readable else b""  # type: ignore[attr-defined]
        assert piece, f"{process.args!r} did not start: {seen.decode(errors='replace')}"
        seen += piece


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and kill it if it does not; afterwards it is gone for certain."""
    process.terminate()
    try:
        process.communicate(timeout=STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def redis8_command(name: str = "redis-server") -> list[str] | None:
    """How to start the redis-server 8.0 that tools/fetch_redis8.sh unpacked, or another program
    of it, which all are one; None if it did not."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(os.environ.get("ISTHMUS_REDIS8") or Path(cache) / "isthmus" / "redis8")
    program = folder / "usr" / "bin" / "redis-server"
    # Its C library is newer than the machine's, so the loader beside that has to start it.
    loaders = sorted(folder.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*"))
    if not program.exists() or not loaders:
        return None
    libraries = str(loaders[0].parent)
    # It knows by its name whether it is the server or a checker.
    return [str(loaders[0]), "--library-path", libraries, "--argv0", name, str(program)]


def check_rdb(path: Path) -> str:
    """What redis-check-rdb 8.0 prints about a file that it finds good."""
    command = redis8_command("redis-check-rdb")
    if command is None:
        pytest.skip("redis-check-rdb 8.0 is not there: tools/fetch_redis8.sh")
    done = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, timeout=START_SECONDS_MAX
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def redis_server(folder: Path, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """A real redis-server that saves nothing, for the length of the block."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with _started([program], folder, arguments) as server:
        yield server


@contextmanager
def redis8(folder: Path, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """A real redis-server 8.0, which knows what 7.2 and 7.4 added; saves nothing."""
    command = redis8_command()
    if command is None:
        pytest.skip("redis-server 8.0 is not there: tools/fetch_redis8.sh")
    with _started(command, folder, arguments) as server:
        yield server


@contextmanager
def _started(command: list[str], folder: Path, arguments: Sequence[str]) -> Iterator[Server]:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [*command, *options, "--dir", str(folder), "--daemonize", "no", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        await_output(process, b"eady to accept connections", START_SECONDS_MAX)
        # A server whose log nobody reads stands still when the pipe is full.
        reader = threading.Thread(target=keep, args=(process, folder / "server.log"), daemon=True)
        reader.start()
        yield Server("127.0.0.1", port, process.pid)
    finally:
        stop(process)


def keep(process: subprocess.Popen[bytes], path: Path) -> None:
    """Read what the process says until it ends, and keep it."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    with open(path, "wb") as file, suppress(OSError):
        while piece := os.read(descriptor, 65536):
            file.write(piece)
            file.flush()
