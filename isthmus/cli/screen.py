"""What the commands print for people: tables and texts (io, with rich).

The table of processes goes to standard output, progress and events to standard error, so that a
pipe gets the result alone. A line people may copy (a command, a path) is never wrapped. Nothing
here runs in a thread: children are forked while the progress line is shown.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from isthmus.cli.local import default_data_dir
from isthmus.cli.plan import Options, disk, processes, slot_ranges

PIPE_CHARACTERS = 200
# What lasts longer is not a lease but a shard of one copy, which needs none.
_LEASE_MS_MAX = 3_600_000
_COLUMNS = ("role", "pid", "zone", "shard", "slots", "address", "metrics")
_REPLICATED = ("role", "pid", "zone", "shard", "epoch", "slots", "address", "metrics", "standing")


def table(status: Mapping[str, object]) -> Table:
    """One line per process; narrow enough for a terminal of 80 columns, with replicas of 100."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    rows = processes(status)
    unusual = any(row.get("state", "up") != "up" for row in rows)
    columns = _REPLICATED if any(row.get("role") == "replica" for row in rows) else _COLUMNS
    unusual = unusual and columns is _COLUMNS  # else the standing tells it
    for column in (*columns, *(("state",) if unusual else ())):
        right = column in ("pid", "shard", "epoch")
        shown.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        state = str(row.get("state", "up"))
        special = {"slots": _ranges, "metrics": _metrics, "standing": standing}
        cells = [
            special[column](row) if column in special else _text(row.get(column))
            for column in columns
        ]
        shown.add_row(
            *cells,
            *((state,) if unusual else ()),
            style=None if state in ("up", "standby") else "red",
        )
    return shown


def standing(row: Mapping[str, object]) -> str:
    """How a process stands: a primary by its lease, a replica by how far it is behind."""
    state, copy = str(row.get("state", "up")), row.get("copy")
    if state != "up":
        return state
    if row.get("role") == "primary" and isinstance(copy, Mapping):
        left = copy.get("lease_left_ms")
        if copy.get("role") != "primary" or not isinstance(left, int):
            return "taking over"
        if left <= 0:
            return "no lease"
        return "leads" if left > _LEASE_MS_MAX else f"lease {left / 1000:.1f} s"
    if row.get("role") != "replica":
        return "up"
    behind = lag(row)
    if behind[:1].isdigit():
        return f"{behind} behind" if row.get("synced") else "not in sync"
    return behind


def lag(row: Mapping[str, object]) -> str:
    """How far a replica is behind its primary: in bytes, or in what state it is."""
    if row.get("role") != "replica":
        return "-"
    behind, copy = row.get("lag_bytes"), row.get("copy")
    state = copy.get("state") if isinstance(copy, Mapping) else None
    if state not in (None, "streaming"):
        return str(state)
    return "?" if not isinstance(behind, int) else _size(behind) if behind else "0"


def disks(status: Mapping[str, object]) -> Table:
    """One line per node: what is in force, the last snapshot, the append only file, problems."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("node", "policy", "last save", "aof"):
        shown.add_column(column, justify="right" if column == "aof" else "left", no_wrap=True)
    shown.add_column("problem", overflow="fold")
    for row in processes(status):
        found = disk(row)
        if found is None:
            continue
        problem = str(found.get("problem") or "")
        dead = row.get("state", "up") != "up"
        shown.add_row(
            _text(row.get("address")),
            _text(found.get("policy")),
            _moment(found.get("saved_s")),
            _size(found.get("aof_bytes")),
            problem or ("as last heard" if dead else "-"),
            style="red" if problem or dead else None,
        )
    return shown


def _moment(seconds: object) -> str:
    if not isinstance(seconds, int) or not 0 < seconds < 1 << 34:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _size(count: object) -> str:
    """Bytes for people: three digits that matter, and a unit."""
    if not isinstance(count, int) or count <= 0:
        return "-"
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1000:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def _text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _ranges(row: Mapping[str, object]) -> str:
    ranges = slot_ranges(row)
    shown = [f"{first}-{last}" if first != last else str(first) for first, last in ranges[:3]]
    return ",".join(shown) + (",..." if len(ranges) > 3 else "") or "-"


def _metrics(row: Mapping[str, object]) -> str:
    """The metrics address, as a port where it is on the same host as the process itself."""
    address = _text(row.get("metrics_address"))
    host, _, port = address.rpartition(":")
    same = host and host == str(row.get("address")).rpartition(":")[0]
    return f":{port}" if same else address


def welcome(
    console: Console, options: Options, status: Mapping[str, object], foreground: bool
) -> None:
    """How to connect, one example, what is kept, and how to stop."""
    proxy, node = options.port, options.node_port
    stop = "Ctrl-C stops everything." if foreground else f"isthmus down{_where(options)} stops it."
    console.print(
        f"""
Connect to any proxy as if it were one Redis:
  redis-cli -p {proxy}
  redis.Redis(port={proxy})                               # redis-py
or, with a client that knows clusters, to the nodes:
  redis-cli -c -p {node}
  redis.RedisCluster(host="127.0.0.1", port={node})      # redis-py

Try it:
  redis-cli -p {proxy} mset apple 1 pear 2
  redis-cli -p {proxy} mget apple pear

{_kept(status)}
{_copies(options, status)}
Metrics are at http://HOST:PORT/metrics, as the table says; logs in {options.data_dir / "logs"}
{stop}""",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _kept(status: Mapping[str, object]) -> str:
    policy = status.get("persistence", "off")
    said = "nothing is kept on disk" if policy == "off" else "data outlives a restart"
    return f"Persistence is {policy}: {said} (isthmus persistence set POLICY changes it)."


def _copies(options: Options, status: Mapping[str, object]) -> str:
    if not options.replicas:
        return "Each shard is one primary, without replicas (isthmus up --replicas 1 has some)."
    count = "one replica" if options.replicas == 1 else f"{options.replicas} replicas"
    return (
        f"Each shard is a primary and {count}; durability is {status.get('durability')}"
        " (isthmus durability)."
    )


def _where(options: Options) -> str:
    usual = options.data_dir == default_data_dir(os.environ)
    return "" if usual else f" --data-dir {shlex.quote(str(options.data_dir))}"


class _Lasting(Console):
    """A console whose reader may go away: the terminal is gone, the cluster is not."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on (rich would end the process)."""
        self.quiet = True


def output(*, lasting: bool = False) -> Console:
    """Standard output; a pipe or a file is given whole lines, however long."""
    console = _Lasting() if lasting else Console()
    if not console.is_terminal:
        console.width = PIPE_CHARACTERS
    return console


class Screen:
    """A Watcher that writes to the terminal; where there is none, only what matters."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.out = output(lasting=True)
        self.err = _Lasting(stderr=True)
        self._shown: Progress | None = None

    def progress(self, text: str) -> None:
        """Show how far the start has come, in place.

        Drawn by the caller's polling, not by a thread of its own: children are being forked.
        """
        if not self.err.is_terminal:
            return
        if self._shown is None:
            columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            self._shown = Progress(*columns, console=self.err, transient=True, auto_refresh=False)
            self._shown.start()
            self._shown.add_task(text, total=None)
        self._shown.update(self._shown.task_ids[0], description=text)
        self._shown.refresh()

    def done(self) -> None:
        """Take the progress line away."""
        if self._shown is not None:
            self._shown.stop()
            self._shown = None

    def ready(self, status: dict[str, object]) -> None:
        """The cluster serves."""
        self.done()
        with suppress(OSError):
            self.out.print(table(status))
            welcome(self.out, self.options, status, foreground=True)

    def event(self, text: str, details: Sequence[str] = ()) -> None:
        """Something the user should know."""
        with suppress(OSError):  # of a terminal that was closed
            self.done()
            self.err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
            for line in details:
                self.err.print(
                    f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True
                )
