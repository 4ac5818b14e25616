"""The manifest of an export: what it says, and what it is not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus.cli import manifest

SUM = "ab" * 32


def a_file(**more: Any) -> dict[str, Any]:
    return {"name": "a_0_x.rdb", "bytes": 10, "sha256": SUM, "keys": {"0": 3, "2": 4}, **more}


def test_round_trip() -> None:
    found = manifest.parse(manifest.render({"cluster": "c"}, [a_file(), a_file(name="b.rdb")]))
    assert (found["keys"], found["bytes"], found["cluster"]) == (14, 20, "c")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x.rdb"}, {"name": "/etc/passwd"}, {"name": "a/b"}, {"name": ".hidden"},
        {"name": 5}, {"bytes": -1}, {"bytes": "10"}, {"sha256": "ab"}, {"keys": [3]},
        {"keys": {"0": -1}}, {"keys": {"x": 1}},
    ],
)  # fmt: skip
def test_files_that_no_export_has(change: dict[str, Any]) -> None:
    whole = {"format": manifest.FORMAT, "version": 1, "files": [a_file(**change)]}
    with pytest.raises(manifest.BadManifest):
        manifest.parse(json.dumps(whole).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'{"format":"isthmus-export","version":2,"files":[{}]}',
     b'{"format":"isthmus-export","version":1,"files":[]}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(manifest.BadManifest):
        manifest.parse(data)


def test_a_name_twice() -> None:
    with pytest.raises(manifest.BadManifest, match="twice"):
        manifest.parse(manifest.render({}, [a_file(), a_file()]))


def test_difference() -> None:
    said = a_file()
    assert manifest.difference(said, 10, SUM, {0: 3, 2: 4, 5: 0}) == ""
    assert "11 bytes" in manifest.difference(said, 11, SUM, {0: 3, 2: 4})
    assert "SHA-256" in manifest.difference(said, 10, "cd" * 32, {0: 3, 2: 4})
    assert "database" in manifest.difference(said, 10, SUM, {0: 3})


def test_file_names_are_plain() -> None:
    name = manifest.file_name("[::1]:6379", "shard-0", "20260101T000000Z", True)
    assert name == "1-6379_shard-0_20260101T000000Z.rdb.gz"
    assert manifest.file_name("///", "s", "t", False) == "x_s_t.rdb"
