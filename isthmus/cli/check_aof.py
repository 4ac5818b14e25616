"""`isthmus check aof`: say what an AOF holds and what is wrong with it, and mend it (io).

Mending is cutting: the torn tail of the last file (--fix), all that follows the first damage (--fix
and a yes), or all that is later than a time (--timestamp). Before a file is changed a copy is laid
beside it, NAME.backup-1 and so on, which is never written over. If it is not the last file that is
cut, the files behind it are taken from the manifest, which is copied first as well; they stay where
they are. Nothing is changed while the question is open, or when standard input cannot answer it.

Exit status: 0 nothing wrong; 1 something was wrong, mended or not; 2 the command line asks for what
cannot be done. What was found goes to standard output, as text or as JSON; progress, the question
and errors to standard error.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from isthmus.cli import check_rdb, screen

if TYPE_CHECKING:
    from isthmus.cli.aof_report import AofReport, Part, Problem

PROGRESS_AFTER_SECONDS = 1.0
BACKUPS_MAX = 10_000
FINE, PROBLEM, USAGE = 0, 1, 2

group = typer.Typer(
    name="check",
    help="Look at files of data: are they whole, what is in them, and mend them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@group.callback()
def check() -> None:
    """Look at files of data: are they whole, what is in them, and mend them."""


group.command(epilog=check_rdb.EXAMPLES)(check_rdb.rdb)


@group.command(
    epilog="Examples:\n\n"
    "  isthmus check aof appendonlydir\n\n"
    "  isthmus check aof --fix appendonlydir/appendonly.aof.3.incr.aof\n\n"
    "  isthmus check aof --timestamp 1700000000 appendonlydir/appendonly.aof.manifest"
)
def aof(
    target: Annotated[
        Path, typer.Argument(metavar="FILE|MANIFEST|FOLDER", help="What to look at.")
    ],
    fix: Annotated[
        bool, typer.Option("--fix", help="Cut what is damaged, after a copy was made.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --fix: cut behind the first damage, do not ask.")
    ] = False,
    timestamp: Annotated[
        int | None,
        typer.Option(
            "--timestamp", metavar="SECONDS", min=0, help="Cut all that is later than this time."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, as JSON.")] = False,
) -> None:
    """Check an append only file: a whole one (its manifest or folder), or one of its files.

    Exit status 0: nothing is wrong. 1: something was wrong, mended or not. 2: cannot be done.
    """
    # The commands of a node come with this; the other commands for people do without.
    from isthmus.cli import aof_report, rdb_report
    from isthmus.node.commands import load_all

    load_all()
    bar = _Bar()
    try:
        report = aof_report.examine(
            target, rdb=rdb_report.aof_part, until_s=timestamp, progress=bar.show
        )
        bar.done()
        mended = ""
        if report.is_fine() and timestamp is not None:
            mended = _cut_to_time(report, timestamp)
        elif not report.is_fine() and (fix or timestamp is not None):
            mended = _mend(report, fix, yes, timestamp)
    except aof_report.NoAof as error:
        raise _fail(str(error)) from error
    except OSError as error:
        where = error.filename or target
        raise _fail(f"cannot use {where}: {error.strerror or error}") from error
    finally:
        bar.done()
    if as_json:
        json.dump(as_data(report, mended), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _print(report, mended)
    raise typer.Exit(FINE if report.is_fine() else PROBLEM)


def _fail(text: str) -> typer.Exit:
    """Say why it cannot be done; to be raised."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"isthmus: {text}", style="red", markup=False, highlight=False)
    return typer.Exit(USAGE)


class _Bar:
    """A progress bar on standard error, for what takes longer than a second."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.started = time.monotonic()
        self.shown: Progress | None = None
        self.task: Any = None
        self.name = ""

    def show(self, name: str, done: int, size: int) -> None:
        """This much of a file was looked at."""
        if not self.console.is_terminal:
            return
        if time.monotonic() - self.started < PROGRESS_AFTER_SECONDS:
            return
        if self.shown is None:
            columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
            self.shown = Progress(
                *columns, TimeRemainingColumn(), console=self.console, transient=True
            )
            self.shown.start()
            self.task = self.shown.add_task(name, total=size)
        self.shown.update(self.task, description=name, completed=done, total=size)

    def done(self) -> None:
        """Take the bar away."""
        if self.shown is not None:
            self.shown.stop()
            self.shown = None


# --- mending -------------------------------------------------------------------------------------


def _mend(report: AofReport, fix: bool, yes: bool, timestamp: int | None) -> str:
    """Mend the first problem if it can be; what was done, or why not."""
    from isthmus.cli.aof_report import CUT, NOT

    if timestamp is not None:
        return "Nothing was changed: what is damaged has to be mended before it is cut to a time."
    if report.manifest_problem:
        return "Nothing was changed: a manifest is mended by hand; it is a text."
    part = report.first_problem()
    assert part is not None and part.problem is not None
    problem = part.problem
    if problem.remedy == NOT:
        return f"Nothing was changed: {part.path.name} cannot be mended by cutting."
    lost = part.size - problem.keep
    at = report.parts.index(part)
    later = report.parts[at + 1 :]
    if problem.remedy == CUT and not yes:
        question = f"Cut {lost} bytes off {part.path.name}"
        if later:
            question += f" and leave out {len(later)} files that follow it"
        try:
            sure = typer.confirm(f"{question}?", err=True)
        except typer.Abort:
            return f"Nothing was changed. {question}? Nobody answered; --yes does."
        if not sure:
            return "Nothing was changed."
    told = _cut(part.path, problem.keep)
    if later:
        told += " " + _leave_out(report, at)
    return told


def _cut(path: Path, keep: int) -> str:
    """Copy a file, then cut it to its first `keep` bytes; what was done."""
    size = path.stat().st_size
    copy = _backup(path)
    with path.open("r+b") as file:
        file.truncate(keep)
        os.fsync(file.fileno())
    return f"{path.name} was cut from {size} to {keep} bytes; {copy.name} is as it was."


def _backup(path: Path) -> Path:
    """A copy beside a file under a name that was free, on the disk before this returns."""
    for number in range(1, BACKUPS_MAX):
        copy = path.with_name(f"{path.name}.backup-{number}")
        try:
            with path.open("rb") as source, copy.open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
        except FileExistsError:
            continue
        shutil.copystat(path, copy)
        return copy
    raise OSError(f"{path} has too many backups")


def _leave_out(report: AofReport, at: int) -> str:
    """Take the files behind part `at` from the manifest; what was done."""
    from isthmus.node.persist import aof_manifest

    assert report.manifest is not None and report.manifest_path is not None
    names = {part.path.name for part in report.parts[at + 1 :]}
    kept = tuple(file for file in report.manifest.incrs if file.name not in names)
    copy = _backup(report.manifest_path)
    made = report.manifest_path.with_name(f"temp-{report.manifest_path.name}")
    with made.open("wb") as file:
        file.write(aof_manifest.render(replace(report.manifest, incrs=kept)))
        file.flush()
        os.fsync(file.fileno())
    made.replace(report.manifest_path)
    folder = os.open(report.manifest_path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return (
        f"{', '.join(sorted(names))} no longer in the manifest, but still there; "
        f"{copy.name} is the manifest as it was."
    )


def _cut_to_time(report: AofReport, timestamp: int) -> str:
    """Cut the last file behind `timestamp`; raises NoAof if the time is in another file."""
    from isthmus.cli.aof_report import NoAof

    found = next((part for part in report.parts if part.later_at is not None), None)
    if found is None:
        if not any(part.first_s for part in report.parts):
            raise NoAof("there are no timestamps in it (aof-timestamp-enabled)")
        return f"Nothing was changed: nothing in it is later than {timestamp}."
    if found is not report.parts[-1]:
        raise NoAof(
            f"{found.path.name} goes beyond {timestamp} already and is not the last file: take "
            "the files behind it from the manifest first"
        )
    assert found.later_at is not None
    return _cut(found.path, found.later_at)


# --- showing -------------------------------------------------------------------------------------


def as_data(report: AofReport, mended: str) -> dict[str, Any]:
    """All that was found, for programs."""
    return {
        "target": str(report.target),
        "ok": report.is_fine(),
        "manifest": str(report.manifest_path) if report.manifest_path else None,
        "manifest_problem": report.manifest_problem or None,
        "parts": [_part_data(part) for part in report.parts],
        "remarks": report.remarks,
        "mended": mended or None,
    }


def _part_data(part: Part) -> dict[str, Any]:
    problem = part.problem
    return {
        "path": str(part.path),
        "role": part.role,
        "format": part.format,
        "remark": part.remark or None,
        "size": part.size,
        "commands": part.commands,
        "by_name": dict(part.names.most_common()),
        "transactions": part.transactions,
        "seals": part.seals,
        "unsealed_bytes": part.unsealed_bytes,
        "first_timestamp": part.first_s or None,
        "last_timestamp": part.last_s or None,
        "problem": problem
        and {
            "offset": problem.at,
            "reason": problem.reason,
            "remedy": problem.remedy,
            "keep_bytes": problem.keep,
            "context": problem.context,
        },
    }


def _print(report: AofReport, mended: str) -> None:
    console = screen.output()

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    if report.manifest_path:
        say(f"manifest {report.manifest_path}")
    if report.parts:
        console.print(_table(report))
    names: Counter[str] = Counter()
    for part in report.parts:
        names.update(part.names)
    if names:
        shown = ", ".join(f"{name} {count}" for name, count in names.most_common(20))
        say(f"commands: {shown}" + (", ..." if len(names) > 20 else ""))
    for part in report.parts:
        if part.remark:
            say(f"{part.path.name}: {part.remark}")
        if part.first_s:
            say(f"{part.path.name}: from {_when(part.first_s)} to {_when(part.last_s)}")
        if part.seals and part.unsealed_bytes:
            say(f"{part.path.name}: {part.unsealed_bytes} bytes stand behind the last seal")
    for remark in report.remarks:
        say(f"note: {remark}")
    if report.manifest_problem:
        say(f"The manifest is wrong: {report.manifest_problem}", "red")
    first = report.first_problem()
    if first is not None and first.problem is not None:
        say(f"{first.path.name}, offset {first.problem.at}: {first.problem.reason}", "red")
        for line in first.problem.context:
            say(line)
        if not mended:
            say(_advice(report, first, first.problem))
    if report.is_fine():
        say("Nothing is wrong.", "green")
    if mended:
        say(mended, "yellow")


def _advice(report: AofReport, part: Part, problem: Problem) -> str:
    from isthmus.cli.aof_report import CUT_TAIL, NOT

    if problem.remedy == NOT:
        return "It cannot be mended by cutting: take it from a backup or a replica."
    lost = part.size - problem.keep
    kind = "a torn tail" if problem.remedy == CUT_TAIL else "all from there on"
    return (
        f"--fix cuts {kind}, {lost} of {part.size} bytes, and keeps a copy: "
        f"isthmus check aof --fix {shlex.quote(str(report.target))}"
    )


def _table(report: AofReport) -> Table:
    """One line per file."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("file", "role", "holds", "bytes", "commands", "multi", "seals"):
        right = column in ("bytes", "commands", "multi", "seals")
        shown.add_column(column, justify="right" if right else "left", no_wrap=True)
    for part in report.parts:
        cells = [
            part.path.name,
            part.role,
            part.format,
            str(part.size),
            str(part.commands),
            str(part.transactions),
            str(part.seals),
        ]
        shown.add_row(*cells, style="red" if part.problem else None)
    return shown


def _when(second: int) -> str:
    """A time in UTC, or a dash; what no calendar holds is shown as it is."""
    if not second:
        return "-"
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    except (OverflowError, ValueError, OSError):
        return str(second)
