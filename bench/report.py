"""From redis-benchmark's text to ratios and JSON: the arithmetic of the benchmark (pure).

A *sample* is one server's figures from one run of redis-benchmark. Two samples taken one after the
other are a *pair*; a row's ratio is the median of its pairs' ratios (ours / peer), not the ratio of
medians, because the machine's speed drifts between pairs much more than within one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

JSON_VERSION = 1

_RPS = re.compile(r"throughput summary: ([\d.]+) requests per second")
_SUMMARY = re.compile(r"^\s*avg\s+min\s+p50\s+p95\s+p99\s+max\s*$")
_PERCENTILE = re.compile(r"^([\d.]+)% <= ([\d.]+) milliseconds")


class UnreadableReport(ValueError):
    """redis-benchmark printed something that is not its report."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What the client side saw: requests per second and latencies in milliseconds."""

    rps: float
    p50_ms: float
    p99_ms: float
    p999_ms: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One server in one run: the client's view, and what the server spent on it."""

    rps: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: float
    rss_peak_kib: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the pairs of one test at one pipeline depth."""

    test: str
    pipeline: int
    requests: int
    ours: tuple[Sample, ...]
    peer: tuple[Sample, ...]
    budget: float

    def figure(self, samples: Sequence[Sample], name: str) -> float:
        """The median of one figure over the rounds."""
        return median([float(getattr(sample, name)) for sample in samples])

    def ratio(self, name: str) -> float:
        """Median over the pairs of ours / peer."""
        return pair_ratio(
            [getattr(sample, name) for sample in self.ours],
            [getattr(sample, name) for sample in self.peer],
        )

    @property
    def within(self) -> bool:
        """Whether the CPU per operation is inside the budget."""
        return self.ratio("cpu_us") <= self.budget


def parse_report(text: str) -> Latency:
    """Figures from redis-benchmark's default output (6.2 or newer, ``--precision 3``).

    p99.9 is not in its summary: it is the first line of the percentile distribution at or above
    99.9 % (a run of under a thousand requests has only the 100 % line there). Raises
    UnreadableReport when a part is missing.
    """
    text = text.replace("\r", "\n")
    found = _RPS.search(text)
    distribution = text.partition("Latency by percentile distribution:")[2]
    distribution = distribution.partition("Cumulative distribution")[0]
    p999 = None
    for line in distribution.splitlines():
        part = _PERCENTILE.match(line.strip())
        if part and float(part[1]) >= 99.9:
            p999 = float(part[2])
            break
    summary: list[float] = []
    lines = text.splitlines()
    for header, line in zip(lines, lines[1:], strict=False):
        if _SUMMARY.match(header):
            summary = [float(number) for number in line.split()]
    if found is None or p999 is None or len(summary) != 6:
        raise UnreadableReport(text[-400:])
    return Latency(float(found[1]), summary[2], summary[4], p999)


def pair_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Median of ours[i] / peer[i]; infinite where a peer's figure is 0 and ours is not."""
    return median(
        a / b if b else (float("inf") if a else 1.0) for a, b in zip(ours, peer, strict=True)
    )


def row_json(row: Row, clients: int) -> dict[str, Any]:
    """A row as it stands in the JSON file: medians, ratios, and every sample they came from."""
    names = list(asdict(row.ours[0]))
    medians: Callable[[Sequence[Sample]], dict[str, float]] = lambda samples: {  # noqa: E731
        name: row.figure(samples, name) for name in names
    }
    return {
        "test": row.test,
        "pipeline": row.pipeline,
        "clients": clients,
        "requests": row.requests,
        "rounds": len(row.ours),
        "ours": medians(row.ours),
        "peer": medians(row.peer),
        "ratio": {name: row.ratio(name) for name in names},
        "budget_cpu": row.budget,
        "within_budget": row.within,
        "samples": {
            "ours": [asdict(sample) for sample in row.ours],
            "peer": [asdict(sample) for sample in row.peer],
        },
    }


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes each server took for the same keys."""

    keys: int
    value_bytes: int
    ours_bytes: int
    peer_bytes: int
    budget: float

    @property
    def ratio(self) -> float:
        """Ours / peer."""
        return self.ours_bytes / self.peer_bytes

    @property
    def within(self) -> bool:
        """Whether the ratio is inside the budget."""
        return self.ratio <= self.budget

    def json(self) -> dict[str, Any]:
        """The memory part of the JSON file."""
        return {
            "keys": self.keys,
            "value_bytes": self.value_bytes,
            "ours_bytes_per_key": self.ours_bytes / self.keys,
            "peer_bytes_per_key": self.peer_bytes / self.keys,
            "ratio": self.ratio,
            "budget": self.budget,
            "within_budget": self.within,
        }
