"""The proxy as a process, before nodes as processes, with real clients."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.e2e import cluster as local

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Cluster]:
    with local.running(tmp_path_factory.mktemp("proxy"), shards=2) as cluster:
        yield cluster


@pytest.fixture
def client(running: local.Cluster) -> Iterator[redis.Redis]:
    made = redis.Redis(port=running.ports.proxy, socket_timeout=10)
    made.flushall()
    yield made
    made.close()


def test_a_real_client_sees_one_redis(client: redis.Redis) -> None:
    names = [f"key:{i}" for i in range(100)]
    assert client.mset({name: name for name in names})
    assert client.mget(names) == [name.encode() for name in names]
    assert client.dbsize() == 100
    assert {key.decode() for key in client.scan_iter(count=10)} == set(names)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(name)
        assert pipe.execute() == [name.encode() for name in names]
    assert client.delete(*names) == 100


def test_protocol_3(running: local.Cluster) -> None:
    with redis.Redis(port=running.ports.proxy, protocol=3, socket_timeout=10) as client:
        client.set("a", 1)
        assert client.mget("a", "absent") == [b"1", None]


def test_redis_benchmark(running: local.Cluster) -> None:
    program = shutil.which("redis-benchmark")
    if program is None:
        pytest.skip("redis-benchmark is not installed: apt-get install redis-tools")
    options = ["-n", "2000", "-c", "20", "-P", "4", "-q", "-r", "1000", "-t", "set,get,lpush,mset"]
    done = subprocess.run(
        [program, "-p", str(running.ports.proxy), *options],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stdout + done.stderr
    assert done.stdout.count("requests per second") == 4


def test_metrics(running: local.Cluster, client: redis.Redis) -> None:
    client.set("a", 1)
    (proxy,) = [p for p in local.processes(running.data_dir) if p["role"] == "proxy"]
    with urllib.request.urlopen(f"http://{proxy['metrics_address']}/metrics", timeout=5) as page:
        text = page.read().decode()
    assert "isthmus_proxy_slots_served 16384.0" in text
    assert 'isthmus_proxy_command_calls_total{command="set"}' in text


def test_a_node_that_is_killed_and_the_proxy_goes_on(tmp_path: Path) -> None:
    """The other shard is not touched; the lost one fails clearly or comes back with its data."""
    with local.running(tmp_path, shards=2) as cluster:
        processes = local.processes(tmp_path)
        (victim,) = [p for p in processes if p["role"] == "primary" and p["shard"] == 0]
        (proxy,) = [p for p in processes if p["role"] == "proxy"]
        with redis.Redis(port=cluster.ports.proxy, socket_timeout=10) as client:
            client.mset({"a": 1, "b": 2})
            os.kill(victim["pid"], signal.SIGKILL)
            assert local.all_ended([victim["pid"]])
            assert client.get("a") == b"1"
            try:
                assert client.get("b") == b"2"  # started again by its supervisor
            except redis.RedisError as error:
                told = ("cannot be reached", "CLUSTERDOWN", "LOADING")
                assert any(word in str(error) for word in told)
            assert client.ping()
        os.kill(proxy["pid"], signal.SIGTERM)
        assert local.all_ended([proxy["pid"]])
