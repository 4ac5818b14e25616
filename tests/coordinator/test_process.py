"""The coordinator as a process on real sockets: three members, pushes, restart, signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from isthmus.wire.link import RpcClient
from isthmus.wire.membership import open_stream
from tests.cluster.world import FakeNode, until

START_SECONDS_MAX = 15.0


@contextmanager
def coordinator(folder: Path, port: int = 0, *more: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A coordinator process and the fields of its ready line; ended by its id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "isthmus.coordinator.main", "--data-dir", str(folder),
         "--port", str(port), *more],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if " coordinator_ready " in line:
                break
        else:
            raise AssertionError("the coordinator did not start")
        yield process, dict(w.split("=", 1) for w in line.split() if "=" in w)
    finally:
        process.kill()
        process.communicate()


class Region:
    """What FakeNode needs of a world: a way to the coordinator."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.address = ""
        self.addresses = "coordinator:9400"

    async def connect(self, address: str) -> trio.abc.Stream:
        return await open_stream(self.address)


async def status_of(address: str) -> dict[str, Any]:
    async with RpcClient.over(await open_stream(address), "cli") as client:
        return dict(await client.call("status"))


@pytest.mark.slow
async def test_three_members_restart_and_push(nursery: trio.Nursery, tmp_path: Path) -> None:
    region = Region(nursery)
    world: Any = region
    with coordinator(tmp_path) as (process, ready):
        region.address = ready["address"]
        nodes = [
            FakeNode(world, name, zone, port).start()
            for name, zone, port in zip("abd", "xyz", (8500, 8501, 8502), strict=True)
        ]
        await until(lambda: all(node.view.state_ok for node in nodes), 10)
        said = await status_of(region.address)
        assert said["state"] == "ok"
        assert [p["zone"] for p in said["processes"]] == ["", "x", "y", "z"]
        assert [p["slots"] for p in said["processes"][1:]] == [
            [[0, 5461]], [[5462, 10922]], [[10923, 16383]],
        ]  # fmt: skip
        assert said["processes"][0]["pid"] == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait(START_SECONDS_MAX)
    port = int(ready["address"].rpartition(":")[2])
    with coordinator(tmp_path, port) as (process, again):
        assert again["cluster"] == ready["cluster"] and int(again["term"]) == 2
        await until(lambda: all(node.membership.connected for node in nodes), 10)
        now = await status_of(region.address)
        assert now["epoch"] == said["epoch"]
        assert [p["slots"] for p in now["processes"]] == [p["slots"] for p in said["processes"]]
        # Everybody hears when one leaves.
        nodes[2].scope.cancel()
        await until(lambda: not nodes[0].view.state_ok and not nodes[1].view.state_ok, 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS_MAX) == 0
    nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_a_second_coordinator_on_the_same_data_is_told_so(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (first, _):
        done = subprocess.run(
            [sys.executable, "-m", "isthmus.coordinator.main", "--data-dir", str(tmp_path)],
            capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert f"another coordinator (pid {first.pid})" in done.stderr


@pytest.mark.slow
def test_a_taken_port_and_a_foreign_region_are_told(tmp_path: Path) -> None:
    with coordinator(tmp_path / "a") as (_, ready):
        port = ready["address"].rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-m", "isthmus.coordinator.main", "--data-dir", str(tmp_path / "b"),
             "--port", port],
            capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and "coordinator_failed" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.coordinator.main", "--data-dir", str(tmp_path / "a"),
         "--region", "mars"],
        capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "holds region local" in done.stderr
