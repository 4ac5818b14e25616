"""A whole RDB file read: its frame, its records, its end.

    "REDIS" and four digits, the version | record ... | FF | u64 CRC-64 (from version 5 on; 0: none)

A record is a type byte, key and value, and what stands in front of it is about the next key:

    FD i32 seconds, FC i64 ms    when it expires       F8 length    seconds since it was used
    FE length    the database of what follows          F9 byte      how often it is used
    FB length length    how many keys, and volatile ones, follow
    FA string string    a fact about the file, its name and value
    F4 length length length     a slot, its keys and its volatile ones
    F5 string    the code of a library of functions    F7           data of a module
    F6           the same before the format was final, which is refused, as Redis does

The walk ends with the checksum compared, or with RdbError, and then whatever was loaded is not to
be used: there is no partial success. It is an iterator over bytes done, so that a node can show
that it is alive, and a tool its progress, between pieces of about PIECE_BYTES; a large collection
is read a few thousand elements at a time. Behind its last item
`reader.position` is the first byte behind the snapshot: in an AOF commands may follow there.

Keys whose time had come are left out, as a Redis primary leaves them out, unless `keep_expired`;
keys with an empty collection, which old versions wrote, too. Data of modules is passed over (their
keys are not: a key that would be lost is an error). `Report` counts all of it.

`into` takes what is found (`Into` below); KeyspaceLoader is the one that fills a keyspace, and is
called without detours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from isthmus.node.engine.access import hinted
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.lookahead import BATCH, Lookahead
from isthmus.node.values.keys import load
from isthmus.node.values.rdb_decode import (
    DEFAULT_LIMITS,
    EmptyValue,
    Limits,
    Reading,
    begin,
    module_name,
    read_value,
)
from isthmus.wire.crc64 import extend
from isthmus.wire.rdb_reader import RdbReader
from isthmus.wire.scalars import i64
from isthmus.wire.slots import SLOTS

VERSION_MAX = 12
PIECE_BYTES = 1 << 18
PIECE_ELEMENTS: i64 = 4096
ENTRY_BYTES_MIN = 3
BATCH_ITEMS: i64 = 3 * BATCH
SLOT_INFO_CODE: i64 = 0xF4
SLOT_INFO, FUNCTION, FUNCTION_EARLY, MODULE_AUX = 0xF4, 0xF5, 0xF6, 0xF7
IDLE, FREQ, AUX, RESIZE, EXPIRE_MS, EXPIRE_S, SELECT, EOF = range(0xF8, 0x100)
# What a module's data consists of: the end, numbers, a float, a double, a string.
(MODULE_EOF, MODULE_SINT, MODULE_UINT, MODULE_FLOAT, MODULE_DOUBLE, MODULE_STRING) = range(6)


class Into(Protocol):
    """Who takes what a snapshot holds. ValueError means: this cannot be in a snapshot for us."""

    def aux(self, name: bytes, value: bytes) -> None:
        """A fact about the file."""

    def select(self, db: int) -> None:
        """The keys that follow are in this database."""

    def resize(self, keys: int, volatile: int) -> None:
        """So many keys follow in this database, about."""

    def entry(self, key: bytes, value: Any, expire_ms: i64, idle_s: i64, freq: i64) -> None:
        """A key; -1 for what is not known of it."""

    def function(self, code: bytes) -> None:
        """A library of functions."""


class Report:
    """What a walk met; whole numbers but for `version` and `modules`, the names of modules whose
    data was passed over."""

    def __init__(self) -> None:
        self.version = 0
        self.keys = 0
        self.expired = 0
        self.empty = 0
        self.modules: list[str] = []


class KeyspaceLoader:
    """Fills a keyspace. `functions` and `facts` are left to the caller.

    Keys go in a few at a time, because what they touch is then fetched from memory for all of them
    at once: whoever calls `entry` calls `flush` in the end.
    """

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.db = keyspace.databases[0]
        self.lookahead = Lookahead()
        self.room = 0
        # Key, value, expiry, key, value, expiry...
        self.batch: list[Any] = []
        self.functions: list[bytes] = []
        self.facts: dict[bytes, bytes] = {}

    def aux(self, name: bytes, value: bytes) -> None:
        """A fact about the file."""
        self.facts[name] = value

    def select(self, db: i64) -> None:
        """The keys that follow are in this database."""
        self.flush()
        if db >= len(self.keyspace.databases):
            raise ValueError(
                f"keys of database {db}, and there are only {len(self.keyspace.databases)}"
            )
        self.db = self.keyspace.databases[db]
        self.room = 0

    def resize(self, keys: i64, volatile: i64) -> None:
        """So many keys follow in this database, about."""
        # Keys are spread over slots evenly, or a slot's table grows as any does.
        self.room = keys // SLOTS

    def entry(self, key: bytes, value: Any, expire_ms: i64, idle_s: i64, freq: i64) -> None:
        """A key; -1 for what is not known of it."""
        if idle_s >= 0 or freq >= 0:
            self.flush()
            self.put(key, value, expire_ms, hinted(idle_s, freq))
            return
        self.batch.append(key)
        self.batch.append(value)
        self.batch.append(expire_ms)
        if len(self.batch) >= BATCH_ITEMS:
            self.flush()

    def put(self, key: bytes, value: Any, expire_ms: i64, mark: i64) -> None:
        """Put a key in its place; ValueError if it is there."""
        if not load(self.db, key, value, expire_ms, mark, self.room):
            raise ValueError(f"the key {key[:80]!r} twice in database {self.db.index}")

    def flush(self) -> None:
        """Put the keys that wait in their places."""
        batch, self.batch = self.batch, []
        self.lookahead.warm(self.db, batch, 0, 3)
        for at in range(0, len(batch), 3):
            self.put(batch[at], batch[at + 1], batch[at + 2], -1)

    def function(self, code: bytes) -> None:
        """A library of functions."""
        self.functions.append(code)


class SnapshotWalk:
    """The state of a walk; `run` does a piece of it."""

    def __init__(
        self, reader: RdbReader, into: Any, now_ms: i64, keep_expired: bool, limits: Limits
    ) -> None:
        self.reader = reader
        self.into = into
        self.loader: Any = into if isinstance(into, KeyspaceLoader) else None
        self.now_ms = now_ms
        self.keep_expired = keep_expired
        self.limits = limits
        self.report = Report()
        self.start = self.summed = reader.position
        self.crc: Any = 0
        self.expire_ms = -1
        self.idle_s = -1
        self.freq = -1
        # Where this piece ends, about.
        self.stop = 0
        # A large value that is being read, its key, and where the record begins.
        self.reading: Reading | None = None
        self.key = b""
        self.key_at = 0
        self.read_head()

    def read_head(self) -> None:
        """The magic and the version."""
        reader = self.reader
        magic = reader.raw(min(9, reader.size - reader.position))
        if magic[:5] != b"REDIS" or not magic[5:].isdigit() or len(magic) < 9:
            raise reader.error("no RDB: it does not begin with REDIS and a version", self.start)
        version = int(magic[5:])
        if not 1 <= version <= VERSION_MAX:
            raise reader.error(
                f"RDB version {version}; versions 1 to {VERSION_MAX} can be read", self.start + 5
            )
        self.report.version = version

    def run(self, bytes_max: i64) -> bool:
        """Read about so many bytes; True once the end has been read and found right."""
        reader = self.reader
        self.stop = reader.position + bytes_max
        ended = False
        if self.reading is not None:
            self.read_on()
        while self.reading is None and reader.position < self.stop and not ended:
            kind: i64 = reader.byte()
            if kind < SLOT_INFO_CODE:
                self.read_entry(kind)
            else:
                ended = self.read_opcode(kind)
        if self.loader is not None:
            self.flush()
        self.sum_up()
        if ended:
            self.check_sum()
        return ended

    def flush(self) -> None:
        """Let the loader put what waits in its place."""
        try:
            self.loader.flush()
        except ValueError as error:
            raise self.reader.error(f"before this: {error}") from error

    def sum_up(self) -> None:
        """Bring the checksum up to date."""
        # Even where none follows, or 0: the caller may want to know it.
        self.crc = extend(self.crc, self.reader.view(self.summed, self.reader.position))
        self.summed = self.reader.position

    def check_sum(self) -> None:
        """Compare the checksum behind the end."""
        if self.report.version < 5:
            return
        at = self.reader.position
        written = self.reader.u64()
        if written and written != self.crc:
            raise self.reader.error(
                f"the checksum is {written:016x}, that of the bytes is {self.crc:016x}", at
            )

    def read_entry(self, kind: i64) -> None:
        """A key and its value, or the beginning of a large one."""
        reader = self.reader
        self.key_at = reader.position - 1
        self.key = reader.string()
        try:
            if kind == 0:
                value: Any = reader.string()
            else:
                reading = begin(reader, kind, self.limits)
                if reading is None:
                    value = read_value(reader, kind, self.limits)
                elif reading.step(PIECE_ELEMENTS, self.stop):
                    value = reading.whole()
                else:
                    self.reading = reading
                    return
        except EmptyValue:
            self.report.empty += 1
            self.forget()
            return
        self.take(value)

    def read_on(self) -> None:
        """More of a large value."""
        reading = self.reading
        assert reading is not None
        if not reading.step(PIECE_ELEMENTS, self.stop):
            return
        self.reading = None
        try:
            value = reading.whole()
        except EmptyValue:
            self.report.empty += 1
            self.forget()
        else:
            self.take(value)

    def take(self, value: Any) -> None:
        """The key has been read whole."""
        expire_ms: i64 = self.expire_ms
        if not self.keep_expired and 0 <= expire_ms < self.now_ms:
            self.report.expired += 1
            self.forget()
            return
        self.report.keys += 1
        try:
            if self.loader is not None:
                self.loader.entry(self.key, value, expire_ms, self.idle_s, self.freq)
            else:
                self.into.entry(self.key, value, expire_ms, self.idle_s, self.freq)
        except ValueError as error:
            raise self.reader.error(str(error), self.key_at) from error
        self.forget()

    def forget(self) -> None:
        """What was said of a key is said of no other."""
        self.expire_ms = -1
        self.idle_s = -1
        self.freq = -1

    def read_opcode(self, code: i64) -> bool:
        """What is no key. True for the end."""
        reader = self.reader
        at = reader.position - 1
        if code == EXPIRE_MS:
            self.expire_ms = max(reader.i64(), 0)
        elif code == EXPIRE_S:
            self.expire_ms = max(reader.i32(), 0) * 1000
        elif code == IDLE:
            self.idle_s = min(reader.length(), 0x7FFFFFFF)
        elif code == FREQ:
            self.freq = reader.byte()
        elif code == RESIZE:
            keys = reader.number()
            volatile = reader.number()
            # It is a hint, so it is believed as far as it can be true.
            possible = (reader.size - reader.position) // ENTRY_BYTES_MIN
            self.into.resize(min(keys, possible), min(volatile, possible))
        elif code == SLOT_INFO:
            for _ in range(3):
                reader.number()
        elif code == MODULE_AUX:
            self.skip_module()
        elif code == EOF:
            if self.expire_ms >= 0 or self.idle_s >= 0 or self.freq >= 0:
                raise reader.error("an expiry or a mark of use and no key behind it", at)
            return True
        else:
            self.tell(code, at)
        return False

    def tell(self, code: i64, at: i64) -> None:
        """The records that `into` may refuse."""
        reader = self.reader
        try:
            if code == SELECT:
                self.into.select(reader.length())
            elif code == AUX:
                name = reader.string()
                self.into.aux(name, reader.string())
            elif code == FUNCTION:
                self.into.function(reader.string())
            else:
                raise reader.error("functions in the format of a Redis that was not final", at)
        except ValueError as error:
            if hasattr(error, "offset"):
                raise
            raise reader.error(str(error), at) from error

    def skip_module(self) -> None:
        """Pass over data that a module has in the file beside its keys."""
        reader = self.reader
        name = module_name(reader.number())
        if reader.number() != MODULE_UINT:
            raise reader.error(f"data of the module {name!r} that does not say when it is loaded")
        reader.number()
        while (code := reader.number()) != MODULE_EOF:
            if code in (MODULE_SINT, MODULE_UINT):
                reader.number()
            elif code == MODULE_FLOAT:
                reader.skip(4)
            elif code == MODULE_DOUBLE:
                reader.skip(8)
            elif code == MODULE_STRING:
                reader.skip_string()
            else:
                raise reader.error(f"data of the module {name!r} with an unknown code {code}")
        if name not in self.report.modules:
            self.report.modules.append(name)


def read_snapshot(
    reader: RdbReader,
    into: Into,
    *,
    now_ms: int,
    keep_expired: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    report: Report | None = None,
) -> Iterator[int]:
    """Walk a snapshot, which begins at the reader's position; the bytes done, again and again.

    Raises RdbError where it is not right. `report` is filled in on the way.
    """
    walk = SnapshotWalk(reader, into, now_ms, keep_expired, limits)
    if report is not None:
        report.version = walk.report.version
        walk.report = report
    ended = False
    while not ended:
        ended = walk.run(PIECE_BYTES)
        yield reader.position - walk.start
