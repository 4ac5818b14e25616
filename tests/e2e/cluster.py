"""`isthmus up` as a user runs it, for tests: free ports, bounded waits, ended by signal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ports import neighbours

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
COMMAND_SECONDS_MAX = 30.0
PROGRAM = [sys.executable, "-m", "isthmus.cli.main"]


@dataclass(frozen=True)
class Ports:
    """The ports of one cluster."""

    proxy: int
    node: int
    coordinator: int


@dataclass(frozen=True)
class Cluster:
    """A running cluster: where it is, and its supervisor."""

    ports: Ports
    data_dir: Path
    up: subprocess.Popen[str]
    printed: str


def free_ports(nodes: int) -> Ports:
    """Ports that are free now; those of the nodes are neighbours."""
    first = neighbours(nodes + 2)
    return Ports(proxy=first, coordinator=first + 1, node=first + 2)


def isthmus(
    *arguments: str, seconds: float = START_SECONDS_MAX
) -> subprocess.CompletedProcess[str]:
    """Run one command of the program to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def options(ports: Ports, data_dir: Path, shards: int) -> list[str]:
    """The options of `up` for these ports."""
    return [
        *("up", "--shards", str(shards), "--data-dir", str(data_dir)),
        *("--port", str(ports.proxy), "--node-port", str(ports.node)),
        *("--coordinator-port", str(ports.coordinator)),
    ]


def start(ports: Ports, data_dir: Path, shards: int = 3, *more: str) -> Cluster:
    """Start a cluster in the foreground of a subprocess; return once it says how to connect."""
    up = subprocess.Popen(
        [*PROGRAM, *options(ports, data_dir, shards), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert up.stdout is not None
    descriptor = up.stdout.fileno()
    printed = b""
    deadline = time.monotonic() + START_SECONDS_MAX
    while b"Ctrl-C stops everything" not in printed:
        readable, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        piece = os.read(descriptor, 65536) if readable else b""
        if not piece:
            up.kill()
            up.communicate()
            raise AssertionError(f"the cluster did not start:\n{printed.decode()}")
        printed += piece
    return Cluster(ports, data_dir, up, printed.decode())


def stop(cluster: Cluster, number: signal.Signals = signal.SIGINT) -> str:
    """Send the supervisor a signal, await its end, return what it still printed."""
    if cluster.up.poll() is None:
        cluster.up.send_signal(number)
    try:
        return cluster.up.communicate(timeout=STOP_SECONDS_MAX)[0]
    except subprocess.TimeoutExpired:
        cluster.up.kill()
        cluster.up.communicate()
        raise


@contextmanager
def running(
    data_dir: Path, shards: int = 3, *more: str, ports: Ports | None = None
) -> Iterator[Cluster]:
    """A cluster for the length of the block; `more` are options of `up`."""
    cluster = start(ports or free_ports(shards), data_dir, shards, *more)
    try:
        yield cluster
    finally:
        stop(cluster)


def processes(data_dir: Path) -> list[dict[str, Any]]:
    """The processes as `isthmus status --json` lists them."""
    done = isthmus("status", "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["processes"]
    return found


def all_ended(pids: list[int]) -> bool:
    """Wait, bounded, until none of these processes runs; False if one still does."""
    deadline = time.monotonic() + STOP_SECONDS_MAX
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
                return False
        finally:
            os.close(descriptor)
    return True
