"""isthmus migrate-from: a real Redis that is written to all the time, into a cluster or a node.

Clients go on writing until the source lets them wait; then both ends must hold the same.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import isthmus
from isthmus.cli.app import run
from tests.e2e import cluster as e2e
from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.persist.crash import Node
from tests.persist.holdings import fill, holdings
from tests.replicate.relay import Relay
from tests.support.peer import Peer
from tests.support.servers import Server, redis8, redis_server

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(120)]

DEBUG = ["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]
ESCAPES = frozenset(
    b"SELECT MOVE COPY EVAL SCRIPT FCALL WAIT WAITAOF REPLICAOF SLAVEOF FLUSHALL FLUSHDB "
    b"SWAPDB".split()
)
SHOWN_MAX = 3
PATIENCE_SECONDS = 50
Out = Callable[[], Any]


class Load:
    """Clients that write all kinds of things to a server, until they are let wait."""

    def __init__(self, port: int, dbs: tuple[int, ...] = (0,), clients: int = 2) -> None:
        self.port = port
        self.dbs = dbs
        self.ending = False
        self.sent = 0
        self.counted = [0] * clients
        self.threads = [threading.Thread(target=self.run, args=(at,)) for at in range(clients)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.ending = True
        with closing(Peer(self.port)) as peer:
            peer("CLIENT", "UNPAUSE")
        for thread in self.threads:
            thread.join(20)

    def run(self, seed: int) -> None:
        rng = random.Random(seed)
        grammars = [Grammar(group) for group in GROUPS if group != "scripting"]
        # In the pause for the cut over they wait as long as it takes.
        with closing(Peer(self.port, seconds_max=PATIENCE_SECONDS)) as peer:
            peer("SELECT", self.dbs[seed % len(self.dbs)])
            while not self.ending:
                argv = rng.choice(grammars).request(rng.getrandbits(32))
                if not argv[0].startswith(b"@") and argv[0].upper() not in ESCAPES:
                    peer(*argv)
                if rng.random() < 0.3:
                    self.more(peer, rng, seed)
                self.sent += 1

    def more(self, peer: Peer, rng: random.Random, seed: int) -> None:
        keys = [f"k{rng.randrange(50)}" for _ in range(3)]
        one = f"{{same}}{rng.randrange(9)}"
        if isinstance(peer("INCR", f"count:{seed}"), int):
            self.counted[seed] += 1
        peer("MSET", *(word for key in keys for word in (key, rng.random())))
        peer("DEL", *keys[:2])
        peer("COPY", keys[2], f"copied {keys[1]}", "REPLACE")
        peer("RENAME", keys[2], f"renamed {keys[0]}")
        peer("MULTI"), peer("SADD", one, *keys), peer("SADD", "{same}set", one), peer("EXEC")
        peer("MULTI"), peer("RPUSH", f"l{keys[0]}", 1), peer("INCR", f"n{keys[1]}"), peer("EXEC")
        peer("SUNIONSTORE", "union", "{same}set", one)
        peer("LMOVE", f"l{keys[0]}", "moved", "LEFT", "RIGHT")
        peer("SET", f"soon {keys[0]}", "x", "PX", rng.randrange(1, 400))
        peer("SET", f"late {keys[0]}", "x", "EX", rng.randrange(100, 400))


patient = pytest.mark.skipif(
    not isthmus.compiled(), reason="interpreted, the pause outlasts the patience of its clients"
)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    """What was printed on standard output since, as JSON."""

    def told() -> Any:
        said = capsys.readouterr()
        return json.loads(said.out or json.dumps({"ok": said.err}))

    return told


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    with e2e.running(tmp_path_factory.mktemp("two"), 2) as found:
        yield found


@contextmanager
def source(start: Any, folder: Path, *options: str) -> Iterator[tuple[Server, Peer]]:
    folder = folder / "source"
    folder.mkdir()
    with start(folder, [*DEBUG, *options]) as server, closing(Peer(server.port)) as peer:
        yield server, peer


def through(port: int, db_of_all: bool = False) -> tuple[Peer, Callable[..., Any]]:
    peer = Peer(port)

    def call(*args: Any) -> Any:
        if args[0] == "SELECT":
            return peer(*args) if db_of_all else "OK"
        return peer(*args)

    return peer, call


def held(call: Callable[..., Any], db: int = 0) -> dict[Any, Any]:
    """What one database holds, scores as numbers."""
    found = {}
    for _ in range(20):
        with suppress(KeyError):
            every = holdings(call, False, encodings=False)
            break
    else:
        raise AssertionError("keys expire faster than they can be looked at")
    for place, (kind, *more, value) in every.items():
        if place[0] != db:
            continue
        if kind == b"zset":
            value = list(zip(value[::2], map(float, value[1::2]), strict=True))
        found[place[1]] = (kind, *more, value)
    return found


def differences(one: dict[Any, Any], other: dict[Any, Any]) -> list[Any]:
    now_ms = time.time() * 1000
    return [
        (key, one.get(key), other.get(key))
        for key in {*one, *other}
        if one.get(key) != other.get(key)
        # What expired between two questions is no difference.
        and not any(0 < found[key][2] <= now_ms for found in (one, other) if key in found)
    ][:SHOWN_MAX]


@patient
@pytest.mark.parametrize(("start", "entry"), [(redis8, "proxy"), (redis_server, "node")])
def test_into_a_cluster_under_load(
    two: e2e.Cluster, tmp_path: Path, out: Out, start: Any, entry: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    peer, call = through(two.ports.proxy)
    with closing(peer), source(start, tmp_path) as (server, theirs):
        peer("FLUSHALL")
        theirs("DEBUG", "POPULATE", 1000)
        for at in range(30):
            theirs("HSET", f"h{at}", *range(2 * at + 2))
        port = getattr(two.ports, entry)
        with Load(server.port) as load:
            monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: waits(load, 1000)))
            words = ["--to", f"redis://127.0.0.1:{port}", "--json"]
            status = run(["migrate-from", f"redis://127.0.0.1:{server.port}", *words])
            outcome = out()
            assert (status, outcome["ok"]) == (0, True), outcome
            counted = sum(int(theirs("GET", f"count:{at}") or 0) for at in range(2))
            assert load.sent > 0 and counted >= sum(load.counted) > 0
            assert differences(held(theirs), held(call)) == []
        assert outcome["commands"] > 1000 and outcome["computed"] > 0, outcome
        assert outcome["mended"] == outcome["removed"] == 0, outcome
        assert outcome["verified"] >= 1000 > outcome["compared_while_paused"] > 0, outcome


@patient
def test_into_a_node_with_all_databases_though_the_link_is_cut(
    tmp_path: Path, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours").mkdir()
    with ExitStack() as stack:
        server, theirs = stack.enter_context(source(redis8, tmp_path))
        node = Node(tmp_path / "ours", "--save", "", *DEBUG).wait_ready()
        stack.callback(node.stop)
        relay = stack.enter_context(Relay(server.port))
        ours = stack.enter_context(closing(Peer(node.port)))
        fill(theirs, True)
        theirs("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() end)")
        load = stack.enter_context(Load(server.port, (0, 3)))
        words = ["--to", f"redis://127.0.0.1:{node.port}", "--json"]
        monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: cuts(relay, load)))
        status = run(["migrate-from", f"redis://127.0.0.1:{relay.port}", *words])
        outcome = out()
        assert (status, outcome["ok"]) == (0, True), outcome
        assert outcome["reconnects"] >= 2 and outcome["mended"] == 0, outcome
        assert b"sync_full:1" in theirs("INFO", "stats")
        assert len(ours("FUNCTION", "LIST")) == 1
        for db in (0, 3):
            assert differences(held(theirs, db), held(ours, db)) == []


def waits(load: Load, requests: int) -> str:
    """Let clients write for a while; then say that it is time."""
    until = load.sent + requests
    while load.sent < until:
        time.sleep(0.01)
    return "\n"


def cuts(relay: Relay, load: Load) -> str:
    """Break all links a few times, with writes in between; then say that it is time."""
    for _ in range(3):
        waits(load, 200)
        connections = relay.connections
        relay.cut()
        while relay.connections == connections:
            time.sleep(0.01)
    return waits(load, 100)


def test_one_database_and_errors_that_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ours").mkdir()
    with ExitStack() as stack:
        server, theirs = stack.enter_context(source(redis8, tmp_path))
        node = Node(tmp_path / "ours", "--save", "", *DEBUG).wait_ready()
        stack.callback(node.stop)
        ours = stack.enter_context(closing(Peer(node.port)))
        theirs("SET", "of 0", 1), ours("SET", "here", 1), ours("SET", "both", "mine")
        theirs("SELECT", 3), theirs("SET", "of 3", 1), ours("SELECT", 3)
        theirs("SET", "both", "theirs"), ours("SET", "both", "mine")
        origin = f"redis://127.0.0.1:{server.port}"
        target = ["--to", f"redis://127.0.0.1:{node.port}", "--cutover"]

        def says(status: int, text: str, *words: str, at: str = origin) -> None:
            assert run(["migrate-from", at, *target, *words]) == status
            assert text in " ".join(capsys.readouterr().err.split())

        says(2, "the target is not empty, it holds 3 keys")
        says(2, "one of fail, merge, replace", "--policy", "x")
        says(2, "is meant", at="http://x")
        theirs("CONFIG", "SET", "requirepass", "secret")
        says(2, "asks for a password")
        secret = f"redis://:secret@127.0.0.1:{server.port}"
        says(1, "WRONGPASS", at=secret.replace("secret", "wrong"))
        says(0, "send clients there", "--db", "3", "--policy", "merge", "--hold-seconds", "0",
             at=secret)  # fmt: skip
        assert ours("GET", "both") == b"mine" and ours("GET", "of 3") == b"1"
        says(0, "send clients there", "--policy", "replace", "--no-verify", at=secret)
        assert ours("GET", "both") == b"theirs" and ours("SELECT", 0) == b"OK"
        assert ours("GET", "of 0") == b"1" and ours("GET", "here") == b"1"
        # The second has left the source without writes.
        theirs("CLIENT", "UNPAUSE")
        theirs("REPLICAOF", "127.0.0.1", 1)
        says(2, "name its primary, 127.0.0.1:1", at=secret)


def test_a_node_of_a_cluster_is_moved_by_itself(
    two: e2e.Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Peer(two.ports.proxy)) as peer, source(
        redis8, tmp_path, "--cluster-enabled", "yes"
    ) as (server, theirs):  # fmt: skip
        peer("FLUSHALL")
        theirs("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 10
        while theirs("SET", "k", 1) != b"OK":
            assert time.monotonic() < deadline
        words = ["migrate-from", f"redis://127.0.0.1:{server.port}", "--cutover"]
        words += ["--to", f"redis://127.0.0.1:{two.ports.proxy}"]
        assert run(words) == 2
        assert "with --shard" in capsys.readouterr().err
        assert run([*words, "--shard"]) == 0
        assert peer("GET", "k") == b"1"
