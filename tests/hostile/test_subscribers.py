"""Subscribers that do not read, or vanish, while messages flow: the node stays small and serves."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import hiredis
import pytest

from tests.hostile.process import Process, node, replies

pytestmark = pytest.mark.slow
MEBIBYTE = 1 << 20
HARD_BYTES = 2 * MEBIBYTE
GROWTH_MAX = 24 * MEBIBYTE
LISTEN = b"SUBSCRIBE news\r\n"
LISTENING = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    limits = ("--client-output-buffer-limit", "pubsub", str(HARD_BYTES), "0", "0")
    with node(tmp_path_factory.mktemp("node"), *limits) as started:
        yield started
        started.check()


def subscriber(process: Process, receive_buffer: int = 0) -> socket.socket:
    made = process.connect(receive_buffer)
    made.sendall(LISTEN)
    got = b""
    while got != LISTENING:
        got += made.recv(len(LISTENING))
    return made


def cut_off(process: Process) -> int:
    with process.connect() as stream:
        (text,), _ = replies(stream, b"INFO stats\r\n", 1)
    assert isinstance(text, bytes)
    found = dict(line.split(b":") for line in text.splitlines() if b":" in line)
    return int(found[b"client_output_buffer_limit_disconnections"])


def test_a_subscriber_that_does_not_read_is_cut_off(process: Process) -> None:
    before, lost = process.resident_bytes(), cut_off(process)
    deaf = [subscriber(process, 4096) for _ in range(3)]
    message = hiredis.pack_command((b"PUBLISH", b"news", b"x" * 65536))
    with process.connect() as publisher:
        for _ in range(40):
            found, _ = replies(publisher, message * 5, 5)
            if found[-1] == 0:
                break
        else:
            raise AssertionError("the subscribers are still there")
    assert cut_off(process) == lost + 3
    assert process.resident_bytes() - before < 3 * HARD_BYTES + GROWTH_MAX
    for stream in deaf:
        stream.close()
    process.alive()


def test_one_message_for_many_patterns_is_bounded(process: Process) -> None:
    """A thousand patterns of one client match: what it is sent may not pile up in one turn."""
    before = process.resident_bytes()
    greedy = process.connect(4096)
    for number in range(1000):
        greedy.sendall(hiredis.pack_command((b"PSUBSCRIBE", b"*" * (number + 1))))
    got = b""
    while not got.endswith(b":1000\r\n"):
        got += greedy.recv(65536)
    with process.connect() as publisher:
        message = hiredis.pack_command((b"PUBLISH", b"many", b"x" * (256 << 10)))
        (count,), _ = replies(publisher, message, 1)
        assert count == 1000
    assert process.resident_bytes() - before < GROWTH_MAX
    greedy.close()
    process.alive()


@pytest.mark.parametrize("hard", [True, False])
def test_subscribers_that_vanish_while_messages_flow(process: Process, hard: bool) -> None:
    message = hiredis.pack_command((b"PUBLISH", b"news", b"x" * 100))
    steady = subscriber(process)
    with process.connect() as publisher:
        for _ in range(20):
            passing = [subscriber(process) for _ in range(5)]
            publisher.sendall(message * 50)
            for stream in passing:
                if hard:
                    # A reset, not an orderly end.
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.close()
            found, _ = replies(publisher, b"PING\r\n", 51)
            assert len(found) == 51 and isinstance(found[0], int) and 1 <= found[0] <= 6
        (left,), _ = replies(publisher, b"PUBSUB NUMSUB news\r\n", 1)
    reader = hiredis.Reader()
    for _ in range(1000):
        while (heard := reader.gets()) is False:
            reader.feed(steady.recv(65536))
        assert heard == [b"message", b"news", b"x" * 100]
    steady.close()
    assert isinstance(left, list) and left[0] == b"news"
    process.alive()
