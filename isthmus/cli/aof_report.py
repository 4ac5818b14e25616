"""What `isthmus check aof` finds out: the parts of an AOF, one report each (io: reads files).

Nothing is written here. A target is a folder, a manifest or one file; `examine` returns an
`AofReport` with the parts in the order in which they are loaded, each with what it holds and its
first problem. A file is mapped, not read, so its size does not matter. RDB parts are looked at by a
function that is handed in, which also tells where an RDB preamble ends and commands begin.

A problem says how it may be mended: CUT_TAIL (a torn tail of the last file), CUT (everything from
there on would go), or not by cutting (NOT). A base is never cut: a part of it is no earlier state
of the data, as the beginning of an incremental file is.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.node.persist import aof_manifest
from isthmus.node.persist.aof_manifest import Manifest, ManifestError
from isthmus.node.persist.aof_scan import CLEAN, TORN_TAIL, AofScanner, End
from isthmus.node.persist.replay import ReplayError, spec_for
from isthmus.wire.crc64 import crc64

CUT_TAIL, CUT, NOT = "cut the tail", "cut", "not by cutting"
RDB_MAGIC = b"REDIS"
DEFAULT_FOLDER = "appendonlydir"
CONTEXT_BEFORE_BYTES, CONTEXT_AFTER_BYTES = 32, 64
# Of the first bytes, to tell a manifest from a file of commands.
SNIFF_BYTES = 4096
NAMES_MAX = 1000
OTHERS = "(others)"
PROGRESS_COMMANDS = 4096


class NoAof(Exception):
    """The target is nothing that could be checked; the text says why."""


@dataclass(frozen=True)
class RdbPart:
    """What is known of an RDB: where it ends in its file, a problem (or ""), a remark."""

    end: int
    problem: str = ""
    at: int = 0
    remark: str = ""


RdbChecker = Callable[[Path], RdbPart]
# Called with (file, bytes done, bytes in all).
Progress = Callable[[str, int, int], None]


def no_progress(name: str, done: int, size: int) -> None:
    """Tell nobody."""


def check_rdb_part(path: Path) -> RdbPart:
    """Hold an RDB file against its checksum; what it means is not looked at.

    Without a reader of RDB nothing can be said of one that commands follow.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < 18:
            return RdbPart(size, "too short for an RDB file", size)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            noted = int.from_bytes(data[-8:], "little")
            with memoryview(data) as view, view[:-8] as body:
                right = crc64(body)
    if noted == 0:
        return RdbPart(size, remark="an RDB file without a checksum; not looked into")
    if noted != right:
        return RdbPart(
            size, remark="an RDB that commands follow, or a damaged one; not looked into"
        )
    return RdbPart(size, remark="an RDB file; its checksum is right")


@dataclass
class Problem:
    """The first thing wrong with a part."""

    at: int
    reason: str
    remedy: str
    keep: int = 0
    context: list[str] = field(default_factory=list)


@dataclass
class Part:
    """One file: what it is and what is in it."""

    path: Path
    role: str
    size: int = 0
    format: str = "empty"
    remark: str = ""
    commands: int = 0
    transactions: int = 0
    seals: int = 0
    unsealed_bytes: int = 0
    names: Counter[str] = field(default_factory=Counter)
    first_s: int = 0
    last_s: int = 0
    later_at: int | None = None
    problem: Problem | None = None


@dataclass
class AofReport:
    """All that was found; `manifest` is None for a file on its own."""

    target: Path
    parts: list[Part] = field(default_factory=list)
    manifest_path: Path | None = None
    manifest: Manifest | None = None
    manifest_problem: str = ""
    remarks: list[str] = field(default_factory=list)

    def first_problem(self) -> Part | None:
        """The first part with a problem."""
        return next((part for part in self.parts if part.problem is not None), None)

    def is_fine(self) -> bool:
        """True if a node would load it as it is."""
        return not self.manifest_problem and self.first_problem() is None


# --- the target ----------------------------------------------------------------------------------


def examine(
    target: Path, *, rdb: RdbChecker = check_rdb_part, until_s: int | None = None,
    progress: Progress = no_progress,
) -> AofReport:  # fmt: skip
    """Look at a folder, a manifest or a file; raises NoAof and OSError."""
    path = _manifest_in(target) if target.is_dir() else target
    if not path.is_file():
        raise NoAof(f"{path} is no file")
    report = AofReport(target)
    if path.suffix == ".manifest" or _looks_like_manifest(path):
        _examine_manifest(report, path, rdb, until_s, progress)
    else:
        part = examine_part(path, "file", True, rdb, until_s, progress)
        report.parts.append(part)
    return report


def _manifest_in(folder: Path) -> Path:
    """The manifest of a folder, or of the usual folder below it; raises NoAof."""
    for place in (folder, folder / DEFAULT_FOLDER):
        found = sorted(place.glob("*.manifest"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise NoAof(f"{place} has more than one manifest: {names}; name the one you mean")
        if found:
            return found[0]
    raise NoAof(f"{folder} has no manifest (NAME.manifest), nor has {folder / DEFAULT_FOLDER}")


def _looks_like_manifest(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    lines = [line for line in head.split(b"\n") if line and not line.startswith(b"#")]
    return bool(lines) and lines[0].lstrip()[:5].lower() == b"file "


def _examine_manifest(
    report: AofReport, path: Path, rdb: RdbChecker, until_s: int | None, progress: Progress
) -> None:
    report.manifest_path = path
    with path.open("rb") as file:
        text = file.read(aof_manifest.MANIFEST_BYTES_MAX + 1)
    try:
        manifest = aof_manifest.parse(text)
    except ManifestError as error:
        report.manifest_problem = str(error)
        return
    report.manifest = manifest
    if manifest.is_empty():
        report.manifest_problem = "it lists no file to load"
    files = manifest.to_load()
    for file_ in files:
        role = "base" if file_ is manifest.base else "incr"
        where = path.parent / file_.name
        if not where.is_file():
            part = Part(where, role, format="missing")
            part.problem = Problem(0, "the manifest lists it, and it is not there", NOT)
        else:
            part = examine_part(where, role, file_ is files[-1], rdb, until_s, progress)
        report.parts.append(part)
    name = path.name.removesuffix(".manifest")
    for other in sorted(path.parent.iterdir()):
        if aof_manifest.is_part_name(name, other.name) and other.name not in manifest.names():
            report.remarks.append(f"{other.name} is in no manifest")
    for old in manifest.history:
        report.remarks.append(f"{old.name} is history: it will be deleted")


# --- one file ------------------------------------------------------------------------------------


def examine_part(
    path: Path, role: str, last: bool, rdb: RdbChecker, until_s: int | None, progress: Progress
) -> Part:
    """Look at one file; `last`: nothing is loaded behind it."""
    part = Part(path, role, path.stat().st_size)
    if part.size == 0:
        return part
    with path.open("rb") as file:
        begins_with_rdb = file.read(5) == RDB_MAGIC
        start = 0
        if begins_with_rdb:
            found = rdb(path)
            part.format, part.remark, start = "RDB", found.remark, found.end
            if found.problem:
                part.problem = Problem(found.at, found.problem, NOT)
                part.problem.context = _context_of(path, found.at)
                return part
            if start == part.size:
                return part
        part.format = "RDB and commands" if begins_with_rdb else "commands"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            with memoryview(data) as view:
                _walk(part, AofScanner(view, start, until_s), last, progress)
    if part.problem is not None:
        part.problem.context = _context_of(path, part.problem.at)
    return part


def _walk(part: Part, scanner: AofScanner, last: bool, progress: Progress) -> None:
    names = part.names
    strange: tuple[int, str] | None = None
    for offset, argv in scanner:
        try:
            name = spec_for(offset, argv).name.decode()
        except ReplayError as error:
            # Not the error itself: its traceback would keep the file mapped.
            strange = strange or (error.offset, error.reason)
            name = argv[0][:64].decode("latin-1")
        if name not in names and len(names) >= NAMES_MAX:
            name = OTHERS
        names[name] += 1
        if scanner.commands % PROGRESS_COMMANDS == 0:
            progress(part.path.name, offset, part.size)
    end = scanner.end
    assert end is not None
    part.commands = scanner.commands
    part.transactions = scanner.transactions
    part.seals = scanner.seals
    part.unsealed_bytes = end.seal.size - end.seal.sealed
    part.first_s, part.last_s = scanner.timestamps.first, scanner.timestamps.last
    part.later_at = scanner.later_at
    part.problem = _problem(part, end, strange, last)


def _problem(
    part: Part, end: End, strange: tuple[int, str] | None, last: bool
) -> Problem | None:  # fmt: skip
    """The first problem, and what can be done about it."""
    if strange is not None and (end.kind == CLEAN or strange[0] < end.valid):
        return Problem(strange[0], f"{strange[1]}: a node would refuse to load this", NOT)
    if end.kind == CLEAN:
        return None
    if part.role == "base":
        return Problem(end.at, end.reason, NOT, end.valid)
    if end.kind == TORN_TAIL and last:
        return Problem(end.at, end.reason, CUT_TAIL, end.valid)
    reason = end.reason if last else f"{end.reason}, and files follow that are loaded after it"
    return Problem(end.at, reason, CUT, end.valid)


def _context_of(path: Path, at: int) -> list[str]:
    """The bytes around an offset as lines of offset, hex and text."""
    first = max(0, at - CONTEXT_BEFORE_BYTES) & ~15
    with path.open("rb") as file:
        file.seek(first)
        data = file.read(at - first + CONTEXT_AFTER_BYTES)
    lines = []
    for begin in range(0, len(data), 16):
        row = data[begin : begin + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        mark = ">" if first + begin <= at < first + begin + 16 else " "
        lines.append(f"{mark} {first + begin:10d}  {row.hex(' '):<47}  {text}")
    return lines
