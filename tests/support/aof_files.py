"""AOF folders for tests: written by us, checked and loaded by real servers, and the other way."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.engine.effect_log import Effect
from isthmus.node.persist import aof_manifest
from isthmus.node.persist.aof_format import NO_DB, Seal, encode_batch, timestamp
from isthmus.node.persist.aof_scan import AofScanner, End
from isthmus.node.persist.replay import AofReplay
from tests.support.servers import redis8_command
from tests.support.store import Store

NAME = "appendonly.aof"
FOLDER = "appendonlydir"
# A server that keeps an AOF; what is given later on its command line counts.
KEEP = ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"]


def checker(version: int) -> list[str]:
    """How to start redis-check-aof of the distribution (7) or of 8.0."""
    if version == 7:
        return ["redis-check-aof"]
    command = redis8_command()
    if command is None:
        pytest.skip("redis-server 8.0 is not there: tools/fetch_redis8.sh")
    return [word if word != "redis-server" else "redis-check-aof" for word in command]


def check(version: int, path: Path, *options: str, answer: str = "y\n") -> tuple[int, str]:
    """Run redis-check-aof; its exit status and what it said."""
    done = subprocess.run(
        [*checker(version), *options, str(path)],
        input=answer.encode(),
        capture_output=True,
        timeout=20,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


class Writer:
    """A sink that keeps an AOF in memory, batch by batch, with seals and times."""

    def __init__(self, seconds: Iterable[int] = ()) -> None:
        self.data = b""
        self.db = NO_DB
        self.seal = Seal()
        self.seconds = iter(seconds)

    def effects(self, batch: list[Effect]) -> None:
        second = next(self.seconds, None)
        if second is not None:
            self.write(timestamp(second))
        more, self.db = encode_batch(batch, self.db)
        self.write(more)
        self.data += self.seal.line()

    def write(self, data: bytes) -> None:
        self.seal.add(data)
        self.data += data


def save(folder: Path, *incrs: bytes, base: bytes = b"") -> Path:
    """Write an AOF of these parts below `folder`; returns its manifest."""
    home = folder / FOLDER
    home.mkdir()
    manifest = aof_manifest.first(NAME, rdb=False)
    for _ in incrs[1:]:
        manifest = aof_manifest.next_incr(manifest, NAME)
    for file, data in zip(manifest.to_load(), (base, *incrs), strict=True):
        (home / file.name).write_bytes(data)
    path = home / aof_manifest.manifest_name(NAME)
    path.write_bytes(aof_manifest.render(manifest))
    return path


def load(store: Store, path: Path) -> tuple[AofReplay, list[End]]:
    """Replay every RESP file that a manifest lists."""
    manifest = aof_manifest.parse(path.read_bytes())
    replay = AofReplay(store.node)
    replay.begin()
    ends = []
    for file in manifest.to_load():
        data = (path.parent / file.name).read_bytes()
        replay.begin_file()
        scanner = AofScanner(data)
        for offset, argv in scanner:
            replay.run(offset, argv)
        assert scanner.end is not None
        ends.append(scanner.end)
    replay.end()
    return replay, ends


def snapshot(call: Callable[..., Any], databases: int = 16) -> dict[tuple[int, bytes], Any]:
    """All data behind `call`, by commands, without what depends on when they are given."""
    found: dict[tuple[int, bytes], Any] = {}
    for db in range(databases):
        call("SELECT", db)
        for key in sorted(call("KEYS", "*")):
            kind = call("TYPE", key)
            found[db, key] = kind, call("PEXPIRETIME", key), _value(call, kind, key)
    call("SELECT", 0)
    return found


def _value(call: Callable[..., Any], kind: bytes, key: bytes) -> Any:
    if kind == b"string":
        return call("GET", key)
    if kind == b"list":
        return call("LRANGE", key, 0, -1)
    if kind == b"set":
        return sorted(call("SMEMBERS", key))
    if kind == b"zset":
        return call("ZRANGE", key, 0, -1, "WITHSCORES")
    if kind == b"hash":
        fields = sorted(call("HKEYS", key))
        values = call("HMGET", key, *fields)
        times = call("HPEXPIRETIME", key, "FIELDS", len(fields), *fields)
        # A server that does not know times of fields has none.
        known = [-1] * len(fields) if isinstance(times, Exception) else times
        return list(zip(fields, values, known, strict=True))
    assert kind == b"stream", kind
    info = call("XINFO", "STREAM", key)
    facts = dict(zip(info[::2], info[1::2], strict=True))
    names = (b"last-generated-id", b"max-deleted-entry-id", b"entries-added")
    groups = [
        _group(call, key, dict(zip(group[::2], group[1::2], strict=True)))
        for group in call("XINFO", "GROUPS", key)
    ]
    return call("XRANGE", key, "-", "+"), [facts[name] for name in names], groups


def _group(call: Callable[..., Any], key: bytes, group: dict[bytes, Any]) -> Any:
    name = group[b"name"]
    pending = call("XPENDING", key, name, "-", "+", 1000)
    owners = [(each[0], each[1], each[3]) for each in pending]
    consumers = sorted(each[1] for each in call("XINFO", "CONSUMERS", key, name))
    return name, group[b"last-delivered-id"], group[b"entries-read"], owners, consumers
