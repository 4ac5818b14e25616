"""What the front page promises: `isthmus up`, real clients, one Ctrl-C.

One cluster serves all the tests of this file that only talk to it.
"""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
import redis

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

needs_cli = pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli not installed")
needs_benchmark = pytest.mark.skipif(
    shutil.which("redis-benchmark") is None, reason="redis-benchmark not installed"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    with e2e.running(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def cli(*arguments: str) -> str:
    done = subprocess.run(
        ["redis-cli", *arguments],
        capture_output=True,
        text=True,
        timeout=e2e.COMMAND_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_up_prints(cluster: e2e.Cluster) -> None:
    for word in ("coordinator", "primary", "proxy", "0-5461", "redis-cli -p", "RedisCluster"):
        assert word in cluster.printed


def test_status_lists_every_process(cluster: e2e.Cluster) -> None:
    found = e2e.processes(cluster.data_dir)
    assert sorted(process["role"] for process in found) == [
        "coordinator",
        "primary",
        "primary",
        "primary",
        "proxy",
    ]
    assert {process["region"] for process in found} == {"local"}
    primaries = [process for process in found if process["role"] == "primary"]
    assert {process["zone"] for process in primaries} == {"a", "b", "c"}
    assert {process["shard"] for process in primaries} == {0, 1, 2}
    slots = sorted(tuple(pair) for process in primaries for pair in process["slots"])
    assert slots == [(0, 5461), (5462, 10922), (10923, 16383)]
    for process in found:
        assert {"role", "pid", "region", "zone", "shard", "epoch", "address", "slots"} <= set(
            process
        )
        assert process["pid"] > 0


def test_status_as_a_table(cluster: e2e.Cluster) -> None:
    done = e2e.isthmus("status", "--data-dir", str(cluster.data_dir))
    assert done.returncode == 0
    assert f"127.0.0.1:{cluster.ports.proxy}" in done.stdout
    assert "cluster ok" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_every_process_serves_metrics(cluster: e2e.Cluster) -> None:
    for process in e2e.processes(cluster.data_dir):
        address = f"http://{process['metrics_address']}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"isthmus" in answer.read(), process["role"]


@needs_cli
def test_redis_cli_through_the_proxy(cluster: e2e.Cluster) -> None:
    port = str(cluster.ports.proxy)
    assert cli("-p", port, "ping") == "PONG"
    assert cli("-p", port, "set", "cli:one", "1") == "OK"
    assert cli("-p", port, "incr", "cli:one") == "2"
    assert cli("-p", port, "mset", "apple", "1", "pear", "2", "plum", "3") == "OK"
    assert cli("-p", port, "mget", "apple", "pear", "plum").split() == ["1", "2", "3"]


@needs_cli
def test_redis_cli_follows_redirects(cluster: e2e.Cluster) -> None:
    port = str(cluster.ports.node)
    for i in range(10):
        assert cli("-c", "-p", port, "set", f"moved:{i}", str(i)).endswith("OK")
        assert cli("-c", "-p", port, "get", f"moved:{i}").endswith(str(i))


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_through_the_proxy(cluster: e2e.Cluster, protocol: int) -> None:
    with redis.Redis(port=cluster.ports.proxy, protocol=protocol, socket_timeout=10) as client:
        keys = [f"py{protocol}:{i}" for i in range(100)]
        client.mset({key: key for key in keys})
        assert client.mget(keys) == [key.encode() for key in keys]
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hset(f"h:{key}", "field", key)
                pipe.hget(f"h:{key}", "field")
            replies = pipe.execute()
        assert replies[1::2] == [key.encode() for key in keys]
        assert client.exists(*keys) == 100
        assert client.delete(*keys) == 100


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_cluster_against_a_node(cluster: e2e.Cluster, protocol: int) -> None:
    client = redis.RedisCluster(
        host="127.0.0.1", port=cluster.ports.node, protocol=protocol, socket_timeout=10
    )
    try:
        assert {node.port for node in client.get_nodes()} == {
            cluster.ports.node + i for i in range(3)
        }
        for i in range(100):
            assert client.set(f"direct:{i}", i)
        assert [client.get(f"direct:{i}") for i in range(100)] == [b"%d" % i for i in range(100)]
        assert client.mget_nonatomic("direct:1", "direct:2") == [b"1", b"2"]
    finally:
        client.close()
    with redis.Redis(port=cluster.ports.proxy, socket_timeout=10) as through_proxy:
        assert through_proxy.get("direct:7") == b"7"


@needs_benchmark
@pytest.mark.parametrize("pipeline", [1, 16])
def test_the_default_benchmark_list_through_the_proxy(cluster: e2e.Cluster, pipeline: int) -> None:
    benchmark(cluster.ports.proxy, pipeline)


def benchmark(port: int, pipeline: int) -> None:
    done = subprocess.run(
        [
            "redis-benchmark",
            "-p",
            str(port),
            "-n",
            "1000",
            "-P",
            str(pipeline),
            "-r",
            "100",
            "--csv",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= 1 + 20


def test_a_second_cluster_in_the_same_directory_is_refused(cluster: e2e.Cluster) -> None:
    done = e2e.isthmus(*e2e.options(e2e.free_ports(3), cluster.data_dir, 3))
    assert done.returncode == 1
    assert f"a cluster already runs in {cluster.data_dir}" in done.stderr
    assert str(cluster.up.pid) in done.stderr


def test_a_port_in_use_is_named(cluster: e2e.Cluster, tmp_path: e2e.Path) -> None:
    done = e2e.isthmus(*e2e.options(cluster.ports, tmp_path, 3))
    assert done.returncode == 1
    assert f"port {cluster.ports.coordinator}" in done.stderr
    assert "in use by process" in done.stderr
