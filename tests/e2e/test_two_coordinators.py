"""Two coordinators on one etcd, nodes with replicas, and the leader killed during a failover.

Whoever decides, there is one outcome: one primary of the shard, under one new epoch, the same to
everybody; and what was acknowledged before is there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.failover.load import Load
from tests.support.etcd import etcd_server
from tests.support.ports import free_port

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(120)]
WAIT_SECONDS_MAX = 40.0
PROGRAM = [sys.executable, "-m", "isthmus.cli.main"]


class Fleet:
    """Processes that make up a cluster, each started by hand."""

    def __init__(self, store: str, folder: Path) -> None:
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.coordinators = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.proxy = free_port()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for number, port in enumerate(self.ports):
            self.start(
                f"coordinator-{number}", "coordinator", "--port", str(port), "--store", store,
                "--store-ttl", "2", "--shards", "2", "--replicas", "1", "--durability", "replica",
                "--persistence", "aof:everysec", "--metrics-port", "0",
            )  # fmt: skip
        for number in range(4):
            self.start(f"node-{number}", *self.node(number))
        self.start(
            "proxy", "proxy", "--coordinator", self.coordinators, "--port", str(self.proxy),
            "--metrics-port", "0",
        )  # fmt: skip

    def node(self, number: int) -> list[str]:
        return [
            "node", "--coordinator", self.coordinators, "--port", "0", "--link-port", "0",
            "--metrics-port", "0", "--zone", "ab"[number % 2],
            "--data-dir", str(self.folder / f"node-{number}"),
        ]  # fmt: skip

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self.running[name] = subprocess.Popen([*PROGRAM, *arguments], stderr=out, stdout=out)

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [*PROGRAM, "status", "--json", "--coordinator", self.coordinators],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            return {}

    def until(self, holds: Any) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not holds(status := self.status()):
            assert time.monotonic() < deadline, json.dumps(status, indent=1)
            time.sleep(0.2)
        return status

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.wait()


def whole(status: dict[str, Any]) -> bool:
    return len(status.get("shards", ())) == 2 and all(
        len(shard["synced"]) == 1 for shard in status["shards"]
    )


def level(status: dict[str, Any]) -> bool:
    """Everybody has come back, and all hold one topology."""
    rows = [row for row in status["processes"] if row["role"] != "coordinator"]
    return all(row["connected"] for row in rows) and len({r["topology_epoch"] for r in rows}) == 1


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        server = stack.enter_context(etcd_server(tmp_path))
        made = Fleet(server.url("two"), tmp_path)
        stack.callback(made.end)
        made.until(whole)
        yield made


def leader_of(fleet: Fleet, status: dict[str, Any]) -> str:
    rows = [row for row in status["processes"] if row["role"] == "coordinator"]
    leader = next(row for row in rows if row.get("term"))
    return next(name for name, it in fleet.running.items() if it.pid == leader["pid"])


@pytest.mark.parametrize("pause_seconds", [0.0, 0.4])
def test_the_leader_dies_during_a_failover(fleet: Fleet, pause_seconds: float) -> None:
    before = fleet.status()
    shard = random.Random(pause_seconds).choice(before["shards"])
    primary = next(row for row in before["processes"] if row["id"] == shard["primary"])
    slots = {s["number"]: [(a, b) for a, b in s["slots"]] for s in before["shards"]}
    load = Load(fleet.proxy, slots, 1000)
    load.start()
    try:
        time.sleep(1)
        moment = time.monotonic()
        os.kill(int(primary["pid"]), signal.SIGKILL)
        time.sleep(pause_seconds)
        fleet.running[leader_of(fleet, before)].kill()
        # The node comes back, as whoever runs nodes would see to.
        name = next(name for name, it in fleet.running.items() if it.pid == primary["pid"])
        fleet.running[name].wait()
        fleet.start(name, *fleet.node(int(name[-1])))
        after = fleet.until(lambda status: whole(status) and level(status))
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while load.probes[shard["number"]].first_after(moment) is None:
            assert time.monotonic() < deadline, load.errors()
            time.sleep(0.05)
    finally:
        load.stop()
    found = next(it for it in after["shards"] if it["number"] == shard["number"])
    assert found["epoch"] > shard["epoch"]
    leading = [row for row in after["processes"] if row["role"] == "primary"]
    assert [row["shard"] for row in leading] == [0, 1]
    assert load.acked > 0
    assert load.lost() == {}
