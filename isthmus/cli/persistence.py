"""`isthmus persistence`: what a cluster keeps on disk, shown and changed while it runs (io).

The coordinator holds the policy (wire/policy.py) and pushes it; nodes bring it about, which takes
as long as writing all data once if another kind of file is wanted, and report in their beats.
`set` waits for that, for SETTLE_SECONDS_MAX, and tells what it sees. Its exit status is 0 if the
policy is in force on every living node, 1 if a node has a problem or is not done yet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated

import trio
import typer

from isthmus.cli import inquiry, screen
from isthmus.cli.plan import behind, disk, processes
from isthmus.cli.target import AsJson, CoordinatorAddress, DataDir, coordinator_of, fail
from isthmus.wire.policy import PolicyError, parse

SETTLE_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1

group = typer.Typer(
    name="persistence",
    help="What the nodes of a cluster keep on disk: show it, or change it while they run.",
    epilog="Examples:\n\n"
    "  isthmus persistence\n\n"
    "  isthmus persistence show --json\n\n"
    "  isthmus persistence set aof:always",
    invoke_without_command=True,
    rich_markup_mode="rich",
)


@group.callback()
def default(
    context: typer.Context,
    data_dir: DataDir,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """What the nodes of a cluster keep on disk: show it, or change it while they run."""
    if context.invoked_subcommand is None:
        show(data_dir, coordinator, as_json)


@group.command(
    epilog="Examples:\n\n  isthmus persistence show\n\n  isthmus persistence show --json"
)
def show(
    data_dir: DataDir, coordinator: CoordinatorAddress = None, as_json: AsJson = False
) -> None:
    """Show the policy, and for each node what is in force, the last save, and problems."""
    try:
        status = trio.run(inquiry.status, coordinator_of(data_dir, coordinator))
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    _print(status, as_json)


@group.command(
    "set",
    epilog="Examples:\n\n"
    "  isthmus persistence set off\n\n"
    "  isthmus persistence set rdb:6h\n\n"
    "  isthmus persistence set aof:everysec\n\n"
    "  isthmus persistence set aof:always --data-dir /tmp/second",
)
def set_policy(
    policy: Annotated[
        str, typer.Argument(help="off, rdb:PERIOD (1h, 30m, 7d), aof:everysec or aof:always.")
    ],
    data_dir: DataDir,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Change the policy, for all nodes; returns once it is in force."""
    try:
        wanted = str(parse(policy))
    except PolicyError as error:
        raise fail(str(error), 2) from error
    address = coordinator_of(data_dir, coordinator)
    try:
        status = trio.run(_set, address, wanted)
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    _print(status, as_json)
    late = behind(status)
    if late:
        raise fail(f"{wanted} is not in force yet on {', '.join(late)}; isthmus persistence shows")
    if any(_problem(process) for process in processes(status)):
        raise typer.Exit(1)


async def _set(address: str, wanted: str) -> dict[str, object]:
    """Set the policy, and wait until every living node has it or cannot."""
    status = await inquiry.set_persistence(address, wanted)
    with trio.move_on_after(SETTLE_SECONDS_MAX):
        while behind(status, failed=False):
            await trio.sleep(POLL_SECONDS)
            status = await inquiry.status(address)
    return status


def _problem(process: Mapping[str, object]) -> str:
    return str((disk(process) or {}).get("problem") or "")


def _print(status: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        nodes = [
            {"id": p.get("id"), "address": p.get("address"), "state": p.get("state"), **found}
            for p in processes(status)
            if (found := disk(p)) is not None
        ]
        json.dump({"policy": status.get("persistence"), "nodes": nodes}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    console = screen.output()
    console.print(f"persistence {status.get('persistence')}\n", markup=False, highlight=False)
    console.print(screen.disks(status))
