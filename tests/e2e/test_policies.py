"""A cluster keeps its data: each persistence policy over a restart, a change while it runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.e2e import cluster as e2e
from tests.support.ports import free_port
from tests.support.servers import await_output, stop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KEYS = [f"key:{i}" for i in range(200)]


def fill(port: int) -> None:
    with redis.Redis(port=port, socket_timeout=10) as client, client.pipeline(False) as pipe:
        for key in KEYS:
            pipe.set(key, "value of " + key)
            pipe.rpush("list:" + key, 1, 2, 3)
        pipe.set("timed", "t", px=10_000_000)
        pipe.execute()


def all_back(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=10) as client:
        kept = client.mget(KEYS) == [b"value of " + key.encode() for key in KEYS]
        with client.pipeline(False) as pipe:
            for key in KEYS:
                pipe.lrange("list:" + key, 0, -1)
            lists = pipe.execute() == [[b"1", b"2", b"3"]] * len(KEYS)
        return kept and lists and 9_000_000 < client.pttl("timed") <= 10_000_000


def persistence(data_dir: Path, *arguments: str) -> dict[str, Any]:
    done = e2e.isthmus("persistence", *arguments, "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def primaries(data_dir: Path) -> list[dict[str, Any]]:
    return [p for p in e2e.processes(data_dir) if p["role"] == "primary"]


def places(data_dir: Path) -> list[Any]:
    return [(p["id"], p["address"], p["slots"]) for p in primaries(data_dir)]


def settings(port: int) -> tuple[str, str, str]:
    with redis.Redis(port=port, socket_timeout=10, decode_responses=True) as client:
        found = client.config_get("appendonly", "appendfsync", "save")
        return found["appendonly"], found["appendfsync"], found["save"]


@pytest.mark.parametrize("policy", ["rdb:1h", "aof:everysec", "aof:always"])
def test_every_key_is_back(tmp_path: Path, policy: str) -> None:
    ports = e2e.free_ports(2)
    with e2e.running(tmp_path, 2, "--persistence", policy, ports=ports) as cluster:
        assert f"Persistence is {policy}" in cluster.printed
        fill(ports.proxy)
        before = places(tmp_path)
    # Nobody says it again: the coordinator remembers.
    with e2e.running(tmp_path, 2, ports=ports) as cluster:
        assert f"Persistence is {policy}" in cluster.printed
        assert all_back(ports.proxy)
        assert places(tmp_path) == before


def test_a_new_cluster_keeps_its_data_and_off_keeps_none(tmp_path: Path) -> None:
    ports = e2e.free_ports(1)
    with e2e.running(tmp_path, 1, ports=ports) as cluster:
        assert "Persistence is aof:everysec" in cluster.printed
        fill(ports.proxy)
    with e2e.running(tmp_path, 1, "--persistence", "off", ports=ports) as cluster:
        assert "persistence was aof:everysec, now off" in cluster.printed
        assert "Persistence is off: nothing is kept on disk" in cluster.printed
        assert all_back(ports.proxy), "what was kept is loaded before it is known that none is"
        assert settings(ports.node) == ("no", "everysec", "")
    assert (tmp_path / "node-0/node.policy").read_text() == "off\n"
    with e2e.running(tmp_path, 1, ports=ports):
        with redis.Redis(port=ports.proxy, socket_timeout=10) as client:
            assert client.get(KEYS[0]) is None


def test_a_policy_changes_on_all_nodes_while_it_runs(tmp_path: Path) -> None:
    ports = e2e.free_ports(2)
    with e2e.running(tmp_path, 2, "--persistence", "off", ports=ports):
        fill(ports.proxy)
        for policy, wanted in (
            ("rdb:6h", ("no", "everysec", "21600 1")),
            ("aof:always", ("yes", "always", "")),
            ("aof:everysec", ("yes", "everysec", "")),
            ("rdb:60m", ("no", "everysec", "3600 1")),
            ("aof:always", ("yes", "always", "")),
        ):
            shown = persistence(tmp_path, "set", policy)
            now = policy.replace("60m", "1h")
            assert shown["policy"] == now
            assert [(n["policy"], n["problem"]) for n in shown["nodes"]] == [(now, "")] * 2
            assert [settings(ports.node + i) for i in range(2)] == [wanted] * 2
            for i in range(2):
                assert (tmp_path / f"node-{i}/node.policy").read_text() == f"{now}\n"
        assert all(n["saved_s"] > 0 and n["aof_bytes"] > 0 for n in shown["nodes"])
        done = e2e.isthmus("status", "--data-dir", str(tmp_path))
        assert "persistence aof:always" in done.stdout and "last save" in done.stdout
        with redis.Redis(port=ports.node, socket_timeout=10) as client:
            for name in ("save", "appendonly", "APPENDFSYNC"):
                with pytest.raises(redis.ResponseError, match="isthmus persistence set POLICY"):
                    client.config_set(name, "no")
        for process in primaries(tmp_path):
            os.kill(process["pid"], signal.SIGKILL)
        # The supervisor starts them again, from the files of the last policy.
        assert eventually(ports.proxy)
        assert all_back(ports.proxy)


def eventually(port: int) -> bool:
    """Ask until every slot is served again, bounded by the number of attempts."""
    errors = (redis.ConnectionError, redis.ResponseError, redis.TimeoutError)
    retry = Retry(ConstantBackoff(0.1), 200, supported_errors=errors)
    with redis.Redis(port=port, socket_timeout=10) as client:
        return bool(
            retry.call_with_retry(lambda: client.mget(KEYS) is not None, lambda error: None)
        )


def test_a_node_killed_under_load_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    ports = e2e.free_ports(2)
    with e2e.running(tmp_path, 2, "--persistence", "aof:always", ports=ports):
        before = places(tmp_path)
        acknowledged: list[list[int]] = [[], [], []]
        begun = threading.Barrier(len(acknowledged) + 1)

        def write(writer: int) -> None:
            # Each to node 0 only, in keys of a slot of its own there; until it is killed.
            with redis.Redis(port=ports.node, socket_timeout=10, retry=None) as client:
                tag = ("{b}", "{a1}", "{f}")[writer]
                for i in range(100_000):
                    if i == 50:
                        begun.wait(30)
                    try:
                        client.set(f"{tag}:{writer}:{i}", i)
                    except redis.ConnectionError:
                        return
                    acknowledged[writer].append(i)

        victim = next(p for p in primaries(tmp_path) if p["address"].endswith(f":{ports.node}"))
        threads = [threading.Thread(target=write, args=(n,)) for n in range(len(acknowledged))]
        for thread in threads:
            thread.start()
        begun.wait(30)
        os.kill(victim["pid"], signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert eventually(ports.proxy)
        with redis.Redis(port=ports.node, socket_timeout=10) as client:
            for writer, numbers in enumerate(acknowledged):
                assert len(numbers) >= 50
                tag = ("{b}", "{a1}", "{f}")[writer]
                found = client.mget([f"{tag}:{writer}:{i}" for i in numbers])
                assert found == [b"%d" % i for i in numbers]
        assert places(tmp_path) == before
        assert {p["pid"] for p in primaries(tmp_path)} != {victim["pid"]}


def test_nodes_keep_their_policy_without_a_coordinator(tmp_path: Path) -> None:
    ports = e2e.free_ports(1)
    with e2e.running(tmp_path, 1, "--persistence", "aof:always", ports=ports):
        os.kill(e2e.processes(tmp_path)[0]["pid"], signal.SIGKILL)
        fill(ports.proxy)
        assert settings(ports.node) == ("yes", "always", "")
        assert comes_back(ports.coordinator)
        assert persistence(tmp_path)["policy"] == "aof:always"
        assert settings(ports.node) == ("yes", "always", "")
        assert all_back(ports.proxy)


def test_a_node_that_cannot_is_named_and_tries_again(tmp_path: Path) -> None:
    ports = e2e.free_ports(1)
    with e2e.running(tmp_path, 1, "--persistence", "off", ports=ports):
        in_the_way = tmp_path / "node-0/dump.rdb"
        in_the_way.mkdir()
        done = e2e.isthmus("persistence", "set", "rdb:1h", "--data-dir", str(tmp_path))
        assert done.returncode == 1
        assert f"rdb:1h is not in force yet on 127.0.0.1:{ports.node}" in done.stderr
        assert "cannot change: the snapshot could not be written" in done.stdout
        status = e2e.isthmus("status", "--data-dir", str(tmp_path)).stdout
        assert "cannot change" in status and "persistence rdb:1h" in status
        in_the_way.rmdir()
        # The same again is no change; it waits until the node has tried again.
        for _ in range(20):
            done = e2e.isthmus("persistence", "set", "rdb:1h", "--data-dir", str(tmp_path))
            if done.returncode == 0:
                break
        assert persistence(tmp_path)["nodes"][0]["policy"] == "rdb:1h"
        assert in_the_way.is_file()


def comes_back(port: int) -> bool:
    """Wait, bounded, until somebody listens on a port again."""
    retry = Retry(ConstantBackoff(0.1), 200, supported_errors=(OSError,))
    attempt = socket.create_connection
    with retry.call_with_retry(lambda: attempt(("127.0.0.1", port), 1), lambda error: None):
        return True


@pytest.mark.parametrize("kind", ["rdb", "aof"])
def test_files_of_several_databases_are_refused(tmp_path: Path, kind: str) -> None:
    port = free_port()
    alone = subprocess.Popen(
        [*e2e.PROGRAM, "node", "--standalone", "--port", str(port), "--dir", str(tmp_path),
         "--appendonly", "yes" if kind == "aof" else "no"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        await_output(alone, b"node_ready", e2e.START_SECONDS_MAX)
        with redis.Redis(port=port, db=3, socket_timeout=10) as client:
            client.set("k", "v")
            client.save()
    finally:
        stop(alone)
    done = subprocess.run(
        [*e2e.PROGRAM, "node", "--coordinator", "127.0.0.1:1", "--port", "0",
         "--data-dir", str(tmp_path)],
        capture_output=True, text=True, timeout=e2e.COMMAND_SECONDS_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "holds keys of other databases than 0" in done.stderr
    assert "a node of a cluster has only that one; nothing was loaded" in done.stderr
    assert "Traceback" not in done.stderr
