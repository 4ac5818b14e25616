"""Worlds for tests of the proxy; each is closed when its test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.proxy.world import World


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Make any number of worlds."""
    made: list[World] = []

    def make(*args: Any, **kwargs: Any) -> World:
        made.append(World(*args, **kwargs))
        return made[-1]

    yield make
    for world in made:
        world.close()
