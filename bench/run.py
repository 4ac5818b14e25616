"""The measuring loops (io): prepare, read the server's CPU clock, run, read it again.

Pairs are taken A B, B A, A B ...: a machine that warms up or slows down during a pair then favours
each side equally often. Preparation is outside the clock, and both servers are idle while the other
is measured.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.process import BenchError, Raw, Server, cpu_ns, reset_peak, status_kib
from bench.report import Memory, Row, Sample, UnreadableReport, parse_report
from bench.workloads import Load, Workload, cleaning, memory_load

SETTLE_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured, and how often."""

    workloads: tuple[Workload, ...]
    pipelines: tuple[int, ...]
    clients: int
    requests: int | None
    rounds: int
    keyspace: int
    value_bytes: int
    quick: bool
    seconds_max: float

    def load(self, workload: Workload, pipeline: int) -> Load:
        """The size of one run: enough requests for about a second of redis-server's time."""
        requests = self.requests
        if requests is None:
            requests = (400_000 if pipeline >= 8 else 100_000) // (5 if self.quick else 1)
        # Where one request is milliseconds of work, one at a time is a load, too.
        heavy = workload.weight if pipeline >= 8 or workload.weight >= 100 else 1
        requests = max(500, requests // heavy)
        return Load(requests, pipeline, self.clients, self.keyspace, self.value_bytes)

    def runs(self) -> int:
        """How often redis-benchmark will be run for one pair of servers."""
        return len(self.workloads) * len(self.pipelines) * self.rounds * 2


def measure(server: Server, workload: Workload, load: Load, seconds_max: float) -> Sample:
    """One run of one test against one server."""
    with Raw(server.port) as raw:
        raw.run(cleaning(workload))
        raw.run(workload.prepare(load))
    reset_peak(server.pid)
    before = cpu_ns(server.pid)
    text = _redis_benchmark(server, workload, load, seconds_max)
    spent = cpu_ns(server.pid) - before
    try:
        latency = parse_report(text)
    except UnreadableReport as error:
        raise BenchError(f"cannot read what redis-benchmark printed: {error}") from error
    peak = status_kib(server.pid, "VmHWM")
    with Raw(server.port) as raw:
        left = 1 if workload.leftover is None else raw.call(*workload.leftover)
        raw.run(cleaning(workload))
    if not isinstance(left, int) or left <= 0:
        raise BenchError(f"{workload.name} on {server.name} drained its structure ({left!r} left)")
    return Sample(
        rps=latency.rps,
        p50_ms=latency.p50_ms,
        p99_ms=latency.p99_ms,
        p999_ms=latency.p999_ms,
        cpu_us=spent / load.requests / 1000,
        rss_peak_kib=peak,
    )


def _redis_benchmark(server: Server, workload: Workload, load: Load, seconds_max: float) -> str:
    argv = [
        *("redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "--precision", "3"),
        *("-c", str(load.clients), "-n", str(load.requests), "-P", str(load.pipeline)),
        *("-r", str(load.keyspace)),
        *workload.argv(load),
    ]
    what = f"{workload.name} (pipeline {load.pipeline}) on {server.name}"
    try:
        done = subprocess.run(argv, capture_output=True, timeout=seconds_max, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{what} did not end within {seconds_max:g} s") from error
    except OSError as error:
        raise BenchError(f"cannot start redis-benchmark: {error.strerror}") from error
    if done.returncode != 0:
        raise BenchError(f"{what} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def compare(
    ours: Server,
    peer: Server,
    settings: Settings,
    budget: float,
    tell: Callable[[str], None],
    failed: Callable[[str], None],
) -> list[Row]:
    """Every test at every pipeline depth, in pairs. ``tell`` is called before each run.

    A test that one of the servers cannot do is left out and told to ``failed``; a server that has
    gone ends the comparison there.
    """
    rows: list[Row] = []
    for pipeline in settings.pipelines:
        for workload in settings.workloads:
            load = settings.load(workload, pipeline)
            samples: dict[str, list[Sample]] = {ours.name: [], peer.name: []}
            try:
                for turn in range(settings.rounds):
                    for server in (ours, peer) if turn % 2 == 0 else (peer, ours):
                        tell(f"{workload.name} P{pipeline} {server.name}")
                        sample = measure(server, workload, load, settings.seconds_max)
                        samples[server.name].append(sample)
            except (BenchError, OSError) as error:
                failed(f"{workload.name} at pipeline {pipeline} left out: {error}")
                for server in (ours, peer):
                    if not Path(f"/proc/{server.pid}").exists():
                        failed(f"{server.name} has gone: stopping here")
                        return rows
                continue
            rows.append(
                Row(
                    test=workload.name,
                    pipeline=pipeline,
                    requests=load.requests,
                    ours=tuple(samples[ours.name]),
                    peer=tuple(samples[peer.name]),
                    budget=budget,
                )
            )
    return rows


def memory(ours: Server, peer: Server, keys: int, value_bytes: int, budget: float) -> Memory:
    """Load the same keys into two fresh servers and compare the growth of resident memory."""
    grown = []
    for server in (ours, peer):
        before = status_kib(server.pid, "VmRSS")
        with Raw(server.port) as raw:
            raw.run(memory_load(keys, value_bytes))
            held = raw.call(b"DBSIZE")
        if held != keys:
            raise BenchError(f"{server.name} holds {held!r} keys, not {keys}")
        grown.append((_settled(server.pid) - before) * 1024)
    return Memory(keys, value_bytes, grown[0], grown[1], budget)


def _settled(pid: int) -> int:
    """Resident KiB once it has stopped changing (tables may still be growing behind the load)."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    last = status_kib(pid, "VmRSS")
    while time.monotonic() < deadline:
        time.sleep(1.0)
        now = status_kib(pid, "VmRSS")
        if abs(now - last) <= 64:
            return now
        last = now
    return last
