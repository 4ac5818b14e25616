"""A coordinator and fake members on in-memory streams, under trio's autojump clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from isthmus.coordinator.model import Limits, Tick
from isthmus.coordinator.server import TICK_SECONDS, Coordinator, Settings
from isthmus.coordinator.store.memory import Shelf
from isthmus.node.cluster.view import ClusterView
from isthmus.wire.membership import Membership

Frame = dict[str, Any]


def trio_ns() -> int:
    return int(trio.current_time() * 1e9)


class World:
    """One region: a coordinator that can be stopped and started, and the wire to it."""

    def __init__(self, nursery: trio.Nursery, shards: int) -> None:
        self.nursery = nursery
        self.settings = Settings(shards=shards, limits=Limits())
        self.shelf = Shelf()
        self.coordinator: Coordinator | None = None
        self.scope = trio.CancelScope()
        self.inner: trio.Nursery | None = None
        self.addresses = "coordinator:9400"

    async def start(self) -> Coordinator:
        self.coordinator = Coordinator(self.settings, self.shelf.open(), trio_ns)
        await self.nursery.start(self._run, self.coordinator)
        return self.coordinator

    async def _run(
        self,
        coordinator: Coordinator,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with trio.open_nursery() as inner:
            self.inner = inner
            task_status.started()
            while True:
                coordinator.handle(Tick())
                await trio.sleep(TICK_SECONDS)

    async def stop(self) -> None:
        assert self.coordinator is not None and self.inner is not None
        inner, self.inner = self.inner, None
        inner.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        self.coordinator.store.close()
        self.coordinator = None

    async def connect(self, address: str) -> trio.abc.Stream:
        if self.coordinator is None or self.inner is None:
            raise OSError("connection refused")
        mine, its = trio.testing.memory_stream_pair()
        self.inner.start_soon(self.coordinator.hub.serve, its)
        return mine


class FakeNode:
    """A member with a real view and a real Membership, and nothing to serve."""

    def __init__(self, world: World, name: str, zone: str, port: int, run: int = 1) -> None:
        self.world = world
        self.view = ClusterView(name * 40)
        self.zone = zone
        self.port = port
        self.incarnation = f"run{run}"
        self.role = "node"
        self.refusals: list[str] = []
        self.pushed: list[int] = []
        self.scope = trio.CancelScope()
        self.membership = Membership(
            self.describe, self.take, on_refused=self.refused, connect=world.connect,
            jitter=lambda: 0.5,
        )  # fmt: skip

    def describe(self) -> Frame:
        return {
            "id": self.view.my_id, "role": self.role, "region": "local", "zone": self.zone,
            "address": f"127.0.0.1:{self.port}", "link_address": f"127.0.0.1:{self.port + 1000}",
            "metrics_address": "", "pid": self.port, "incarnation": self.incarnation,
            "cluster": self.view.cluster_id, "epoch": self.view.epoch,
            "slots": self.view.slots_served(), "keys": 7,
        }  # fmt: skip

    def take(self, frame: Frame) -> None:
        self.pushed.append(frame["epoch"])
        self.view.apply(frame)

    def refused(self, code: str, text: str) -> None:
        self.refusals.append(code)

    async def run(self) -> None:
        with self.scope:
            await self.membership.run(self.world.addresses)

    def start(self) -> FakeNode:
        self.world.nursery.start_soon(self.run)
        return self


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let (virtual) time pass until something is true."""
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(0.01)
