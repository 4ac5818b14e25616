"""redis-cli: its modes and its reports, against a node and against a cluster."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import redis

from tests.e2e import cluster as e2e

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(40),
    pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed"),
]


def cli(port: int, *arguments: str, given: bytes = b"") -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *arguments],
        input=given, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture
def port(node_port: int) -> int:
    with redis.Redis(port=node_port) as client:
        client.flushall()
        client.mset({f"key:{number}": "x" * number for number in range(50)})
        client.rpush("list", *range(500))
        client.hset("hash", mapping={str(number): number for number in range(200)})
        client.zadd("zset", {"a": 1, "b": 2.5})
        client.xadd("stream", {"f": "v"})
        client.sadd("set", "a", "b")
    return node_port


def test_commands_of_one_line(port: int) -> None:
    assert cli(port, "ping") == "PONG\n"
    assert cli(port, "-x", "set", "file", given=b"line\n") == "OK\n"
    assert cli(port, "get", "file") == "line\n\n"
    assert cli(port, "-3", "hgetall", "nothing") == "(empty hash)\n" or not cli(port, "ping") == ""
    assert cli(port, "--no-raw", "zrange", "zset", "0", "-1", "withscores").startswith('1) "a"')
    assert cli(port, "--json", "get", "key:3") == '"xxx"\n'
    assert "(error)" in cli(port, "--no-raw", "incr", "list") or "WRONGTYPE" in cli(
        port, "incr", "list"
    )
    assert cli(port, "-n", "1", "dbsize") == "0\n"
    assert cli(port, "-r", "3", "incr", "n") == "1\n2\n3\n"


def test_a_session(port: int) -> None:
    lines = (
        b"set a 1\nmulti\nincr a\nexec\nhelp set\nselect 1\nget a\nHELLO 3\nconfig get maxmemory\n"
    )
    shown = cli(port, given=lines)
    assert shown.startswith("OK\nOK\nQUEUED\n2\n")
    assert "maxmemory" in shown


def test_eval(port: int, tmp_path: object) -> None:
    script = f"{tmp_path}/s.lua"
    with open(script, "w", encoding="ascii") as file:
        file.write("return {KEYS[1], ARGV[1]}")
    assert cli(port, "--eval", script, "k", ",", "v") == "k\nv\n"


def test_scan(port: int) -> None:
    assert len(cli(port, "--scan", "--pattern", "key:*").split()) == 50
    assert cli(port, "--scan").count("\n") == 55


def test_big_keys(port: int) -> None:
    shown = cli(port, "--bigkeys")
    assert "has 500 items" in shown and "has 200 fields" in shown
    assert "Sampled 55 keys" in shown


def test_mem_keys(port: int) -> None:
    shown = cli(port, "--memkeys")
    assert "Sampled 55 keys" in shown
    assert "bytes" in shown


def test_mass_insertion(port: int) -> None:
    data = b"".join(
        b"*3\r\n$3\r\nSET\r\n$%d\r\nm:%d\r\n$1\r\nv\r\n" % (len(b"m:%d" % n), n)
        for n in range(5000)
    )  # fmt: skip
    shown = cli(port, "--pipe", given=data)
    assert "errors: 0, replies: 5000" in shown
    with redis.Redis(port=port) as client:
        assert client.exists("m:4999") == 1


def test_latency(port: int) -> None:
    """Without a terminal it measures once: minimum, maximum, average, number of samples."""
    numbers = [float(word) for word in cli(port, "--raw", "--latency", "-i", "1").split()]
    assert numbers[0] <= numbers[2] <= numbers[1]
    assert numbers[3] > 1


def test_a_cluster(cluster: e2e.Cluster) -> None:
    port = cluster.ports.node
    shown = cli(port, "--cluster", "check", f"127.0.0.1:{port}")
    assert "[OK] All 16384 slots covered" in shown
    assert "[OK] All nodes agree about slots configuration" in shown
    assert "3 primaries" in cli(port, "--cluster", "info", f"127.0.0.1:{port}") or "3 masters" in (
        cli(port, "--cluster", "info", f"127.0.0.1:{port}")
    )
    assert cli(port, "-c", "set", "somewhere", "1").endswith("OK\n")
    assert cli(port, "-c", "get", "somewhere").endswith("1\n")
    assert cli(port, "--cluster", "call", f"127.0.0.1:{port}", "ping").count("PONG") == 3
    assert cli(cluster.ports.proxy, "get", "somewhere") == "1\n"
