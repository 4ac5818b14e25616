"""Which cluster a command means, and how it says that it cannot be done (io).

A cluster is named by its directory, where the state file tells the coordinator's address, or by
that address itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from isthmus.cli import local


def data_dir_default() -> Path:
    """Where a cluster lives unless told otherwise."""
    return local.default_data_dir(os.environ)


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        default_factory=data_dir_default,
        show_default="$ISTHMUS_DATA_DIR, or ~/.local/share/isthmus/local",
        help="Directory of the cluster: its state, its logs, what its processes keep.",
    ),
]
CoordinatorAddress = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT[,...]",
        help="Ask this one, or these of one cluster, instead of the one DIR names.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Everything known, for programs.")]


def fail(text: str, status: int = 1) -> typer.Exit:
    """Say why it cannot be done; to be raised."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"isthmus: {text}", style="red", markup=False, highlight=False)
    return typer.Exit(status)


def state_of(data_dir: Path) -> local.Cluster | None:
    """The state file of a directory, if there is one."""
    try:
        return local.load(data_dir)
    except ValueError as error:
        raise fail(f"{error}; delete it once you are sure that nothing runs there") from error


def coordinator_of(data_dir: Path, address: str | None) -> str:
    """The address that was given, or that of the cluster which runs in the directory."""
    if address is not None:
        return address
    directory = data_dir.expanduser().absolute()
    found = state_of(directory)
    if found is None or not found.running():
        raise fail(
            f"no cluster runs in {directory}: start one with isthmus up, "
            "or name its --data-dir or its --coordinator"
        )
    return found.coordinator
