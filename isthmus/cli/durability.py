"""`isthmus durability`: when writes count as acknowledged, shown and changed while it runs (io).

The coordinator holds the policy (wire/durability.py) and pushes it with the topology; a node that
has the present topology acts by it. `set` waits for that, for SETTLE_SECONDS_MAX. Its exit status
is 1 if a living node has not heard by then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated

import trio
import typer

from isthmus.cli import inquiry, screen
from isthmus.cli.plan import NODE_ROLES, processes
from isthmus.cli.target import AsJson, CoordinatorAddress, DataDir, coordinator_of, fail
from isthmus.wire.durability import DurabilityError, parse

SETTLE_SECONDS_MAX = 5.0
POLL_SECONDS = 0.1
MEANING = {
    "async": "replies go out at once; a lost primary takes with it what its replicas lack",
    "replica": "replies go out when a replica in sync has the write",
    "fsync": "replies go out when the primary's append only file is on the disk",
}

group = typer.Typer(
    name="durability",
    help="When writes are acknowledged: show it, or change it while the cluster runs.",
    epilog="Examples:\n\n"
    "  isthmus durability\n\n"
    "  isthmus durability show --json\n\n"
    "  isthmus durability set replica",
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
    """When writes are acknowledged: show it, or change it while the cluster runs."""
    if context.invoked_subcommand is None:
        show(data_dir, coordinator, as_json)


@group.command(epilog="Examples:\n\n  isthmus durability show\n\n  isthmus durability show --json")
def show(
    data_dir: DataDir, coordinator: CoordinatorAddress = None, as_json: AsJson = False
) -> None:
    """Show the policy, and how far each replica lags."""
    try:
        status = trio.run(inquiry.status, coordinator_of(data_dir, coordinator))
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    _print(status, as_json)


@group.command(
    "set",
    epilog="Examples:\n\n"
    "  isthmus durability set async\n\n"
    "  isthmus durability set async:2000:16777216\n\n"
    "  isthmus durability set replica\n\n"
    "  isthmus durability set fsync --data-dir /tmp/second",
)
def set_policy(
    policy: Annotated[
        str, typer.Argument(help="async, replica or fsync, each with limits if wanted: :MS:BYTES.")
    ],
    data_dir: DataDir,
    coordinator: CoordinatorAddress = None,
    as_json: AsJson = False,
) -> None:
    """Change the policy, for all shards; returns once every living node has heard."""
    try:
        wanted = str(parse(policy))
    except DurabilityError as error:
        raise fail(str(error), 2) from error
    address = coordinator_of(data_dir, coordinator)
    try:
        status = trio.run(_set, address, wanted)
    except inquiry.Unanswered as error:
        raise fail(str(error)) from error
    _print(status, as_json)
    late = _late(status)
    if late:
        raise fail(f"{', '.join(late)} did not hear of {wanted} yet")


async def _set(address: str, wanted: str) -> dict[str, object]:
    status = await inquiry.set_durability(address, wanted)
    with trio.move_on_after(SETTLE_SECONDS_MAX):
        while _late(status):
            await trio.sleep(POLL_SECONDS)
            status = await inquiry.status(address)
    return status


def _late(status: Mapping[str, object]) -> list[str]:
    """The addresses of living nodes that do not hold the present topology."""
    return [
        str(p.get("address"))
        for p in processes(status)
        if p.get("role") in NODE_ROLES
        and p.get("state") == "up"
        and p.get("topology_epoch") != status.get("epoch")
    ]


def _print(status: Mapping[str, object], as_json: bool) -> None:
    policy = str(status.get("durability"))
    replicas = [p for p in processes(status) if p.get("role") == "replica"]
    if as_json:
        names = ("id", "address", "state", "shard", "synced", "offset", "lag_bytes")
        told = [{name: p.get(name) for name in names} for p in replicas]
        json.dump({"policy": policy, "replicas": told}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    console = screen.output()
    meaning = MEANING.get(policy.partition(":")[0], "")
    console.print(f"durability {policy}: {meaning}", markup=False, highlight=False)
    for p in replicas:
        console.print(
            f"  shard {p.get('shard')}, replica {p.get('address')}: "
            f"{'in sync' if p.get('synced') else 'not in sync'}, {screen.lag(p)} behind",
            markup=False,
            highlight=False,
        )
