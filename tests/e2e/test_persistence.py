"""What is kept by a real process, and comes back: snapshots, the append only file, MIGRATE."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e import cluster as e2e
from tests.support import servers
from tests.support.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@contextmanager
def node(folder: Path, *options: str) -> Iterator[tuple[redis.Redis, subprocess.Popen[bytes]]]:
    """A node on a folder, and a client; it is stopped in an orderly way unless it is gone."""
    folder.mkdir(exist_ok=True)
    port = e2e.free_ports(1).node
    process = subprocess.Popen(
        [*e2e.PROGRAM, "node", "--standalone", "--port", str(port), "--dir", str(folder),
         "--enable-debug-command", "yes", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        servers.await_output(process, b"node_ready", e2e.START_SECONDS_MAX)
        with redis.Redis(port=port, protocol=2) as client:
            yield client, process
    finally:
        if process.poll() is None:
            servers.stop(process)
        elif process.stdout is not None:
            process.stdout.close()


def fill(client: redis.Redis) -> str:
    """Some of everything in three databases; its digest."""
    for db in (0, 3, 15):
        client.execute_command("SELECT", db)
        client.set("s", "v" * 100)
        client.set("timed", "v", px=10_000_000)
        client.hset("h", mapping={f"f{i}": i for i in range(20)})
        client.execute_command("HPEXPIRE", "h", "10000000", "FIELDS", "1", "f3")
        client.rpush("l", *range(3000))
        client.sadd("set", "a", "b", "c")
        client.zadd("z", {"a": 1, "b": 2.5})
        client.xadd("x", {"f": "v"}, id="5-1")
        client.xgroup_create("x", "g", "0")
        client.xreadgroup("g", "me", {"x": ">"})
    client.execute_command("SELECT", 0)
    return digest(client)


def digest(client: redis.Redis) -> str:
    return str(client.execute_command("DEBUG", "DIGEST"))


def field(client: redis.Redis, name: str) -> Any:
    return client.info("persistence")[name]


def wait_for(client: redis.Redis, name: str, value: Any) -> None:
    """Ask INFO until a field has a value; each question gives the node a turn."""
    for _ in range(100_000):
        if field(client, name) == value:
            return
    raise AssertionError(f"{name} is still {field(client, name)}")


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    with node(tmp_path) as (client, _):
        before = fill(client)
        assert client.execute_command("BGSAVE") in (True, b"Background saving started")
        wait_for(client, "rdb_bgsave_in_progress", 0)
        assert field(client, "rdb_last_bgsave_status") == "ok"
        assert field(client, "rdb_changes_since_last_save") == 0
        assert client.lastsave() is not None
        client.set("later", "1")
        assert field(client, "rdb_changes_since_last_save") == 1
    with node(tmp_path) as (client, _):
        assert digest(client) == before
        assert client.pttl("timed") > 0
        assert field(client, "rdb_last_load_keys_loaded") == client.dbsize() * 3
        assert client.execute_command("SAVE") in (True, b"OK")
    assert [path.name for path in tmp_path.iterdir()] == ["dump.rdb"]


def test_save_points_and_the_end(tmp_path: Path) -> None:
    with node(tmp_path, "--save", "3600 1") as (client, _):
        before = fill(client)
        assert not (tmp_path / "dump.rdb").exists()
    with node(tmp_path, "--save", "1 1") as (client, _):
        assert digest(client) == before
        client.set("one", "more")
        wait_for(client, "rdb_saves", 1)
        client.execute_command("CONFIG", "SET", "save", "")
        client.set("lost", "1")
        client.shutdown()
    with node(tmp_path) as (client, _):
        assert client.get("one") == b"more" and client.get("lost") is None


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_what_was_answered_survives_a_kill(tmp_path: Path, policy: str) -> None:
    with node(tmp_path, "--appendonly", "yes", "--appendfsync", policy) as (client, process):
        before = fill(client)
        with client.pipeline() as pipeline:
            for i in range(500):
                pipeline.incr("counter")
                pipeline.rpush("queue", i)
            assert pipeline.execute()[-1] == 500
        after = digest(client)
        assert after != before
        process.send_signal(signal.SIGKILL)
        process.wait()
    with node(tmp_path, "--appendonly", "yes") as (client, _):
        assert digest(client) == after
        assert client.execute_command("DEBUG", "LOADAOF") in (True, b"OK")
        assert digest(client) == after


def test_rewriting_while_data_changes(tmp_path: Path) -> None:
    with node(tmp_path, "--appendonly", "yes") as (client, process):
        fill(client)
        for round_ in range(3):
            client.execute_command("BGREWRITEAOF")
            for i in range(200):
                client.set(f"k{i}", round_)
                client.lpush("l", i)
            wait_for(client, "aof_rewrite_in_progress", 0)
            assert field(client, "aof_last_bgrewrite_status") == "ok"
        assert field(client, "aof_rewrites") == 3
        after = digest(client)
        process.kill()
        process.wait()
    files = sorted(path.name for path in (tmp_path / "appendonlydir").iterdir())
    assert files == ["appendonly.aof.4.base.rdb", "appendonly.aof.4.incr.aof",
                     "appendonly.aof.manifest"]  # fmt: skip
    with node(tmp_path, "--appendonly", "yes") as (client, _):
        assert digest(client) == after


def test_turning_it_on_and_off(tmp_path: Path) -> None:
    with node(tmp_path) as (client, process):
        before = fill(client)
        client.config_set("appendonly", "yes")
        wait_for(client, "aof_rewrite_in_progress", 0)
        assert field(client, "aof_enabled") == 1
        client.set("more", "1")
        client.config_set("appendonly", "no")
        assert field(client, "aof_enabled") == 0
        client.set("more", "2")
        client.config_set("appendonly", "yes")
        wait_for(client, "aof_rewrite_in_progress", 0)
        assert client.execute_command("WAITAOF", "1", "0", "5000") == [1, 0]
        after = digest(client)
        assert after != before
        process.kill()
        process.wait()
    with node(tmp_path, "--appendonly", "yes") as (client, _):
        assert digest(client) == after


def test_a_snapshot_becomes_the_base(tmp_path: Path) -> None:
    with node(tmp_path) as (client, _):
        before = fill(client)
        client.save()
    with node(tmp_path, "--appendonly", "yes") as (client, _):
        assert digest(client) == before, "Redis would start empty"


def test_a_damaged_file_is_not_loaded(tmp_path: Path) -> None:
    with node(tmp_path) as (client, _):
        fill(client)
        client.save()
    path = tmp_path / "dump.rdb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    done = subprocess.run(
        [*e2e.PROGRAM, "node", "--standalone", "--port", "0", "--dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The snapshot dump.rdb is damaged: offset" in done.stderr
    assert "isthmus check rdb dump.rdb" in done.stderr
    assert path.read_bytes() == data, "it is left as it was"


def test_reload(tmp_path: Path) -> None:
    with node(tmp_path) as (client, _):
        before = fill(client)
        client.execute_command("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', "
                               "function() return 5 end)")  # fmt: skip
        for words in ((), ("NOSAVE",), ("MERGE", "NOFLUSH")):
            assert client.execute_command("DEBUG", "RELOAD", *words) in (True, b"OK")
            assert digest(client) == before
        assert client.execute_command("FCALL", "f", "0") == 5
        client.execute_command("FUNCTION", "LOAD", "#!lua name=new\nredis.register_function('g', "
                               "function() return 5 end)")  # fmt: skip
        client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        assert [entry[1] for entry in client.execute_command("FUNCTION", "LIST")] == [b"lib"]
        with pytest.raises(redis.ResponseError, match="check server logs"):
            client.execute_command("DEBUG", "RELOAD", "NOFLUSH", "NOSAVE")


@pytest.mark.oracle
def test_redis_cli_fetches_a_snapshot(tmp_path: Path, redis8: Server) -> None:
    with node(tmp_path / "ours") as (client, _):
        before = fill(client)
        port = client.get_connection_kwargs()["port"]
        target = tmp_path / "fetched.rdb"
        done = subprocess.run(
            ["redis-cli", "-p", str(port), "--rdb", str(target)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    with redis.Redis(redis8.host, redis8.port) as real:
        folder = Path(os.fsdecode(real.config_get("dir")["dir"]))
        (folder / "dump.rdb").write_bytes(target.read_bytes())
        real.execute_command("DEBUG", "RELOAD", "NOSAVE")
        theirs = real.execute_command("DEBUG", "DIGEST")
        real.flushall()
    assert str(theirs) == before


@pytest.mark.oracle
def test_redis_cli_fetches_the_functions_only(tmp_path: Path) -> None:
    with node(tmp_path) as (client, _):
        fill(client)
        client.execute_command("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', "
                               "function() return 5 end)")  # fmt: skip
        port = client.get_connection_kwargs()["port"]
        done = subprocess.run(
            ["redis-cli", "-p", str(port), "--functions-rdb", str(tmp_path / "dump.rdb")],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        assert client.dbsize() == 0
        assert client.execute_command("FCALL", "f", "0") == 5
        with pytest.raises(redis.ResponseError, match="Unsupported rdb-filter-only option: data"):
            client.execute_command("REPLCONF", "rdb-filter-only", "functions data")


@pytest.mark.oracle
def test_migrate(tmp_path: Path, redis8: Server) -> None:
    with (
        node(tmp_path / "ours") as (client, _),
        redis.Redis(redis8.host, redis8.port, protocol=2) as real,
    ):
        real.flushall()
        fill(client)
        port = str(redis8.port)
        ask = client.execute_command
        assert ask("MIGRATE", "127.0.0.1", port, "none", "0", "1000") == b"NOKEY"
        assert ask("MIGRATE", "127.0.0.1", port, "timed", "2", "1000", "COPY") == b"OK"
        assert client.get("timed") == b"v"
        with pytest.raises(
            redis.ResponseError, match="Target instance replied with error: BUSYKEY"
        ):
            ask("MIGRATE", "127.0.0.1", port, "timed", "2", "1000")
        keys = [key for key in client.keys() if key != b"timed"]
        assert ask("MIGRATE", "127.0.0.1", port, "", "2", "1000", "KEYS", *keys) == b"OK"
        assert client.keys() == [b"timed"]
        assert ask("MIGRATE", "127.0.0.1", port, "timed", "2", "1000", "REPLACE") == b"OK"
        assert client.dbsize() == 0
        real.execute_command("SELECT", 2)
        assert real.dbsize() == len(keys) + 1
        assert real.lrange("l", 2998, 2999) == [b"2998", b"2999"]
        assert real.pttl("timed") > 0
        # And back.
        ours = str(client.get_connection_kwargs()["port"])
        names = [*keys, b"timed"]
        answer = real.execute_command("MIGRATE", "127.0.0.1", ours, "", "0", "1000", "KEYS", *names)
        assert answer in (True, b"OK")
        assert client.dbsize() == len(names) and client.hget("h", "f5") == b"5"
        with pytest.raises(redis.ResponseError, match="error or timeout connecting to the client"):
            ask("MIGRATE", "127.0.0.1", "1", "timed", "0", "1000")
        assert client.get("timed") == b"v"
