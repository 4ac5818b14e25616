"""Round trips with real servers: what we write they accept, load, and hold to the same digest."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.differ import THRESHOLDS
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.persist.crash import Link, Node
from tests.persist.holdings import fill, holdings
from tests.persist.kept import Kept
from tests.support import aof_files
from tests.support.peer import Peer
from tests.support.servers import redis8, redis8_command

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "small": THRESHOLDS,
    "wide": {
        "hash-max-listpack-entries": "5000", "hash-max-listpack-value": "5000",
        "zset-max-listpack-entries": "5000", "zset-max-listpack-value": "5000",
        "set-max-intset-entries": "5000", "set-max-listpack-entries": "5000",
        "set-max-listpack-value": "5000", "list-max-listpack-size": "-5",
    },
    "plain": {"rdbcompression": "no"},
    "unsummed": {"rdbchecksum": "no"},
    "lru": {"maxmemory-policy": "allkeys-lru"},
    "lfu": {"maxmemory-policy": "allkeys-lfu", "lfu-decay-time": "0"},
}  # fmt: skip
DEBUG = ["--enable-debug-command", "yes"]
LIBRARY = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
WAIT_SECONDS_MAX = 20.0
ESCAPES = frozenset(b"FLUSHALL FLUSHDB SWAPDB SELECT MOVE EVAL FUNCTION SCRIPT FCALL".split())


def options(settings: dict[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def check_rdb(path: Path) -> str:
    command = redis8_command()
    assert command is not None
    done = subprocess.run(
        [word if word != "redis-server" else "redis-check-rdb" for word in command] + [str(path)],
        capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said
    return said


def mixed(call: Callable[..., Any], seed: int, count: int) -> None:
    """Everything that `fill` makes, a library, and what random commands do."""
    fill(call, True)
    assert call("FUNCTION", "LOAD", LIBRARY) == b"lib"
    rng = random.Random(seed)
    grammars = [Grammar(group) for group in GROUPS if group != "scripting"]
    for _ in range(count):
        argv = rng.choice(grammars).request(rng.getrandbits(32))
        if not argv[0].startswith(b"@") and argv[0].upper() not in ESCAPES:
            call(*argv)


def now_ms() -> int:
    return int(time.time() * 1000)


def loaded(settings: dict[str, str]) -> Kept:
    """Our node, started on the snapshot in the working folder."""
    store = Kept(save="900 1", enable_debug_command="yes", **settings)
    # Redis takes keys away whose time has come: our clock has to be as late as its own.
    store.advance(now_ms() - store.clock.now_ms)
    return store.load()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_snapshot_of_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS[name]
    monkeypatch.chdir(tmp_path)
    store = loaded(settings)
    mixed(store, 1, 400)
    assert store("SAVE") == b"OK"
    # Asked before anything else is: a look at a key may raise its count.
    often = store("OBJECT", "FREQ", "string") if name == "lfu" else None
    held, digest = holdings(store, True, encodings=False), store("DEBUG", "DIGEST")
    if name != "unsummed":
        assert "Checksum OK" in check_rdb(tmp_path / "dump.rdb")
    # Encodings are those of values as they are loaded, here as there.
    ours = holdings(loaded(settings), True)
    with redis8(tmp_path, [*DEBUG, *options(settings)]) as server:
        with closing(Peer(server.port)) as peer:
            if often is not None:
                assert peer("OBJECT", "FREQ", "string") == often
            assert holdings(peer, True, encodings=False) == held
            assert peer("DEBUG", "DIGEST") == digest
            for place, found in holdings(peer, True).items():
                assert ours[place] == found, place
            assert len(peer("FUNCTION", "LIST")) == 1
            # And back: what it writes of this is read as the same.
            assert peer("SAVE") == b"OK"
    again = loaded(settings)
    assert again("DEBUG", "DIGEST") == digest
    assert holdings(again, True, encodings=False) == held


def kept_by_a_node(folder: Path, *more: str) -> Node:
    return Node(folder, "--appendonly", "yes", "--save", "", *DEBUG, *more).wait_ready()


def rewritten(link: Callable[..., Any]) -> None:
    """A rewrite to its end."""
    assert not isinstance(link("BGREWRITEAOF"), Exception)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while b"aof_rewrite_in_progress:1" in link("INFO", "persistence"):
        assert time.monotonic() < deadline
    assert b"aof_last_bgrewrite_status:ok" in link("INFO", "persistence")


def test_an_append_only_folder_there_and_back(tmp_path: Path) -> None:
    node = kept_by_a_node(tmp_path, "--aof-timestamp-enabled", "yes")
    link = Link(node.port)
    mixed(link, 2, 300)
    rewritten(link)
    rng = random.Random(4)
    grammars = [Grammar(group) for group in GROUPS if group != "scripting"]
    for _ in range(600):
        argv = rng.choice(grammars).request(rng.getrandbits(32))
        if not argv[0].startswith(b"@") and argv[0].upper() not in ESCAPES:
            link(*argv)
    for line in ("MULTI", "SET m1 1", "SELECT 3", "RPUSH m2 a b", "EXEC", "SELECT 0"):
        link(*line.split(" "))
    digest, held = link("DEBUG", "DIGEST"), holdings(link, True, encodings=False)
    link.close()
    node.kill()
    manifest = tmp_path / aof_files.FOLDER / "appendonly.aof.manifest"
    assert b"#CRC:" in manifest.read_bytes()
    status, said = aof_files.check(8, manifest)
    assert status == 0 and "AOF files and manifest are valid" in said, said
    with redis8(tmp_path, [*DEBUG, *aof_files.KEEP]) as server:
        with closing(Peer(server.port)) as peer:
            assert holdings(peer, True, encodings=False) == held
            assert peer("DEBUG", "DIGEST") == digest
            # It goes on with our files, and we with its.
            assert peer("SET", "theirs", 1) == b"OK"
            rewritten(peer)
            assert peer("SET", "more", 2) == b"OK"
            digest = peer("DEBUG", "DIGEST")
    node = kept_by_a_node(tmp_path)
    link = Link(node.port)
    try:
        assert link("DEBUG", "DIGEST") == digest
    finally:
        link.close()
        node.kill()


def test_redis_cli_fetches_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("redis-cli is not installed")
    folder = tmp_path / "node"
    folder.mkdir()
    node = Node(folder, "--save", "", *DEBUG).wait_ready()
    link = Link(node.port)
    try:
        mixed(link, 5, 200)
        digest = link("DEBUG", "DIGEST")
        fetched = tmp_path / "dump.rdb"
        done = subprocess.run(
            [program, "-p", str(node.port), "--rdb", str(fetched)], capture_output=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert link("PING") == b"PONG"
    finally:
        link.close()
        node.kill()
    assert "Checksum OK" in check_rdb(fetched)
    monkeypatch.chdir(tmp_path)
    assert loaded({})("DEBUG", "DIGEST") == digest
    with redis8(tmp_path, DEBUG) as server, closing(Peer(server.port)) as peer:
        assert peer("DEBUG", "DIGEST") == digest
