"""`isthmus scale`, `rebalance`, `drain`: other numbers of shards, even slots, emptied nodes (io).

The coordinator stores what is asked for and pursues it by itself; here it is asked for, and shown
how far it has come. With `--dry-run` nothing is asked for: what would be done is printed. A local
cluster (`isthmus up`) is told to start the nodes that are missing; elsewhere their number is named,
and the coordinator goes on when they have come. Ctrl-C, or the end of the terminal, stops nothing.

Exit status: 0 if it is done (or, with --no-wait, asked for), 1 if the coordinator says why not or
nodes are missing, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import trio
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from isthmus.cli import inquiry, local, process, screen
from isthmus.cli.failover import node_named
from isthmus.cli.target import AsJson, CoordinatorAddress, DataDir, coordinator_of, fail, state_of

POLL_SECONDS = 0.25
SCALE_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus scale --shards 5 --dry-run\n\n"
    "  isthmus scale --shards 5\n\n"
    "  isthmus scale --shards 3 --no-wait; isthmus status"
)
REBALANCE_EXAMPLES = "Examples:\n\n  isthmus rebalance --dry-run\n\n  isthmus rebalance"
DRAIN_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus drain 127.0.0.1:8502 --dry-run\n\n"
    "  isthmus drain 127.0.0.1:8502\n\n"
    "  isthmus drain 127.0.0.1:8502 --undo"
)
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done; nothing is changed.")
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Return once it is asked for; it goes on by itself.")
]


def scale(
    shards: Annotated[int, typer.Option(metavar="N", help="How many shards there are to be.")],
    data_dir: DataDir,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Change the number of shards while the cluster serves; slots move with their keys.

    New shards are made of nodes that hold nothing. Shards that go give their slots away first.
    """
    address = coordinator_of(data_dir, coordinator)
    if dry_run:
        _show(_asked(inquiry.preview, address, shards=shards), as_json, table)
        return
    status = _asked(inquiry.pursue, address, method="scale", shards=shards)
    if coordinator is None:
        _grow(data_dir.expanduser().absolute(), status, shards)
    _follow(address, status, as_json, no_wait)


def rebalance(
    data_dir: DataDir,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Move slots until all shards have equally many, and primaries until all zones do.

    A primary moves by a planned failover, which takes part of a second and loses nothing.
    """
    address = coordinator_of(data_dir, coordinator)
    if dry_run:
        _show(_asked(inquiry.preview, address), as_json, table)
        return
    _follow(address, _asked(inquiry.pursue, address, method="rebalance"), as_json, no_wait)


def drain(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Its address, its id, or the beginning of it.")
    ],
    data_dir: DataDir,
    undo: Annotated[
        bool, typer.Option("--undo", help="Let the node hold something again.")
    ] = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Let a node hold nothing, so that it can be stopped: another one takes over its copy."""
    address = coordinator_of(data_dir, coordinator)
    name = node_named(_asked(inquiry.status, address), node)
    if dry_run:
        _show(_asked(inquiry.preview, address, node=name), as_json, steps)
        return
    status = _asked(inquiry.pursue, address, method="drain", node=name, drained=not undo)
    _follow(address, status, as_json, no_wait or undo)


def _asked(call: Callable[..., Any], address: str, **params: object) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        return dict(await call(address, **params))

    try:
        return trio.run(ask)
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error


def _show(plan: dict[str, Any], as_json: bool, shown: Callable[[dict[str, Any]], Any]) -> None:
    if as_json:
        json.dump(plan, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    console = screen.output()
    for part in shown(plan):
        console.print(part, highlight=False)


def table(plan: dict[str, Any]) -> list[Any]:
    """A plan of shards and slots for people."""
    said: list[Any] = []
    for added in plan["added"]:
        nodes = ", ".join(added["nodes"]) or "nodes that are not there yet"
        said.append(f"shard {added['shard']} is made of {nodes}")
    if plan["moves"]:
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in ("from shard", "to shard", "slots", "which"):
            right = column == "slots"
            shown.add_column(column, justify="right" if right else "left", no_wrap=not right)
        for move in plan["moves"]:
            ranges = [f"{a}-{b}" if a != b else str(a) for a, b in move["slots"]]
            which = ",".join(ranges[:4]) + (",..." if len(ranges) > 4 else "")
            cells = move["source"], move["target"], f"{move['count']:,}", which
            shown.add_row(*map(str, cells))
        said.append(shown)
    for lead in plan["primaries"]:
        said.append(
            f"shard {lead['shard']}: {lead['to']} (zone {lead['to_zone']}) takes over as primary "
            f"from {lead['from']} (zone {lead['from_zone']})"
        )
    said += [f"shard {number} is empty then, and is forgotten" for number in plan["removed"]]
    if not said:
        said.append(
            "nothing has to be done: all shards have equally many slots, and zones primaries as "
            "evenly as can be"
        )
    if plan["missing_nodes"]:
        said.append(_missing(plan["missing_nodes"]))
    return said


def steps(plan: dict[str, Any]) -> list[str]:
    """A plan to drain a node for people."""
    said = [*plan["steps"]] or [f"nothing has to be done: {plan['address']} holds nothing"]
    if plan["missing_nodes"]:
        said.append("no other node is free: " + _missing(plan["missing_nodes"]))
    return said


def _missing(count: int) -> str:
    nodes = "1 more node is" if count == 1 else f"{count} more nodes are"
    return (
        f"{nodes} needed (isthmus up starts what its cluster lacks when it is asked for, elsewhere "
        "isthmus node --coordinator HOST:PORT starts one)"
    )


def _grow(data_dir: Path, status: Mapping[str, Any], shards: int) -> None:
    """Have the supervisor of a local cluster start the nodes that are missing."""
    found = state_of(data_dir)
    if found is None:
        return
    local.note_shape(data_dir, shards, int(status.get("replicas_wanted") or 0))
    goal = status.get("goal") or {}
    if goal.get("missing_nodes") and found.supervisor in found.running():
        who = found.supervisor
        process.signal_ours(who.pid, who.started, signal.SIGUSR1)
        goal["missing_nodes"] = 0


def _follow(address: str, status: dict[str, Any], as_json: bool, no_wait: bool) -> None:
    """Show how far it has come, until it is so."""
    missing = int((status.get("goal") or {}).get("missing_nodes") or 0)
    if missing or no_wait:
        if as_json:
            json.dump(status.get("goal"), sys.stdout, indent=1)
            sys.stdout.write("\n")
        elif missing:
            raise fail(f"{_missing(missing)}; the rest follows when they have come")
        raise typer.Exit(1 if missing else 0)
    bar = Bar()
    try:
        done = trio.run(_until_reached, address, bar)
    except inquiry.Unanswered as error:
        raise fail(f"{error}; what was asked for goes on") from error
    finally:
        bar.done()
    if as_json:
        json.dump(done.get("goal"), sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    screen.output().print(screen.table(done))


async def _until_reached(address: str, bar: Bar) -> dict[str, Any]:
    silent = 0
    while True:
        try:
            status: dict[str, Any] = dict(await inquiry.status(address))
            silent = 0
        except inquiry.Unanswered:
            # It may be away for a moment, or another one leads.
            silent += 1
            if silent > 40:
                raise
            await trio.sleep(POLL_SECONDS)
            continue
        goal = status.get("goal") or {}
        bar.show(goal, status)
        if goal.get("reached"):
            return status
        await trio.sleep(POLL_SECONDS)


class Bar:
    """How many of the slots have moved; on a terminal only."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.most = 0
        self.shown: Progress | None = None

    def show(self, goal: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """The present state."""
        left = int(goal.get("slots_left") or 0)
        self.most = max(self.most, left)
        if not self.console.is_terminal:
            return
        if self.shown is None:
            self.shown = Progress(
                TextColumn("{task.description}"), BarColumn(),
                TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn(),
                console=self.console, transient=True, auto_refresh=False,
            )  # fmt: skip
            self.shown.start()
            self.shown.add_task("", total=None)
        self.shown.update(
            self.shown.task_ids[0], total=max(self.most, 1), completed=self.most - left,
            description=what(status),
        )  # fmt: skip
        self.shown.refresh()

    def done(self) -> None:
        """Take it away."""
        if self.shown is not None:
            self.shown.stop()


def pending(status: Mapping[str, Any]) -> str:
    """What is being pursued, in a line; empty if nothing is."""
    goal = status.get("goal")
    if not isinstance(goal, Mapping) or goal.get("reached") or not status.get("shards"):
        return ""
    held = len(goal.get("still_held") or ())
    said = [f"on the way to {goal.get('shards')} shards: {what(status)}"]
    return "; ".join(said + ([f"{held} drained nodes still hold something"] if held else []))


def what(status: Mapping[str, Any]) -> str:
    """What goes on, in a few words."""
    goal = status.get("goal") or {}
    moving = [m for m in status.get("moves") or () if m["state"] in ("copying", "yielding")]
    if goal.get("missing_nodes"):
        return f"waiting for {goal['missing_nodes']} nodes"
    if not moving:
        primaries = goal.get("primaries_left") or 0
        if primaries and not goal.get("slots_left"):
            return f"{primaries} primaries to move to other zones"
        return f"{goal.get('slots_left', 0):,} slots to move"
    ways = ", ".join(f"{m['source']} to {m['target']}" for m in moving[:3])
    return f"{goal.get('slots_left', 0):,} slots to move, shard {ways}"
