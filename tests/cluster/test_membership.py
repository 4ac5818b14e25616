"""Members and a coordinator together, over in-memory streams; time is virtual."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.cluster.world import FakeNode, World, until


async def test_three_nodes_form_a_cluster_and_all_hear_of_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 3)
    coordinator = await world.start()
    nodes = [
        FakeNode(world, n, z, p).start() for n, z, p in zip("abd", "xyz", (1, 2, 3), strict=True)
    ]
    await until(lambda: all(node.view.state_ok for node in nodes))
    assert [node.view.slots_served() for node in nodes] == [5462, 5461, 5461]
    assert {node.view.epoch for node in nodes} == {coordinator.state.epoch}
    await trio.sleep(1)  # a heartbeat or two
    said = coordinator.status()
    assert [p["role"] for p in said["processes"]] == ["coordinator"] + ["primary"] * 3
    assert said["state"] == "ok" and said["processes"][1]["keys"] == 7
    nursery.cancel_scope.cancel()


async def test_a_restarted_coordinator_finds_its_cluster_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 2)
    first = await world.start()
    nodes = [FakeNode(world, n, "x", p).start() for n, p in (("a", 1), ("b", 2))]
    await until(lambda: all(node.view.state_ok for node in nodes))
    cluster, shards, epoch = first.state.cluster_id, first.state.shards, first.state.epoch
    await world.stop()
    await until(lambda: not any(node.membership.connected for node in nodes))
    await trio.sleep(60)
    assert all(node.view.state_ok for node in nodes), "its absence changes nothing for clients"
    second = await world.start()
    await until(lambda: all(node.membership.connected for node in nodes))
    await trio.sleep(5)
    assert second.state.cluster_id == cluster
    assert second.state.shards == shards and second.state.epoch == epoch
    nursery.cancel_scope.cancel()


async def test_silence_is_death_and_a_word_is_life(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 2)
    coordinator = await world.start()
    a = FakeNode(world, "a", "x", 1).start()
    b = FakeNode(world, "b", "y", 2).start()
    await until(lambda: a.view.state_ok and b.view.state_ok)
    # A process that dies says nothing, not even goodbye.
    connection = coordinator.state.members["b" * 40].connection
    coordinator.hub._peers[connection].scope.cancel()
    b.scope.cancel()
    began = trio.current_time()
    await until(lambda: not a.view.state_ok)
    assert 1.5 <= trio.current_time() - began <= 2.5
    assert a.view.redirect_error(0) == b"CLUSTERDOWN The cluster is down"
    again = FakeNode(world, "b", "y", 99, run=2).start()
    await until(lambda: a.view.state_ok and again.view.state_ok)
    assert a.view.moved(16383) == b"MOVED 16383 127.0.0.1:99"
    nursery.cancel_scope.cancel()


async def test_an_orderly_goodbye_is_heard_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 2)
    await world.start()
    a = FakeNode(world, "a", "x", 1).start()
    b = FakeNode(world, "b", "y", 2).start()
    await until(lambda: a.view.state_ok and b.view.state_ok)
    began = trio.current_time()
    b.scope.cancel()
    await until(lambda: not a.view.state_ok)
    assert trio.current_time() - began < 0.1
    nursery.cancel_scope.cancel()


async def test_the_second_process_with_an_id_is_refused_until_the_first_is_gone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 1)
    await world.start()
    first = FakeNode(world, "a", "x", 1).start()
    await until(lambda: first.view.state_ok)
    second = FakeNode(world, "a", "x", 2, run=2).start()
    await until(lambda: len(second.refusals) >= 3)
    assert set(second.refusals) == {"DUPLICATE_ID"} and not second.view.state_ok
    assert first.view.state_ok and first.membership.connected
    first.scope.cancel()
    await until(lambda: second.view.state_ok)
    assert second.view.slots_served() == 16384
    nursery.cancel_scope.cancel()


async def test_a_lost_connection_is_made_again_without_anybody_noticing(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 1)
    coordinator = await world.start()
    a = FakeNode(world, "a", "x", 1).start()
    await until(lambda: a.view.state_ok)
    epoch = coordinator.state.epoch
    member = coordinator.state.members["a" * 40]
    before = member.connection
    coordinator.hub._peers[before].scope.cancel()
    await until(lambda: member.connection not in (0, before))
    await trio.sleep(5)
    assert coordinator.state.epoch == epoch and a.membership.connected
    nursery.cancel_scope.cancel()


async def test_a_proxy_gets_topologies_and_is_forgotten_when_it_leaves(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, 1)
    coordinator = await world.start()
    FakeNode(world, "a", "x", 1).start()
    proxy = FakeNode(world, "e", "x", 10000)
    proxy.role = "proxy"
    proxy.start()
    await until(lambda: proxy.view.state_ok)
    assert proxy.view.moved(1) == b"MOVED 1 127.0.0.1:1"
    proxy.scope.cancel()
    await until(lambda: len(coordinator.state.members) == 1)
    nursery.cancel_scope.cancel()


async def test_a_coordinator_that_says_nothing_is_left(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """A half-open connection: frames go out, nothing comes back, no error is ever reported."""
    world = World(nursery, 1)
    coordinator = await world.start()
    a = FakeNode(world, "a", "x", 1).start()
    await until(lambda: a.view.state_ok)
    await trio.sleep(60)
    member = coordinator.state.members["a" * 40]
    before = member.connection
    assert coordinator.hub.connections == 1, "answers come often enough"
    send = coordinator.hub.send

    def lose(connection: int, frame: dict[str, object]) -> None:
        if connection != before:
            send(connection, frame)

    coordinator.hub.send = lose  # type: ignore[method-assign]
    await until(lambda: member.connection not in (0, before))
    assert a.view.state_ok
    nursery.cancel_scope.cancel()
