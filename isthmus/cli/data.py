"""The commands that move and look at data: what they take, and their help (pure).

What they do is imported when one of them is called, with the values and formats of a node that they
need: `isthmus --help` and `isthmus status` shall not wait for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

POLICIES = ("fail", "merge", "replace")
SAMPLE_KEYS = 1000
EXPORT_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus export /backup/today\n\n"
    "  isthmus export --from redis://:secret@10.0.0.7:6379 --plain /backup/redis\n\n"
    "  isthmus export --coordinator 127.0.0.1:9400 s3://bucket/backup/today\n\n"
    "  isthmus export --endpoint-url http://127.0.0.1:9000 s3://bucket/backup"
)
IMPORTING_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus import /backup/today --to redis://127.0.0.1:10000\n\n"
    "  isthmus import dump.rdb old-shard-*.rdb.gz --to redis://10.0.0.7:8500 --policy merge\n\n"
    "  isthmus import s3://bucket/backup/today --dry-run\n\n"
    "  isthmus import dump.rdb --database 3:0 --policy replace --verify"
)
RDB_SHOW_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus rdb dump.rdb\n\n"
    "  isthmus rdb dump.rdb --top 50 --prefix-separator / --prefix-depth 2\n\n"
    "  isthmus rdb dump.rdb --html dump.html"
)
CHECK_RDB_EXAMPLES = (
    "Examples:\n\n"
    "  isthmus check rdb dump.rdb\n\n"
    "  isthmus check rdb --json backup/local_shard-0_20260101T000000Z.rdb.gz\n\n"
    "  isthmus check rdb --fix dump.rdb"
)


def export(
    dest: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="A folder, s3://bucket/prefix or az://container/prefix."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="redis://[user:password@]host:port: a server, or any node of a cluster.",
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The cluster of this coordinator; by default the one that isthmus status shows.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="The cluster in DIR.")
    ] = None,
    one_node: Annotated[
        bool, typer.Option("--one-node", help="With --from: that node alone, not its cluster.")
    ] = False,
    gzip: Annotated[
        bool, typer.Option("--gzip/--plain", help="Compress the files, or not.")
    ] = True,
    endpoint_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the object store listens, if not at its maker's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write the data of a cluster, or of any Redis, to RDB files while it serves.

    One file per shard, read back and compared, and a manifest at the end.
    """
    from isthmus.cli import export as it

    it.command(
        dest=dest,
        source=source,
        coordinator=coordinator,
        data_dir=data_dir,
        one_node=one_node,
        gzip=gzip,
        endpoint_url=endpoint_url,
        as_json=as_json,
    )


def import_(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="RDB files, plain or gzip; folders, s3:// or az:// that isthmus export wrote.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="redis://[user:password@]host:port: a server, any node of a cluster, or a proxy.",
        ),
    ] = "redis://127.0.0.1:10000",
    policy: Annotated[
        str, typer.Option(metavar="|".join(POLICIES), help="What of keys that are there already.")
    ] = "fail",
    parallel: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Connections to each server.")
    ] = 2,
    database: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM:TO", help="Put the keys of one database into another."),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the object store listens, if not at its maker's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the files, say where keys would go.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help=f"Read up to {SAMPLE_KEYS} keys back and compare.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome, for programs.")] = False,
) -> None:
    """Read RDB files of any Redis into a server or a cluster, each key where its slot is.

    All files are checked before the first key is sent. What expires keeps its time.
    """
    from isthmus.cli import importing

    importing.command(
        sources=sources,
        to=to,
        policy=policy,
        parallel=parallel,
        database=database,
        endpoint_url=endpoint_url,
        dry_run=dry_run,
        verify=verify,
        as_json=as_json,
    )


def rdb(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="An RDB file, plain or gzip.")],
    top: Annotated[
        int, typer.Option(metavar="N", min=0, max=10_000, help="How many of the largest keys.")
    ] = 10,
    prefix_separator: Annotated[
        str, typer.Option(metavar="TEXT", help="What ends the prefix of a key.")
    ] = ":",
    prefix_depth: Annotated[
        int, typer.Option(metavar="N", min=1, max=10, help="Separators that a prefix reaches to.")
    ] = 1,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a page with charts as well.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Show what an RDB file is made of: types, largest keys, memory by prefix, times to live."""
    from isthmus.cli import rdb_show

    rdb_show.command(
        target=target,
        top=top,
        prefix_separator=prefix_separator,
        prefix_depth=prefix_depth,
        html=html,
        as_json=as_json,
    )


def check_rdb(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="An RDB file, plain or gzip.")],
    fix: Annotated[
        bool, typer.Option("--fix", help="Write what stands before the damage to FILE.fixed.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="With --fix: also if only the checksum is wrong.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, as JSON.")] = False,
) -> None:
    """Check an RDB file of any Redis, 2.8 to 8.0: is it whole, and what is in it.

    Exit status 0: nothing is wrong. 1: something was wrong, mended or not. 2: cannot be done.
    """
    from isthmus.cli import check_rdb as it

    it.command(
        target=target,
        fix=fix,
        anyway=anyway,
        as_json=as_json,
    )
