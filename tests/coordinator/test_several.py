"""Several coordinators as processes on one real etcd: killed, stopped, asked to go, left alone."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from isthmus.cli import inquiry
from isthmus.wire.link import LinkError, RpcClient
from isthmus.wire.membership import open_stream
from tests.cluster.world import FakeNode, until
from tests.support.etcd import EtcdServer, etcd_server
from tests.support.ports import free_port

pytestmark = [pytest.mark.oracle, pytest.mark.slow]
SECONDS_MAX = 20.0


class Process:
    """One coordinator process and what it has logged."""

    def __init__(self, store: str, folder: Path, *more: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.log = folder / f"{self.address.replace(':', '-')}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "isthmus.coordinator.main", "--store", store,
                 "--store-ttl", "2", "--port", self.address.rpartition(":")[2], *more],
                stderr=out,
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def times(self, event: str) -> int:
        """How often it has logged an event."""
        return len(re.findall(f" {event}( |$)", self.log.read_text(), re.MULTILINE))

    async def logs(self, event: str, times: int = 1) -> None:
        await until(lambda: self.times(event) >= times, SECONDS_MAX)

    async def status(self) -> dict[str, Any]:
        """Its status; asked again if it changes its role meanwhile, which ends connections."""
        while True:
            try:
                async with RpcClient.over(await open_stream(self.address), "cli") as client:
                    return dict(await client.call("status"))
            except LinkError:
                await trio.sleep(0.05)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Cluster:
    """Two coordinators, three nodes that know both. The first coordinator leads."""

    def __init__(self, nursery: trio.Nursery, store: str, folder: Path, stack: ExitStack) -> None:
        self.nursery = nursery
        self.store, self.folder, self.stack = store, folder, stack
        self.addresses = ""
        self.nodes: list[FakeNode] = []

    def coordinator(self, *more: str) -> Process:
        process = Process(self.store, self.folder, *more)
        self.stack.callback(process.end)
        return process

    async def connect(self, address: str) -> trio.abc.Stream:
        return await open_stream(address)

    async def form(self) -> tuple[Process, Process]:
        first = self.coordinator()
        await first.logs("coordinator_ready")
        second = self.coordinator()
        await second.logs("coordinator_waits")
        # The one that stands by comes first, so that hints are followed.
        self.addresses = f"{second.address},{first.address}"
        world: Any = self
        self.nodes = [
            FakeNode(world, name, zone, port).start()
            for name, zone, port in zip("abd", "xyz", (8500, 8501, 8502), strict=True)
        ]
        await until(lambda: all(node.view.state_ok for node in self.nodes), SECONDS_MAX)
        return first, second

    async def have_all(self, leader: Process) -> dict[str, Any]:
        """The leader's status, once all nodes are with it."""
        with trio.fail_after(SECONDS_MAX):
            while True:
                said = await leader.status()
                rows = said["processes"][1:]
                if "standby" not in said and len(rows) == 3 and all(r["connected"] for r in rows):
                    return said
                await trio.sleep(0.05)

    def epochs_only_grew(self) -> bool:
        return all(node.pushed == sorted(node.pushed) for node in self.nodes)


@contextmanager
def cluster(nursery: trio.Nursery, server: EtcdServer, folder: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(nursery, server.url(folder.name), folder, stack)
        nursery.cancel_scope.cancel()


def slots(said: dict[str, Any]) -> list[Any]:
    return [(row["id"], row["slots"], row["epoch"]) for row in said["processes"][1:]]


async def test_the_leader_is_killed_and_another_one_is_asked_to_go(
    nursery: trio.Nursery, etcd: EtcdServer, tmp_path: Path
) -> None:
    with cluster(nursery, etcd, tmp_path) as it:
        first, second = await it.form()
        before = await it.have_all(first)
        shown = await second.status()
        assert shown["standby"] and shown["leader"] == first.address and not shown["problem"]
        assert slots(shown) == slots(before) and shown["processes"][0]["state"] == "standby"
        # To people the two are one cluster.
        both = await inquiry.status(f"{second.address},{first.address}")
        states = [(row["role"], row["state"]) for row in inquiry.plan.processes(both)[:2]]
        assert states == [("coordinator", "up"), ("coordinator", "standby")]
        with pytest.raises(inquiry.Unanswered, match=f"the leader is {first.address}"):
            await inquiry.set_persistence(second.address, "rdb:1h")
        await inquiry.set_persistence(it.addresses, "rdb:1h")

        first.send(signal.SIGKILL)
        after = await it.have_all(second)
        assert slots(after) == slots(before) and after["persistence"] == "rdb:1h"
        assert after["processes"][0]["term"] > before["processes"][0]["term"]
        assert all(node.view.state_ok for node in it.nodes), "nobody noticed"
        both = await inquiry.status(it.addresses + f",{first.address}")
        assert [row["state"] for row in inquiry.plan.processes(both)[:2]] == ["up", "dead"]
        await inquiry.set_persistence(it.addresses, "off")

        third = it.coordinator()
        await third.logs("coordinator_waits")
        it.addresses = third.address  # whoever reconnects finds the leader all the same
        began = trio.current_time()
        second.send(signal.SIGTERM)
        await third.logs("coordinator_ready")
        assert trio.current_time() - began < 2.0, "an orderly end is waited for by nobody"
        assert second.process.wait(SECONDS_MAX) == 0
        assert (await third.status())["epoch"] >= after["epoch"] + 1
        assert it.epochs_only_grew()


async def test_a_leader_that_stood_still_commits_nothing(
    nursery: trio.Nursery, etcd: EtcdServer, tmp_path: Path
) -> None:
    with cluster(nursery, etcd, tmp_path) as it:
        first, second = await it.form()
        before = await it.have_all(first)
        stream = await open_stream(first.address)
        async with RpcClient.over(stream, "cli") as client:
            await client.call("status")
            first.send(signal.SIGSTOP)
            # It will find this order when it wakes up, before it can have learnt anything.
            failures: list[LinkError] = []
            waiting = trio.Event()

            async def order() -> None:
                waiting.set()
                try:
                    await client.call("set_persistence", policy="aof:always")
                except LinkError as error:
                    failures.append(error)

            nursery.start_soon(order)
            await waiting.wait()
            await it.have_all(second)
            await inquiry.set_persistence(second.address, "rdb:2h")
            first.send(signal.SIGCONT)
            await first.logs("coordinator_stepped_down")
            await until(lambda: bool(failures), SECONDS_MAX)
        await first.logs("coordinator_standby", 2)
        after = await it.have_all(second)
        assert after["persistence"] == "rdb:2h" and slots(after) == slots(before)
        await until(lambda: first.times("coordinator_waits") >= 1, SECONDS_MAX)
        assert (await first.status())["leader"] == second.address
        assert first.times("coordinator_ready") == 1 and it.epochs_only_grew()
        assert {node.view.epoch for node in it.nodes} == {after["epoch"]}


async def test_etcd_is_killed_and_comes_back(nursery: trio.Nursery, tmp_path: Path) -> None:
    with etcd_server(tmp_path) as server, cluster(nursery, server, tmp_path) as it:
        first, second = await it.form()
        before = await it.have_all(first)
        server.kill()
        await first.logs("coordinator_stepped_down")
        await until(lambda: not any(n.membership.connected for n in it.nodes), SECONDS_MAX)
        assert all(node.view.state_ok for node in it.nodes), "its absence changes nothing"
        shown = await second.status()
        assert shown["standby"] and "does not answer" in shown["problem"]
        server.start()
        await until(lambda: all(n.membership.connected for n in it.nodes), SECONDS_MAX)
        leader = first if first.times("coordinator_ready") == 2 else second
        after = await it.have_all(leader)
        assert slots(after) == slots(before) and after["epoch"] >= before["epoch"]
        assert first.times("coordinator_ready") + second.times("coordinator_ready") == 2
        assert first.process.poll() is None and second.process.poll() is None
        assert it.epochs_only_grew()


async def test_what_cannot_be_led_ends_the_process(etcd: EtcdServer, tmp_path: Path) -> None:
    store = etcd.url(tmp_path.name)
    with ExitStack() as stack:
        first = Process(store, tmp_path)
        stack.callback(first.end)
        await first.logs("coordinator_ready")
        first.send(signal.SIGTERM)
        assert first.process.wait(SECONDS_MAX) == 0
        other = Process(store, tmp_path, "--region", "mars")
        stack.callback(other.end)
        assert other.process.wait(SECONDS_MAX) == 1
        assert "this store holds region local" in other.log.read_text()
    for arguments, text in (
        (["--store", "etcd://a:x"], "not HOST:PORT"),
        (["--store", "etcd://a:1", "--data-dir", str(tmp_path)], "one of them"),
        ([], "one of them"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "isthmus.coordinator.main", *arguments],
            capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode in (1, 2) and text in done.stderr
