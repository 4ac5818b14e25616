"""The tables on the screen (rich)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from bench.report import Memory, Row, Sample
from bench.saving import Budgets, Saving
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


def saving(
    console: Console, mine: Saving, other: Saving, empty: tuple[float, float], budgets: Budgets
) -> bool:
    """The table of what keeping data costs; True if ours are within the budgets.

    `empty` is how long each takes to start without data.
    """
    title = f"a snapshot of {mine.keys:,} mixed keys"
    table = Table(title=title, title_justify="left")
    for head in ("", mine.name, other.name, "ratio", "budget"):
        table.add_column(head, justify="left" if not head else "right")
    loads = (mine.load_seconds - empty[0], other.load_seconds - empty[1])
    extra = mine.extra_bytes / mine.data_bytes
    slower = mine.busy_p999_ms / mine.idle_p999_ms
    rows = [
        ("BGSAVE, s", mine.save_seconds, other.save_seconds, True, budgets.seconds_ratio),
        ("BGSAVE under writes, s", mine.busy_save_seconds, other.busy_save_seconds, True, None),
        ("loading, s", *loads, True, budgets.seconds_ratio),
        ("p50 of writes, idle, ms", mine.idle_p50_ms, other.idle_p50_ms, True, None),
        ("p50 of writes, saving, ms", mine.busy_p50_ms, other.busy_p50_ms, True, None),
        ("p99.9 of writes, idle, ms", mine.idle_p999_ms, other.idle_p999_ms, True, None),
        ("p99.9 of writes, saving, ms", mine.busy_p999_ms, other.busy_p999_ms, True, None),
    ]
    for name, one, two, _, budget in rows:
        ratio = f"{one / two:.2f}x"
        limit = "" if budget is None else f"{budget:g}x"
        table.add_row(name, f"{one:.3f}", f"{two:.3f}", ratio, limit)
    table.add_row(
        "extra memory, of the data", f"{extra:.1%}", f"{other.extra_bytes / other.data_bytes:.1%}",
        "", f"{budgets.extra_share:.0%}",
    )  # fmt: skip
    table.add_row(
        "p99.9, saving to idle", f"{slower:.2f}x",
        f"{other.busy_p999_ms / other.idle_p999_ms:.2f}x", "", f"{budgets.slower_ratio:g}x",
    )  # fmt: skip
    console.print(table)
    within = (
        mine.save_seconds <= budgets.seconds_ratio * other.save_seconds
        and loads[0] <= budgets.seconds_ratio * loads[1]
        and extra <= budgets.extra_share
        and slower <= budgets.slower_ratio
    )
    console.print(f"budgets: {_verdict(within)}\n")
    return within


def _verdict(fits: bool) -> str:
    return "ok" if fits else "OVER"
