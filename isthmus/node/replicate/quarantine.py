"""Quarantine (io): what an old primary had and the new one has not, kept instead of dropped.

When a primary is replaced before its replicas have everything, it holds a *tail*: changes of the
stream behind the offset at which its successor began. Following the successor means giving them up.
They are written to the folder `quarantine` beside the data first, as two files with one name:

    TIME-SHARD-EPOCH.aof     the commands of the tail, in the format of an append only file
    TIME-SHARD-EPOCH.json    the *loss receipt*: see `Receipt`

Both are complete or not there. The receipt is written last. `isthmus quarantine` shows them, and
can send the commands to the cluster again. The coordinator is told of each receipt until it has
noted it, by a later process if need be.

A tail that is in no backlog any more, because the process ended, is found in the append only file
by the places noted there; if neither has it, the receipt says how much is missing and no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from isthmus.node.engine.registry import COMMANDS
from isthmus.node.engine.spec import WRITE, CommandSpec
from isthmus.node.persist.cut_file import sync_folder
from isthmus.wire.logs import log
from isthmus.wire.resp import LINE, RECORD, CommandReader

FOLDER = "quarantine"
KEYS_LISTED_MAX = 1000
KEY_BYTES_LISTED_MAX = 200
# What the coordinator is told of, and of how many receipts a start reminds it.
KEYS_TOLD_MAX = 10
KEY_CHARS_TOLD_MAX = 64
UNTOLD_MAX = 64
# Tails are bounded by the durability policy; this is for streams that nobody bounds.
TAIL_BYTES_MAX = 1 << 30


@dataclass(slots=True)
class Receipt:
    """What a failover took away from one shard.

    `replid` is the stream, `from_offset`..`to_offset` what of it the tail is; times are Unix ms, 0
    if they are not known. `exact` is false if the file holds some commands that were not lost as
    well, `kept` if it holds the tail at all. `keys` are the first `KEYS_LISTED_MAX` of `key_count`.
    `told`: the coordinator has noted it; `settled_ms`: when somebody was done with it, 0 if nobody.
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
    told: bool = False
    settled_ms: int = 0

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.written_ms}-{self.shard}-{self.epoch}"

    @property
    def bytes(self) -> int:
        """How much of the stream was lost."""
        return self.to_offset - self.from_offset + 1


def commands_of(data: bytes) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """(command, its keys) of each change in a piece of a stream, or of an append only file with its
    annotations; stops at what is neither."""
    reader = CommandReader(memoryview(data), 0)
    while reader.state in (RECORD, LINE):
        argv = reader.next()
        if argv is None:
            continue  # an annotation, or the end
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
    name = os.path.join(place, receipt.name)
    if data is not None:
        _write(name + ".aof", data)
    write_receipt(name + ".json", receipt)
    return name + ".json"


def write_receipt(path: str, receipt: Receipt) -> None:
    """Write a receipt, or write it anew. Raises OSError."""
    _write(path, json.dumps(asdict(receipt), indent=1).encode() + b"\n")
    sync_folder(os.path.dirname(path))


def read_receipt(path: str) -> Receipt:
    """The receipt in a file; raises OSError, and ValueError for a file that is none."""
    with open(path, "rb") as file:
        body = json.loads(file.read())
    known = {each.name: each.type for each in fields(Receipt)}
    if not isinstance(body, dict) or not set(body) <= set(known):
        raise ValueError("no loss receipt")
    kinds = {"int": int, "bool": bool, "str": str, "list[str]": list}
    if not all(isinstance(value, kinds[str(known[name])]) for name, value in body.items()):
        raise ValueError("a loss receipt with a field of the wrong type")
    try:
        return Receipt(**body)
    except TypeError as error:
        raise ValueError(f"no loss receipt: {error}") from error


def untold(folder: str) -> list[Receipt]:
    """Receipts beside the data that the coordinator has not noted yet, the newest ones only."""
    place = os.path.join(folder, FOLDER)
    try:
        names = sorted(name for name in os.listdir(place) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    found = []
    for name in names[-UNTOLD_MAX:]:
        try:
            receipt = read_receipt(os.path.join(place, name))
        except (OSError, ValueError) as error:
            log("receipt_not_read", level="WARN", file=name, why=str(error))
            continue
        if not receipt.told and receipt.shard >= 0:
            found.append(receipt)
    return found


def note_told(folder: str, name: str) -> None:
    """The coordinator has noted a receipt: a later process need not remind it."""
    path = os.path.join(folder, FOLDER, f"{name}.json")
    try:
        receipt = read_receipt(path)
        receipt.told = True
        write_receipt(path, receipt)
    except (OSError, ValueError) as error:
        log("receipt_not_marked", level="WARN", file=path, why=str(error))


def frame_of(receipt: Receipt) -> dict[str, Any]:
    """A receipt as the coordinator is told of it: bounded, its keys as ASCII."""
    told = ("shard", "epoch", "new_primary", "from_offset", "to_offset", "written_ms", "first_ms",
            "last_ms", "commands", "key_count", "exact", "kept")  # fmt: skip
    keys = [
        key.encode("ascii", "backslashreplace")[:KEY_CHARS_TOLD_MAX].decode()
        for key in receipt.keys[:KEYS_TOLD_MAX]
    ]
    return {
        "type": "receipt", "name": receipt.name, "keys": keys,
        **{name: getattr(receipt, name) for name in told},
    }  # fmt: skip


def _write(path: str, data: bytes) -> None:
    with open(path + ".new", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
