"""Clusters that come and go: nothing is left behind, and the same cluster comes back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.e2e import cluster as e2e

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def left_behind(data_dir: Path) -> list[str]:
    """Files of an orderly stop that should not be there."""
    found = [path.name for path in data_dir.rglob("*") if path.name.startswith(".")]
    return found + [name for name in ("cluster.json",) if (data_dir / name).exists()]


def test_interrupt_leaves_nothing_and_the_cluster_comes_back(tmp_path: Path) -> None:
    ports = e2e.free_ports(2)
    first = e2e.start(ports, tmp_path, shards=2)
    try:
        before = e2e.isthmus("status", "--json", "--data-dir", str(tmp_path)).stdout
        processes = e2e.processes(tmp_path)
    finally:
        e2e.stop(first, signal.SIGINT)
    assert first.up.returncode == 0
    assert e2e.all_ended([process["pid"] for process in processes])
    assert left_behind(tmp_path) == []
    done = e2e.isthmus("status", "--data-dir", str(tmp_path))
    assert (done.returncode, "no cluster runs in" in done.stderr) == (1, True)

    second = e2e.start(ports, tmp_path, shards=2)
    try:
        after = e2e.isthmus("status", "--json", "--data-dir", str(tmp_path)).stdout
        again = e2e.processes(tmp_path)
    finally:
        e2e.stop(second, signal.SIGTERM)
    assert second.up.returncode == 0
    assert json.loads(after)["cluster"] == json.loads(before)["cluster"]

    def held(found: list[dict[str, object]]) -> list[object]:
        return [(p["id"], p["address"], p["slots"]) for p in found if p["role"] == "primary"]

    assert held(again) == held(processes)
    done = e2e.isthmus(*e2e.options(ports, tmp_path, 3))
    assert done.returncode == 2
    assert "holds a cluster of 2 shards" in done.stderr


def test_a_killed_node_is_started_again(tmp_path: Path) -> None:
    with e2e.running(tmp_path, shards=1) as cluster:
        primary = next(p for p in e2e.processes(tmp_path) if p["role"] == "primary")
        os.kill(primary["pid"], signal.SIGKILL)
        assert cluster.up.stdout is not None
        while "started again" not in (line := cluster.up.stdout.readline()):
            assert line, "the supervisor ended"
        with redis.Redis(port=cluster.ports.node, socket_timeout=10) as client:
            assert served(client)


def served(client: redis.Redis) -> bool:
    """Ask until the node answers for a key, bounded by the number of attempts."""
    errors = (redis.ConnectionError, redis.ResponseError)
    retry = Retry(ConstantBackoff(0.1), 200, supported_errors=errors)

    def attempt() -> bool:
        return bool(client.set("back", "1"))

    return bool(retry.call_with_retry(attempt, lambda error: None))


def test_a_supervisor_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    cluster = e2e.start(e2e.free_ports(1), tmp_path, shards=1)
    processes = e2e.processes(tmp_path)
    e2e.stop(cluster, signal.SIGKILL)
    assert e2e.all_ended([process["pid"] for process in processes])
    done = e2e.isthmus("status", "--data-dir", str(tmp_path))
    assert (done.returncode, "no cluster runs in" in done.stderr) == (1, True)


def test_detached(tmp_path: Path) -> None:
    ports = e2e.free_ports(1)
    done = e2e.isthmus(*e2e.options(ports, tmp_path, 1), "--detach")
    try:
        assert done.returncode == 0, done.stderr
        assert "isthmus down --data-dir" in done.stdout
        processes = e2e.processes(tmp_path)
        with redis.Redis(port=ports.proxy, socket_timeout=10) as client:
            assert client.set("k", "v")
    finally:
        down = e2e.isthmus("down", "--data-dir", str(tmp_path))
    assert down.returncode == 0, down.stderr
    assert e2e.all_ended([process["pid"] for process in processes])
    assert left_behind(tmp_path) == []
    down = e2e.isthmus("down", "--data-dir", str(tmp_path))
    assert (down.returncode, "no cluster runs in" in down.stderr) == (1, True)
