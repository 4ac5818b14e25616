"""isthmus export and import: every key, expiry and field expiry, between whatever serves.

Between clusters of ours with different numbers of shards, and from and to real servers. What is
compared is all that a client can see of every key.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli import manifest
from isthmus.cli.app import run
from tests.e2e import cluster as e2e
from tests.persist.holdings import fill, holdings
from tests.support.peer import Peer
from tests.support.rdb_files import LIBRARY, entry, everything, file_of, head, library
from tests.support.servers import redis8, redis_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
Out = Callable[[], Any]
REAL = {"7.0": redis_server, "8.0": redis8}
AT_ONCE = ["--repl-diskless-sync-delay", "0"]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    """What was printed on standard output since, as JSON."""
    return lambda: json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    with e2e.running(tmp_path_factory.mktemp("three"), 3) as found:
        yield found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    with e2e.running(tmp_path_factory.mktemp("two"), 2) as found:
        yield found


class Seen:
    """A cluster through its proxy, which has database 0 only."""

    def __init__(self, port: int) -> None:
        self.peer = Peer(port)
        self.db = 0

    def __call__(self, *args: Any) -> Any:
        if args[0] == "SELECT":
            self.db = args[1]
            return "OK"
        if self.db and args[0] == "KEYS":
            return []
        reply = self.peer(*args)
        assert not isinstance(reply, Exception), (args[:3], reply)
        return reply


@contextmanager
def proxy(cluster: e2e.Cluster) -> Iterator[Seen]:
    seen = Seen(cluster.ports.proxy)
    seen("FLUSHALL")
    try:
        yield seen
    finally:
        seen.peer.close()


@contextmanager
def talking(port: int) -> Iterator[Peer]:
    peer = Peer(port)
    try:
        yield peer
    finally:
        peer.close()


def without_places(found: dict[Any, Any]) -> dict[bytes, Any]:
    """By key alone; and scores as numbers, which 7.0 spells in another way."""
    plain = {key: (kind, due, value) for (_, key), (kind, _, due, value) in found.items()}
    for key, (kind, due, value) in plain.items():
        if kind == b"zset":
            scores = [float(text) for text in value[1::2]]
            plain[key] = (kind, due, [value[::2], scores])
    return plain


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


@pytest.mark.parametrize("packing", ["--gzip", "--plain"])
def test_into_a_cluster_of_another_size(
    three: e2e.Cluster, two: e2e.Cluster, tmp_path: Path, out: Out, packing: str
) -> None:
    dest = tmp_path / "out"
    with proxy(three) as source, proxy(two) as target:
        fill(source, True)
        # What expires soon keeps its time to the millisecond, too.
        source("SET", "soon", "v", "PX", 3_600_000)
        wanted = holdings(source, True)
        arguments = ["export", "--data-dir", str(three.data_dir), packing, "--json", str(dest)]
        assert run(arguments) == 0
        told = out()
        assert len(told["files"]) == 3 and told["keys"] == len(wanted)
        assert [file["slots"][0][0] for file in told["files"]] == [0, 5462, 10923] or all(
            file["slots"] for file in told["files"]
        )
        assert not list(dest.glob("*.part"))
        assert run(["import", str(dest), "--to", url(two.ports.node), "--verify", "--json"]) == 0
        done = out()
        assert done["restored"] == len(wanted) and len(done["by_server"]) == 2
        assert done["verified"] == len(wanted) and done["counts"]["agree"]
        assert holdings(target, True) == wanted

        assert run(["import", str(dest), "--to", url(two.ports.node)]) == 1
        target("SET", "string", "changed")
        target("DEL", "soon")
        arguments = ["import", str(dest), "--to", url(two.ports.node), "--json", "--policy"]
        out_before = target("GET", "string")
        assert run([*arguments, "merge"]) == 0 and target("GET", "string") == out_before


def test_policies_and_the_proxy(
    three: e2e.Cluster, two: e2e.Cluster, tmp_path: Path, out: Out
) -> None:
    dest = tmp_path / "out"
    with proxy(three) as source, proxy(two) as target:
        for i in range(300):
            source("SET", f"key {i}", i)
        assert run(["export", "--from", url(three.ports.node), str(dest), "--json"]) == 0
        assert out()["keys"] == 300
        to = ["import", str(dest), "--to", url(two.ports.proxy), "--json"]
        assert run([*to, "--dry-run"]) == 0
        assert out()["dry_run"] and target("DBSIZE") == 0
        target("SET", "key 7", "mine")
        assert run(to) == 1 and target("DBSIZE") == 1
        assert run([*to, "--policy", "merge"]) == 0
        found = out()
        assert (found["restored"], found["skipped"], target("GET", "key 7")) == (299, 1, b"mine")
        assert run([*to, "--policy", "replace"]) == 0
        found = out()
        assert (found["restored"], found["replaced"], target("GET", "key 7")) == (300, 300, b"7")


@pytest.mark.oracle
@pytest.mark.parametrize("way", ["diskless", "from disk"])
@pytest.mark.parametrize("version", REAL)
def test_from_a_real_server(
    version: str, way: str, two: e2e.Cluster, tmp_path: Path, out: Out
) -> None:
    (tmp_path / "a").mkdir()
    options = [*AT_ONCE, "--repl-diskless-sync", "yes" if way == "diskless" else "no"]
    with REAL[version](tmp_path / "a", options) as server, proxy(two) as target:
        with talking(server.port) as peer:
            fill(peer, version == "8.0")
            peer("FUNCTION", "LOAD", "REPLACE", LIBRARY)
            wanted = holdings(peer, version == "8.0")
        dest = str(tmp_path / "out")
        assert run(["export", "--from", url(server.port), dest, "--json"]) == 0
        told = out()
        (file,) = told["files"]
        assert told["keys"] == len(wanted) and file["functions"] == 1
        assert file["redis_version"].startswith(version)
        to = ["import", dest, "--to", url(two.ports.node), "--json"]
        assert run(to) == 2, "database 3 has no place in a cluster"
        target("FUNCTION", "FLUSH")
        assert run([*to, "--database", "3:0", "--verify"]) == 0
        done = out()
        assert done["restored"] == len(wanted) and done["functions"]["loaded"] == 2
        found = holdings(target, version == "8.0", False)
        assert without_places(found) == without_places(wanted)


@pytest.mark.oracle
def test_into_a_real_server(three: e2e.Cluster, tmp_path: Path, out: Out) -> None:
    (tmp_path / "a").mkdir()
    dest = str(tmp_path / "out")
    with proxy(three) as source, redis8(tmp_path / "a") as server:
        fill(source, True)
        wanted = holdings(source, True)
        assert run(["export", "--data-dir", str(three.data_dir), dest, "--json"]) == 0
        out()
        assert run(["import", dest, "--to", url(server.port), "--verify", "--json"]) == 0
        assert out()["restored"] == len(wanted)
        with talking(server.port) as peer:
            assert holdings(peer, True) == wanted


@pytest.mark.oracle
def test_into_an_older_server_by_commands(three: e2e.Cluster, tmp_path: Path, out: Out) -> None:
    """7.0 does not know what RESTORE has for sets and streams of 7.2; nothing is lost by that."""
    (tmp_path / "a").mkdir()
    dest = str(tmp_path / "out")
    with proxy(three) as source, redis_server(tmp_path / "a") as server:
        fill(source, False)
        wanted = without_places(holdings(source, False, False))
        assert run(["export", "--data-dir", str(three.data_dir), dest, "--json"]) == 0
        out()
        assert run(["import", dest, "--to", url(server.port), "--verify", "--json"]) == 0
        assert out()["in_pieces"] >= 3
        with talking(server.port) as peer:
            assert without_places(holdings(peer, False, False)) == wanted


def test_a_damaged_file_stops_everything(
    three: e2e.Cluster, two: e2e.Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "out"
    with proxy(three) as source, proxy(two) as target:
        for i in range(300):
            source("SET", f"key {i}", i)
        export = ["export", "--data-dir", str(three.data_dir), "--plain", str(dest)]
        assert run(export) == 0
        assert run(export) == 1, "there is one already"
        last = dest / manifest.parse((dest / manifest.NAME).read_bytes())["files"][-1]["name"]
        data = bytearray(last.read_bytes())
        data[len(data) // 2] ^= 1
        last.write_bytes(data)
        for source_name in (str(dest), str(last)):
            assert run(["import", source_name, "--to", url(two.ports.node)]) == 1
            assert last.name in capsys.readouterr().err
        (dest / manifest.NAME).unlink()
        assert run(["import", str(dest), "--to", url(two.ports.node)]) == 1
        assert "did not end well" in capsys.readouterr().err
        assert target("DBSIZE") == 0


def test_a_failed_export_leaves_nothing(three: e2e.Cluster, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    assert run(["export", "--from", url(1), str(dest)]) == 1
    assert not dest.exists()
    (tmp_path / "file").write_text("")
    assert run(["export", "--from", url(three.ports.node), str(tmp_path / "file" / "x")]) == 1
    assert run(["export", "--from", "http://x", str(dest)]) == 2
    assert run(["export", "--from", url(1), "--coordinator", "x:1", str(dest)]) == 2
    assert run(["export", "--from", url(three.ports.node), "ftp://x/y"]) == 2


def test_every_encoding_libraries_and_what_has_expired(
    two: e2e.Cluster, tmp_path: Path, out: Out
) -> None:
    """A file of each encoding that Redis ever wrote."""
    path = tmp_path / "old.rdb"
    found = everything()
    records = [entry(key, payload) for key, payload in found.items()]
    path.write_bytes(file_of(library(), head(), *records, entry(b"old", found[b"string:key"], 1)))
    with proxy(two) as target:
        target("FUNCTION", "FLUSH")
        assert run(["import", str(path), "--to", url(two.ports.node), "--verify", "--json"]) == 0
        done = out()
        assert (done["restored"], done["expired"]) == (len(found), 1)
        assert done["functions"]["loaded"] == 2
        assert target("DBSIZE") == len(found)


@pytest.mark.oracle
def test_what_is_too_large_for_one_argument(three: e2e.Cluster, tmp_path: Path, out: Out) -> None:
    (tmp_path / "a").mkdir()
    dest = str(tmp_path / "out")
    noise = random.Random(7).randbytes(2 << 20)
    with proxy(three) as source, redis8(tmp_path / "a") as server:
        source("SET", "large", noise, "PXAT", 4_000_000_000_123)
        for at in range(0, len(noise), 8192):
            source("RPUSH", "list", noise[at : at + 8192])
            source("HSET", "hash", at, noise[at : at + 8192])
        source("HPEXPIREAT", "hash", 4_000_000_000_000, "FIELDS", 1, 0)
        wanted = holdings(source, True)
        assert run(["export", "--data-dir", str(three.data_dir), dest, "--json"]) == 0
        out()
        with talking(server.port) as peer:
            peer("CONFIG", "SET", "proto-max-bulk-len", "1mb")
            assert run(["import", dest, "--to", url(server.port), "--json"]) == 1
            done = out()
            # No string of that server can be so long, in however many pieces it comes.
            assert (done["in_pieces"], done["failed"]) == (2, 1)
            assert "b'large'" in done["failures"][0] and peer("EXISTS", "large") == 0
            del wanted[0, b"large"]
            assert holdings(peer, True) == wanted
