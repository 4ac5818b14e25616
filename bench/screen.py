"""The tables on the screen (rich)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from bench.report import Memory, Row, Sample
from bench.stalls import Stall

_TIMES = (("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("p999_ms", "p99.9"))


def comparison(
    console: Console, title: str, ours: str, peer: str, rows: Sequence[Row], budget: float
) -> None:
    """One table for each pipeline depth; of the two servers, ours is the upper line."""
    if not rows:
        return
    for pipeline in dict.fromkeys(row.pipeline for row in rows):
        table = Table(
            title=f"{title}, pipeline {pipeline}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        table.add_column("test", no_wrap=True)
        table.add_column("server", no_wrap=True)
        table.add_column("CPU us", justify="right", no_wrap=True)
        table.add_column("ratio", justify="right", style="bold", no_wrap=True)
        table.add_column("req/s", justify="right", no_wrap=True)
        table.add_column("ratio", justify="right", no_wrap=True)
        for _, head in _TIMES:
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("MiB", justify="right", no_wrap=True)
        for row in rows:
            if row.pipeline != pipeline:
                continue
            mark = "" if row.within else " !"
            ratios = (f"{row.ratio('cpu_us'):.2f}{mark}", f"{row.ratio('rps'):.2f}")
            style = None if row.within else "red"
            table.add_row(row.test, *_cells(_short(ours), row, row.ours, ratios), style=style)
            table.add_row("", *_cells(_short(peer), row, row.peer, ("", "")), style="dim")
        console.print(table)
    console.print(
        f"CPU us: the server's, per request. MiB: its peak resident memory. "
        f"ratio: {ours} / {peer}, median of the pairs. !: CPU over the budget of {budget:g}x.",
        highlight=False,
    )
    over = [f"{row.test} P{row.pipeline}" for row in rows if not row.within]
    console.print(
        f"{len(rows) - len(over)} of {len(rows)} rows within budget"
        + (f"; over it: {', '.join(over)}" if over else "")
        + "\n",
        highlight=False,
    )


def _short(name: str) -> str:
    """A name that leaves room for ten columns on a terminal of 80."""
    return name.split()[0].removesuffix("-server")


def _cells(server: str, row: Row, samples: Sequence[Sample], ratios: tuple[str, str]) -> list[str]:
    return [
        server,
        f"{row.figure(samples, 'cpu_us'):.2f}",
        ratios[0],
        f"{row.figure(samples, 'rps'):,.0f}",
        ratios[1],
        *(f"{row.figure(samples, name):.2f}" for name, _ in _TIMES),
        f"{row.figure(samples, 'rss_peak_kib') / 1024:.0f}",
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


def stalls(
    console: Console,
    ours: str,
    mine: Sequence[Stall],
    peer: str,
    other: Sequence[Stall],
    budget_ms: float,
) -> bool:
    """The table of longest answers and turns; True if ours are within the budget.

    An answer may take so much longer than what is usual when idle; a turn of the loop, so much.
    """
    table = Table(title="longest answer to PING meanwhile, ms", title_justify="left")
    heads = ("what goes", ours, "99.9 %", "CPU of a turn", "seconds", peer, "99.9 %", "seconds")
    for head in heads:
        table.add_column(head, justify="left" if head == "what goes" else "right")
    answers = turns = True
    for one, two in zip(mine, other, strict=True):
        answered = one.name == "idle" or one.longest_ms - mine[0].p999_ms <= budget_ms
        turned = one.turn_ms is None or one.turn_ms <= budget_ms
        answers, turns = answers and answered, turns and turned
        figures = (
            *(one.longest_ms, one.p999_ms, one.turn_ms, one.seconds),
            *(two.longest_ms, two.p999_ms, two.seconds),
        )
        cells = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
        table.add_row(one.name, *cells, style=None if answered and turned else "red")
    console.print(table)
    console.print(
        f"budget {budget_ms:g} ms of {ours}: CPU of the longest turn {_verdict(turns)}, "
        f"longest answer (with the machine's noise) {_verdict(answers)}\n"
    )
    return answers and turns


def _verdict(fits: bool) -> str:
    return "ok" if fits else "OVER"
