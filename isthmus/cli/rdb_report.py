"""What is in an RDB file, and what is wrong with it, for `check rdb` and `isthmus rdb` (io).

The file is read by the reader that a node loads it with (node/persist/snapshot_read.py), so what is
called right here is what a node takes. `Survey` is what the reader hands its finds to; it counts,
and remembers the end of the last record that was whole, which is where --fix may cut. Of a damaged
file `Problem` says where, why, and which key was being read.

Memory is bounded: the largest value of the file, the tops of the lists, PREFIXES_MAX prefixes (what
comes later is counted as others), and eight bytes or so for each of KEYS_COMPARED_MAX keys, which
are looked at for being there twice.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.cli import rdb_files
from isthmus.cli.aof_report import RdbPart
from isthmus.cli.rdb_entries import (
    AUX,
    EXPIRE_MS,
    EXPIRE_S,
    FREQ,
    FUNCTION,
    IDLE,
    RESIZE,
    SELECT,
    SLOT_INFO,
    TYPES,
)
from isthmus.wire.rdb_reader import RdbError, RdbReader

OTHERS = "(others)"
PREFIXES_MAX = 10_000
KEYS_COMPARED_MAX = 5_000_000
FUNCTIONS_MAX = 1000
# Upper ends in ms, from the moment the file was written.
TTLS = (
    ("gone already", 0), ("below 1 minute", 60_000), ("below 1 hour", 3_600_000),
    ("below 1 day", 86_400_000), ("below 1 week", 604_800_000), ("below 30 days", 2_592_000_000),
)  # fmt: skip
LONGER, NEVER = "longer", "never"
Progress = Callable[[int, int], None]


class NoRdb(Exception):
    """There is nothing that could be looked at; the text says why."""


@dataclass
class Problem:
    """The first thing wrong: where, why, the key that was being read, and where --fix may cut."""

    offset: int
    reason: str
    keep: int
    key: bytes | None = None
    database: int = 0
    kind: str = ""
    checksum_only: bool = False


@dataclass(order=True)
class Big:
    """A key that is large in some way."""

    figure: int
    key: bytes
    database: int = field(compare=False)
    kind: str = field(compare=False)
    encoding: str = field(compare=False)
    elements: int = field(compare=False)
    file_bytes: int = field(compare=False)
    memory: int = field(compare=False)


@dataclass
class Sum:
    """Keys that have something in common."""

    keys: int = 0
    elements: int = 0
    file_bytes: int = 0
    memory: int = 0

    def add(self, elements: int, file_bytes: int, memory: int) -> None:
        """One more."""
        self.keys += 1
        self.elements += elements
        self.file_bytes += file_bytes
        self.memory += memory


class Survey:
    """What was found; see the module essay."""

    def __init__(self, reader: Any, *, deep: bool, top: int, separator: bytes, depth: int) -> None:
        self.reader = reader
        self.deep = deep
        self.top = top
        self.separator = separator
        self.depth = depth
        self.safe = 0
        self.db = 0
        self.now_ms = 0
        self.aux_fields: dict[str, str] = {}
        self.keys: Counter[int] = Counter()
        self.announced: Counter[int] = Counter()
        self.volatile: Counter[int] = Counter()
        self.types: Counter[str] = Counter()
        self.functions: list[str] = []
        self.seen: set[int] = set()
        self.by_type: dict[tuple[str, str], Sum] = {}
        self.by_prefix: dict[bytes, Sum] = {}
        self.ttls: Counter[str] = Counter()
        self.largest: list[Big] = []
        self.longest: list[Big] = []

    def aux(self, name: bytes, value: bytes) -> None:
        """A fact about the file."""
        if len(self.aux_fields) < 100:
            text = value[:200].decode("utf-8", "replace")
            self.aux_fields[name[:100].decode("utf-8", "replace")] = text
        if name == b"ctime" and value.isdigit() and len(value) < 16:
            self.now_ms = int(value) * 1000
        self.safe = self.reader.position

    def select(self, db: int) -> None:
        """The keys that follow are in this database."""
        self.db = db
        self.safe = self.reader.position

    def resize(self, keys: int, volatile: int) -> None:
        """So many keys follow."""
        self.announced[self.db] += keys
        self.safe = self.reader.position

    def function(self, code: bytes) -> None:
        """A library of functions."""
        if len(self.functions) < FUNCTIONS_MAX:
            first = code.partition(b"\n")[0].decode("utf-8", "replace")
            self.functions.append(first.partition("name=")[2].split(" ")[0] or first[:60])
        self.safe = self.reader.position

    def entry(self, key: bytes, value: Any, expire_ms: int, idle_s: int, freq: int) -> None:
        """A key; ValueError if it was there before."""
        if len(self.seen) < KEYS_COMPARED_MAX:
            mark = hash((self.db, key))
            if mark in self.seen:
                raise ValueError(f"the key {key[:80]!r} twice in database {self.db}")
            self.seen.add(mark)
        self.keys[self.db] += 1
        self.volatile[self.db] += expire_ms >= 0
        kind = kind_of(value)
        self.types[kind] += 1
        size = self.reader.position - self.safe
        self.safe = self.reader.position
        if self.deep:
            self.measure(key, value, kind, size, expire_ms)

    def measure(self, key: bytes, value: Any, kind: str, size: int, expire_ms: int) -> None:
        """Count a key in the sums, and among the largest."""
        from isthmus.node.commands.figures import ENTRY_BYTES, EXPIRY_BYTES
        from isthmus.node.commands.keys import encoding_of
        from isthmus.node.commands.memory import value_bytes

        encoding = encoding_of(value).decode()
        elements = len(value) if kind != "string" else 1
        memory = ENTRY_BYTES + len(key) + value_bytes(value) + (EXPIRY_BYTES * (expire_ms >= 0))
        self.by_type.setdefault((kind, encoding), Sum()).add(elements, size, memory)
        prefix = self.prefix_of(key)
        if prefix not in self.by_prefix and len(self.by_prefix) >= PREFIXES_MAX:
            prefix = OTHERS.encode()
        self.by_prefix.setdefault(prefix, Sum()).add(elements, size, memory)
        self.ttls[self.ttl_of(expire_ms)] += 1
        big = (key, self.db, kind, encoding, elements, size, memory)
        _keep(self.largest, memory, big, self.top)
        if kind != "string":
            _keep(self.longest, elements, big, self.top)

    def prefix_of(self, key: bytes) -> bytes:
        """What a key begins with, up to the separator; "" for one that has none."""
        parts = key.split(self.separator, self.depth)
        return self.separator.join(parts[:-1])[:200] + self.separator if len(parts) > 1 else b""

    def ttl_of(self, expire_ms: int) -> str:
        """The row of the histogram of expiries."""
        if expire_ms < 0:
            return NEVER
        for name, end in TTLS:
            if expire_ms - self.now_ms <= end:
                return name
        return LONGER


@dataclass
class RdbReport:
    """All that was found in a file."""

    path: Path
    size: int
    version: int
    survey: Survey
    empty: int
    modules: list[str]
    checksum: str
    end: int
    problem: Problem | None


def kind_of(value: Any) -> str:
    """What TYPE calls a value."""
    return "string" if isinstance(value, (bytes, bytearray)) else value.kind.decode()


def _keep(heap: list[Big], figure: int, what: tuple[Any, ...], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, Big(figure, *what))
    elif heap and figure > heap[0].figure:
        heapq.heapreplace(heap, Big(figure, *what))


def examine(
    path: Path,
    progress: Progress,
    *,
    deep: bool = False,
    top: int = 10,
    separator: bytes = b":",
    depth: int = 1,
    tail_is_fine: bool = False,
) -> RdbReport:
    """Read a file to its end or its first fault; NoRdb, OSError if it cannot be looked at."""
    try:
        with rdb_files.opened(path) as data:
            return _examine(path, data, progress, deep, top, separator, depth, tail_is_fine)
    except rdb_files.BadFile as error:
        raise NoRdb(str(error)) from error


def _examine(
    path: Path, data: Any, progress: Progress, deep: bool, top: int, separator: bytes, depth: int,
    tail_is_fine: bool,
) -> RdbReport:  # fmt: skip
    from isthmus.node.persist.snapshot_read import Report, read_snapshot

    reader = RdbReader(data)
    survey = Survey(reader, deep=deep, top=top, separator=separator, depth=depth)
    survey.now_ms = int(path.stat().st_mtime * 1000)
    report, problem, checksum, end = Report(), None, "", 0
    try:
        for done in read_snapshot(reader, survey, now_ms=0, keep_expired=True, report=report):
            progress(done, len(data))
        end = reader.position
        checksum = _checksum(data, end, report.version)
        if end < len(data) and not tail_is_fine:
            problem = Problem(end, f"{len(data) - end} bytes behind the end", survey.safe)
    except RdbError as error:
        problem = _problem(data, survey, error)
    finally:
        reader.close()
    return RdbReport(
        path, len(data), report.version, survey, report.empty, list(report.modules),
        checksum, end, problem,
    )  # fmt: skip


def aof_part(path: Path) -> RdbPart:
    """The RDB that an AOF begins with, for `check aof`; commands may follow it."""
    try:
        found = examine(path, lambda done, size: None, tail_is_fine=True)
    except NoRdb as error:
        return RdbPart(path.stat().st_size, str(error))
    if found.problem:
        return RdbPart(found.size, found.problem.reason, found.problem.offset)
    keys = found.survey.keys.total()
    return RdbPart(found.end, remark=f"an RDB of {keys:,} keys; checksum: {found.checksum}")


def _checksum(data: Any, end: int, version: int) -> str:
    if version < 5:
        return f"none: version {version} has none"
    written = int.from_bytes(data[end - 8 : end], "little")
    return f"{written:016x}, right" if written else "none: it was written without one"


def _problem(data: Any, survey: Survey, error: RdbError) -> Problem:
    """What is known of the place where reading ended."""
    found = Problem(error.offset, error.reason, survey.safe, database=survey.db)
    found.checksum_only = error.reason.startswith("the checksum is")
    if survey.safe == 0 or found.checksum_only:
        return found
    # From the last whole record on: what leads to the type byte and the key that was being read.
    reader = RdbReader(data)
    try:
        reader.skip(survey.safe)
        while (code := reader.byte()) >= SLOT_INFO:
            if not _pass(reader, code):
                return found
        found.kind = TYPES[code][0] if code in TYPES else f"unknown type {code}"
        found.key = reader.string()
    except RdbError:
        pass  # the damage is in what leads to the key, or in the key
    finally:
        reader.close()
    return found


def _pass(reader: RdbReader, code: int) -> bool:
    """Pass over a mark; False for one that no key follows."""
    if code == EXPIRE_MS:
        reader.skip(8)
    elif code == EXPIRE_S:
        reader.skip(4)
    elif code == FREQ:
        reader.skip(1)
    elif code in (IDLE, SELECT):
        reader.number()
    elif code in (RESIZE, SLOT_INFO):
        for _ in range(2 if code == RESIZE else 3):
            reader.number()
    elif code in (AUX, FUNCTION):
        for _ in range(2 if code == AUX else 1):
            reader.skip_string()
    else:
        return False
    return True
