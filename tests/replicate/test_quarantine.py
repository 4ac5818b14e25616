"""Tails and their receipts as files, and what the coordinator is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.cluster.receipts import AGAIN_MS, SAID_MAX, WAITING_MAX, Receipts
from isthmus.node.commands import load_all
from isthmus.node.replicate.quarantine import (
    FOLDER,
    Receipt,
    count,
    frame_of,
    keep,
    note_told,
    read_receipt,
    untold,
)
from isthmus.wire.resp import pack

load_all()
MS = 1_000_000


def receipt(**changes: Any) -> Receipt:
    fields = {
        "shard": 0, "epoch": 5, "node": "a" * 40, "new_primary": "b" * 40, "replid": "c" * 40,
        "from_offset": 11, "to_offset": 60, "written_ms": 1000,
    }  # fmt: skip
    return Receipt(**{**fields, **changes})


def tail(*lines: str) -> bytes:
    return b"".join(pack([word.encode() for word in line.split()]) for line in lines)


def test_annotations_of_a_file_do_not_end_the_count() -> None:
    it = receipt()
    count(it, tail("SELECT 0", "SET a 1") + b"#S:0123\r\n" + tail("MSET b 1 c 2", "SET a 2"))
    assert (it.commands, it.key_count, it.keys) == (3, 3, ["a", "b", "c"])


def test_what_is_kept_is_told_until_it_is_noted(tmp_path: Path) -> None:
    path = keep(str(tmp_path), receipt(keys=["\u00e9" * 90], key_count=1), tail("SET a 1"))
    assert path == str(tmp_path / FOLDER / "1000-0-5.json")
    keep(str(tmp_path), receipt(written_ms=2000, shard=-1), None)  # of no cluster
    (tmp_path / FOLDER / "3000-0-5.json").write_text("{}")
    (found,) = untold(str(tmp_path))
    frame = frame_of(found)
    assert frame["name"] == "1000-0-5" and frame["keys"][0].isascii()
    assert len(frame["keys"][0]) == 64
    note_told(str(tmp_path), "1000-0-5")
    assert untold(str(tmp_path)) == [] and read_receipt(path).told
    note_told(str(tmp_path), "nothing of the kind")
    assert untold(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    "body", [[], {"shard": 0}, {"shard": "0"}, {"node": 7}, {"sharp": 1}, "x", {"shard": None}]
)
def test_what_is_no_receipt_is_refused(tmp_path: Path, body: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(body))
    with pytest.raises(ValueError, match="receipt"):
        read_receipt(str(path))


def test_the_coordinator_hears_of_them_again_and_again() -> None:
    said: list[Any] = []
    told: list[str] = []
    it = Receipts(said.append)
    it.told = told.append
    it.add({"type": "receipt", "name": "x"})
    for ms in (1, 200, AGAIN_MS, AGAIN_MS + 1):
        it.tick(ms * MS)
    assert len(said) == 2
    it.noted({"type": "receipt_noted", "name": "y"})
    it.noted({"type": "receipt_noted"})
    it.noted({"type": "receipt_noted", "name": "x"})
    it.tick(99 * AGAIN_MS * MS)
    assert (len(said), told, it.waiting) == (2, ["x"], 0)


def test_many_receipts_do_not_fill_the_link() -> None:
    said: list[Any] = []
    it = Receipts(said.append)
    for number in range(WAITING_MAX + 9):
        it.add({"name": str(number)})
    it.tick(1)
    assert (it.waiting, len(said), said[0]["name"]) == (WAITING_MAX, SAID_MAX, "9")
