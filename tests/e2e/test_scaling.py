"""Shards come and go under load, as a user has them come and go."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.cluster import free_ports, isthmus, running
from tests.moves.load import Load
from tests.support.pace import examples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
FIELDS = examples(60_000)
KEYS = examples(21) * 1000


def status(data_dir: Path) -> dict[str, Any]:
    done = isthmus("status", "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def command(data_dir: Path, *words: str) -> dict[str, Any]:
    done = isthmus(*words, "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def decisions(data_dir: Path) -> set[str]:
    """What the coordinator decided for shards."""
    done = isthmus("failover", "explain", "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    return {entry["event"] for entry in json.loads(done.stdout)}


def fill(client: redis.Redis) -> None:
    """Plain keys, and a hash of some megabytes."""
    for start in range(0, KEYS, 1000):
        client.mset({f"key{i}": f"value{i}" for i in range(start, start + 1000)})
    for start in range(0, FIELDS, 2000):
        fields = range(start, min(start + 2000, FIELDS))
        client.hset("big", mapping={f"field{i}": f"{i:060}" for i in fields})


def check(client: redis.Redis, load: Load, stalled: bool = False) -> None:
    """Everything is there. `stalled`: some process stood still for so long that another took over,
    so commands may have failed, of which load.py then knows nothing; not more than that."""
    problems = load.problems()
    assert [each for each in problems if not (stalled and each.startswith("error: "))] == []
    assert client.dbsize() == KEYS + 1 + load.keys()
    for start in range(0, KEYS, 1000):
        names = [f"key{i}" for i in range(start, start + 1000)]
        assert client.mget(names) == [f"value{n[3:]}".encode() for n in names]
    assert client.hlen("big") == FIELDS
    assert client.hget("big", f"field{FIELDS - 1}") == f"{FIELDS - 1:060}".encode()
    # Nothing is left behind where it does not belong.
    assert sum(1 for _ in client.scan_iter(count=1000)) == KEYS + 1 + load.keys()


def slots(data_dir: Path) -> list[int]:
    rows = status(data_dir)["shards"]
    return sorted(sum(b - a + 1 for a, b in row["slots"]) for row in rows)


def test_three_shards_become_four_and_three_again_under_load(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, 3, ports=free_ports(6)) as cluster:
        client = redis.Redis(port=cluster.ports.proxy)
        fill(client)
        plan = command(data, "scale", "--shards", "4", "--dry-run")
        assert (plan["missing_nodes"], len(plan["moves"])) == (1, 3)
        with Load(cluster.ports.proxy, cluster.ports.node) as load:
            goal = command(data, "scale", "--shards", "4")
            assert goal["reached"] and slots(data) == [4096] * 4
            assert redis_check(cluster.ports.node)
            goal = command(data, "scale", "--shards", "3")
            assert goal["reached"] and slots(data) == [5461, 5461, 5462]
        check(client, load)
        assert redis_check(cluster.ports.node)
        rows = status(data)["processes"]
        assert [row["role"] for row in rows].count("spare") == 1
    # What the cluster has become is what starts again.
    with running(data, 3, ports=cluster.ports):
        assert slots(data) == [5461, 5461, 5462]
        check(client, load)


def redis_check(port: int) -> bool:
    """Whether redis-cli finds nothing to complain of, where it is installed."""
    program = shutil.which("redis-cli")
    if program is None:
        return True
    done = subprocess.run(
        [program, "--cluster", "check", f"127.0.0.1:{port}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return "[OK] All 16384 slots covered" in done.stdout


def test_with_replicas_a_node_is_drained_and_a_primary_dies_while_slots_move(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    # Writes wait as long as the load does, should a replica be slow on a busy machine.
    more = ("--replicas", "1", "--durability", "replica:20000", "--spares", "3")
    with running(data, 2, *more, ports=free_ports(8)) as cluster:
        client = redis.Redis(port=cluster.ports.proxy)
        fill(client)
        wait_whole(data)
        with Load(cluster.ports.proxy, cluster.ports.node, direct=0) as load:
            rows = status(data)["processes"]
            leaving = next(row for row in rows if row["role"] == "primary")
            assert command(data, "drain", leaving["address"])["reached"]
            rows = status(data)["processes"]
            assert next(r for r in rows if r["id"] == leaving["id"])["role"] == "spare"
            command(data, "drain", leaving["address"], "--undo")
            wait_whole(data)
            command(data, "scale", "--shards", "3", "--no-wait")
            until(lambda: bool(status(data)["moves"]))
            # The failover comes first, the moves afterwards.
            command(data, "failover", "0")
            until(lambda: bool(status(data)["goal"]["reached"]), 60)
        assert [len(row["replicas"]) for row in status(data)["shards"]] == [1, 1, 1]
        assert slots(data) == [5461, 5461, 5462]
        check(client, load, stalled="failover" in decisions(data))


def until(true: Any, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def wait_whole(data: Path) -> None:
    """All copies are there and in sync."""
    until(lambda: all(row["synced"] for row in status(data)["shards"]))
