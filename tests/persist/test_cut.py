"""The cut against commands of every kind that run while it is taken."""

from __future__ import annotations

import random

import pytest

from tests.persist.cutting import Cutting, Mirrored, make_tiny

SEEDS = 40


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_cut_is_what_was_there(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    Cutting(seed).run_all(60, 60)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_cut_that_is_given_up(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    Cutting(seed + 1000, cancel=True).run_all(60, 60)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_the_cut_of_a_replica(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    Mirrored(seed + 2000).run_all(60, 60)
