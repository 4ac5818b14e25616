"""What a replica costs its primary: CPU of each write, and a full sync (io).

Each server is filled with the same mix of keys and followed by a redis-server of its own, the same
program for both (it must read what our node sends, RDB 12: 7.4 or newer). Asked are

- how long the full sync takes, from REPLICAOF until the link is up, and so the bytes of a snapshot
  per second;
- the CPU of the primary for each SET, while redis-benchmark writes, alone and followed.

The replica runs beside it on the same machine; its own CPU is in no figure.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.process import BenchError, Raw, cpu_ns
from bench.saving import begin, info, mixed

SECONDS_MAX = 300.0
CLIENTS, PIPELINE = 50, 16
POLL_SECONDS = 0.01
CPU_BUDGET = 1.3


@dataclass(frozen=True, slots=True)
class Followed:
    """One primary."""

    name: str
    keys: int
    snapshot_bytes: int
    sync_seconds: float
    sync_cpu_seconds: float
    alone_ns: float
    followed_ns: float
    caught_up_seconds: float


def until(what: str, holds: Callable[[], bool]) -> float:
    """Wait for something; how long it took."""
    started = time.perf_counter()
    while not holds():
        if time.perf_counter() - started > SECONDS_MAX:
            raise BenchError(f"{what} takes too long")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - started


def writes(port: int, pid: int, requests: int) -> float:
    """CPU of a process per SET, in ns."""
    before = cpu_ns(pid)
    subprocess.run(
        ["redis-benchmark", "-p", str(port), "-t", "set", "-n", str(requests), "-r", "100000",
         "-c", str(CLIENTS), "-P", str(PIPELINE), "-q"],
        check=True, stdout=subprocess.DEVNULL, timeout=SECONDS_MAX,
    )  # fmt: skip
    return (cpu_ns(pid) - before) / requests


def measure(
    name: str, command: str, replica: str, folder: Path, keys: int, requests: int,
    tell: Callable[[str], None],
) -> Followed:  # fmt: skip
    """All figures of one primary."""
    folder.mkdir()
    tell(f"{name}: filling")
    options = " --repl-diskless-sync yes --repl-diskless-sync-delay 0"
    primary, _, _ = begin(name, command + options, folder / "primary")
    try:
        copy, _, _ = begin("the replica", replica, folder / "replica")
        try:
            with (
                Raw(primary.port, seconds_max=SECONDS_MAX) as raw,
                Raw(copy.port, seconds_max=SECONDS_MAX) as other,
            ):
                raw.run(mixed(keys))
                raw.call(b"SAVE")
                size = (folder / "primary" / "dump.rdb").stat().st_size
                tell(f"{name}: writing, alone")
                alone = writes(primary.port, primary.pid, requests)
                tell(f"{name}: a full sync")
                before = cpu_ns(primary.pid)
                other.call(b"REPLICAOF", b"127.0.0.1", b"%d" % primary.port)
                seconds = until(
                    "the full sync",
                    lambda: info(other, "master_link_status", b"replication") == "up",
                )
                cpu_seconds = (cpu_ns(primary.pid) - before) / 1e9
                tell(f"{name}: writing, followed")
                followed = writes(primary.port, primary.pid, requests)
                caught_up = until(
                    "catching up",
                    lambda: (
                        info(other, "slave_repl_offset", b"replication")
                        == info(raw, "master_repl_offset", b"replication")
                    ),
                )
        finally:
            copy.stop()
    finally:
        primary.stop()
    return Followed(name, keys, size, seconds, cpu_seconds, alone, followed, caught_up)


def show(console: Console, mine: Followed, other: Followed) -> bool:
    """The table; True if a followed write costs no more than the budget."""
    table = Table(title="one replica", title_justify="left")
    for head in ("", mine.name, other.name, "ratio", "budget"):
        table.add_column(head, justify="left" if not head else "right")
    rows = [
        ("SET, alone, CPU us", mine.alone_ns / 1e3, other.alone_ns / 1e3, None),
        ("SET, followed, CPU us", mine.followed_ns / 1e3, other.followed_ns / 1e3, CPU_BUDGET),
        ("caught up after, s", mine.caught_up_seconds, other.caught_up_seconds, None),
        ("full sync, s", mine.sync_seconds, other.sync_seconds, None),
        ("full sync, CPU s", mine.sync_cpu_seconds, other.sync_cpu_seconds, None),
        ("full sync, MB/s", mine.snapshot_bytes / mine.sync_seconds / 1e6,
         other.snapshot_bytes / other.sync_seconds / 1e6, None),
    ]  # fmt: skip
    for name, one, two, budget in rows:
        ratio = f"{one / two:.2f}x" if two else ""
        limit = "" if budget is None else f"{budget:g}x"
        table.add_row(name, f"{one:.3f}", f"{two:.3f}", ratio, limit)
    console.print(table)
    return mine.followed_ns <= CPU_BUDGET * other.followed_ns
