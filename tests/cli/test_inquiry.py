"""Asking several coordinators, of which one leads."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.cli import inquiry

STATUS: dict[str, Any] = {
    "a:1": {"standby": True, "epoch": 1, "processes": [{"address": "a:1"}, {"address": "old"}]},
    "b:1": {"epoch": 2, "processes": [{"address": "b:1"}, {"address": "node"}]},
    "c:1": {"standby": True, "epoch": 1, "processes": [{"address": "c:1"}]},
}


class Coordinators:
    """Answers in their place; who is not `up` is not there."""

    def __init__(self) -> None:
        self.up = set(STATUS)
        self.asked: list[str] = []
        self.odd: set[str] = set()

    async def ask(
        self, address: str, method: str, seconds: float = 1.0, **params: object
    ) -> dict[str, object]:
        self.asked.append(address)
        if address in self.odd:
            raise inquiry.Unanswered(f"{address} broke off")
        if address not in self.up:
            raise inquiry.Unanswered(f"nobody at {address}", elsewhere=True)
        if method != "status" and "standby" in STATUS[address]:
            raise inquiry.Unanswered(f"{address} stands by", elsewhere=True)
        return dict(STATUS[address])


@pytest.fixture
def coordinators(monkeypatch: pytest.MonkeyPatch) -> Coordinators:
    found = Coordinators()
    monkeypatch.setattr(inquiry, "_ask", found.ask)
    return found


async def test_the_leader_tells_and_the_others_are_shown(coordinators: Coordinators) -> None:
    said = await inquiry.status("a:1, b:1,c:1,a:1")
    assert said["epoch"] == 2 and sorted(coordinators.asked) == ["a:1", "b:1", "c:1"]
    addresses = [row["address"] for row in inquiry.plan.processes(said)]
    assert addresses == ["b:1", "a:1", "c:1", "node"]
    coordinators.up = {"b:1"}
    rows = inquiry.plan.processes(await inquiry.status("a:1,b:1"))
    assert [row.get("state") for row in rows] == [None, "dead", None]


async def test_without_a_leader_one_that_stands_by_tells(coordinators: Coordinators) -> None:
    coordinators.up = {"a:1", "c:1"}
    said = await inquiry.status("b:1,a:1,c:1")
    assert said["standby"]
    assert [row["address"] for row in inquiry.plan.processes(said)] == ["a:1", "c:1", "b:1", "old"]
    coordinators.up = set()
    with pytest.raises(inquiry.Unanswered, match="nobody at b:1"):
        await inquiry.status("b:1,a:1")


async def test_an_order_goes_to_the_leader_and_is_given_once(coordinators: Coordinators) -> None:
    assert (await inquiry.set_persistence("a:1,b:1,c:1", "off"))["epoch"] == 2
    assert coordinators.asked == ["a:1", "b:1"]
    coordinators.up = {"a:1", "c:1"}
    with pytest.raises(inquiry.Unanswered, match="c:1 stands by"):
        await inquiry.set_persistence("b:1,a:1,c:1", "off")
    # Whether this one did it is unknown, so it is not asked of another.
    coordinators.odd = {"a:1"}
    coordinators.asked.clear()
    with pytest.raises(inquiry.Unanswered, match="a:1 broke off"):
        await inquiry.set_persistence("a:1,b:1", "off")
    assert coordinators.asked == ["a:1"]
