"""isthmus check rdb and isthmus rdb: what they say of files, and what is saved of damaged ones."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli.app import run
from tests.persist.samples import GOOD
from tests.support.rdb_files import aux, entry, everything, file_of, head, write_everything

Say = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """What was printed since it was asked last."""
    return lambda: "".join(capsys.readouterr())


def checked(path: Path, said: Say, *options: str) -> dict[str, Any]:
    status = run(["check", "rdb", "--json", str(path), *options])
    found: dict[str, Any] = json.loads(said())
    assert status == (0 if found["ok"] else 1)
    return found


@pytest.mark.slow
def test_a_whole_file(tmp_path: Path, said: Say) -> None:
    path = tmp_path / "x.rdb"
    wanted = write_everything(path)
    assert run(["check", "rdb", str(path)]) == 0
    text = said()
    assert "Nothing is wrong." in text and "functions: sample" in text and "redis-ver 8.0.2" in text
    found = checked(path, said)
    assert sum(found["types"].values()) == len(wanted) == found["databases"]["0"]["announced"]
    packed = tmp_path / "x.rdb.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert checked(packed, said)["databases"] == found["databases"]


def test_damage_is_named_and_what_is_before_it_saved(tmp_path: Path, said: Say) -> None:
    good = [entry(b"key %d" % i, GOOD["hash"]) for i in range(50)]
    bad = b"\xfc" + bytes(8) + b"\x04\x07the bad\x81" + b"\x7f" * 8
    data = file_of(aux(b"ctime", b"1"), head(), *good, bad)
    path = tmp_path / "x.rdb"
    path.write_bytes(data)
    found = checked(path, said, "--fix")
    problem = found["problem"]
    assert (problem["key"], problem["type"], problem["database"]) == ("the bad", "hash", 0)
    assert problem["offset"] == data.index(b"the bad") + 7
    assert path.read_bytes() == data
    assert "the 50 keys" in found["mended"]
    again = checked(tmp_path / "x.rdb.fixed", said)
    assert again["ok"] and again["databases"]["0"]["keys"] == 50
    assert run(["check", "rdb", "--fix", str(path)]) == 1
    assert (tmp_path / "x.rdb.fixed-2").exists()
    assert "'the bad'" in said()


def test_a_wrong_checksum_alone_is_not_explained_away(tmp_path: Path, said: Say) -> None:
    data = bytearray(file_of(head(), entry(b"key", GOOD["string"])))
    data[data.index(b"text")] ^= 1
    path = tmp_path / "x.rdb"
    path.write_bytes(data)
    found = checked(path, said, "--fix")
    assert found["problem"]["checksum_only"] and "--anyway" in found["mended"]
    assert list(tmp_path.iterdir()) == [path]
    found = checked(path, said, "--fix", "--anyway")
    assert "the 1 keys" in found["mended"]
    assert checked(tmp_path / "x.rdb.fixed", said)["ok"]


@pytest.mark.slow
def test_random_damage_is_never_called_fine(tmp_path: Path, said: Say) -> None:
    path = tmp_path / "x.rdb"
    write_everything(path)
    whole = path.read_bytes()
    chance = random.Random(4)
    for _ in range(40):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        if data[-8:] == bytes(8):
            continue
        status = run(["check", "rdb", str(path), "--fix", "--anyway"])
        text = said()
        assert status in (1, 2) and "Traceback" not in text
        for made in tmp_path.glob("*.fixed*"):
            assert run(["check", "rdb", str(made)]) == 0, text
            made.unlink()


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"\x1f\x8bxxxxxxxxxxxxxxxxx"])
def test_what_cannot_be_looked_at(tmp_path: Path, said: Say, data: bytes) -> None:
    path = tmp_path / "x.rdb"
    path.write_bytes(data)
    assert run(["check", "rdb", str(path)]) == 2
    assert run(["check", "rdb", str(tmp_path / "none")]) == 2
    assert "Traceback" not in said()


def test_no_rdb_at_all(tmp_path: Path, said: Say) -> None:
    path = tmp_path / "x.rdb"
    path.write_bytes(b"*1\r\n$4\r\nPING\r\n")
    found = checked(path, said, "--fix")
    assert "does not begin with REDIS" in found["problem"]["reason"]
    assert "nothing stands before" in found["mended"]


def test_keys_twice_and_commands_behind(tmp_path: Path, said: Say) -> None:
    one = entry(b"key", GOOD["string"])
    path = tmp_path / "x.rdb"
    path.write_bytes(file_of(head(), one, one))
    assert "twice" in checked(path, said)["problem"]["reason"]
    path.write_bytes(file_of(head(), one, head(1), one) + b"*1\r\n$4\r\nPING\r\n")
    assert "14 bytes behind the end" in checked(path, said)["problem"]["reason"]


def test_what_a_file_is_made_of(tmp_path: Path, said: Say) -> None:
    path, page = tmp_path / "x.rdb", tmp_path / "x.html"
    evil = entry(b"<script>[red]:a\n", GOOD["list"], 1_700_000_030_000)
    wanted = everything()
    records = [entry(key, payload) for key, payload in wanted.items()]
    path.write_bytes(file_of(aux(b"ctime", b"1700000000"), head(), evil, *records))
    assert run(["rdb", str(path), "--json", "--top", "3", "--html", str(page)]) == 0
    found = json.loads(said())
    assert found["total"]["keys"] == len(wanted) + 1
    assert sum(row["keys"] for row in found["types"]) == len(wanted) + 1
    assert sum(row["memory_bytes"] for row in found["types"]) == found["total"]["memory_bytes"]
    assert found["expiries"] == {"below 1 minute": 1, "never": len(wanted)}
    assert len(found["largest"]) == 3
    assert found["largest"][0]["memory_bytes"] >= found["largest"][1]["memory_bytes"]
    assert {"prefix": "<script>[red]:"}.items() <= found["prefixes"][-1].items() or any(
        row["prefix"] == "<script>[red]:" for row in found["prefixes"]
    )
    html = page.read_text()
    assert "<svg" in html and "&lt;script&gt;" in html
    assert "<script" not in html and "http" not in html and "src=" not in html
    assert run(["rdb", str(path), "--prefix-separator", ">"]) == 0
    text = said()
    assert "<script>" in text and "Times to live" in text and "\n<script>[red]:a\n" not in text


def test_of_a_damaged_file_what_is_before_is_shown(tmp_path: Path, said: Say) -> None:
    path = tmp_path / "x.rdb"
    path.write_bytes(file_of(head(), entry(b"a", GOOD["string"]), b"\x04\x01b\x81"))
    assert run(["rdb", str(path)]) == 1
    assert "isthmus check rdb" in said()
    assert run(["rdb", str(path), "--prefix-separator", ""]) == 2
    assert run(["rdb", str(tmp_path / "none")]) == 2
