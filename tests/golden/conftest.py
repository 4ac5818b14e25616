"""The switch that writes transcripts anew: `pytest tests/golden --rewrite`, then read the diff."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write golden transcripts anew")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    # The option is unknown when pytest was started above this folder.
    return bool(request.config.getoption("--rewrite", default=False))
