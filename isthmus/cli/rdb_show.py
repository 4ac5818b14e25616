"""`isthmus rdb`: what an RDB file is made of, as tables, JSON or a page with charts (io).

Bytes in the file are what a key takes there, with what is said of it (packed, so often less than in
memory). Memory is what MEMORY USAGE of one of our nodes would answer for the key. Prefixes are what
stands before the first separator of a key, or the first N with --prefix-depth. Times to live count
from the moment that the file says it was written at.

Of a damaged file what stands before the damage is shown, and the exit status is 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from isthmus.cli import rdb_html, screen
from isthmus.cli.rdb_report import (
    LONGER,
    NEVER,
    TTLS,
    Big,
    NoRdb,
    RdbReport,
    Sum,
    examine,
)
from isthmus.cli.transfer import FileBar, fail, say, size_text

PREFIXES_SHOWN = 20
KEY_CHARACTERS = 60
EXAMPLES = (
    "Examples:\n\n"
    "  isthmus rdb dump.rdb\n\n"
    "  isthmus rdb dump.rdb --top 50 --prefix-separator / --prefix-depth 2\n\n"
    "  isthmus rdb dump.rdb --html dump.html"
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
    if not prefix_separator:
        raise fail("--prefix-separator is empty", 2)
    from isthmus.node.commands import load_all

    load_all()
    try:
        with FileBar(target.name) as bar:
            report = examine(
                target, bar.show, deep=True, top=top, depth=prefix_depth,
                separator=os.fsencode(prefix_separator),
            )  # fmt: skip
        if html is not None:
            html.write_text(_page(report), encoding="utf-8")
    except NoRdb as error:
        raise fail(str(error), 2) from error
    except OSError as error:
        raise fail(f"cannot use {error.filename or target}: {error.strerror}", 2) from error
    if as_json:
        json.dump(as_data(report), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _print(report)
    if report.problem:
        say(
            f"offset {report.problem.offset:,}: {report.problem.reason}; what stands before that "
            f"is shown. isthmus check rdb {target} says more",
            "red",
        )
    raise typer.Exit(1 if report.problem else 0)


def _text(key: bytes) -> str:
    """A key for people: what cannot be shown is escaped."""
    text = key.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(key: bytes) -> str:
    text = _text(key)
    return text if len(text) <= KEY_CHARACTERS else text[: KEY_CHARACTERS - 1] + "…"


def _ttls(report: RdbReport) -> list[tuple[str, int]]:
    """The histogram of expiries, rows in order."""
    names = [name for name, _ in TTLS] + [LONGER, NEVER]
    return [(name, report.survey.ttls[name]) for name in names if report.survey.ttls[name]]


def _prefixes(report: RdbReport) -> list[tuple[bytes, Sum]]:
    found = report.survey.by_prefix.items()
    return sorted(found, key=lambda row: row[1].memory, reverse=True)


def _types(report: RdbReport) -> list[tuple[tuple[str, str], Sum]]:
    found = report.survey.by_type.items()
    return sorted(found, key=lambda row: row[1].memory, reverse=True)


def _total(report: RdbReport) -> Sum:
    total = Sum()
    for part in report.survey.by_type.values():
        total.keys += part.keys
        total.elements += part.elements
        total.file_bytes += part.file_bytes
        total.memory += part.memory
    return total


def _big(found: Sequence[Big]) -> list[Big]:
    return sorted(found, key=lambda big: (-big.figure, big.key))


def as_data(report: RdbReport) -> dict[str, Any]:
    """Everything, for programs."""

    def sums(part: Sum) -> dict[str, int]:
        return {
            "keys": part.keys,
            "elements": part.elements,
            "file_bytes": part.file_bytes,
            "memory_bytes": part.memory,
        }

    def bigs(found: Sequence[Big]) -> list[dict[str, Any]]:
        return [
            {
                "key": _text(big.key),
                "database": big.database,
                "type": big.kind,
                "encoding": big.encoding,
                "elements": big.elements,
                "file_bytes": big.file_bytes,
                "memory_bytes": big.memory,
            }
            for big in _big(found)
        ]

    survey, problem = report.survey, report.problem
    return {
        "path": str(report.path),
        "bytes": report.size,
        "version": report.version,
        "aux": survey.aux_fields,
        "databases": {str(db): count for db, count in sorted(survey.keys.items())},
        "total": sums(_total(report)),
        "types": [
            {"type": kind, "encoding": encoding, **sums(part)}
            for (kind, encoding), part in _types(report)
        ],
        "prefixes": [{"prefix": _text(name), **sums(part)} for name, part in _prefixes(report)],
        "largest": bigs(survey.largest),
        "most_elements": bigs(survey.longest),
        "expiries": dict(_ttls(report)),
        "functions": survey.functions,
        "problem": problem and {"offset": problem.offset, "reason": problem.reason},
    }


_SUMS = ("keys", "elements", "bytes in the file", "memory")


def _cells(part: Sum) -> list[str]:
    sizes = size_text(part.file_bytes), size_text(part.memory)
    return [f"{part.keys:,}", f"{part.elements:,}", *sizes]


def _tables(report: RdbReport) -> list[tuple[str, list[str], list[list[str]], int]]:
    """Title, heads, rows of each table, and how many of its columns are text."""
    types = [[kind, encoding, *_cells(part)] for (kind, encoding), part in _types(report)]
    types.append(["all", "", *_cells(_total(report))])
    prefixes = [
        [_cut(name) or "(none)", *_cells(part)] for name, part in _prefixes(report)[:PREFIXES_SHOWN]
    ]

    def bigs(found: Sequence[Big]) -> list[list[str]]:
        return [
            [
                _cut(big.key), big.kind, big.encoding, str(big.database), f"{big.elements:,}",
                size_text(big.file_bytes), size_text(big.memory),
            ]
            for big in _big(found)
        ]  # fmt: skip

    heads = ["key", "type", "encoding", "db", "elements", "bytes in the file", "memory"]
    total = max(sum(count for _, count in _ttls(report)), 1)
    ttls = [[name, f"{count:,}", f"{100 * count / total:.1f} %"] for name, count in _ttls(report)]
    return [
        ("Types and encodings", ["type", "encoding", *_SUMS], types, 2),
        ("Memory by prefix", ["prefix", *_SUMS], prefixes, 1),
        ("Largest keys", heads, bigs(report.survey.largest), 3),
        ("Most elements", heads, bigs(report.survey.longest), 3),
        ("Times to live", ["expires in", "keys", ""], ttls, 1),
    ]


def _facts(report: RdbReport) -> str:
    survey = report.survey
    aux = survey.aux_fields.get("redis-ver", "")
    return (
        f"RDB version {report.version}, {size_text(report.size)}"
        + (f", written by {aux}" if aux else "")
        + f", {survey.keys.total():,} keys in {len(survey.keys)} database(s)"
    )


def _print(report: RdbReport) -> None:
    console = screen.output()
    console.print(f"{report.path}: {_facts(report)}", markup=False, highlight=False, soft_wrap=True)
    for title, heads, rows, texts in _tables(report):
        if not rows:
            continue
        shown = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title, title_justify="left"
        )
        for at, head in enumerate(heads):
            shown.add_column(head, justify="left" if at < texts else "right", no_wrap=at > 0)
        for row in rows:
            shown.add_row(*map(_literal, row))
        console.print()
        console.print(shown, highlight=False)


def _literal(text: str) -> Any:
    from rich.text import Text

    return Text(text)  # a key may look like markup


def _page(report: RdbReport) -> str:
    def bars(rows: Sequence[tuple[str, Sum]]) -> list[rdb_html.Row]:
        return [(n, s.memory, f"{size_text(s.memory)}, {s.keys:,} keys") for n, s in rows]

    types = [(f"{kind}, {encoding}", part) for (kind, encoding), part in _types(report)]
    prefixes = [(_text(n) or "(none)", part) for n, part in _prefixes(report)[:PREFIXES_SHOWN]]
    charts = [
        rdb_html.chart("Memory by type", bars(types)),
        rdb_html.chart("Memory by prefix", bars(prefixes)),
        rdb_html.chart("Times to live", [(n, c, f"{c:,} keys") for n, c in _ttls(report)]),
    ]
    tables = [rdb_html.table(title, heads, rows) for title, heads, rows, _ in _tables(report)[:4]]
    return rdb_html.page(report.path.name, _facts(report), charts + tables)
