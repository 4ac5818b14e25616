"""A failover that takes writes away, and how a user sees them and has them back."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import redis

from isthmus.cli.app import run
from tests.e2e import cluster as e2e
from tests.e2e.test_topology import copies, port_of, soon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
# What the kernel buffers between two nodes is less than this, so the rest never arrives.
BIG, COUNT = b"x" * 100_000, 300


class Program:
    """The program, in this process: most of what a command takes is Python's own start."""

    def __init__(self, capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
        self.capsys = capsys
        self.data_dir = data_dir

    def __call__(self, *words: str) -> str:
        assert run([*words, "--data-dir", str(self.data_dir)]) == 0
        return self.capsys.readouterr().out

    def receipts(self) -> int:
        return int(json.loads(self("status", "--json"))["receipts"])


def lose_writes(cluster: e2e.Cluster) -> None:
    """Stop the replica, write much, stop the primary, and let the replica lead."""
    old, new = copies(cluster, "primary")[0], copies(cluster, "replica")[0]
    primary = redis.Redis(port=port_of(old), socket_timeout=5)
    primary.mset({"{k}list": "x", "{k}quiet": "old", "{k}used": "old"})
    assert primary.wait(1, 1000) == 1
    # Times of use are whole seconds.
    used = time.monotonic()
    soon(lambda: time.monotonic() - used > 3)
    os.kill(new["pid"], signal.SIGSTOP)
    try:
        pipe = primary.pipeline(transaction=False)
        for number in range(COUNT):
            pipe.set(f"big:{number}", BIG)
        pipe.mset({"{k}quiet": "tail", "{k}made": "tail"})
        pipe.set("{k}used", "tail")
        pipe.incr("counter")
        assert len(pipe.execute()) == COUNT + 3
    finally:
        os.kill(old["pid"], signal.SIGSTOP)
        os.kill(new["pid"], signal.SIGCONT)
    successor = redis.Redis(port=port_of(new), socket_timeout=5)

    def written() -> bool:
        try:
            return bool(successor.set("{k}used", "since"))
        except (redis.RedisError, OSError):
            return False

    try:
        soon(written)
    finally:
        os.kill(old["pid"], signal.SIGCONT)


def test_what_was_lost_is_kept_shown_and_sent_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    isthmus = Program(capsys, tmp_path)
    bound = "async:60000:1000000000"
    with (
        e2e.running(
            tmp_path, 1, "--replicas", "1", "--durability", bound, ports=e2e.free_ports(2)
        ) as cluster,
        redis.Redis(port=cluster.ports.proxy) as proxy,
    ):
        soon(lambda: copies(cluster, "replica")[0]["synced"])
        lose_writes(cluster)
        soon(lambda: isthmus.receipts() == 1)
        (receipt,) = json.loads(isthmus("quarantine", "list", "--json"))
        name = receipt["name"]
        assert receipt["kept"] and receipt["exact"] and 4 < receipt["commands"] < COUNT + 3
        assert f"isthmus quarantine show {name}" in isthmus("status")
        assert name in isthmus("failover", "explain")
        assert '"counter"' in isthmus("quarantine", "show", name, "--commands", "999")
        said = isthmus("quarantine", "replay", name, "--dry-run")
        assert "left out: 1 keys" in said and "{k}used" in said
        assert proxy.exists("{k}made", "counter") == 0
        assert isthmus("quarantine", "replay", name).startswith("sent: ")
        assert proxy.mget("{k}quiet", "{k}made", "{k}used") == [b"tail", b"tail", b"since"]
        assert proxy.get("counter") == b"1" and proxy.get(f"big:{COUNT - 1}") == BIG
        assert "sent: 0 writes" in isthmus("quarantine", "replay", name), "nothing twice"
        assert isthmus.receipts() == 1, "something is left"
        isthmus("quarantine", "settle", name)
        assert isthmus.receipts() == 0
