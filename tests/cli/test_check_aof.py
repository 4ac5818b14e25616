"""isthmus check aof: what it says of files, what it mends, and what it leaves alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli import aof_report
from isthmus.cli.aof_report import NoAof, RdbPart, examine
from isthmus.cli.app import run
from isthmus.node.commands import load_all
from isthmus.node.persist.aof_format import Seal, timestamp
from isthmus.wire.crc64 import crc64
from isthmus.wire.resp import pack_all
from tests.support.aof_files import FOLDER, save

load_all()
SELECT = [b"SELECT", b"0"]
FIRST = pack_all([SELECT, [b"SET", b"a", b"1"], [b"INCR", b"a"]])
GROUP = pack_all([[b"MULTI"], [b"SET", b"b", b"1"], [b"DEL", b"a"], [b"EXEC"]])
Say = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """What was printed since it was asked last."""
    return lambda: "".join(capsys.readouterr())


def put(folder: Path, data: bytes, name: str = "x.aof") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_whole_file(tmp_path: Path, said: Say) -> None:
    seal = Seal()
    data = timestamp(1_700_000_000) + FIRST + GROUP + timestamp(1_700_000_100)
    seal.add(data)
    path = put(tmp_path, data + seal.line() + FIRST)
    assert run(["check", "aof", str(path)]) == 0
    text = said()
    assert "Nothing is wrong." in text
    assert "set 3, select 2, incr 2, multi 1, del 1, exec 1" in text
    assert "from 2023-11-14T22:13:20Z to 2023-11-14T22:15:00Z" in text
    assert f"{len(FIRST)} bytes stand behind the last seal" in text
    assert run(["check", "aof", "--json", str(path)]) == 0
    found = json.loads(said())
    assert found["ok"] and found["manifest"] is None and found["mended"] is None
    (part,) = found["parts"]
    assert (part["commands"], part["transactions"], part["seals"]) == (10, 1, 1)
    assert part["by_name"]["set"] == 3 and part["problem"] is None


@pytest.mark.parametrize("tail", [b"*3\r\n$3\r\nSE", GROUP[:-1], b"#TS:17"])
def test_a_torn_tail_is_cut_and_a_copy_kept(tmp_path: Path, said: Say, tail: bytes) -> None:
    path = put(tmp_path, FIRST + tail)
    assert run(["check", "aof", str(path)]) == 1
    text = said()
    assert f"--fix cuts a torn tail, {len(tail)} of {len(FIRST + tail)} bytes" in text
    assert path.read_bytes() == FIRST + tail and len(list(tmp_path.iterdir())) == 1
    put(tmp_path, b"older", "x.aof.backup-1")
    assert run(["check", "aof", "--fix", str(path)]) == 1
    assert f"cut from {len(FIRST + tail)} to {len(FIRST)} bytes; x.aof.backup-2" in said()
    assert path.read_bytes() == FIRST
    assert (tmp_path / "x.aof.backup-1").read_bytes() == b"older"
    assert (tmp_path / "x.aof.backup-2").read_bytes() == FIRST + tail
    assert run(["check", "aof", "--fix", str(path)]) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_the_place_is_shown(tmp_path: Path, said: Say) -> None:
    path = put(tmp_path, FIRST + b"\0garbage\xff" + FIRST)
    assert run(["check", "aof", str(path)]) == 1
    text = said()
    assert f"x.aof, offset {len(FIRST)}: '*' expected, not byte 0x00" in text
    (line,) = [line for line in text.splitlines() if line.startswith(">")]
    assert "00 67 61 72 62 61" in line and ".garba" in line


def test_damage_is_cut_only_with_a_yes(
    tmp_path: Path, said: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, FIRST + b"garbage" + FIRST)
    whole = path.read_bytes()
    for text, reply in (("n\n", "Nothing was changed."), ("", "Nobody answered; --yes does")):
        answer(monkeypatch, text)
        assert run(["check", "aof", "--fix", str(path)]) == 1
        assert reply in said()
        assert path.read_bytes() == whole and len(list(tmp_path.iterdir())) == 1
    answer(monkeypatch, "y\n")
    assert run(["check", "aof", "--fix", str(path)]) == 1
    assert path.read_bytes() == FIRST
    path.write_bytes(whole)
    assert run(["check", "aof", "--fix", "--yes", "--json", str(path)]) == 1
    assert path.read_bytes() == FIRST
    assert (tmp_path / "x.aof.backup-2").read_bytes() == whole


def test_a_sealed_file_is_cut_at_its_last_good_seal(tmp_path: Path) -> None:
    seal = Seal()
    data = b""
    for at in range(3):
        more = pack_all([[b"LPUSH", b"l", b"a", b"%d" % at]])
        seal.add(more)
        data += more + seal.line()
    block = data.index(b"*4", 10)
    path = put(tmp_path, data[:block] + data[block:].replace(b"*4", b"*3", 1))
    assert run(["check", "aof", "--fix", "--yes", str(path)]) == 1
    assert path.read_bytes() == data[:block]


def test_a_command_that_a_node_refuses(tmp_path: Path, said: Say) -> None:
    path = put(tmp_path, FIRST + pack_all([[b"NOSUCH", b"a"], [b"SET", b"a"]]))
    assert run(["check", "aof", "--fix", "--yes", str(path)]) == 1
    text = said()
    assert f"offset {len(FIRST)}: unknown command 'NOSUCH': a node would refuse" in text
    assert "cannot be mended by cutting" in text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_manifest(tmp_path: Path, said: Say) -> None:
    path = save(tmp_path, FIRST, FIRST + GROUP[:9], base=GROUP)
    put(path.parent, b"", "appendonly.aof.7.incr.aof")
    put(path.parent, b"", "temp-appendonly.aof.2.base.rdb")
    for target in (tmp_path, tmp_path / FOLDER, path):
        assert run(["check", "aof", "--json", str(target)]) == 1
        found = json.loads(said())
        assert [part["role"] for part in found["parts"]] == ["base", "incr", "incr"]
        assert [bool(part["problem"]) for part in found["parts"]] == [False, False, True]
        assert found["remarks"] == [
            "appendonly.aof.7.incr.aof is in no manifest",
            "temp-appendonly.aof.2.base.rdb is in no manifest",
        ]
    assert run(["check", "aof", "--fix", str(tmp_path)]) == 1
    assert run(["check", "aof", str(tmp_path)]) == 0


def test_a_torn_file_that_is_not_the_last(tmp_path: Path, said: Say) -> None:
    """It is damage, not a tail: what follows was written after what is missing."""
    path = save(tmp_path, FIRST, FIRST + b"*1\r\n", GROUP)
    before = path.read_bytes()
    assert run(["check", "aof", "--fix", "--yes", str(path)]) == 1
    text = said()
    assert "files follow that are loaded after it" in text
    assert "appendonly.aof.3.incr.aof no longer in the manifest" in text
    copy = path.with_name("appendonly.aof.manifest.backup-1")
    assert copy.read_bytes() == before
    assert b"3.incr" not in path.read_bytes() and b"2.incr" in path.read_bytes()
    assert (path.parent / "appendonly.aof.3.incr.aof").read_bytes() == GROUP
    assert run(["check", "aof", str(path)]) == 0


def test_a_base_is_never_cut(tmp_path: Path, said: Say) -> None:
    path = save(tmp_path, FIRST, base=FIRST[:-3])
    assert run(["check", "aof", "--fix", "--yes", str(path)]) == 1
    assert "cannot be mended by cutting" in said()


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"file a\n", "line 1: Invalid AOF"), (b"", "empty AOF manifest"), (b"#\n", "no file")],
)
def test_a_bad_manifest(tmp_path: Path, said: Say, text: bytes, reason: str) -> None:
    path = put(tmp_path, text, "x.manifest")
    assert run(["check", "aof", "--fix", "--yes", str(path)]) == 1
    told = said()
    assert "The manifest is wrong" in told and reason in told and "by hand" in told
    assert path.read_bytes() == text


def test_a_file_that_is_missing(tmp_path: Path, said: Say) -> None:
    path = save(tmp_path, FIRST, GROUP)
    (path.parent / "appendonly.aof.1.incr.aof").unlink()
    assert run(["check", "aof", "--fix", "--yes", str(path)]) == 1
    assert "it is not there" in said()


def test_cut_to_a_time(tmp_path: Path, said: Say) -> None:
    data = timestamp(100) + FIRST + timestamp(200) + GROUP
    path = put(tmp_path, data)
    assert run(["check", "aof", "--timestamp", "200", str(path)]) == 0
    assert "nothing in it is later than 200" in said()
    assert run(["check", "aof", "--timestamp", "150", str(path)]) == 0
    assert path.read_bytes() == timestamp(100) + FIRST
    assert (tmp_path / "x.aof.backup-1").read_bytes() == data
    plain = put(tmp_path, FIRST, "y.aof")
    assert run(["check", "aof", "--timestamp", "150", str(plain)]) == 2
    assert "no timestamps" in said()
    manifest = save(tmp_path, data, timestamp(300) + FIRST)
    assert run(["check", "aof", "--timestamp", "150", str(manifest)]) == 2
    assert "not the last file" in said()
    assert run(["check", "aof", "--timestamp", "250", str(manifest)]) == 0
    assert (manifest.parent / "appendonly.aof.2.incr.aof").read_bytes() == b""
    torn = put(tmp_path, data + b"*", "z.aof")
    assert run(["check", "aof", "--timestamp", "150", str(torn)]) == 1
    assert torn.read_bytes() == data + b"*"


def test_what_cannot_be_done(tmp_path: Path, said: Say) -> None:
    for target in (tmp_path / "none", tmp_path):
        assert run(["check", "aof", str(target)]) == 2
        assert "isthmus: " in said()
    put(tmp_path, b"", "a.manifest")
    put(tmp_path, b"", "b.manifest")
    assert run(["check", "aof", str(tmp_path)]) == 2
    assert "more than one manifest: a.manifest, b.manifest" in said()
    assert run(["check", "aof", "--timestamp", "-1", str(tmp_path)]) == 2
    with pytest.raises(NoAof):
        examine(tmp_path)


def test_help(said: Say) -> None:
    assert run(["check", "aof", "--help"]) == 0
    assert "isthmus check aof --fix" in said()


def test_rdb_parts(tmp_path: Path) -> None:
    """An RDB is looked at by a function that is handed in; it says where commands begin."""
    path = put(tmp_path, b"REDIS0012....." + FIRST)
    part = examine(path, rdb=lambda path: RdbPart(14, remark="seen")).parts[0]
    assert (part.format, part.commands, part.problem) == ("RDB and commands", 3, None)
    part = examine(path, rdb=lambda path: RdbPart(0, "bad length", 11)).parts[0]
    assert part.problem is not None
    assert (part.problem.at, part.problem.reason) == (11, "bad length")
    assert part.problem.remedy == aof_report.NOT


def test_rdb_without_a_reader(tmp_path: Path) -> None:
    body = b"REDIS0012" + b"\xff"
    remarks: list[Any] = []
    for tail in (crc64(body).to_bytes(8, "little"), bytes(8), b"x" * 8):
        part = examine(put(tmp_path, body + tail)).parts[0]
        assert part.problem is None
        remarks.append(part.remark)
    assert "checksum is right" in remarks[0] and "without a checksum" in remarks[1]
    assert "not looked into" in remarks[2]
    short = examine(put(tmp_path, b"REDIS0012")).parts[0]
    assert short.problem is not None and "too short" in short.problem.reason
