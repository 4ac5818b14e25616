"""Members that know several coordinators, one of which leads."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from isthmus.coordinator.candidate import StandbyHub
from isthmus.wire.membership import address_list
from tests.cluster.world import FakeNode, World, until


class Three(World):
    """Three coordinators at c0, c1, c2: one leads, the others stand by, or are not there."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery, 1)
        self.addresses = "c0:1,c1:1,c2:1"
        self.leader = ""
        self.hint = ""
        self.gone: set[str] = set()
        self.tried: list[tuple[str, float]] = []
        self.standby = StandbyHub(lambda: {"standby": True}, lambda: self.hint)

    async def connect(self, address: str) -> trio.abc.Stream:
        self.tried.append((address, trio.current_time()))
        if address in self.gone or (address == self.leader and self.coordinator is None):
            raise OSError("connection refused")
        if address == self.leader:
            return await super().connect(address)
        mine, its = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.standby.serve, its)
        return mine


async def test_the_leader_is_found_by_what_another_says(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = Three(nursery)
    await world.start()
    world.leader = world.hint = "c2:1"
    node = FakeNode(world, "a", "x", 1).start()
    await until(lambda: node.view.state_ok)
    assert [address for address, _ in world.tried] == ["c0:1", "c2:1"]
    assert not node.refusals, "a coordinator that does not lead says nothing about us"
    # It comes back to the one that had it last.
    await world.stop()
    world.tried.clear()
    await until(lambda: bool(world.tried))
    assert world.tried[0][0] == "c2:1"
    nursery.cancel_scope.cancel()


async def test_without_a_word_of_a_leader_all_are_asked_in_turn(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = Three(nursery)
    world.leader = "c9:1"
    node = FakeNode(world, "a", "x", 1).start()
    await until(lambda: len(world.tried) > 60)
    assert [address for address, _ in world.tried[:6]] == ["c0:1", "c1:1", "c2:1"] * 2
    rounds = [at for address, at in world.tried if address == "c0:1"]
    longest = max(b - a for a, b in zip(rounds, rounds[1:], strict=False))
    assert longest < 1.0, "a leader is near"
    # Nobody there at all: no hurry.
    world.gone = {"c0:1", "c1:1", "c2:1"}
    await trio.sleep(30)
    world.tried.clear()
    await trio.sleep(30)
    assert len(world.tried) < 60
    world.gone.clear()
    world.leader = "c1:1"
    await world.start()
    await until(lambda: node.view.state_ok)
    nursery.cancel_scope.cancel()


async def test_a_hint_that_leads_nowhere_is_followed_once_a_round(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = Three(nursery)
    world.leader = "c9:1"
    world.hint = "c7:1"
    world.gone = {"c7:1"}
    FakeNode(world, "a", "x", 1).start()
    await until(lambda: len(world.tried) >= 40)
    assert [address for address, _ in world.tried[:4]] == ["c0:1", "c7:1", "c1:1", "c7:1"]
    assert world.tried[39][1] - world.tried[0][1] > 2
    nursery.cancel_scope.cancel()


async def test_the_next_leader_gets_everybody_with_the_epoch_they_had(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = Three(nursery)
    first = await world.start()
    world.leader = "c0:1"
    node = FakeNode(world, "a", "x", 1).start()
    await until(lambda: node.view.state_ok)
    epoch = first.state.epoch
    await world.stop()
    world.leader = ""
    await trio.sleep(5)
    second = await world.start()
    world.leader = "c1:1"
    began = trio.current_time()
    await until(lambda: node.membership.connected)
    assert trio.current_time() - began < 1.0
    await trio.sleep(5)
    assert second.state.epoch == epoch and node.view.epoch == epoch
    nursery.cancel_scope.cancel()


def test_lists_of_addresses() -> None:
    assert address_list("127.0.0.1:9400") == "127.0.0.1:9400"
    assert address_list("a:1, [::1]:2 ,c:3") == "a:1,[::1]:2,c:3"
    for text in ("", "a", "a:", ":1", "a:1,", "a:x", "a:0", "a:65536"):
        with pytest.raises(ValueError, match="not HOST:PORT"):
            address_list(text)
