r"""The manifest of a multi-part AOF: which files, in which order, hold the data.

Redis 7 keeps its append only file as a folder of files and one text that lists them:

    file appendonly.aof.2.base.rdb seq 2 type b
    file appendonly.aof.4.incr.aof seq 4 type i
    file appendonly.aof.5.incr.aof seq 5 type i
    file appendonly.aof.1.base.rdb seq 1 type h

One *base* (`b`) holds the data up to a point, *incremental* files (`i`), in the order of their
numbers, what changed since; *history* (`h`) is what a rewrite made superfluous and somebody has
yet to delete. Loading means the base and then every incremental file. The manifest is replaced as a
whole (written beside, synced, renamed), so that each of its states is complete, and the functions
here that change one are pure: they take a manifest and return the next. Their order is
the promise: a file is listed before anything is written to it, and is deleted after a manifest
without it is on the disk.

Reading follows Redis 7.4 to the letter: lines of at most 1023 bytes with their line end, each of
them ended, pairs of words quoted as in an inline request, comments with `#`, names without a path,
one base, incremental numbers that rise. Words that Redis does not know are skipped by it; here they
are kept and written again (8.x notes `startoffset` and `endoffset` so). What breaks a rule is a
ManifestError that names the line.

What we write begins with a comment of ours, `#CRC:` and the CRC-64 of all behind it in 16 hex
digits (`sealed`); where it is there it must be right. It stands first because there are tools that
take the last line for the incremental file that is written to.

File names are text with `surrogateescape`, as the file system has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from isthmus.wire import crc64
from isthmus.wire.scalars import split_inline

BASE = "b"
HISTORY = "h"
INCR = "i"
# Bytes of a line with its end, as Redis reads it.
LINE_BYTES_MAX = 1024
# A file of this size lists some ten thousand files: something else is wrong.
MANIFEST_BYTES_MAX = 1 << 20
_SEQUENCE_MAX = (1 << 63) - 1
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_SUM_LINE = re.compile(rb"#CRC:([0-9a-f]{16})\n")
# As it was written before 2026-11-27: behind the text that it is of.
_SUM_LINE_AT_END = re.compile(rb"^#CRC:([0-9a-f]{16})\n\Z", re.MULTILINE)
# A name with any other byte is written in quotes.
_PLAIN = re.compile(rb"""[!#-&(-\[\]-~]+""")
_ESCAPES = {0x5C: b"\\\\", 0x22: b'\\"', 10: b"\\n", 13: b"\\r", 9: b"\\t", 7: b"\\a", 8: b"\\b"}


class ManifestError(ValueError):
    """A manifest that cannot be used: `line` counts from 1 (0: the whole), `reason` says why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AofFile:
    """One line of a manifest; `extra` are pairs of words that we do not know."""

    name: str
    seq: int
    kind: str
    extra: tuple[tuple[str, str], ...] = ()

    def is_rdb(self) -> bool:
        """True if by its name it is an RDB file; only its first bytes are proof."""
        return self.name.endswith(".rdb")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one AOF. `base_seq` and `incr_seq` are the highest numbers given so far."""

    base: AofFile | None = None
    incrs: tuple[AofFile, ...] = ()
    history: tuple[AofFile, ...] = ()
    base_seq: int = 0
    incr_seq: int = 0

    def is_empty(self) -> bool:
        """True if there is nothing to load."""
        return self.base is None and not self.incrs

    def to_load(self) -> tuple[AofFile, ...]:
        """The files that hold the data, in the order in which they are loaded."""
        return ((self.base,) if self.base is not None else ()) + self.incrs

    def last(self) -> AofFile | None:
        """The incremental file that is appended to, and the only one that may have a torn tail."""
        return self.incrs[-1] if self.incrs else None

    def names(self) -> frozenset[str]:
        """Every file it knows, history too."""
        return frozenset(file.name for file in (*self.to_load(), *self.history))


# --- names ---------------------------------------------------------------------------------------


def manifest_name(name: str) -> str:
    """The manifest's own name, for `appendfilename` NAME."""
    return f"{name}.manifest"


def base_name(name: str, seq: int, rdb: bool) -> str:
    """A base file's name; `rdb` says in which format it is."""
    return f"{name}.{seq}.base.{'rdb' if rdb else 'aof'}"


def incr_name(name: str, seq: int) -> str:
    """An incremental file's name."""
    return f"{name}.{seq}.incr.aof"


def is_part_name(name: str, candidate: str) -> bool:
    """True if `candidate` is named as a part of the AOF `name`, or as one being written."""
    pattern = re.escape(name) + r"\.[0-9]+\.(base\.(rdb|aof)|incr\.aof)"
    return re.fullmatch(pattern, candidate.removeprefix("temp-")) is not None


# --- reading -------------------------------------------------------------------------------------


def parse(text: bytes) -> Manifest:
    """Read a manifest; raises ManifestError."""
    if not text:
        raise ManifestError(0, "Found an empty AOF manifest")
    if len(text) > MANIFEST_BYTES_MAX:
        raise ManifestError(0, f"The AOF manifest is longer than {MANIFEST_BYTES_MAX} bytes")
    _check_sum(text)
    base: AofFile | None = None
    incrs: list[AofFile] = []
    history: list[AofFile] = []
    for number, line in _lines(text):
        file = _parse_line(number, line)
        if file.kind == BASE:
            if base is not None:
                raise ManifestError(number, "Found duplicate base file information")
            base = file
        elif file.kind == HISTORY:
            history.append(file)
        elif file.kind == INCR:
            if file.seq <= (incrs[-1].seq if incrs else 0):
                raise ManifestError(number, "Found a non-monotonic sequence number")
            incrs.append(file)
        else:
            raise ManifestError(number, "Unknown AOF file type")
    return Manifest(
        base,
        tuple(incrs),
        tuple(history),
        base.seq if base is not None else 0,
        incrs[-1].seq if incrs else 0,
    )


def _check_sum(text: bytes) -> None:
    """ManifestError if there is a checksum and it is another one; see sealed()."""
    found = _SUM_LINE.match(text)
    rest = b"" if found is None else text[found.end() :]
    if found is None:
        found = _SUM_LINE_AT_END.search(text)
        rest = b"" if found is None else text[: found.start()]
    if found is not None and int(found[1], 16) != crc64.crc64(rest):
        raise ManifestError(0, "The AOF manifest does not have the checksum that was noted in it")


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that say something, by number; a line too long is an error, a comment is not."""
    at = number = 0
    while at < len(text):
        number += 1
        # As fgets reads it: a comment that is too long goes on as a line of its own.
        stop = text.find(b"\n", at, at + LINE_BYTES_MAX)
        piece = text[at : at + LINE_BYTES_MAX] if stop < 0 else text[at : stop + 1]
        at += len(piece)
        if piece[0] == 0x23:
            continue
        if stop < 0 or b"\0" in piece:
            raise ManifestError(number, "The AOF manifest file contains too long line")
        line = piece.strip(b" \t\r\n")
        if not line:
            raise ManifestError(number, "Invalid AOF manifest file format")
        yield number, line


def _parse_line(number: int, line: bytes) -> AofFile:
    try:
        words = split_inline(line)
    except ValueError:
        words = []
    if len(words) < 6 or len(words) % 2:
        raise ManifestError(number, "Invalid AOF manifest file format")
    name = kind = ""
    seq = 0
    extra: list[tuple[str, str]] = []
    for key, value in zip(words[::2], words[1::2], strict=True):
        word = key.lower()
        # What Redis keeps of them are C strings.
        value = value.partition(b"\0")[0]
        if word == b"file":
            if b"/" in value or b"\\" in value:
                raise ManifestError(number, "File can't be a path, just a filename")
            name = _text(value)
        elif word == b"seq":
            seq = _number(value)
        elif word == b"type":
            kind = _text(value[:1])
        else:
            extra.append((_text(key), _text(value)))
    if not name or not seq or not kind:
        raise ManifestError(number, "Invalid AOF manifest file format")
    return AofFile(name, seq, kind, tuple(extra))


def _number(text: bytes) -> int:
    """As C's atoll reads it: what follows the digits does not count, no digits are 0."""
    found = _NUMBER.match(text)
    if found is None or len(found[1]) > 20:
        return 0
    return max(-_SEQUENCE_MAX - 1, min(_SEQUENCE_MAX, int(found[1])))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


# --- writing -------------------------------------------------------------------------------------


def render(manifest: Manifest) -> bytes:
    """The text of a manifest, in the order in which Redis writes it: base, history, incremental."""
    files = [*manifest.to_load()[:1], *manifest.history, *manifest.incrs]
    if manifest.base is None:
        files = [*manifest.history, *manifest.incrs]
    return b"".join(_render_line(file) for file in files)


def sealed(text: bytes) -> bytes:
    """A manifest with its checksum, in a comment before it.

    One changed bit makes a file that is needed (`type i`) one that is not (`type h`), and nothing
    else would tell. Redis passes over the comment, and leaves it out when it writes the manifest.
    """
    return b"#CRC:%016x\n" % crc64.crc64(text) + text


def _render_line(file: AofFile) -> bytes:
    words = ["file", file.name, "seq", str(file.seq), "type", file.kind]
    for pair in file.extra:
        words += pair
    return b" ".join(_quoted(word.encode("utf-8", "surrogateescape")) for word in words) + b"\n"


def _quoted(word: bytes) -> bytes:
    """A word as it may stand in a line, in quotes if need be."""
    if _PLAIN.fullmatch(word):
        return word
    out = bytearray(b'"')
    for byte in word:
        if byte in _ESCAPES:
            out += _ESCAPES[byte]
        elif 0x20 <= byte < 0x7F:
            out.append(byte)
        else:
            out += b"\\x%02x" % byte
    return bytes(out + b'"')


def check_name(name: str) -> None:
    """ManifestError if a manifest could not hold files of the AOF `name`."""
    if not name or "/" in name or "\\" in name or "\0" in name:
        raise ManifestError(0, "File can't be a path, just a filename")
    longest = AofFile(incr_name(name, _SEQUENCE_MAX), _SEQUENCE_MAX, INCR)
    if len(_render_line(longest)) > LINE_BYTES_MAX - 1:
        raise ManifestError(0, "The AOF manifest file contains too long line")


# --- changing ------------------------------------------------------------------------------------


def next_base(manifest: Manifest, name: str, rdb: bool) -> AofFile:
    """The base that a rewrite which ends now makes; not yet in the manifest."""
    seq = manifest.base_seq + 1
    while base_name(name, seq, rdb) in manifest.names():
        seq += 1
    return AofFile(base_name(name, seq, rdb), seq, BASE)


def next_incr(manifest: Manifest, name: str) -> Manifest:
    """With one more incremental file, which is appended to from now on."""
    seq = manifest.incr_seq + 1
    # Without incremental files counting begins anew, as in Redis; but never over an old file.
    while incr_name(name, seq) in manifest.names():
        seq += 1
    file = AofFile(incr_name(name, seq), seq, INCR)
    return replace(manifest, incrs=(*manifest.incrs, file), incr_seq=seq)


def first(name: str, rdb: bool = True) -> Manifest:
    """The manifest of a node that had none: an empty base and the first incremental file."""
    empty = Manifest()
    base = next_base(empty, name, rdb)
    return next_incr(Manifest(base=base, base_seq=base.seq), name)


def begin_rewrite(manifest: Manifest, name: str) -> Manifest:
    """A rewrite begins: what changes behind its cut goes to a new incremental file."""
    return next_incr(manifest, name)


def finish_rewrite(manifest: Manifest, base: AofFile, keep_from: int) -> Manifest:
    """A rewrite is done: `base` holds all that was before the incremental file number `keep_from`.

    The old base and the incremental files before that become history. Those from `keep_from` on
    stay: there may be more than one, if a rewrite in between failed.
    """
    if base.kind != BASE or base.seq <= manifest.base_seq:
        raise ValueError("not the next base")
    # Base and incremental names never meet, but one that was taken over may be called anything.
    if base.name in manifest.names():
        raise ValueError("a base under the name of another file")
    past = ([manifest.base] if manifest.base is not None else []) + [
        file for file in manifest.incrs if file.seq < keep_from
    ]
    return replace(
        manifest,
        base=base,
        base_seq=base.seq,
        incrs=tuple(file for file in manifest.incrs if file.seq >= keep_from),
        history=manifest.history + tuple(replace(file, kind=HISTORY) for file in past),
    )


def forget_history(manifest: Manifest) -> tuple[Manifest, tuple[str, ...]]:
    """Without its history, and the names of the files to delete.

    Redis deletes first and writes the manifest after, so that a crash leaves no orphan; a file that
    is gone already is no error for either of us.
    """
    needed = {file.name for file in manifest.to_load()}
    names = tuple(file.name for file in manifest.history if file.name not in needed)
    return replace(manifest, history=()), names


# --- a file of Redis before 7 --------------------------------------------------------------------


def should_upgrade(manifest: Manifest | None, name: str, old_file: bool, moved_file: bool) -> bool:
    """True if the AOF is still the one file that Redis before 7 kept, as Redis decides it.

    `manifest` is None if there is none (or no folder for it); `old_file` says that the file `name`
    lies beside the folder, `moved_file` that it lies in it.
    """
    if not old_file:
        return False
    if manifest is None or manifest.is_empty():
        return True
    # An earlier upgrade stopped between its two steps, the manifest and the move of the file.
    only = manifest.base is not None and not manifest.incrs
    return only and manifest.base is not None and manifest.base.name == name and not moved_file


def upgraded(name: str) -> Manifest:
    """The manifest that makes the one file `name` the base; the file then moves into the folder."""
    return Manifest(base=AofFile(name, 1, BASE), base_seq=1)
