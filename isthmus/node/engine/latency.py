"""LatencyMonitor: spikes of `latency-monitor-threshold` milliseconds and more, by kind of event.

Each kind of event keeps its last `SAMPLES_MAX` samples, one a second at most (the worst of that
second), and its worst ever. `sample` is called where something happened that may hold the loop up;
below the threshold, and always while that is 0, it costs a comparison.

Kinds: `command` and `fast-command` (calls; fast are those declared FAST), `expire-cycle`,
`eviction-cycle`, `eviction-del`, `active-defrag-cycle`, and whatever else calls `sample`.
"""

from __future__ import annotations

from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config

SAMPLES_MAX = 160
GRAPH_COLUMNS = 80
GRAPH_ROWS = 4
# From low to high within one row of the graph; what is above is filled.
GRAPH_STEPS = b"_o#"
GRAPH_FULL = b"|"


class Series:
    """The samples of one kind of event: (Unix seconds, milliseconds), oldest first."""

    __slots__ = ("samples", "worst_ms")

    def __init__(self) -> None:
        self.samples: list[tuple[int, int]] = []
        self.worst_ms = 0

    def add(self, at_s: int, ms: int) -> None:
        """Note a spike; of several within a second the worst is kept."""
        self.worst_ms = max(self.worst_ms, ms)
        if self.samples and self.samples[-1][0] == at_s:
            self.samples[-1] = (at_s, max(self.samples[-1][1], ms))
            return
        self.samples.append((at_s, ms))
        if len(self.samples) > SAMPLES_MAX:
            del self.samples[0]


class LatencyMonitor:
    """The spikes of a node."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.series: dict[bytes, Series] = {}

    def sample(self, event: bytes, ms: int) -> None:
        """Something of a kind took so long; kept if that reaches the threshold."""
        threshold = self.config.integer("latency-monitor-threshold")
        if not 0 < threshold <= ms:
            return
        self.series.setdefault(event, Series()).add(self.clock.now_ms // 1000, ms)

    def reset(self, events: list[bytes]) -> int:
        """Forget some kinds of events, or all if none is named; how many there were."""
        names = events or list(self.series)
        return sum(self.series.pop(name, None) is not None for name in names)


def age(seconds: int) -> bytes:
    """How long ago, in the largest whole unit."""
    for limit, size, unit in ((60, 1, b"s"), (3600, 60, b"m"), (86400, 3600, b"h")):
        if seconds < limit:
            return b"%d%s" % (seconds // size, unit)
    return b"%dd" % (seconds // 86400)


def graph(event: bytes, series: Series, now_s: int) -> bytes:
    """The spikes as columns of characters, each with its age written downwards under it."""
    heights = [ms for _, ms in series.samples]
    low, high = min(heights), max(heights)
    parts = [
        b"%s - high %d ms, low %d ms (all time high %d ms)\n" % (event, high, low, series.worst_ms),
        b"-" * GRAPH_COLUMNS + b"\n",
    ]
    steps = len(GRAPH_STEPS) * GRAPH_ROWS
    columns = []
    for at_s, ms in series.samples:
        step = min(steps - 1, (ms - low) * steps // max(1, high - low))
        columns.append((step, age(max(0, now_s - at_s))))
    for start in range(0, len(columns), GRAPH_COLUMNS):
        if start:
            parts.append(b"\n")
        parts += graph_lines(columns[start : start + GRAPH_COLUMNS])
    return b"".join(parts)


def graph_lines(columns: list[tuple[int, bytes]]) -> list[bytes]:
    """The lines of one stretch of the graph: rows, an empty line, labels."""
    lines = []
    for row in range(GRAPH_ROWS):
        floor = (GRAPH_ROWS - row - 1) * len(GRAPH_STEPS)
        lines.append(b"".join(graph_cell(step - floor) for step, _ in columns))
    lines.append(b" " * len(columns))
    for at in range(max(len(label) for _, label in columns)):
        lines.append(b"".join(label[at : at + 1] or b" " for _, label in columns))
    return [line + b"\n" for line in lines]


def graph_cell(height: int) -> bytes:
    """The character of a column in a row, by how far the column reaches above the row's floor."""
    if height < 0:
        return b" "
    return GRAPH_STEPS[height : height + 1] or GRAPH_FULL
