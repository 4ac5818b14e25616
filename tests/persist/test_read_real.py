"""Files and payloads of real servers, read here, against what a real server says of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.persist.snapshot_read import KeyspaceLoader, Report, read_snapshot
from isthmus.wire.rdb_reader import RdbReader
from tests.persist.holdings import fill, holdings
from tests.persist.samples import GOOD, LIES
from tests.support.blobs import payload
from tests.support.peer import Peer
from tests.support.servers import redis8, redis_server
from tests.support.store import Store

# Redis' own names: 7.0 has none of what sets gained.
SMALL = ["--hash-max-listpack-entries 3", "--zset-max-listpack-entries 3",
         "--set-max-intset-entries 3", "--list-max-listpack-size 4"]  # fmt: skip
WIDE = ["--hash-max-listpack-entries 5000", "--hash-max-listpack-value 5000",
        "--zset-max-listpack-entries 5000", "--zset-max-listpack-value 5000",
        "--set-max-intset-entries 5000", "--list-max-listpack-size -5"]  # fmt: skip
WRITERS = {"7.0": redis_server, "8.0": redis8}
OPTIONS = {"default": [], "small": SMALL, "wide": WIDE, "plain": ["--rdbcompression no"]}


def words(options: list[str]) -> list[str]:
    return [word for option in options for word in option.split()]


def load(path: Path, now_ms: int, **config: str) -> tuple[Store, Report, KeyspaceLoader]:
    store = Store(**config)
    store.clock.advance(now_ms - store.clock.now_ms)
    loader, report = KeyspaceLoader(store.node.keyspace), Report()
    reader = RdbReader(path.read_bytes())
    for _ in read_snapshot(reader, loader, now_ms=now_ms, report=report):
        pass
    assert reader.position == reader.size
    return store, report, loader


def now_ms(peer: Peer) -> int:
    seconds, micros = peer("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_loads_as_in_a_real_server(writer: str, options: str, tmp_path: Path) -> None:
    new = writer == "8.0"
    with WRITERS[writer](tmp_path, words(OPTIONS[options])) as server:
        peer = Peer(server.port)
        fill(peer, new)
        assert str(peer("SAVE")) in ("OK", "b'OK'")
        peer.close()
    with redis8(tmp_path) as server:
        peer = Peer(server.port)
        store, report, _ = load(tmp_path / "dump.rdb", now_ms(peer))
        theirs = holdings(peer, True)
        peer.close()
    ours = holdings(store, True)
    assert sorted(ours) == sorted(theirs)
    for place, found in theirs.items():
        assert ours[place] == found, place
    assert report.keys == len(theirs)
    for db in store.node.keyspace.databases:
        for table in db.slots:
            for value in [] if table is None else [v for _, v in table.items()]:
                if hasattr(value, "check"):
                    value.check()


@pytest.fixture(scope="module", params=list(WRITERS))
def payloads(request: Any, tmp_path_factory: Any) -> Iterator[tuple[Peer, Peer]]:
    """A real server that has keys of all kinds, and one that judges."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("payloads")
        server = stack.enter_context(WRITERS[request.param](folder))
        judge = stack.enter_context(redis8(tmp_path_factory.mktemp("judge")))
        peers = Peer(server.port), Peer(judge.port)
        fill(peers[0], request.param == "8.0")
        yield peers
        for peer in peers:
            peer.close()


@pytest.mark.slow
def test_payloads_restore_as_in_a_real_server(payloads: tuple[Peer, Peer]) -> None:
    writer, judge = payloads
    store = Store()
    store.clock.advance(now_ms(judge) - store.clock.now_ms)
    judge("FLUSHALL")
    for key in writer("KEYS", "*"):
        payload, ttl = writer("DUMP", key), max(writer("PEXPIRETIME", key), 0)
        request = ("RESTORE", key, ttl, payload, "ABSTTL", "REPLACE")
        assert store(*request) == judge(*request) == "OK" or store(*request) == b"OK"
    assert holdings(store, True) == holdings(judge, True)
    store.check_replay()


@pytest.mark.slow
def test_built_payloads_are_what_a_real_server_says(payloads: tuple[Peer, Peer]) -> None:
    _, judge = payloads
    store = Store()
    store.clock.advance(now_ms(judge) - store.clock.now_ms)
    judge("FLUSHALL")
    for name, data in GOOD.items():
        assert judge("RESTORE", name, 0, data) == b"OK", name
        assert store("RESTORE", name, 0, data) == b"OK", name
    ours, theirs = holdings(store, True), holdings(judge, True)
    for place, found in theirs.items():
        assert ours[place] == found, place


# What a real server takes as well; that it does is no reason to believe it.
TAKEN = {
    "a string that ends early",
    "stream that counts wrongly",
    "stream with blocks out of order",
    "more behind it",
    "score that is none",
    "score nan in a listpack",
    "stream beyond its last id",
    "stream with a deleted id beyond the last",
    "stream with too few added",
    "stream with wrong counts in a block",
    "stream with unknown flags",
    "stream with text for a number",
    "stream with ids out of order",
    "stream with an id twice",
    "stream with a negative difference",
}


@pytest.mark.slow
def test_lies_that_a_real_server_refuses(tmp_path: Path) -> None:
    with redis8(tmp_path, ["--sanitize-dump-payload", "yes"]) as server:
        peer = Peer(server.port)
        taken = set()
        for name, data in LIES.items():
            reply = peer("RESTORE", name, 0, data)
            if isinstance(reply, Exception):
                assert str(reply) == "ERR Bad data format", name
            else:
                taken.add(name)
        peer.close()
    assert taken <= TAKEN, taken - TAKEN


ARGUMENTS: list[tuple[Any, ...]] = [
    (), (0,), (-1, "x"), ("x", "y"), (0, "x", "REPLACE", "IDLETIME"), (0, "x", "FREQ", 300),
    (0, "x", "FREQ", -1), (0, "x", "IDLETIME", -1), (0, "x", "IDLETIME", 1, "FREQ", 1),
    (0, "x", "FREQ", 1, "IDLETIME", 1), (0, "x", "FREQ", "y"), (0, "x"), (0, ""), (0, "0" * 20),
    (0, GOOD["string"]), (0, GOOD["string"]), (0, GOOD["string"], "REPLACE"), (-1, "x"),
    (1, GOOD["string"], "ABSTTL"), (1, GOOD["string"], "ABSTTL", "REPLACE"),
    ((1 << 63) - 1, GOOD["string"]), (0, GOOD["string"], "REPLACE", "IDLETIME", 1 << 62),
    (0, payload(0, b"\1a", 13)), (0, GOOD["string"], "IDLETIME", 1, "IDLETIME", 2, "REPLACE"),
]  # fmt: skip


@pytest.mark.slow
def test_arguments_are_answered_as_by_a_real_server(payloads: tuple[Peer, Peer]) -> None:
    _, judge = payloads
    store = Store()
    judge("FLUSHALL")
    for arguments in ARGUMENTS:
        for command in ("RESTORE", "RESTORE-ASKING"):
            request = (command, "key", *arguments)
            assert str(store(*request)) == str(judge(*request)), request
            assert store("EXISTS", "key") == judge("EXISTS", "key"), request
    store.check_replay()
