"""Damaged files: every start is either the whole, the longest good beginning, or a refusal."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.persist.recover import RecoverError
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.persist.kept import Kept
from tests.support.pace import examples
from tests.support.store import Store

LOAD = """\
RPUSH l a b c 1 2 3|SADD s a b c|SADD n 1 2 3|ZADD z 1 a 2.5 b|HSET h a 1 b 2|APPEND t text
HPEXPIREAT h 4000000000000 FIELDS 1 a|XADD x 1-1 f v|XADD x 2-1 f w|XGROUP CREATE x g 0
XREADGROUP GROUP g c STREAMS x >|PFADD p a b c|GEOADD geo 13 38 a|SET e v PXAT 4000000000000"""
SETTINGS = {"appendonly": "yes", "save": "", "appendfsync": "no"}


def fill(store: Store, seed: int, count: int) -> None:
    """A little of everything, in two databases."""
    for line in LOAD.replace("\n", "|").split("|"):
        store.raw(*line.split(" "))
    rng = random.Random(seed)
    grammars = [Grammar(group) for group in GROUPS]
    for number in range(count):
        if number == count // 2:
            store.raw("SELECT", 1)
        argv = rng.choice(grammars).request(rng.getrandbits(32))
        if not argv[0].startswith(b"@") and argv[0].upper() not in (b"SELECT", b"SWAPDB"):
            store.raw(*argv)
            if isinstance(store, Kept):
                store.kept.commit()


def flipped(data: bytes, rng: random.Random) -> tuple[bytes, int]:
    """The data with one bit changed, and in which byte."""
    at = rng.randrange(len(data))
    out = bytearray(data)
    out[at] ^= 1 << rng.randrange(8)
    return bytes(out), at


def started(config: dict[str, str]) -> tuple[Kept | None, str]:
    """A node started on the working folder, or why it was not."""
    store = Kept(**config)
    try:
        return store.load(), ""
    except RecoverError as error:
        return None, str(error)
    finally:
        store.kept.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(folder: Path, checksum: str) -> tuple[Path, bytes, dict[Any, Any]]:
    """A snapshot, what it is, and what it holds."""
    store = Kept(save="900 1", rdbchecksum=checksum)
    fill(store, 1, 150)
    assert store("SAVE") == b"OK"
    path = folder / "dump.rdb"
    return path, path.read_bytes(), store.held()


def flip_snapshot(folder: Path, count: int, checksum: str) -> None:
    path, good, held = snapshot(folder, checksum)
    rng = random.Random(2)
    refused = 0
    for _ in range(count):
        data, at = flipped(good, rng)
        path.write_bytes(data)
        store, why = started({"save": "900 1"})
        if store is None:
            assert "dump.rdb is damaged: offset " in why, why
            refused += 1
        elif checksum == "yes":
            assert store.held() == held, f"a bit of byte {at} went unnoticed"
        else:
            store.held()
    assert refused > count // 2 if checksum == "yes" else refused > 0


def test_flips_of_a_snapshot(folder: Path) -> None:
    flip_snapshot(folder, 40, "yes")


def test_flips_of_a_snapshot_without_a_checksum(folder: Path) -> None:
    flip_snapshot(folder, 40, "no")


@pytest.mark.slow
@pytest.mark.parametrize("checksum", ["yes", "no"])
def test_many_flips_of_a_snapshot(folder: Path, checksum: str) -> None:
    flip_snapshot(folder, examples(1000), checksum)


def flip_folder(folder: Path, count: int) -> None:
    """Flips of any file of the append only folder: base, two incremental files, manifest."""
    store = Kept(**SETTINGS).load()
    fill(store, 3, 60)
    assert store.aof.rewrite_asked()
    store.work()
    fill(store, 4, 80)
    store.kept.commit()
    # A rewrite that fails leaves two incremental files.
    assert store.aof.rewrite_asked()
    store.kept.snapshots.cancel("test")
    store.work()
    fill(store, 5, 80)
    store.kept.commit()
    store.aof.close()
    held = store.held()
    files = {path: path.read_bytes() for path in (folder / "appendonlydir").iterdir()}
    assert len(files) == 4, files.keys()
    rng = random.Random(6)
    refused = 0
    for number in range(count):
        path = rng.choice(list(files)) if number % 2 else max(files, key=lambda p: len(files[p]))
        data, at = flipped(files[path], rng)
        path.write_bytes(data)
        again, why = started(SETTINGS)
        if again is None:
            refused += 1
            assert "appendonly.aof" in why, why
        else:
            assert again.held() == held, f"a bit of byte {at} of {path.name} went unnoticed"
        for each, good in files.items():
            if each.read_bytes() != good:
                each.write_bytes(good)
    assert refused > count // 2


def test_flips_of_an_append_only_folder(folder: Path) -> None:
    flip_folder(folder, 30)


@pytest.mark.slow
def test_many_flips_of_an_append_only_folder(folder: Path) -> None:
    flip_folder(folder, examples(1000))


@pytest.mark.slow
def test_cut_at_every_byte_of_the_last_records(folder: Path) -> None:
    store = Kept(**SETTINGS).load()
    states: list[tuple[int, Any]] = []

    def note() -> None:
        data = path.read_bytes()
        states.append((data.rindex(b"#CRC:") if data else 0, store.held()))

    path = folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
    store.turn(("SET", "a", "1"))
    for requests in (
        [("RPUSH", "l", "x" * 20, "y")],
        [("MULTI",), ("SET", "b", "2"), ("LPOP", "l"), ("SELECT", "2"), ("INCR", "n"), ("EXEC",)],
        [("XADD", "s", "1-1", "f", "v"), ("HSET", "h", "f", "v")],
    ):
        note()
        store.turn(*requests)
    # Two requests of one turn have one seal, and are two records all the same.
    between = path.read_bytes().rindex(b"*4\r\n$4\r\nHSET")
    whole = store.held()
    first = {where: what for where, what in whole.items() if where != (2, b"h")}
    states += [(between, first), (path.read_bytes().rindex(b"#CRC:"), whole)]
    store.aof.close()
    data = path.read_bytes()
    for size in range(len(data) + 1):
        if size < states[0][0]:
            continue
        path.write_bytes(data[:size])
        again, why = started(SETTINGS)
        assert again is not None, (size, why)
        expected = [state for end, state in states if end <= size][-1]
        assert again.held() == expected, size
