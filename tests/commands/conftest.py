"""Fixtures of the command tests: a store whose teardown proves replay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    """A fresh node; after the test its effects are replayed and compared."""
    made = Store()
    yield made
    made.check_replay()
    made.check_snapshot()


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def either(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A fresh node whose client speaks RESP2 and, in a second run, RESP3."""
    made = Store(protocol=request.param)
    yield made
    made.check_replay()
    made.check_snapshot()
