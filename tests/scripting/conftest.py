"""Fixtures of the script tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.node.scripting.scripts import Scripts
from tests.support.store import Store

SMALL_BYTES = 16 << 20


@pytest.fixture
def store() -> Iterator[Store]:
    """A fresh node; after the test its effects are replayed and compared."""
    made = Store()
    yield made
    made.check_replay()
    made.check_snapshot()


@pytest.fixture
def small() -> Store:
    """A node whose scripts have little memory."""
    made = Store()
    Scripts(made.node, SMALL_BYTES)
    return made
