"""Reading an AOF file: its commands, and how far it can be trusted.

`AofScanner` walks over the commands of a file's body (what follows an RDB preamble, if there is
one), checks the seals on its way (aof_format.py), follows MULTI and EXEC, and tells at the end what
it found in `end`:

- CLEAN: the file ends between two commands, outside a transaction.
- TORN: it ends within a command, an annotation or a transaction, and what there is of that is in
  order: what a crash leaves of the last write. `valid` is where the last whole one ended.
- CORRUPT: anything else. A record that is none, a seal that does not agree, an EXEC without MULTI;
  also a file that seems torn at a place behind which a seal shows that the file was complete once:
  a length was damaged there, and the rest of the file is not what follows a crash.

Commands are handed out before the seal behind them was seen. Whoever applies them must throw the
state away when `end` is CORRUPT.

`valid` of a corrupt file is the longest beginning that can be vouched for. If the file has seals
that is the end of the last good one, since a damaged byte does not always show where it is: `*4`
that became `*3` leaves a command that looks whole. Without seals it is the last whole command.

`judge` is the policy: Redis' rule that only the tail of the last file may be torn, and a limit of
ours to how much of it is cut away without asking.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from isthmus.node.persist.aof_format import CLAIMS, PLACE, SEAL, TIMESTAMP, Seal
from isthmus.wire.resp import BAD, LINE, TORN, CommandReader

CLEAN = "clean"
TORN_TAIL = "torn"
CORRUPT = "corrupt"
REPAIR_COMMAND = "isthmus check aof --fix"
# Far more than are written while replicas may be behind.
PLACES_MAX = 65536
_NO_MULTI = -1
_SEAL_LINE = re.compile(SEAL.pattern + rb"\r\n")


@dataclass(slots=True)
class Timestamps:
    """Unix seconds of the annotations seen; 0 if there was none."""

    first: int = 0
    last: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file says which replication stream it is, and up to which offset."""

    replid: str
    offset: int
    at: int  # the end of the line, in the file


@dataclass(frozen=True, slots=True)
class End:
    """How a file ends; offsets are those of the whole buffer.

    `at` is where the problem is (for a clean file: its end), `valid` how much of the file to keep,
    `size` all there is. `seal` is the running sum of the first `valid` bytes, to go on with.
    """

    kind: str
    at: int
    valid: int
    size: int
    reason: str
    seal: Seal = field(compare=False)

    @property
    def excess(self) -> int:
        """Bytes behind the valid ones."""
        return self.size - self.valid


class AofScanner:
    """The commands of one file; iterate once, then look at `end`."""

    def __init__(
        self, data: bytes | bytearray | memoryview, start: int = 0, until_s: int | None = None
    ) -> None:
        # The sum of a file with a preamble begins behind it: that has a checksum of its own.
        self.data = memoryview(data).cast("B")
        self.reader = CommandReader(self.data, start)
        self.start = start
        self.end: End | None = None
        self.timestamps = Timestamps()
        self.seals = 0
        # The latest places, and how many commands there were up to the last one.
        self.places: deque[Place] = deque(maxlen=PLACES_MAX)
        self.placed = 0
        self.commands = 0
        self.transactions = 0
        # Where the first is that a timestamp says to be later than `until_s`.
        self.until_s = until_s
        self.later_at: int | None = None
        self._seal = Seal()
        # The end of the last good seal, and of what is whole; and where an open MULTI began.
        self._sealed = start
        self._whole = start
        self._multi_at = _NO_MULTI

    def __iter__(self) -> Iterator[tuple[int, list[bytes]]]:
        """(offset, arguments) of each command, MULTI and EXEC included."""
        reader = self.reader
        read = reader.next
        while True:
            argv = read()
            if argv is None:
                if reader.state != LINE:
                    break
                if not self._annotation(reader.line):
                    return
                if self._multi_at == _NO_MULTI:
                    self._whole = reader.position
                continue
            if len(argv) == 1 and not self._transaction(argv[0]):
                return
            if self._multi_at == _NO_MULTI:
                self._whole = reader.position
            self.commands += 1
            yield reader.start, argv
        self._stop()

    def offset(self) -> int:
        """How far reading has come."""
        return self.reader.position

    def _transaction(self, name: bytes) -> bool:
        """Follow MULTI and EXEC; False if this is the wrong place for one."""
        word = name.upper()
        if word == b"MULTI":
            if self._multi_at != _NO_MULTI:
                return self._corrupt(self.reader.start, "MULTI inside MULTI")
            self._multi_at = self.reader.start
        elif word == b"EXEC":
            if self._multi_at == _NO_MULTI:
                return self._corrupt(self.reader.start, "EXEC without MULTI")
            self._multi_at = _NO_MULTI
            self.transactions += 1
        return True

    def _annotation(self, line: bytes) -> bool:
        """Look at a line that is no command; False if the file is corrupt."""
        if not line.startswith(CLAIMS):
            return True
        found = TIMESTAMP.fullmatch(line)
        if found is not None:
            second = int(found[1])
            self.timestamps.first = self.timestamps.first or second
            self.timestamps.last = second
            self.timestamps.count += 1
            if self.until_s is not None and self.later_at is None and second > self.until_s:
                self.later_at = self._whole
            return True
        named = PLACE.fullmatch(line)
        if named is not None:
            at = self.reader.position
            self.places.append(Place(named[1].decode(), int(named[2]), at))
            self.placed = self.commands
            return True
        return self._check_seal(line)

    def _check_seal(self, line: bytes) -> bool:
        at = self.reader.start
        found = SEAL.fullmatch(line)
        if found is None:
            return self._corrupt(at, "an annotation that cannot be read")
        self._sum_up_to(at)
        if int(found[2]) != at - self.start:
            text = f"a seal over {int(found[2])} bytes behind {at - self.start}"
            return self._corrupt(at, text)
        if int(found[1], 16) != self._seal.crc:
            text = f"the bytes from {self._sealed} to {at} do not have the checksum that was noted"
            return self._corrupt(at, text)
        self._sum_up_to(self.reader.position)
        self._seal.sealed = self._seal.size
        self._sealed = self.reader.position
        self.seals += 1
        return True

    def _sum_up_to(self, offset: int) -> None:
        self._seal.add(self.data[self.start + self._seal.size : offset])

    # -- the end ------------------------------------------------------------------------------

    def _stop(self) -> None:
        """The reader gives nothing more: why?"""
        reader, at = self.reader, self.reader.start
        if reader.state == BAD:
            self._corrupt(at, reader.reason)
            return
        torn = reader.state == TORN
        if not torn and self._multi_at == _NO_MULTI:
            self._finish(CLEAN, at, at, "")
            return
        beyond = self._seal_beyond(self._whole)
        if beyond:
            text = f"the command runs to the end of the file, which was complete at {beyond}"
            self._corrupt(at, text)
        elif self._multi_at != _NO_MULTI:
            self._finish(TORN_TAIL, self._multi_at, self._multi_at, "a transaction without its end")
        else:
            self._finish(TORN_TAIL, at, self._whole, "the file ends within a command")

    def _seal_beyond(self, offset: int) -> int:
        """The place of a whole seal behind offset that stands where it says, or 0."""
        for found in _SEAL_LINE.finditer(self.data[offset:]):
            at = offset + found.start()
            if int(found[2]) == at - self.start:
                return at
        return 0

    def _corrupt(self, at: int, reason: str) -> bool:
        has_seals = self.seals or bytes(self.data[at : at + 5]) in CLAIMS or self._seal_beyond(at)
        self._finish(CORRUPT, at, self._sealed if has_seals else self._whole, reason)
        return False

    def _finish(self, kind: str, at: int, valid: int, reason: str) -> None:
        # The sum may be ahead of what is kept only if a seal disagreed: then it begins again.
        if self.start + self._seal.size > valid:
            self._seal = Seal(sealed=self._sealed - self.start)
        self._sum_up_to(valid)
        self.end = End(kind, at, valid, len(self.data), reason, self._seal)


# --- the policy ----------------------------------------------------------------------------------


class AofRefused(Exception):
    """A file that must not be loaded as it is; the text says why and how to repair it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a file that may be loaded: cut it at `keep` bytes if `cut`; `text`: why."""

    keep: int
    cut: int
    text: str


def judge(end: End, path: str, *, last: bool, load_truncated: bool, cut_bytes_max: int) -> Verdict:
    """What to do after a file was read; raises AofRefused.

    `last`: nothing is loaded after it. `load_truncated`: aof-load-truncated. A tail of more than
    `cut_bytes_max` bytes is not cut without being asked for.
    """
    if end.kind == CLEAN:
        return Verdict(end.size, 0, "")
    if end.kind == CORRUPT:
        text = f"Bad file format reading the append only file {path}"
        raise AofRefused(f"{text}: at offset {end.at}: {end.reason}. {_advice(path)}")
    text = f"Unexpected end of file reading the append only file {path}"
    text = f"{text}: at offset {end.at}: {end.reason}; {end.excess} bytes would be cut"
    if not last:
        text += ", but it is not the last file: changes behind it are in the next one"
    elif not load_truncated:
        text += ", but aof-load-truncated is no"
    elif end.excess > cut_bytes_max:
        text += f", more than the {cut_bytes_max} that are cut without being asked"
    else:
        text = f"The append only file {path} was cut from {end.size} to {end.valid} bytes"
        return Verdict(end.valid, end.excess, f"{text}: at offset {end.at}: {end.reason}")
    raise AofRefused(f"{text}. {_advice(path)}")


def _advice(path: str) -> str:
    return f"Repair it with: {REPAIR_COMMAND} {path} (keeps a copy), then start again"
