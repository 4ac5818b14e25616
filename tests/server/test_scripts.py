"""Long scripts on a real node: the loop goes on, others are told, the script can be ended.

Nothing here waits for a time: a reply that comes only after the threshold is waited for itself.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import hiredis
import pytest

from tests.hostile.process import Process, node

pytestmark = pytest.mark.slow

FOREVER = "while true do end"
BUSY = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."


class Client:
    """A connection whose requests and replies are apart."""

    def __init__(self, process: Process) -> None:
        self.socket: socket.socket = process.connect()
        self.socket.settimeout(20)
        self.reader = hiredis.Reader(encoding="utf-8")

    def send(self, *words: object) -> None:
        self.socket.sendall(hiredis.pack_command(tuple(str(word) for word in words)))

    def receive(self) -> object:
        while (reply := self.reader.gets()) is False:
            data = self.socket.recv(65536)
            assert data, "the connection was closed"
            self.reader.feed(data)
        return str(reply) if isinstance(reply, Exception) else reply

    def ask(self, *words: object) -> object:
        self.send(*words)
        return self.receive()


@contextmanager
def two_clients(process: Process) -> Iterator[tuple[Client, Client]]:
    first, second = Client(process), Client(process)
    with first.socket, second.socket:
        yield first, second


@pytest.fixture
def clients(process: Process) -> Iterator[tuple[Client, Client]]:
    with two_clients(process) as both:
        yield both


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("node")
    with node(folder, "--busy-reply-threshold", "50") as running:
        yield running
        running.check()


def test_busy_and_killed(clients: tuple[Client, Client]) -> None:
    script, other = clients
    script.send("EVAL", FOREVER, 0)
    script.send("PING")
    # Sent at once, answered when the threshold has passed.
    assert other.ask("GET", "k") == BUSY
    assert other.ask("GET", "k") == BUSY
    assert other.ask("SCRIPT", "KILL") == "OK"
    assert str(script.receive()).startswith("ERR Script killed by user with SCRIPT KILL. script: ")
    assert script.receive() == "PONG"
    assert other.ask("SET", "k", "v") == "OK"


def test_replies_keep_their_order(clients: tuple[Client, Client]) -> None:
    script, other = clients
    for number in range(3):
        script.send(
            "EVAL", "local n = 0 for i = 1, ARGV[1] do n = n + 1 end return n", 0, 3_000_000
        )
        script.send("ECHO", number)
    assert [script.receive() for _ in range(6)] == [3000000, "0", 3000000, "1", 3000000, "2"]
    assert other.ask("PING") == "PONG"


def test_a_client_that_leaves_does_not_end_its_script(clients: tuple[Client, Client]) -> None:
    script, other = clients
    script.send("EVAL", FOREVER, 0)
    assert other.ask("GET", "k") == BUSY
    script.socket.close()
    assert other.ask("GET", "k") == BUSY
    assert other.ask("SCRIPT", "KILL") == "OK"
    # It ends in its next slice, which may come after this request.
    while (reply := other.ask("PING")) == BUSY:
        pass
    assert reply == "PONG"


def test_a_transaction_with_a_long_script(clients: tuple[Client, Client]) -> None:
    script, other = clients
    for words in (["MULTI"], ["SET", "t", "1"], ["EVAL", FOREVER, 0], ["INCR", "t"]):
        script.ask(*words)
    script.send("EXEC")
    assert other.ask("GET", "t") == BUSY
    assert other.ask("SCRIPT", "KILL") == "OK"
    first, error, last = script.receive()  # type: ignore[misc]
    assert (first, last) == ("OK", 2) and "Script killed" in str(error)


def test_shutdown_ends_a_script(tmp_path_factory: pytest.TempPathFactory) -> None:
    with node(tmp_path_factory.mktemp("ending"), "--busy-reply-threshold", "50") as running:
        with two_clients(running) as (script, other):
            script.send("EVAL", FOREVER, 0)
            assert other.ask("GET", "k") == BUSY
            assert other.ask("SHUTDOWN") == BUSY
            other.send("SHUTDOWN", "NOSAVE")
            assert other.socket.recv(100) == b""
            assert running.popen.wait(20) == 0
