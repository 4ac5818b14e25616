"""A few kills under each fsync policy; `make soak-persist` does many (crash.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.persist.crash import Harness

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_nothing_acknowledged_is_lost(policy: str, tmp_path: Path) -> None:
    harness = Harness(tmp_path, policy, 1, filler=2000)
    for number in range(2):
        harness.round(number, clients=2)
    harness.finish()
    assert harness.problems == []
    assert harness.figures["acknowledged"] > 0
