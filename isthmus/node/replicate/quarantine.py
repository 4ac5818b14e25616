"""Quarantine (io): what an old primary had and the new one has not, kept instead of dropped.

When a primary is replaced before its replicas have everything, it holds a *tail*: changes of the
stream behind the offset at which its successor began. Following the successor means giving them up.
They are written to the folder `quarantine` beside the data first, as two files with one name:

    TIME-SHARD-EPOCH.aof     the commands of the tail, in the format of an append only file
    TIME-SHARD-EPOCH.json    the *loss receipt*: see `Receipt`

Both are complete or not there. The receipt is written last. `isthmus quarantine` shows them, and
can send the commands to the cluster again.

A tail that is in no backlog any more, because the process ended, is found in the append only file
by the places noted there; if neither has it, the receipt says how much is missing and no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import WRITE, CommandSpec
from isthmus.node.persist.cut_file import sync_folder
from isthmus.wire.resp import LINE, CommandReader

FOLDER = "quarantine"
KEYS_LISTED_MAX = 1000
KEY_BYTES_LISTED_MAX = 200
# Tails are bounded by the durability policy; this is for streams that nobody bounds.
TAIL_BYTES_MAX = 1 << 30


@dataclass(slots=True)
class Receipt:
    """What a failover took away from one shard.

    `replid` is the stream, `from_offset`..`to_offset` what of it the tail is; times are Unix ms, 0
    if they are not known. `exact` is false if the file holds some commands that were not lost as
    well, `kept` if it holds the tail at all. `keys` are the first `KEYS_LISTED_MAX` of `key_count`.
    """

    shard: int
    epoch: int
    node: str
    new_primary: str
    replid: str
    from_offset: int
    to_offset: int
    written_ms: int
    first_ms: int = 0
    last_ms: int = 0
    commands: int = 0
    key_count: int = 0
    keys: list[str] = field(default_factory=list)
    exact: bool = True
    kept: bool = True

    @property
    def bytes(self) -> int:
        """How much of the stream was lost."""
        return self.to_offset - self.from_offset + 1


def commands_of(data: bytes) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """(command, its keys) of each change in a piece of a stream, or of an append only file with its
    annotations; stops at what is neither."""
    reader = CommandReader(memoryview(data), 0)
    while True:
        argv = reader.next()
        if argv is None:
            if reader.state != LINE:
                return
            continue
        spec: CommandSpec | None = COMMANDS.get(argv[0].lower())
        if spec is not None and spec.handler is None and len(argv) > 1:
            spec = spec.subcommands.get(argv[1].lower())
        if spec is not None and spec.flags & WRITE:
            yield argv, [argv[place] for place in spec.key_positions(argv)]


def count(receipt: Receipt, data: bytes) -> None:
    """Note in a receipt what a tail holds."""
    seen: dict[bytes, None] = {}
    for _, keys in commands_of(data):
        receipt.commands += 1
        seen.update(dict.fromkeys(keys))
    receipt.key_count = len(seen)
    receipt.keys = [
        key[:KEY_BYTES_LISTED_MAX].decode("utf-8", "backslashreplace")
        for key in list(seen)[:KEYS_LISTED_MAX]
    ]


def tail_of(replication: Any, offset: int) -> bytes | None:
    """The stream behind `offset`, from the backlog; None if that does not hold it all."""
    backlog = replication.backlog
    if not backlog.holds(offset + 1) or backlog.end - offset > TAIL_BYTES_MAX:
        return None
    pieces = []
    at = offset + 1
    while at <= backlog.end:
        piece = backlog.read(at, 1 << 20)
        if not piece:
            return None
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def tail_from_file(path: str, places: list[Any], offset: int) -> tuple[bytes, bool] | None:
    """(commands behind `offset`, whether exactly these) from an append only file; None if it does
    not have them. Raises OSError."""
    before = [place for place in places if place.offset <= offset]
    if not before:
        return None
    start = before[-1]
    with open(path, "rb") as file:
        file.seek(start.at)
        data = file.read(TAIL_BYTES_MAX)
    return data, start.offset == offset


def keep(folder: str, receipt: Receipt, data: bytes | None) -> str:
    """Write a tail and its receipt; the path of the receipt. Raises OSError."""
    place = os.path.join(folder, FOLDER)
    os.makedirs(place, exist_ok=True)
    name = os.path.join(place, f"{receipt.written_ms}-{receipt.shard}-{receipt.epoch}")
    if data is not None:
        _write(name + ".aof", data)
    _write(name + ".json", json.dumps(asdict(receipt), indent=1).encode() + b"\n")
    sync_folder(place)
    return name + ".json"


def _write(path: str, data: bytes) -> None:
    with open(path + ".new", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
