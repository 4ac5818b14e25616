"""FAILOVER between a node and a real redis-server, both ways, while clients write; what a node does
when its primary says what it cannot take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio.testing

from isthmus.node.replicate.apply import StreamApplier
from isthmus.node.replicate.backoff import SPOILT
from isthmus.node.replicate.follow import Follower, Target
from isthmus.node.replicate.replication import Replication
from isthmus.wire.parser import RequestParser
from tests.persist.crash import Link, Node
from tests.support.peer import Peer
from tests.support.rdb_files import file_of
from tests.support.servers import redis8
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

OPTIONS = ["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]
WAIT_SECONDS_MAX = 20.0


def info(call: Callable[..., Any], section: str = "replication") -> dict[str, str]:
    lines = call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Counter:
    """Counts at both servers without end; what was told counts, wherever it was."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.counted = self.refused = 0
        self.ending = False
        self.threads = [threading.Thread(target=self.run, args=(port,)) for port in ports]
        for thread in self.threads:
            thread.start()

    def run(self, port: int) -> None:
        with closing(Peer(port)) as peer:
            while not self.ending:
                reply = peer("INCR", "counter")
                if isinstance(reply, int):
                    self.counted += 1
                else:
                    assert str(reply).startswith("READONLY"), reply
                    self.refused += 1

    def end(self) -> int:
        self.ending = True
        for thread in self.threads:
            thread.join(WAIT_SECONDS_MAX)
        return self.counted


class Two:
    """A node of ours that leads, and a real replica of it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        for name in ("ours", "theirs"):
            (folder / name).mkdir()
        self.node = Node(folder / "ours", "--save", "", *OPTIONS).wait_ready()
        stack.callback(self.node.stop)
        self.server = stack.enter_context(redis8(folder / "theirs", OPTIONS))
        self.ours = stack.enter_context(closing(Link(self.node.port)))
        self.theirs = stack.enter_context(closing(Peer(self.server.port)))
        self.ours("SET", "k", "v")
        assert self.theirs("REPLICAOF", "127.0.0.1", self.node.port) == b"OK"
        self.await_link(self.theirs)

    def await_link(self, replica: Callable[..., Any]) -> None:
        wait(lambda: info(replica).get("master_link_status") == "up")

    def same(self) -> None:
        wait(lambda: self.ours("DEBUG", "DIGEST") == self.theirs("DEBUG", "DIGEST"))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(stack, tmp_path)


def test_roles_go_to_redis_and_back_and_every_write_is_there(two: Two) -> None:
    ours, theirs = two.ours, two.theirs
    counter = Counter(two.node.port, two.server.port)
    assert ours("FAILOVER", "TO", "127.0.0.1", two.server.port) == b"OK"
    wait(lambda: info(ours)["role"] == "slave")
    two.await_link(ours)
    assert info(theirs)["role"] == "master"
    assert info(ours)["master_failover_state"] == "no-failover"
    before = counter.counted
    wait(lambda: counter.counted > before)
    assert theirs("FAILOVER", "TO", "127.0.0.1", two.node.port, "TIMEOUT", 10000) == b"OK"
    wait(lambda: info(theirs)["role"] == "slave")
    two.await_link(theirs)
    assert info(ours)["role"] == "master"
    before = counter.counted
    wait(lambda: counter.counted > before)
    counted = counter.end()
    assert int(ours("GET", "counter")) == counted > 0
    two.same()
    # Both went on with the rest only: one full sync, the first.
    assert info(ours, "stats")["sync_full"] == "1"
    assert info(theirs, "stats")["sync_full"] == "0"


def test_errors_are_those_of_redis(two: Two) -> None:
    for line in (
        "ABORT", "FORCE", "TIMEOUT 0", "TIMEOUT x", "TO 127.0.0.1", "TO 127.0.0.1 1", "NO",
        "TO 127.0.0.1 x", "FORCE FORCE", "TIMEOUT 5 FORCE",
    ):  # fmt: skip
        # Theirs has no replica yet, so only what is about words can be the same.
        answers = str(two.ours("FAILOVER", *line.split())), str(
            two.theirs("FAILOVER", *line.split()))  # fmt: skip
        told = "replica" in answers[0] or "requires both" in answers[0]
        assert told or answers[0] == answers[1], line
    refused = two.theirs("PSYNC", "f" * 40, 1, "FAILOVER")
    assert str(refused) == "ERR PSYNC FAILOVER replid must match my replid."


def test_rdb_only_is_greeted_as_redis_does(two: Two) -> None:
    for port in (two.node.port, two.server.port):
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS_MAX) as link:
            lines = link.makefile("rb")
            # One by one: Redis takes no PSYNC while replies are due.
            for line in (b"REPLCONF capa eof\r\n", b"REPLCONF rdb-only 1\r\n"):
                link.sendall(line)
                assert lines.readline() == b"+OK\r\n"
            link.sendall(b"PSYNC ? -1\r\n")
            told = lines.readline()
            while told == b"\n":
                told = lines.readline()
            assert told.startswith(b"+FULLRESYNC "), told
            mark = lines.readline()
            while mark == b"\n":
                mark = lines.readline()
            assert mark.startswith(b"$EOF:")
            lines.close()


class Impostor:
    """A primary whose full sync is good, and whose stream no node can apply."""

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.syncs = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with link:
                self.serve(link)

    def serve(self, link: socket.socket) -> None:
        payload = file_of()
        parser = RequestParser()
        parser.authenticated = True
        while data := link.recv(65536):
            parser.feed(data)
            while (argv := parser.next()) is not None:
                if argv[0] == b"PSYNC":
                    self.syncs += 1
                    head = b"+FULLRESYNC %s 0\r\n$%d\r\n" % (b"a" * 40, len(payload))
                    link.sendall(head + payload + self.says)
                elif argv[1:2] != [b"ACK"]:
                    link.sendall(b"+OK\r\n")

    def close(self) -> None:
        self.listener.close()


def test_what_cannot_be_applied_is_not_asked_for_again_and_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        impostor = stack.enter_context(closing(Impostor(b"*1\r\n$6\r\nNOSUCH\r\n")))
        node = Node(tmp_path, "--save", "").wait_ready()
        stack.callback(node.stop)
        link = stack.enter_context(closing(Link(node.port)))
        link("REPLICAOF", "127.0.0.1", impostor.port)
        begun = time.monotonic()
        wait(lambda: impostor.syncs == 3)
        # At half a second, and one more.
        assert time.monotonic() - begun > 1.4
        assert link("PING") == b"PONG"


async def test_a_fault_of_ours_ends_the_link_and_not_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    node = store.node
    node.replication = Replication(node)
    aof = SimpleNamespace(enabled=False, buffer=b"")
    node.persistence = SimpleNamespace(aof=aof, commit=lambda: None)
    follower = Follower(node)
    applier = StreamApplier(node)
    node.replication.become_replica()
    follower.applier, follower.in_step = applier, True

    def breaks(deadline_ns: int) -> bool:
        raise TypeError("a fault")

    broken: Any = SimpleNamespace(
        feed=applier.feed, step=breaks, restart=applier.restart, client=applier.client, raw=b""
    )
    follower.applier = broken
    ours, theirs = trio.testing.memory_stream_pair()

    async def connected(*args: object, **named: object) -> object:
        return ours

    monkeypatch.setattr(trio, "open_tcp_stream", connected)
    await theirs.send_all(b"+PONG\r\n+OK\r\n+OK\r\n+CONTINUE\r\n*1\r\n$4\r\nPING\r\n")
    follower.target = Target("127.0.0.1", 1)
    with trio.CancelScope() as follower.scope:
        await follower.attempt(follower.target)
    assert (follower.ended, follower.in_step, follower.problem) == (SPOILT, False, "a fault")
    assert follower.introduction(follower.target).replid == "?"
