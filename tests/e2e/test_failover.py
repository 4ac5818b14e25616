"""Primaries that are killed, stopped and handed over while clients write; nothing promised is lost.

Small campaigns on one cluster of two shards with three copies each; `make soak-failover` runs the
long ones. What was acknowledged is looked for at the end, all of it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import isthmus
from tests.failover import campaign
from tests.failover.campaign import World
from tests.failover.load import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RATE = 2000
SECONDS_TO_WRITE_MAX = 10.0  # of a machine that does other things as well


@pytest.fixture(scope="module")
def it() -> Iterator[World]:
    with campaign.world(2, 2, "replica") as made:
        yield made


@pytest.fixture
def load(it: World) -> Iterator[Load]:
    it.heal()
    made = Load(it.port, it.shards(), RATE)
    made.start()
    yield made
    made.stop()
    it.heal()
    assert made.acked > 0
    assert made.lost() == {}


def test_a_killed_primary_is_replaced(it: World, load: Load) -> None:
    found = campaign.kills(it, load, 1, random.Random(1))
    assert found["seconds"][0] < SECONDS_TO_WRITE_MAX


def test_a_shard_is_handed_over_without_an_error(it: World, load: Load) -> None:
    found = campaign.planned(it, load, 2, random.Random(2))
    assert max(found["seconds"]) < SECONDS_TO_WRITE_MAX
    assert not load.errors()


def test_a_primary_that_was_stopped_comes_back_as_a_replica(it: World, load: Load) -> None:
    before = len(it.receipts())
    campaign.stops(it, load, 1, random.Random(3))
    receipts = it.receipts()[before:]
    # What it had alone was promised to nobody, and is kept all the same.
    assert all(receipt["kept"] for receipt in receipts)


def test_a_zone_is_lost(it: World, load: Load) -> None:
    campaign.zones(it, load, 1, random.Random(4))


def test_rebalance_spreads_primaries_over_zones(it: World, load: Load) -> None:
    rows = it.primaries()
    if rows[0]["zone"] != rows[1]["zone"]:
        status = it.status()["processes"]
        other = next(
            row for row in status
            if row["role"] == "replica" and (row["shard"], row["zone"]) == (1, rows[0]["zone"])
        )  # fmt: skip
        done = isthmus("failover", "1", "--to", other["id"], *it.here())
        assert done.returncode == 0, done.stderr
    assert len({row["zone"] for row in it.primaries().values()}) == 1
    shown = isthmus("rebalance", "--dry-run", *it.here())
    assert "takes over as primary" in shown.stdout
    done = isthmus("rebalance", *it.here())
    assert done.returncode == 0, done.stderr
    assert len({row["zone"] for row in it.primaries().values()}) == 2
    assert not load.errors()


def test_nobody_misses_the_coordinator(it: World, load: Load) -> None:
    pid = next(int(r["pid"]) for r in it.status()["processes"] if r["role"] == "coordinator")
    os.kill(pid, signal.SIGSTOP)
    try:
        # Longer than any lease.
        time.sleep(5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not load.errors()
