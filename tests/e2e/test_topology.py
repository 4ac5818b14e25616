"""What clients that know clusters see of one with replicas: tools, failovers, reads from copies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.cluster import LoadBalancingStrategy

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
SHARDS = 2
SECONDS_MAX = 15.0
KEYS = [f"key:{number}" for number in range(40)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    ports = e2e.free_ports(2 * SHARDS)
    folder = tmp_path_factory.mktemp("topology")
    with e2e.running(folder, SHARDS, "--replicas", "1", ports=ports) as found:
        yield found


def client(cluster: e2e.Cluster, **options: Any) -> redis.RedisCluster:
    return redis.RedisCluster(
        host="127.0.0.1", port=cluster.ports.node, decode_responses=True, **options
    )


def soon(done: Callable[[], bool]) -> None:
    """Wait, bounded, until it is so."""
    deadline = time.monotonic() + SECONDS_MAX
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def copies(cluster: e2e.Cluster, role: str) -> dict[int, dict[str, Any]]:
    """shard -> the process of that role, which is well."""
    return {
        row["shard"]: row for row in e2e.processes(cluster.data_dir)
        if row["role"] == role and row["state"] == "up"
    }  # fmt: skip


def all_synced(cluster: e2e.Cluster) -> bool:
    replicas = copies(cluster, "replica")
    return len(replicas) == SHARDS and all(row["synced"] for row in replicas.values())


def port_of(row: dict[str, Any]) -> int:
    return int(row["address"].rpartition(":")[2])


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")
def test_redis_cli_finds_nothing_wrong(cluster: e2e.Cluster) -> None:
    soon(lambda: all_synced(cluster))
    done = subprocess.run(
        ["redis-cli", "--cluster", "check", f"127.0.0.1:{cluster.ports.node}"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "[OK] All nodes agree about slots configuration." in done.stdout
    assert "[OK] All 16384 slots covered." in done.stdout
    assert done.stdout.count("1 additional replica(s)") == SHARDS
    assert "ERR" not in done.stdout and "WARNING" not in done.stdout


def test_reads_from_replicas(cluster: e2e.Cluster) -> None:
    soon(lambda: all_synced(cluster))
    with client(cluster) as writer:
        for key in KEYS:
            writer.set(key, key)
            writer.execute_command("WAIT", 1, 1000, target_nodes=writer.get_node_from_key(key))
    replicas = [redis.Redis(port=port_of(row)) for row in copies(cluster, "replica").values()]
    before = [replica.info("stats")["keyspace_hits"] for replica in replicas]
    strategy = LoadBalancingStrategy.ROUND_ROBIN_REPLICAS
    with client(cluster, load_balancing_strategy=strategy) as reader:
        assert [reader.get(key) for key in KEYS] == KEYS
    after = [replica.info("stats")["keyspace_hits"] for replica in replicas]
    assert sum(after) - sum(before) == len(KEYS)
    for replica in replicas:
        replica.close()


def test_cluster_failover_on_a_replica(cluster: e2e.Cluster) -> None:
    soon(lambda: all_synced(cluster))
    old, new = copies(cluster, "primary")[0], copies(cluster, "replica")[0]
    with client(cluster) as follower, redis.Redis(port=port_of(new)) as replica:
        follower.mset_nonatomic(dict.fromkeys(KEYS, "1"))
        with redis.Redis(port=port_of(old)) as primary, pytest.raises(redis.ResponseError) as told:
            primary.execute_command("CLUSTER FAILOVER")
        assert str(told.value) == "You should send CLUSTER FAILOVER to a replica"
        with pytest.raises(redis.ResponseError, match="syntax error"):
            replica.execute_command("CLUSTER FAILOVER", "SOON")
        assert replica.execute_command("CLUSTER FAILOVER", "TAKEOVER") in (b"OK", True)
        soon(lambda: replica.execute_command("ROLE")[0] == b"master")
        for key in KEYS:
            assert follower.incr(key) == 2
    assert copies(cluster, "primary")[0]["id"] == new["id"]


def test_a_client_follows_when_a_primary_is_killed(cluster: e2e.Cluster) -> None:
    soon(lambda: all_synced(cluster))
    old, new = copies(cluster, "primary")[1], copies(cluster, "replica")[1]
    with client(cluster) as follower:
        follower.mset_nonatomic(dict.fromkeys(KEYS, "1"))
        os.kill(old["pid"], signal.SIGKILL)
        sent = 0

        def written() -> bool:
            nonlocal sent
            try:
                while sent < len(KEYS):
                    follower.set(KEYS[sent], "2")
                    sent += 1
            except (redis.RedisError, OSError):
                return False
            return True

        soon(written)
        assert [follower.get(key) for key in KEYS] == ["2"] * len(KEYS)
        node = redis.Redis(port=port_of(new))
        # Whoever comes back does so as a replica, and is shown as one.
        soon(lambda: shown(node, old["id"]) == ("slave", new["id"], True))
        node.close()
    soon(lambda: all_synced(cluster))


def test_nodes_called_by_their_names(cluster: e2e.Cluster) -> None:
    rows = [*copies(cluster, "primary").values(), *copies(cluster, "replica").values()]
    nodes = [redis.Redis(port=port_of(row)) for row in rows]
    for node in nodes:
        node.config_set("cluster-announce-hostname", "localhost")
        node.config_set("cluster-preferred-endpoint-type", "hostname")
        node.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)

    def told() -> set[bytes]:
        slots: list[Any] = [node.execute_command("CLUSTER SLOTS") for node in nodes]
        return {entry[0] for rows in slots for row in rows for entry in row[2:]}

    # Each hears it of the others within seconds, and a client may ask any of them.
    soon(lambda: told() == {b"localhost"})
    with redis.Redis(port=cluster.ports.proxy) as proxy, client(cluster) as direct:
        for key in KEYS:
            direct.set(key, "3")
            assert proxy.get(key) == b"3"
    elsewhere = {moved(nodes[0], key) for key in KEYS} - {""}
    assert elsewhere == {f"localhost:{port_of(rows[1])}"}
    for node in nodes:
        node.config_set("cluster-preferred-endpoint-type", "ip")
        node.close()


def shown(node: redis.Redis, name: str) -> tuple[str, str, bool]:
    """(flags, primary, connected) of a node as another lists it."""
    rows: Any = node.execute_command("CLUSTER NODES")
    row = next(row for row in rows.values() if row["node_id"] == name)
    return row["flags"], row["master_id"], row["connected"]


def moved(node: redis.Redis, key: str) -> str:
    """Where a node says that a key is; empty if it has it itself."""
    try:
        node.get(key)
    except redis.ResponseError as error:
        return str(error).split()[-1]
    return ""
