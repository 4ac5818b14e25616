"""Worlds for tests of the proxy; each is closed when its test ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.proxy.world import Caller, Make, World


@pytest.fixture
def make_world() -> Iterator[Make]:
    """Make any number of worlds."""
    made: list[World] = []

    def make(*args: Any, **kwargs: Any) -> World:
        made.append(World(*args, **kwargs))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture(params=[1, 3])
def world(make_world: Make, request: pytest.FixtureRequest) -> World:
    """A world of real nodes, with one shard and, in a second run, with three."""
    made = make_world(request.param)
    made.reals()
    return made


@pytest.fixture
def alone(make_world: Make) -> World:
    """A world of one real node."""
    made = make_world(1)
    made.reals()
    return made


@pytest.fixture
def caller(world: World) -> Caller:
    """A client of `world`."""
    return world.caller()
