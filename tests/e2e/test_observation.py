"""What a real process tells of itself: INFO, MEMORY, SLOWLOG, LATENCY; and its end by DEBUG."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.commands.test_server import BY_CONTENT, listed_fields, sections
from tests.e2e import cluster as e2e
from tests.support import servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@contextmanager
def node() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A node on which DEBUG is allowed, and its port."""
    port = e2e.free_ports(1).node
    process = subprocess.Popen(
        [*e2e.PROGRAM, "node", "--standalone", "--port", str(port), "--enable-debug-command",
         "yes"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        servers.await_output(process, b"node_ready", e2e.START_SECONDS_MAX)
        yield port, process
    finally:
        servers.stop(process)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with node() as (port, _):
        yield port


@pytest.fixture
def client(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port) as made:
        yield made
        made.flushall()


def info(client: redis.Redis, *words: str) -> dict[str, dict[str, str]]:
    client.response_callbacks = {}
    return sections(client.execute_command("INFO", *words))


def test_every_field_is_there(client: redis.Redis) -> None:
    client.set("k", "v")
    shown = info(client, "everything")
    ours = {"isthmus_version", "isthmus_compiled"}
    for title, names in listed_fields().items():
        if title not in BY_CONTENT:
            assert [name for name in shown[title] if name not in ours] == names, title
    memory, stats = shown["Memory"], shown["Stats"]
    assert int(memory["used_memory_rss"]) >= int(memory["allocator_allocated"]) > 0
    assert int(memory["used_memory"]) > 0
    assert int(stats["total_reads_processed"]) > 0
    assert int(stats["eventloop_duration_sum"]) > 0


def test_counters_start_again(client: redis.Redis) -> None:
    client.set("k", "v")
    client.config_resetstat()
    stats = info(client, "stats")["Stats"]
    assert int(stats["total_net_input_bytes"]) < 200
    assert int(stats["total_commands_processed"]) <= 2


def test_a_slow_command_is_noted_everywhere(client: redis.Redis) -> None:
    client.config_set("slowlog-log-slower-than", 15_000)
    client.config_set("latency-monitor-threshold", 15)
    client.execute_command("DEBUG", "SLEEP", "0.02")
    entry = client.slowlog_get()[0]
    assert entry["command"] == b"DEBUG SLEEP 0.02"
    assert entry["duration"] >= 20_000
    latest = client.latency_latest()
    assert latest[0][0] == b"command" and latest[0][3] >= 20
    assert b"debug" in client.execute_command("LATENCY", "HISTOGRAM", "debug")
    client.config_set("latency-monitor-threshold", 0)
    assert client.latency_reset() == 1


def test_the_allocator(client: redis.Redis) -> None:
    assert b"malloc: " in client.execute_command("MEMORY", "MALLOC-STATS")
    assert client.memory_purge()
    stats = client.memory_stats()
    assert stats["allocator.resident"] >= stats["allocator.allocated"] > 0


def test_a_client_that_holds_too_much_is_closed(client: redis.Redis, port: int) -> None:
    client.config_set("maxmemory-clients", "100kb")
    client.execute_command("CLIENT", "NO-EVICT", "ON")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as greedy:
        greedy.sendall(b"*2\r\n$3\r\nGET\r\n$400000\r\n" + b"x" * 300_000)
        assert greedy.recv(1) == b"", "closed by the server"
    assert int(info(client, "stats")["Stats"]["evicted_clients"]) == 1
    client.config_set("maxmemory-clients", "0")


@pytest.mark.parametrize(
    ("word", "number"), [("SEGFAULT", signal.SIGSEGV), ("PANIC", signal.SIGABRT)]
)
def test_a_crash_that_was_asked_for(word: str, number: int) -> None:
    with node() as (port, process):
        with redis.Redis(port=port) as client, pytest.raises(redis.ConnectionError):
            client.execute_command("DEBUG", word)
        assert process.wait(timeout=10) == -number
