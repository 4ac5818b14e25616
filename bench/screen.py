"""The tables on the screen (rich)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.report import Memory, Row

_TIMES = (("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("p999_ms", "p99.9 ms"))


def comparison(
    console: Console, title: str, ours: str, peer: str, rows: Sequence[Row], budget: float
) -> None:
    """The table of one pair of servers: ours / peer side by side, ratio after each pair."""
    table = Table(
        title=title,
        caption=f"each cell: {ours} | {peer}; x = median of the pairs' ratios, {ours} / {peer}; "
        f"budget: CPU/op <= {budget:g}x",
        caption_justify="left",
        title_justify="left",
    )
    table.add_column("test")
    table.add_column("P", justify="right")
    table.add_column("CPU us/op", justify="right")
    table.add_column("x", justify="right", style="bold")
    table.add_column("", justify="left")
    table.add_column("requests/s", justify="right")
    table.add_column("x", justify="right")
    for _, head in _TIMES:
        table.add_column(head, justify="right")
    table.add_column("peak MiB", justify="right")
    for row in rows:
        table.add_row(*_cells(row), style=None if row.within else "red")
    console.print(table)
    if rows:
        over = [f"{row.test} P{row.pipeline}" for row in rows if not row.within]
        told = f"over budget: {', '.join(over)}" if over else "every row is within budget"
        console.print(f"{len(rows) - len(over)} of {len(rows)} within budget; {told}\n")


def _cells(row: Row) -> list[str]:
    def both(name: str, form: str, divide: float = 1.0) -> str:
        a = row.figure(row.ours, name) / divide
        b = row.figure(row.peer, name) / divide
        return f"{a:{form}} | {b:{form}}"

    return [
        row.test,
        str(row.pipeline),
        both("cpu_us", ".2f"),
        f"{row.ratio('cpu_us'):.2f}",
        "ok" if row.within else "OVER",
        both("rps", ",.0f"),
        f"{row.ratio('rps'):.2f}",
        *(both(name, ".2f") for name, _ in _TIMES),
        both("rss_peak_kib", ".0f", 1024),
    ]


def memory(console: Console, ours: str, peer: str, found: Memory) -> None:
    """The memory-per-key table."""
    table = Table(
        title=f"memory: {found.keys:,} keys of 16 bytes, values of {found.value_bytes} bytes",
        title_justify="left",
    )
    for head in ("server", "resident bytes per key"):
        table.add_column(head, justify="left" if head == "server" else "right")
    table.add_row(ours, f"{found.ours_bytes / found.keys:.1f}")
    table.add_row(peer, f"{found.peer_bytes / found.keys:.1f}")
    console.print(table)
    verdict = "ok" if found.within else "OVER"
    console.print(f"ratio {found.ratio:.2f}x, budget {found.budget:g}x: {verdict}\n")
