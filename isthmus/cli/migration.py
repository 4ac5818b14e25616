"""`isthmus migrate-from`: what it takes, and its help (pure).

What it does is imported when it is called, with the values and formats of a node that it needs:
`isthmus --help` shall not wait for that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.data import POLICIES

MIGRATING_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus migrate-from redis://10.0.0.7:6379 --to redis://127.0.0.1:10000\n\n"
    "  isthmus migrate-from redis://:secret@10.0.0.7 --to redis://10.0.1.1:6379 --cutover\n\n"
    "  isthmus migrate-from redis://10.0.0.7 --db 3 --to redis://10.0.1.1:10000 --json\n\n"
    "  isthmus migrate-from redis://shard-1:6379 --shard --policy merge --to redis://10.0.1.1:10000"
)


def migrate_from(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="redis://\\[user:password@]host:port: a primary, 6.2 or later."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="redis://\\[user:password@]host:port: a server, a node of a cluster, or a proxy.",
        ),
    ] = "redis://127.0.0.1:10000",
    db: Annotated[
        int | None,
        typer.Option(
            "--db", metavar="N", min=0, help="That database alone; a cluster gets it as its 0."
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(metavar="|".join(POLICIES), help="What of keys that are there already.")
    ] = "fail",
    parallel: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=64, help="Connections to each server, for a start."),
    ] = 2,
    cutover: Annotated[
        bool,
        typer.Option(
            "--cutover", help="Stop writes at the source as soon as all is over; do not ask."
        ),
    ] = False,
    shard: Annotated[
        bool, typer.Option("--shard", help="The source is one node of a cluster: move its keys.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare every key, or only their number.")
    ] = True,
    hold_seconds: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="For how long the source takes no writes afterwards."
        ),
    ] = 3600,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome, for programs.")] = False,
) -> None:
    """Move a Redis that serves into a server or a cluster, without a lost write.

    Copies the data, follows what changes, and when told to, stops writes at the source, waits until
    all is applied, compares every key, and says that clients can be sent to the target.
    """
    from isthmus.cli import migrate

    migrate.command(
        source=source,
        to=to,
        db=db,
        policy=policy,
        parallel=parallel,
        cutover=cutover,
        shard=shard,
        verify=verify,
        hold_seconds=hold_seconds,
        as_json=as_json,
    )
