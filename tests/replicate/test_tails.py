"""Tails in quarantine: what is kept, what a receipt says, and where a tail is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.commands import load_all
from isthmus.node.persist.aof_format import Seal, place
from isthmus.node.persist.aof_scan import AofScanner
from isthmus.node.replicate.backlog import Backlog
from isthmus.node.replicate.quarantine import (
    KEYS_LISTED_MAX,
    Receipt,
    commands_of,
    count,
    keep,
    tail_from_file,
    tail_of,
)
from isthmus.wire.resp import pack

REPLID = "a" * 40


@pytest.fixture(autouse=True, scope="module")
def commands() -> None:
    load_all()


def receipt(**changed: Any) -> Receipt:
    fields: dict[str, Any] = {
        "shard": 1, "epoch": 7, "node": "n", "new_primary": "p", "replid": REPLID,
        "from_offset": 11, "to_offset": 30, "written_ms": 1_700_000_000_000, **changed,
    }  # fmt: skip
    return Receipt(**fields)


class Stream:
    """A replication that has a backlog."""

    def __init__(self, data: bytes) -> None:
        self.backlog = Backlog(1 << 20)
        self.backlog.append(data)


def test_a_tail_is_what_is_behind_the_offset() -> None:
    data = bytes(range(256)) * 1000
    for offset in (0, 1, 65_535, 65_536, len(data) - 1):
        assert tail_of(Stream(data), offset) == data[offset:]
    assert tail_of(Stream(data), len(data)) == b""


def test_a_tail_whose_beginning_is_gone_is_none() -> None:
    stream = Stream(b"x" * 100)
    stream.backlog.restart(100)
    stream.backlog.append(b"y" * 10)
    assert tail_of(stream, 99) is None
    assert tail_of(stream, 100) == b"y" * 10


def test_a_receipt_counts_changes_and_keys() -> None:
    data = b"".join(map(pack, (
        [b"SELECT", b"0"], [b"MULTI"], [b"SET", b"a", b"1"], [b"HSET", b"h", b"f", b"v"], [b"EXEC"],
        [b"PING"], [b"SET", b"a", b"2"], [b"REPLCONF", b"GETACK", b"*"], [b"DEL", b"x", b"y"],
    )))  # fmt: skip
    made = receipt()
    count(made, data)
    assert (made.commands, made.key_count, made.keys) == (4, 4, ["a", "h", "x", "y"])
    assert made.bytes == 20


def test_a_receipt_lists_some_keys_and_counts_all() -> None:
    made = receipt()
    count(made, b"".join(pack([b"SET", b"\xff%d" % n, b""]) for n in range(KEYS_LISTED_MAX + 5)))
    assert (made.key_count, len(made.keys)) == (KEYS_LISTED_MAX + 5, KEYS_LISTED_MAX)
    assert made.keys[0] == "\\xff0"


def test_annotations_of_an_append_only_file_are_passed_over(tmp_path: Path) -> None:
    seal, data = Seal(), b""
    for number, offset in enumerate((50, 80, 120)):
        piece = pack([b"SET", b"k%d" % number, b"v"]) + place(REPLID, offset)
        seal.add(piece)
        data += piece + seal.line()
    path = tmp_path / "a.aof"
    path.write_bytes(data)
    scanner = AofScanner(data)
    list(scanner)
    places = list(scanner.places)
    assert [found.offset for found in places] == [50, 80, 120]
    assert scanner.placed == scanner.commands == 3

    tail = tail_from_file(str(path), places, 80)
    assert tail is not None
    assert [argv[1] for argv, _ in commands_of(tail[0])] == [b"k2"]
    assert tail[1]
    # Between two places more comes along than was lost, and the receipt will say so.
    tail = tail_from_file(str(path), places, 100)
    assert tail is not None and not tail[1]
    assert tail_from_file(str(path), places, 49) is None


def test_a_place_that_is_none_is_damage() -> None:
    scanner = AofScanner(pack([b"SET", b"k", b"v"]) + b"#REPL:zz:1\r\n")
    list(scanner)
    assert scanner.end is not None and scanner.end.kind == "corrupt"


def test_both_files_are_kept(tmp_path: Path) -> None:
    path = Path(keep(str(tmp_path), receipt(), b"tail"))
    assert path.parent == tmp_path / "quarantine"
    assert path.with_suffix(".aof").read_bytes() == b"tail"
    assert json.loads(path.read_text())["replid"] == REPLID
    assert sorted(each.suffix for each in path.parent.iterdir()) == [".aof", ".json"]


def test_a_receipt_without_a_tail_says_so(tmp_path: Path) -> None:
    path = Path(keep(str(tmp_path), receipt(kept=False), None))
    assert not path.with_suffix(".aof").exists()
    assert json.loads(path.read_text())["kept"] is False
