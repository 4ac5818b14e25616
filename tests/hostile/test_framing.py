"""Broken, odd and greedy input on a real node: exact answers, bounded memory, others served.

The vectors and the answers of Redis are those of tests/wire/hostile.py. Every test ends with a new
client that is served, and with a look at the node's log for faults of ours.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.process import PING, Process, await_log, node, replies
from tests.wire.hostile import VECTORS, Vector

pytestmark = pytest.mark.slow
SENTINEL = b"*2\r\n$4\r\nPING\r\n$8\r\nsentinel\r\n"
MEBIBYTE = 1 << 20
GROWTH_MAX = 24 * MEBIBYTE


@pytest.fixture(scope="module")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with node(tmp_path_factory.mktemp("open")) as process:
        yield process
        process.check()


@pytest.fixture(scope="module")
def locked_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with node(tmp_path_factory.mktemp("locked"), "--requirepass", "pw") as process:
        yield process
        process.check()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_vectors(open_node: Process, locked_node: Process, vector: Vector) -> None:
    process = open_node if vector.authenticated else locked_node
    password = b"" if vector.authenticated else b"pw"
    count = len(vector.requests)
    with process.connect() as stream:
        if vector.error is not None:
            found, closed = replies(stream, vector.data, -1)
            text = "ERR Protocol error: " + vector.error.decode().translate({13: 32, 10: 32})
            assert (len(found), str(found[-1]), closed) == (count + 1, text, True)
        elif vector.waits:
            found, closed = replies(stream, vector.data, count)
            assert (len(found), closed) == (count, False)
        else:
            found, closed = replies(stream, vector.data + SENTINEL, count + 1)
            assert (len(found), closed) == (count + 1, False)
            assert password or found[-1] == b"sentinel"
        process.alive(password)


@pytest.mark.parametrize("request_", [
    b"GET / HTTP/1.1\r\nHost: localhost:6379\r\nUser-Agent: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET stolen 1\r\n",
    b"hOsT: x\r\n",
    b"PING\r\n*1\r\n$4\r\npost\r\nPING\r\n",
    b"MULTI\r\nSET stolen 1\r\nPOST\r\nEXEC\r\n",
])  # fmt: skip
def test_http_is_hung_up_on(open_node: Process, locked_node: Process, request_: bytes) -> None:
    for process in (open_node, locked_node):
        with process.connect() as stream:
            assert replies(stream, request_, -1) == ([], True)
        await_log(process, "possible_attack")
    with open_node.connect() as stream:
        assert replies(stream, b"EXISTS stolen\r\n", 1) == ([0], False)
    assert open_node.log().count("possible_attack") == 1, "not a line for each"


def test_announcements_allocate_nothing(open_node: Process) -> None:
    before = open_node.resident_bytes()
    streams = []
    for data in (
        b"*300000000\r\n", b"*1048576\r\n", b"*1\r\n$536870912\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n", b"*1048576\r\n$536870912\r\nx",
    ) * 20:  # fmt: skip
        stream = open_node.connect()
        stream.sendall(data)
        streams.append(stream)
    open_node.alive()
    assert open_node.resident_bytes() - before < GROWTH_MAX
    for stream in streams:
        stream.close()
    open_node.alive()


def test_before_authentication_a_client_costs_a_mebibyte(locked_node: Process) -> None:
    before = locked_node.resident_bytes()
    bulk = b"$16384\r\n" + b"x" * 16384 + b"\r\n"
    streams = [locked_node.connect() for _ in range(50)]
    for stream in streams:
        stream.sendall(b"*10\r\n" + bulk * 9 + b"$16384\r\n" + b"x" * 16000)
    locked_node.alive(b"pw")
    assert locked_node.resident_bytes() - before < 50 * MEBIBYTE
    for stream in streams:
        stream.close()


def test_a_flood_of_refused_requests_is_cut_off(locked_node: Process) -> None:
    """It never reads its NOAUTH errors: what waits for it is bounded, then it is closed."""
    before = locked_node.resident_bytes()
    with locked_node.connect(receive_buffer=4096) as stream:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(500):
                stream.sendall(b"GET x\r\n" * 9000)
    locked_node.alive(b"pw")
    assert locked_node.resident_bytes() - before < GROWTH_MAX
    assert "client_query_buffer_exceeded" in locked_node.log()


def test_who_never_reads_costs_what_it_sent(open_node: Process) -> None:
    """Twenty thousand GETs of half a MiB: ten GB of replies that must not be held."""
    with open_node.connect() as stream:
        value = b"v" * (MEBIBYTE // 2)
        stream.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n%b\r\n" % (len(value), value))
        assert stream.recv(10) == b"+OK\r\n"
        before = open_node.resident_bytes()
        for _ in range(20):
            stream.sendall(b"GET big\r\n" * 1000)
        open_node.alive()
        assert open_node.resident_bytes() - before < GROWTH_MAX
    open_node.alive()
    with open_node.connect() as stream:
        assert replies(stream, b"DEL big\r\n", 1) == ([1], False)


def test_a_killed_client_that_does_not_read_is_gone(open_node: Process) -> None:
    with open_node.connect(receive_buffer=4096) as stream, open_node.connect() as hand:
        found, _ = replies(stream, b"CLIENT ID\r\nSET big " + b"v" * 60_000 + b"\r\n", 2)
        stream.sendall(b"GET big\r\n" * 1000)
        open_node.alive()
        number = found[0]
        kill = f"CLIENT KILL ID {number}\r\nCLIENT LIST ID {number}\r\n".encode()
        killed, _ = replies(hand, kill, 2)
        assert killed[0] == 1
        assert not killed[1]


def test_a_request_past_the_query_buffer_limit(tmp_path: Path) -> None:
    with node(tmp_path, "--client-query-buffer-limit", "1mb") as process:
        with process.connect() as stream:
            data = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5000000\r\n" + b"x" * 3_000_000
            assert replies(stream, data, -1) == ([], True)
        process.alive()
        process.check()
        assert process.log().count("client_query_buffer_exceeded") == 1


def test_out_of_memory_costs_one_client(tmp_path: Path) -> None:
    """With little address space left a bulk that does not fit ends its client, nobody else."""
    with node(tmp_path) as process:
        process.alive()
        room = process.address_space_bytes() + 150 * MEBIBYTE
        resource.prlimit(process.pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
        with process.connect() as stream, process.connect() as other:
            try:
                stream.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$400000000\r\n")
                piece = b"x" * MEBIBYTE
                for _ in range(381):
                    stream.sendall(piece)
                raise AssertionError("400 MB fitted into 150 MB")
            except (ConnectionResetError, BrokenPipeError):
                pass
            assert replies(other, PING + b"EXISTS a\r\n", 2) == ([b"PONG", 0], False)
        process.alive()
        process.check()


def test_past_maxclients(tmp_path: Path) -> None:
    with node(tmp_path, "--maxclients", "3") as process:
        held = [process.connect() for _ in range(3)]
        for stream in held:
            assert replies(stream, PING, 1) == ([b"PONG"], False)
        with process.connect() as stream:
            found, closed = replies(stream, b"", -1)
            assert (str(found[0]), closed) == ("ERR max number of clients reached", True)
        with held.pop() as stream:
            assert replies(stream, b"QUIT\r\n", -1) == ([b"OK"], True)
        process.alive()
        for stream in held:
            stream.close()


def test_without_descriptors_the_connected_are_served(tmp_path: Path) -> None:
    with node(tmp_path, open_files=40) as process:
        assert "descriptors_short" in process.log()
        crowd: list[socket.socket] = [process.connect() for _ in range(60)]
        for stream in crowd:
            stream.sendall(PING)
        assert crowd[0].recv(10) == b"+PONG\r\n"
        # The first leave; those who waited are let in.
        for stream in crowd[:40]:
            stream.close()
        for stream in crowd[40:]:
            assert stream.recv(10) == b"+PONG\r\n"
            stream.close()
        process.alive()
        process.check()


def test_limits_hold_for_who_is_connected(tmp_path: Path) -> None:
    with node(tmp_path) as process:
        with process.connect() as stream:
            lower = b"CONFIG SET client-query-buffer-limit 1mb\r\n"
            assert replies(stream, lower, 1) == ([b"OK"], False)
            data = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5000000\r\n" + b"x" * 3_000_000
            assert replies(stream, data, -1) == ([], True)
        with process.connect() as stream:
            lower = b"CONFIG SET proto-max-bulk-len 1mb\r\n"
            assert replies(stream, lower, 1) == ([b"OK"], False)
            (error,), _ = replies(stream, b"*2\r\n$4\r\nECHO\r\n$2000000\r\n", 1)
            assert "invalid bulk length" in str(error)
        process.check()


def test_a_reply_above_the_limit_is_not_sent(tmp_path: Path) -> None:
    with node(tmp_path, "--client-output-buffer-limit", "normal", "100kb", "0", "0") as process:
        with process.connect() as stream:
            data = b"SETRANGE k 110000 x\r\nGET k\r\n"
            found, over = replies(stream, data, 2)
            assert (found[0], len(found[1]), over) == (110_001, 110_001, False)
            data = b"SETRANGE k 200000 x\r\n"
            assert replies(stream, data, 1) == ([200_001], False)
            assert replies(stream, b"PING\r\nGET k\r\nPING\r\n", -1) == ([], True)
        process.alive()
        process.check()
