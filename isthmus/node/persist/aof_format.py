r"""What an incremental AOF file holds: effects as commands, and annotations between them.

Effects are canonical write commands already (engine/effect_log.py), so encoding is spelling: a
SELECT when the database changes, MULTI and EXEC around what one command did when that is more than
one change, so that a file torn in the middle never gives half of it. Real redis-server runs the
result as it would its own.

Annotations are lines that begin with `#`; Redis and redis-check-aof pass over those they do not
know, and so do we. They stand between commands, in lines far below the 128 bytes that Redis reads
at a time:

    #TS:1700000000\r\n                          Redis' own: what follows was written then, or later
    #CRC:e9c6d914c4b8d9ca:123456\r\n            ours, a *seal*: the CRC-64 (in hex) of the 123456
                                                bytes before this line
    #REPL:<40 hex digits>:123456\r\n          ours, a *place*: all before this line is what the
                                                replication stream of that id was up to its offset

A seal sums up the file from its beginning, earlier seals and foreign lines included, so that bytes
that were changed, lost, doubled or moved are found by the next one, however long the file has been
appended to, and whoever did so. What stands behind the last seal is checked by its form alone: the
last write before a crash may end anywhere.
"""

from __future__ import annotations

import re

from isthmus.node.engine.effect_log import Effect
from isthmus.wire import crc64
from isthmus.wire.resp import pack, pack_all
from isthmus.wire.scalars import i64

# No database is selected: at the beginning of a file.
NO_DB = -1
MULTI = [b"MULTI"]
EXEC = [b"EXEC"]
TIMESTAMP = re.compile(rb"#TS:([0-9]{1,18})")
SEAL = re.compile(rb"#CRC:([0-9a-f]{16}):(0|[1-9][0-9]{0,18})")
PLACE = re.compile(rb"#REPL:([0-9a-f]{40}):(0|[1-9][0-9]{0,18})")
# Lines that claim to be one of these and are not spelt so are errors, not foreign lines.
CLAIMS = (b"#TS:", b"#CRC:", b"#REPL:")


def select(db: i64) -> list[bytes]:
    """The command that makes db the current database of a file."""
    return [b"SELECT", b"%d" % db]


def encode_batch(batch: list[Effect], selected_db: i64) -> tuple[bytes, i64]:
    """The effects of one command as bytes, and the database that is selected behind them.

    `batch` is what the effect log hands to a sink: events without a command are passed over.
    """
    if len(batch) == 1:
        effect = batch[0]
        argv = effect.argv
        if argv[0]:
            db = effect.db
            if db == selected_db:
                return pack(argv), db
            return pack_all([select(db), argv]), db
        return b"", selected_db
    changes = [effect for effect in batch if effect.argv[0]]
    count = len(changes)
    if count < 2:
        return encode_batch(changes, selected_db) if changes else (b"", selected_db)
    effect = changes[0]
    db = effect.db
    commands = [MULTI] if db == selected_db else [select(db), MULTI]
    for effect in changes:
        if effect.db != db:
            db = effect.db
            commands.append(select(db))
        commands.append(effect.argv)
    commands.append(EXEC)
    return pack_all(commands), db


def timestamp(now_s: int) -> bytes:
    """The annotation for what is written from Unix second now_s on."""
    return b"#TS:%d\r\n" % now_s


def place(replid: str, offset: i64) -> bytes:
    """The annotation behind what a stream was up to `offset`."""
    return b"#REPL:%b:%d\r\n" % (replid.encode(), offset)


class Seal:
    """The running sum of a file: all that was written goes through `add`, and now and then a line.

    One that goes on with a file begins with what the scan of that file found (aof_scan.py).
    """

    __slots__ = ("crc", "size", "sealed")

    def __init__(self, crc: int = 0, size: int = 0, sealed: int = 0) -> None:
        self.crc = crc
        # Bytes so far, and how many of them end with a seal.
        self.size = size
        self.sealed = sealed

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Take data that is behind all that was added before."""
        self.crc = crc64.extend(self.crc, data)
        self.size += len(data)

    def line(self) -> bytes:
        """The seal over all that was added, which counts as added itself; nothing if none is due.

        Whoever writes puts it behind what it covers, in the same write.
        """
        if self.size == self.sealed:
            return b""
        line = b"#CRC:%016x:%d\r\n" % (self.crc, self.size)
        self.add(line)
        self.sealed = self.size
        return line
