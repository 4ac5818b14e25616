"""Processes as the operating system sees them (io): start, recognise, wait for, end.

A process id alone proves nothing: the number is used again. A process is *ours* if its start time
(field 22 of /proc/PID/stat, in ticks since boot) is the one noted when it was started.

A child must not outlive a supervisor that was killed outright, so it asks the kernel for a SIGTERM
on its parent's death (``PR_SET_PDEATHSIG``). The kernel means the parent *thread*: ``start`` may be
called from the main thread only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

LOG_BYTES_READ_MAX = 16 * 1024


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of ``isthmus ARGUMENTS``, found the way this process was found.

    ``python -m`` looks into the working directory first; unless that is how we were started, a
    file there that happens to be called like a library must not be picked up (``-P``).
    """
    from_here = bool(sys.path) and sys.path[0] in ("", os.getcwd())
    return [sys.executable, *([] if from_here else ["-P"]), "-m", "isthmus.cli.main", *arguments]


def _end_with(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return in_child


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Run ``isthmus ARGUMENTS`` with its output appended to ``log``.

    It gets a process group of its own, so that a Ctrl-C at the terminal reaches the supervisor
    alone, which then ends its children in order.
    """
    assert threading.current_thread() is threading.main_thread()
    with log.open("ab") as out:
        return subprocess.Popen(
            command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,
            preexec_fn=_end_with(os.getpid()),
        )


def start_detached(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Run ``isthmus ARGUMENTS`` in a session of its own, to go on after this process ends."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def started_at(pid: int) -> int | None:
    """When a process was started, in ticks since boot; None if there is none, or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_ours(pid: int, started: int) -> bool:
    """Whether the process that was noted still runs."""
    return pid > 0 and started_at(pid) == started


def signal_ours(pid: int, started: int, number: signal.Signals) -> None:
    """Send a signal to a noted process, if it still runs."""
    if is_ours(pid, started):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


async def ended(pid: int) -> None:
    """Return when a process has ended (a child is not reaped by this)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def last_lines(log: Path, count: int = 8) -> list[str]:
    """The end of a log file, at most LOG_BYTES_READ_MAX of it."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES_READ_MAX))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def port_in_use(host: str, port: int) -> str | None:
    """None if one can listen there; otherwise why not, as the end of a sentence."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is already in use by {_holder(port) or 'another process'}"
            return f"cannot be used: {error.strerror}"
    return None


def _holder(port: int) -> str | None:
    """Who listens on a port, if /proc tells us (it does for our own user's processes)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            parts = line.split()
            if parts[3] == "0A" and int(parts[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{parts[9]}]")
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and inodes and _holds(folder, inodes):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            line = b" ".join(words).decode(errors="replace").strip()
            return f"process {folder.name} ({line[:80]})"
    return None


def _holds(folder: Path, inodes: set[str]) -> bool:
    try:
        return any(os.readlink(link) in inodes for link in (folder / "fd").iterdir())
    except OSError:
        return False
