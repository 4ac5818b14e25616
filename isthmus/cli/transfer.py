"""What export and import share towards the user: sentences, and a bar of progress (io, with rich).

The bar is drawn on standard error by the calls that tell of progress, not more often than ten times
a second; where standard error is no terminal, nothing is drawn.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from isthmus.cli import local

DRAW_SECONDS = 0.1
SHOWN_AFTER_SECONDS = 1.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def say(text: str, style: str = "") -> None:
    """A line on standard error."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"isthmus: {text}", style=style, markup=False, highlight=False)


def fail(text: str, status: int = 1) -> typer.Exit:
    """Say why it cannot be done; to be raised."""
    say(text, "red")
    return typer.Exit(status)


def first_error(error: BaseException) -> BaseException:
    """The first of errors that came together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def data_dir_coordinator(data_dir: Path | None) -> str:
    """The coordinator of the cluster that runs in a folder, by default the usual one."""
    folder = (data_dir or local.default_data_dir(os.environ)).expanduser().absolute()
    try:
        found = local.load(folder)
    except ValueError as error:
        raise fail(f"{error}; delete it once you are sure that nothing runs there") from error
    if found is None or not found.running():
        raise fail(
            f"no cluster runs in {folder}: start one with isthmus up, "
            "or name a server with --from or a cluster with --coordinator or --data-dir"
        )
    return found.coordinator


def size_text(size: float) -> str:
    """Bytes for people."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


class Bar:
    """Progress over several files: keys, bytes, their rate."""

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        self.is_shown = console.is_terminal
        self.started = self.drawn = time.monotonic()
        self.expected: dict[str, int] = {}
        self.keys_done: dict[str, int] = {}
        self.bytes_done: dict[str, int] = {}
        self.what = what
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
        )  # fmt: skip
        self.progress = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self.task = self.progress.add_task(what, total=None, told="")

    def __enter__(self) -> Bar:
        if self.is_shown:
            self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_shown:
            self.progress.stop()

    def expect(self, name: str, keys: int) -> None:
        """About so many keys will come in this file."""
        self.expected[name] = keys
        self.draw()

    def keys(self, name: str, done: int) -> None:
        """So many keys of this file are done."""
        self.keys_done[name] = done
        self.draw()

    def bytes(self, name: str, done: int) -> None:
        """So many bytes of this file are done."""
        self.bytes_done[name] = done
        self.draw()

    def phase(self, name: str, what: str) -> None:
        """Something else is done with this file now."""
        self.progress.update(self.task, description=f"{self.what}, {what}")
        self.draw(now=True)

    def note(self, text: str) -> None:
        """Show a text in place of keys and bytes."""
        if self.is_shown:
            self.progress.update(self.task, told=text)
            self.progress.refresh()

    def finished(self, name: str, keys: int) -> None:
        """This file is done."""
        self.keys_done[name] = self.expected[name] = keys
        self.draw(now=True)

    def draw(self, now: bool = False) -> None:
        """Show how far it is, if that was not done just before."""
        moment = time.monotonic()
        if not self.is_shown or (not now and moment - self.drawn < DRAW_SECONDS):
            return
        self.drawn = moment
        keys, total = sum(self.keys_done.values()), sum(self.expected.values())
        size = sum(self.bytes_done.values())
        rate = size / max(moment - self.started, 0.001)
        self.progress.update(
            self.task,
            total=max(total, keys) or None,
            completed=keys,
            told=f"{keys:,} of {total:,} keys, {size_text(size)}, {size_text(rate)}/s",
        )
        self.progress.refresh()


class FileBar:
    """Progress through one file, for what takes longer than a second."""

    def __init__(self, name: str) -> None:
        console = Console(stderr=True)
        self.is_shown = console.is_terminal
        self.started = time.monotonic()
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
        self.progress = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, auto_refresh=False
        )
        self.task = self.progress.add_task(name, total=None)

    def __enter__(self) -> FileBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def show(self, done: int, size: int) -> None:
        """This much of the file was looked at."""
        if not self.is_shown or time.monotonic() - self.started < SHOWN_AFTER_SECONDS:
            return
        self.progress.start()
        self.progress.update(self.task, completed=done, total=size)
        self.progress.refresh()
