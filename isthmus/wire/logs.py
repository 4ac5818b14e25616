"""Structured log lines (io): the one way every process of Isthmus says what happened.

A line is `2026-11-23T14:20:00.123Z INFO event key=value key="a value with spaces"`, in UTC, on
standard error or in a file. The event is a fixed lower-case name that people can search for; all
that varies is a field. A value that holds a space, a quote, an equals sign or anything unprintable
is written as a JSON string, so a line is always one line, whatever a client or a peer sent.

Logging must never hurt the process that logs: values are cut at `VALUE_CHARS_MAX`, and a standard
error that is gone (its reader died) loses the line, nothing else. This module may not be called
on the path of a client's command.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

VALUE_CHARS_MAX: Final = 1024
LEVELS: Final = ("DEBUG", "INFO", "WARN", "ERROR", "NONE")
_BARE_EXTRA: Final = frozenset("-_.:/@+,[]%")


class _Target:
    """Where lines go: a file, or standard error while there is none; and which are let through."""

    file: TextIO | None = None
    least = 0
    other: Callable[[str, str], None] | None = None


def to_file(path: str) -> None:
    """Append to a file from now on; raises OSError."""
    _Target.file = open(path, "a", encoding="utf-8", errors="backslashreplace")


def also_to(write: Callable[[str, str], None]) -> None:
    """Give each line, with its level, to another log too."""
    _Target.other = write


def with_level(level: str) -> None:
    """Let lines of `level` and above through; NONE: no line at all."""
    _Target.least = LEVELS.index(level)


def log(event: str, *, level: str = "INFO", **fields: object) -> None:
    """Write one line for `event`. `level` is DEBUG, INFO, WARN or ERROR."""
    if LEVELS.index(level) < _Target.least:
        return
    target = _Target.file or sys.stderr
    text = line(time.time(), level, event, fields)
    if _Target.other is not None:
        _Target.other(level, text)
    try:
        target.write(text)
        target.flush()
    except (OSError, ValueError):  # reader gone, or the stream closed at exit
        return


def line(wall_seconds: float, level: str, event: str, fields: dict[str, object]) -> str:
    """The text of one line, with its line feed; a pure function."""
    millis = int(wall_seconds * 1000)
    day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(millis // 1000))
    parts = [f"{day}.{millis % 1000:03d}Z", level, event]
    parts += [f"{name}={_value(value)}" for name, value in fields.items()]
    return " ".join(parts) + "\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = str(value)
    if len(text) > VALUE_CHARS_MAX:
        text = text[:VALUE_CHARS_MAX] + "..."
    if text and all(c.isascii() and (c.isalnum() or c in _BARE_EXTRA) for c in text):
        return text
    return json.dumps(text)
