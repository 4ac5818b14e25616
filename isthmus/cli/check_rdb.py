"""`isthmus check rdb`: what an RDB file holds, what is wrong with it, and saving what can be (io).

The file itself is never changed, so it is its own backup. --fix writes what stands before the first
damage, a new end and a new checksum to FILE.fixed (FILE.fixed-2 and so on; nothing is written
over), reads that back, and says what is not in it. What it vouches for is that each of these keys
is well formed: a changed byte within a text looks like a text. That is why a file of which only the
checksum is wrong is mended with --anyway only: nothing tells which bytes are not as they were.

Exit status: 0 nothing wrong; 1 something was wrong, mended or not; 2 cannot be done.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from isthmus.cli import rdb_files, screen
from isthmus.cli.rdb_report import NoRdb, RdbReport, examine
from isthmus.cli.transfer import FileBar, fail
from isthmus.wire.crc64 import extend

FINE, PROBLEM, USAGE = 0, 1, 2
COPY_BYTES = 1 << 20
NAMES_MAX = 10_000
END = b"\xff"
EXAMPLES = (
    "Examples:\n\n"
    "  isthmus check rdb dump.rdb\n\n"
    "  isthmus check rdb --json backup/local_shard-0_20260101T000000Z.rdb.gz\n\n"
    "  isthmus check rdb --fix dump.rdb"
)


def rdb(
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
    try:
        with FileBar(target.name) as bar:
            report = examine(target, bar.show)
            mended = _mend(report, anyway) if fix and report.problem else ""
    except NoRdb as error:
        raise fail(str(error), USAGE) from error
    except OSError as error:
        raise fail(f"cannot use {error.filename or target}: {error.strerror}", USAGE) from error
    if as_json:
        json.dump(as_data(report, mended), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _print(report, mended)
    raise typer.Exit(PROBLEM if report.problem else FINE)


def _mend(report: RdbReport, anyway: bool) -> str:
    """Write what can be vouched for to another file; what was done, or why not."""
    problem = report.problem
    assert problem is not None
    if problem.keep == 0:
        return "Nothing was written: nothing stands before the damage."
    if problem.checksum_only and not anyway:
        return (
            "Nothing was written: every record is well formed, so nothing tells which bytes are "
            "not as they were. --anyway writes all of it with a new checksum."
        )
    path = _write(report, problem.keep)
    again = examine(path, lambda done, size: None)
    if again.problem:
        return f"{path} was written, and is damaged too: {again.problem.reason}"
    keys = again.survey.keys.total()
    return (
        f"{path} has the {keys:,} keys that stand before the damage; "
        f"{report.size - problem.keep:,} of {report.size:,} bytes are not in it. "
        f"{report.path.name} is as it was."
    )


def _write(report: RdbReport, keep: int) -> Path:
    """The first `keep` bytes, an end and a checksum in a file of a name that was free."""
    plain = report.path.name.removesuffix(".gz")
    for number in range(1, NAMES_MAX):
        suffix = ".fixed" if number == 1 else f".fixed-{number}"
        path = report.path.with_name(plain + suffix)
        try:
            with path.open("xb") as out, rdb_files.opened(report.path) as data:
                crc = 0
                for at in range(0, keep, COPY_BYTES):
                    piece = data[at : min(at + COPY_BYTES, keep)]
                    crc = extend(crc, piece)
                    out.write(piece)
                out.write(END)
                if report.version >= 5:
                    out.write(extend(crc, END).to_bytes(8, "little"))
                out.flush()
                os.fsync(out.fileno())
        except FileExistsError:
            continue
        return path
    raise OSError(0, "there are too many mended files beside it", str(report.path))


def as_data(report: RdbReport, mended: str) -> dict[str, Any]:
    """All that was found, for programs."""
    survey, problem = report.survey, report.problem
    return {
        "path": str(report.path),
        "ok": problem is None,
        "bytes": report.size,
        "version": report.version,
        "aux": survey.aux_fields,
        "databases": {
            str(db): {
                "keys": count,
                "volatile": survey.volatile[db],
                "announced": survey.announced[db] if db in survey.announced else None,
            }
            for db, count in sorted(survey.keys.items())
        },
        "types": dict(survey.types.most_common()),
        "functions": survey.functions,
        "empty_left_out": report.empty,
        "modules_passed_over": report.modules,
        "checksum": report.checksum or None,
        "problem": problem
        and {
            "offset": problem.offset,
            "reason": problem.reason,
            "key": problem.key.decode("utf-8", "backslashreplace") if problem.key else None,
            "type": problem.kind or None,
            "database": problem.database,
            "whole_bytes": problem.keep,
            "checksum_only": problem.checksum_only,
        },
        "mended": mended or None,
    }


def _print(report: RdbReport, mended: str) -> None:
    console = screen.output()

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    survey, problem = report.survey, report.problem
    say(f"{report.path}: RDB version {report.version}, {report.size:,} bytes")
    if survey.aux_fields:
        say("  " + ", ".join(f"{name} {value}" for name, value in survey.aux_fields.items()))
    if survey.keys:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in ("database", "keys", "expiring", "announced"):
            table.add_column(column, justify="right")
        for db, count in sorted(survey.keys.items()):
            said = f"{survey.announced[db]:,}" if db in survey.announced else "-"
            table.add_row(str(db), f"{count:,}", f"{survey.volatile[db]:,}", said)
        console.print(table)
        say("types: " + ", ".join(f"{name} {n:,}" for name, n in survey.types.most_common()))
    if survey.functions:
        say("functions: " + ", ".join(survey.functions))
    if report.empty:
        say(f"note: {report.empty:,} keys without elements, which are left out on loading")
    for name in report.modules:
        say(f"note: data of the module {name}, which is passed over on loading")
    if problem is None:
        say(f"checksum: {report.checksum}")
        say("Nothing is wrong.", "green")
        return
    say(f"offset {problem.offset:,}: {problem.reason}", "red")
    if problem.key is not None:
        say(f"while the {problem.kind} {problem.key[:200]!r} of database {problem.database} "
            "was read", "red")  # fmt: skip
    if mended:
        say(mended, "yellow")
    elif problem.keep and not problem.checksum_only:
        say(f"--fix writes the {survey.keys.total():,} keys before that to another file.")
