"""Entries of an RDB file: spans that are payloads, and lies about lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.cli.rdb_entries import Entry, Summary, entries, framed, payload
from isthmus.node.values.restore import decode
from isthmus.wire.crc64 import crc64
from isthmus.wire.rdb_reader import RdbError
from tests.persist.samples import GOOD
from tests.support.rdb_files import DUE_MS, LIBRARY, entry, file_of, head, write_everything


def plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value.plain()


def walk(data: bytes) -> tuple[list[Entry], Summary]:
    summary = Summary()
    return list(entries(data, summary)), summary


def test_every_type_becomes_the_payload_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.rdb"
    wanted = write_everything(path)
    data = path.read_bytes()
    found, summary = walk(data)
    assert [one.key for one in found] == list(wanted)
    for at, one in enumerate(found):
        assert one.expire_ms == (DUE_MS if at % 2 else -1)
        made = payload(data, one)
        assert made[:-10] == wanted[one.key][:-10]
        assert plain(decode(made)) == plain(decode(wanted[one.key]))
    assert summary.functions == [LIBRARY]
    assert summary.keys.total() == summary.announced[0] == len(wanted)
    assert summary.volatile[0] == len(wanted) // 2
    assert summary.aux["redis-ver"] == "8.0.2"


def test_a_payload_has_the_lowest_version_that_its_type_needs() -> None:
    data = file_of(head(), entry(b"a", GOOD["string"]), entry(b"b", GOOD["hash listpackex"]))
    found, _ = walk(data)
    assert [int.from_bytes(payload(data, one)[-10:-8], "little") for one in found] == [1, 12]
    assert framed(b"x", 9)[-8:] == crc64(b"x\x09\x00").to_bytes(8, "little")


def test_databases_marks_and_old_versions() -> None:
    one, two = entry(b"a", GOOD["string"]), entry(b"b", GOOD["set"])
    idle, often = b"\xf8\x05" + one, b"\xf9\x07" + two
    seconds = b"\xfd" + (1000).to_bytes(4, "little") + entry(b"c", GOOD["string"])
    found, summary = walk(file_of(idle, b"\xfe\x03", often, seconds, version=4))
    assert [(e.db, e.key, e.expire_ms, e.idle_s, e.freq) for e in found] == [
        (0, b"a", -1, 5, -1), (3, b"b", -1, -1, 7), (3, b"c", 1_000_000, -1, -1),
    ]  # fmt: skip
    assert summary.version == 4 and dict(summary.keys) == {0: 1, 3: 2}


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "does not begin with REDIS"),
        (b"REDIS0099", 5, "version 99"),
        (file_of(head())[:-9], 14, "bytes where"),
        (file_of(head()) + b"x", 23, "1 bytes behind the end"),
        (file_of(head())[:-1] + b"\0", 15, "checksum"),
        (file_of(b"\x07\x01k\x00"), 9, "a value of a module"),
        (file_of(b"\x63\x01k\x00"), 9, "unknown type 99"),
        (file_of(b"\xf6\x00"), 9, "not final"),
        (file_of(b"\x00\x01k\x81" + b"\x7f" * 8), 12, "a string of"),
        (file_of(b"\x04\x01k\x80\xff\xff\xff\xff"), 12, "a hash of"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(RdbError) as caught:
        walk(data)
    assert reason in caught.value.reason
    assert caught.value.offset == offset


def test_a_file_cut_anywhere_is_never_called_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.rdb"
    write_everything(path)
    data = path.read_bytes()
    for size in range(0, len(data), 97):
        with pytest.raises(RdbError):
            walk(data[:size])
