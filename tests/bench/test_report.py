"""What redis-benchmark prints, the arithmetic over it, and the shape of the JSON."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from bench import screen
from bench.report import Memory, Row, Sample, UnreadableReport, pair_ratio, parse_report, row_json
from bench.stalls import Stall

# As redis-benchmark 7.0 prints it to a pipe: progress lines end in CR, then the report.
PRINTED = (
    " \rSET key:__rand_int__ x: rps=0.0 (overall: 0.0) avg_msec=-nan (overall: -nan)\r"
    + " " * 40
    + """\r====== SET key:__rand_int__ x ======
  20000 requests completed in 0.04 seconds
  50 parallel clients
  3 bytes payload
  keep alive: 1
  multi-thread: no

Latency by percentile distribution:
0.000% <= 0.703 milliseconds (cumulative count 16)
50.000% <= 1.431 milliseconds (cumulative count 10000)
99.805% <= 2.439 milliseconds (cumulative count 19968)
99.902% <= 2.471 milliseconds (cumulative count 19984)
99.951% <= 2.583 milliseconds (cumulative count 20000)
100.000% <= 2.583 milliseconds (cumulative count 20000)

Cumulative distribution of latencies:
0.000% <= 0.103 milliseconds (cumulative count 0)
99.950% <= 9.103 milliseconds (cumulative count 19616)
100.000% <= 9.103 milliseconds (cumulative count 20000)

Summary:
  throughput summary: 512820.50 requests per second
  latency summary (msec):
          avg       min       p50       p95       p99       max
        1.404     0.696     1.431     1.903     2.271     2.583

"""
)


def sample(cpu_us: float, rps: float = 1000.0) -> Sample:
    return Sample(rps=rps, p50_ms=1.0, p99_ms=2.0, p999_ms=3.0, cpu_us=cpu_us, rss_peak_kib=4096)


def row(ours: list[float], peer: list[float], budget: float = 1.0) -> Row:
    return Row(
        test="SET",
        pipeline=16,
        requests=1000,
        ours=tuple(sample(cpu) for cpu in ours),
        peer=tuple(sample(cpu) for cpu in peer),
        budget=budget,
    )


def test_parse_report() -> None:
    found = parse_report(PRINTED)
    assert found.rps == 512820.5
    assert (found.p50_ms, found.p99_ms) == (1.431, 2.271)
    assert found.p999_ms == 2.471


def test_p999_of_a_short_run_is_its_maximum() -> None:
    lines = [line for line in PRINTED.splitlines(keepends=True) if not line.startswith("99.9")]
    assert parse_report("".join(lines)).p999_ms == 2.583


@pytest.mark.parametrize(
    "cut", ["throughput summary", "Latency by percentile", "latency summary (msec)"]
)
def test_a_report_with_a_part_missing_is_refused(cut: str) -> None:
    with pytest.raises(UnreadableReport):
        parse_report(PRINTED.partition(cut)[0])


def test_row_ratio_is_the_median_of_pairs_not_the_ratio_of_medians() -> None:
    # The machine slowed down in the second and third pair; within each pair ours took 0.9.
    found = row(ours=[0.9, 9.0, 1.8], peer=[1.0, 10.0, 2.0])
    assert found.ratio("cpu_us") == pytest.approx(0.9)
    assert found.within
    assert not row(ours=[1.3, 1.3, 0.5], peer=[1.0, 1.0, 1.0], budget=1.2).within


def test_pair_ratio_of_zeros() -> None:
    assert pair_ratio([0.0], [0.0]) == 1.0
    assert math.isinf(pair_ratio([1.0], [0.0]))


def test_row_json_shape() -> None:
    found = json.loads(json.dumps(row_json(row([1.0, 3.0, 2.0], [1.0, 1.0, 1.0]), clients=50)))
    figures = {"rps", "p50_ms", "p99_ms", "p999_ms", "cpu_us", "rss_peak_kib"}
    assert set(found["ours"]) == set(found["peer"]) == set(found["ratio"]) == figures
    assert found["ours"]["cpu_us"] == 2.0
    assert found["ratio"]["cpu_us"] == 2.0
    assert found["within_budget"] is False
    assert (found["test"], found["pipeline"], found["clients"], found["rounds"]) == (
        "SET",
        16,
        50,
        3,
    )
    assert len(found["samples"]["ours"]) == 3


def test_memory_json() -> None:
    found = Memory(keys=10, value_bytes=64, ours_bytes=1500, peer_bytes=1000, budget=1.4)
    assert not found.within
    assert found.json()["ours_bytes_per_key"] == 150.0
    assert found.json()["ratio"] == 1.5


@pytest.mark.parametrize(
    ("longest_ms", "turn_ms", "within"),
    [(4.0, None, True), (6.0, None, False), (4.0, 4.9, True), (4.0, 5.1, False), (6.0, 1.0, False)],
)
def test_the_budget_of_stalls(longest_ms: float, turn_ms: float | None, within: bool) -> None:
    out = io.StringIO()
    idle = Stall("idle", 20.0, 0.5, 2.0, 1000, turn_ms and 0.1)
    rows = [idle, Stall("UNLINK hash", longest_ms, 1.0, 2.0, 1000, turn_ms)]
    other = [Stall(row.name, 30.0, 1.0, 2.0, 1000, None) for row in rows]
    console = Console(file=out, width=200)
    assert screen.stalls(console, "ours", rows, "theirs", other, 5.0) == within
    assert ("OVER" in out.getvalue()) != within
