"""A node's link to its coordinator: the view follows, and a node whose place is taken stops."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from isthmus.coordinator.messages import Refusal, report
from isthmus.coordinator.model import SetPersistence
from isthmus.node.cluster import link as node_link
from isthmus.node.cluster.link import Announcement, CoordinatorLink
from isthmus.node.cluster.view import ClusterView
from isthmus.wire.policy import parse
from tests.cluster.test_view import topology
from tests.cluster.world import FakeNode, World, until


@pytest.fixture
async def world(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> World:
    it = World(nursery, 1)
    # CoordinatorLink dials by address; here the address leads to the world's coordinator.
    make = node_link.Membership
    monkeypatch.setattr(node_link, "Membership", lambda *a, **k: make(*a, **k, connect=it.connect))
    await it.start()
    return it


def announcement(port: int, run: str = "one") -> Announcement:
    return Announcement(run, "local", "z", f"127.0.0.1:{port}", "", "127.0.0.1:9")


async def test_the_view_follows_the_coordinator(world: World, nursery: trio.Nursery) -> None:
    view = ClusterView("a" * 40)
    it = CoordinatorLink(view, announcement(8500), keys=lambda: 12)
    nursery.start_soon(it.run, "coordinator:9400")
    await until(lambda: view.state_ok)
    await trio.sleep(3)
    assert it.connected and view.slots_served() == 16384
    assert view.heard_ms > 0 and view.messages_sent > 2
    assert world.coordinator is not None
    process = world.coordinator.status()["processes"][1]
    assert process["keys"] == 12 and process["metrics_address"] == "127.0.0.1:9"
    assert process["topology_epoch"] == view.epoch
    nursery.cancel_scope.cancel()


async def test_the_policy_comes_with_topologies_and_health_goes_with_beats(
    world: World, nursery: trio.Nursery
) -> None:
    view = ClusterView("a" * 40)
    told: list[object] = []
    health = {"policy": "off", "saved_s": 5, "aof_bytes": 7, "problem": "the disk is full"}
    it = CoordinatorLink(
        view, announcement(8500), keys=lambda: 0, persistence=told.append, disk=lambda: health
    )
    nursery.start_soon(it.run, "coordinator:9400")
    await until(lambda: view.state_ok)
    assert set(told) == {"off"}
    assert world.coordinator is not None
    epoch = view.epoch
    world.coordinator.handle(SetPersistence(parse("rdb:6h")))
    await until(lambda: told[-1] == "rdb:6h")
    assert view.epoch == epoch + 1
    await trio.sleep(1)
    said = world.coordinator.status()
    assert said["persistence"] == "rdb:6h"
    assert [p["disk"] for p in said["processes"]] == [None, health]
    # A late frame of an older epoch, and one of a coordinator that knows no policies, say nothing.
    before = list(told)
    it._apply({**topology(1), "cluster": view.cluster_id, "persistence": "aof:always"})
    it._apply({**topology(view.epoch), "cluster": view.cluster_id})
    assert told == before
    await world.stop()
    await until(lambda: not it.connected)
    await world.start()
    await until(lambda: it.connected)
    await trio.sleep(1)
    assert told[-1] == "rdb:6h", "the store remembers"
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "disk",
    [
        "fine", {}, {"policy": "off", "saved_s": -1}, {"policy": "off", "problem": "x" * 201},
        {"policy": "off", "problem": "two\nlines"}, {"policy": "x" * 33}, {"policy": 5},
        {"policy": "off", "aof_bytes": "many"},
    ],
)  # fmt: skip
def test_health_that_makes_no_sense_is_refused(disk: object) -> None:
    with pytest.raises(Refusal):
        report({"epoch": 1, "slots": 2, "keys": 3, "disk": disk})


async def test_a_node_whose_place_is_taken_stops_serving(
    world: World, nursery: trio.Nursery
) -> None:
    view = ClusterView("a" * 40)
    it = CoordinatorLink(view, announcement(8500), keys=lambda: 0)
    nursery.start_soon(it.run, "coordinator:9400")
    await until(lambda: view.state_ok)
    await world.stop()
    await until(lambda: not it.connected)
    assert view.state_ok, "no coordinator: the node goes on"
    # A copy of it, started at its address, is there first when the coordinator returns.
    await trio.sleep(1)
    await world.start()
    copy = FakeNode(world, "a", "z", 8500, run=2).start()
    await until(lambda: bool(view.fenced))
    assert copy.view.state_ok
    assert not view.state_ok and view.slots_served() == 0
    copy.scope.cancel()
    await until(lambda: view.state_ok)
    nursery.cancel_scope.cancel()


def test_a_foreign_topology_is_logged_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    view = ClusterView("a" * 40)
    view.apply(topology())
    it = CoordinatorLink(view, announcement(8500), keys=lambda: 0)
    it._apply({**topology(9), "cluster": "f" * 40})
    assert view.epoch == 3 and "topology_refused" in capsys.readouterr().err


async def test_members_come_back_at_different_times(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Backoff grows and is bounded, so an absent coordinator costs next to nothing."""
    it = World(nursery, 1)
    tries: list[float] = []

    async def refuse_and_count(address: str) -> trio.abc.Stream:
        tries.append(trio.current_time())
        raise OSError("connection refused")

    it.connect = refuse_and_count  # type: ignore[method-assign]
    FakeNode(it, "a", "x", 1).start()
    await trio.sleep(60)
    gaps = [b - a for a, b in zip(tries, tries[1:], strict=False)]
    assert gaps[0] < 0.2 and max(gaps) <= 2.0 and len(tries) < 60
    nursery.cancel_scope.cancel()
