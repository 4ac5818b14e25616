"""Campaigns: what happens to a cluster under load when its parts are killed, stopped, handed over.

    python -m tests.failover.campaign kill --times 30 --durability replica
    python -m tests.failover.campaign planned --times 30
    python -m tests.failover.campaign stop | zone | coordinator

Prints a table, and exits with 1 if something acknowledged was lost that no receipt names.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from isthmus.node.commands import load_all
from isthmus.node.replicate.quarantine import commands_of
from isthmus.wire.resp import pack
from tests.e2e import cluster as e2e
from tests.failover.load import Lines, Load
from tests.support.peer import Peer

HEAL_SECONDS_MAX = 40.0
FLOOD_VALUES = 120
FLOOD_VALUE_BYTES = 200_000


class World:
    """A cluster with replicas, and what it says of itself."""

    def __init__(self, cluster: e2e.Cluster) -> None:
        self.cluster = cluster
        self.port = cluster.ports.proxy

    def here(self) -> tuple[str, ...]:
        """How a command is told of this cluster."""
        return "--data-dir", str(self.cluster.data_dir)

    def status(self) -> dict[str, Any]:
        done = e2e.isthmus("status", "--json", *self.here())
        return dict(json.loads(done.stdout))

    def shards(self) -> dict[int, list[tuple[int, int]]]:
        return {
            int(row["number"]): [(a, b) for a, b in row["slots"]] for row in self.status()["shards"]
        }

    def primaries(self, status: dict[str, Any] | None = None) -> dict[int, dict[str, Any]]:
        rows = (status or self.status())["processes"]
        return {int(row["shard"]): row for row in rows if row["role"] == "primary"}

    def whole(self, status: dict[str, Any]) -> bool:
        """Every wanted copy is there and in sync."""
        wanted = status["replicas_wanted"]
        return all(len(row["synced"]) >= wanted for row in status["shards"]) and all(
            row["state"] == "up" for row in status["processes"]
        )

    def heal(self) -> float:
        """Wait until the cluster is whole; how long it took."""
        began = time.monotonic()
        while not self.whole(status := self.status()):
            if time.monotonic() - began > HEAL_SECONDS_MAX:
                raise AssertionError(f"not whole again: {json.dumps(status, indent=1)}")
            time.sleep(0.2)
        return time.monotonic() - began

    def quarantined(self) -> set[bytes]:
        """The keys of all commands that are kept in quarantines."""
        load_all()
        return {
            key
            for path in self.cluster.data_dir.glob("**/quarantine/*.aof")
            for _, keys in commands_of(path.read_bytes())
            for key in keys
        }

    def receipts(self) -> list[dict[str, Any]]:
        found = sorted(self.cluster.data_dir.glob("**/quarantine/*.json"))
        return [dict(json.loads(path.read_text())) for path in found]


@contextmanager
def world(
    shards: int, replicas: int, durability: str, persistence: str = "aof:everysec"
) -> Iterator[World]:
    """A cluster of that shape in three zones."""
    with tempfile.TemporaryDirectory(prefix="isthmus-failover-") as folder:
        ports = e2e.free_ports(shards * (1 + replicas))
        running = e2e.start(
            ports, Path(folder) / "data", shards, "--replicas", str(replicas), "--zones", "a,b,c",
            "--durability", durability, "--persistence", persistence,
        )  # fmt: skip
        try:
            made = World(running)
            made.heal()
            yield made
        finally:
            printed = e2e.stop(running)
            if os.environ.get("ISTHMUS_SHOW"):
                print(printed)


def quantile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def kills(it: World, load: Load, times: int, rng: random.Random) -> dict[str, Any]:
    """SIGKILL random primaries; how long until each shard acknowledges a write again."""
    took: list[float] = []
    healed: list[float] = []
    for _ in range(times):
        shard, row = rng.choice(sorted(it.primaries().items()))
        moment = time.monotonic()
        os.kill(int(row["pid"]), signal.SIGKILL)
        took.append(first_write(load, shard, moment))
        healed.append(it.heal())
        print(f"  shard {shard}: {took[-1]:.2f} s to a write, whole after {healed[-1]:.1f} s")
    return {"seconds": took, "healed": healed}


def first_write(load: Load, shard: int, moment: float) -> float:
    probe = load.probes[shard]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = probe.first_after(moment)
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"shard {shard} takes no writes: {probe.errors}")


def planned(it: World, load: Load, times: int, rng: random.Random) -> dict[str, Any]:
    """Hand random shards over; the longest pause of each shard's probe."""
    took: list[float] = []
    for _ in range(times):
        shard = rng.choice(sorted(it.primaries()))
        moment = time.monotonic()
        done = e2e.isthmus(
            "failover", str(shard), "--json", "--data-dir", str(it.cluster.data_dir)
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        time.sleep(0.3)
        took.append(load.probes[shard].longest(moment - 0.5, time.monotonic()))
        it.heal()
        print(f"  shard {shard}: a pause of {took[-1] * 1000:.0f} ms")
    return {"seconds": took}


def stops(it: World, load: Load, times: int, rng: random.Random) -> dict[str, Any]:
    """SIGSTOP random primaries past their lease, let the shard fail over, SIGCONT."""
    took: list[float] = []
    for _ in range(times):
        shard, row = rng.choice(sorted(it.primaries().items()))
        moment = time.monotonic()
        os.kill(int(row["pid"]), signal.SIGSTOP)
        try:
            took.append(first_write(load, shard, moment))
            time.sleep(1.0)
        finally:
            os.kill(int(row["pid"]), signal.SIGCONT)
        healed = it.heal()
        now = it.primaries()[shard]
        assert now["pid"] != row["pid"], "the one that was stopped leads again"
        print(f"  shard {shard}: {took[-1]:.2f} s to a write, whole after {healed:.1f} s")
    return {"seconds": took}


def losses(it: World, load: Load, times: int, rng: random.Random) -> dict[str, Any]:
    """Kill primaries whose replicas lag: with `async` a tail is lost, and is in a receipt."""
    took: list[float] = []
    extra: set[bytes] = set()
    for _ in range(times):
        rows = it.status()["processes"]
        shard, row = rng.choice(sorted(it.primaries().items()))
        behind = [r for r in rows if r["role"] == "replica" and r["shard"] == shard]
        for replica in behind:
            os.kill(int(replica["pid"]), signal.SIGSTOP)
        try:
            # More than the buffers of the connection hold: the rest is at the primary alone.
            extra.update(flood(it.port, load.probes[shard].key, len(took)))
            moment = time.monotonic()
            os.kill(int(row["pid"]), signal.SIGKILL)
        finally:
            for replica in behind:
                os.kill(int(replica["pid"]), signal.SIGCONT)
        took.append(first_write(load, shard, moment))
        healed = it.heal()
        print(f"  shard {shard}: {took[-1]:.2f} s to a write, whole after {healed:.1f} s,"
              f" {len(it.receipts())} receipts so far")  # fmt: skip
    with closing(Peer(it.port)) as peer:
        missing = {key for key in extra if not peer("EXISTS", key)}
    unnamed = missing - it.quarantined()
    assert not unnamed, f"lost without a receipt: {unnamed}"
    return {"seconds": took, "lost_and_named": len(missing)}


def flood(port: int, tag: bytes, number: int) -> set[bytes]:
    """Write large values to one shard as quickly as it takes them; the keys acknowledged."""
    keys = [b"flood:{%s}:%d:%d" % (tag, number, n) for n in range(FLOOD_VALUES)]
    with closing(Lines(port)) as connection:
        for key in keys:
            connection.send(pack([b"SET", key, b"x" * FLOOD_VALUE_BYTES]))
        replies = [connection.reply() for _ in keys]
    return {key for key, reply in zip(keys, replies, strict=True) if reply == b"+OK\r\n"}


def zones(it: World, load: Load, times: int, rng: random.Random) -> dict[str, Any]:
    """Kill everything in one zone at once."""
    took: list[float] = []
    for _ in range(times):
        status = it.status()
        zone = rng.choice("abc")
        moment = time.monotonic()
        for row in status["processes"]:
            if row["zone"] == zone and row["role"] in ("primary", "replica", "spare"):
                os.kill(int(row["pid"]), signal.SIGKILL)
        for shard in sorted(load.probes):
            took.append(first_write(load, shard, moment))
        healed = it.heal()
        print(f"  zone {zone}: {max(took[-len(load.probes) :]):.2f} s to writes on every shard,"
              f" whole after {healed:.1f} s")  # fmt: skip
        for row in it.status()["shards"]:
            assert len(set(row["zones"])) == len(row["zones"]), row
    return {"seconds": took}


def without_coordinator(it: World, load: Load, times: int, rng: random.Random) -> dict[str, Any]:
    """Keep the coordinator stopped for `times` seconds; nobody may notice."""
    pid = next(int(r["pid"]) for r in it.status()["processes"] if r["role"] == "coordinator")
    before = sum(load.errors().values())
    moment = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(times)
    finally:
        os.kill(pid, signal.SIGCONT)
    errors = sum(load.errors().values()) - before
    assert not errors, load.errors()
    time.sleep(2)
    result = kills(it, load, 1, rng)
    pauses = [probe.longest(moment, moment + times) for probe in load.probes.values()]
    return {"seconds": result["seconds"], "errors": errors, "longest_pause": max(pauses)}


CAMPAIGNS: dict[str, Callable[[World, Load, int, random.Random], dict[str, Any]]] = {
    "kill": kills, "planned": planned, "stop": stops, "zone": zones, "loss": losses,
    "coordinator": without_coordinator,
}  # fmt: skip


def run(
    name: str,
    *,
    times: int,
    durability: str,
    shards: int = 3,
    replicas: int = 1,
    rate: float = 20_000,
    seed: int = 1,
    persistence: str = "aof:everysec",
) -> dict[str, Any]:
    """One campaign, from an empty cluster to the account of what was acknowledged."""
    with world(shards, replicas, durability, persistence) as it:
        load = Load(it.port, it.shards(), rate)
        load.start()
        began = time.monotonic()
        try:
            time.sleep(2)
            found = CAMPAIGNS[name](it, load, times, random.Random(seed))
        finally:
            load.stop()
        lasted = time.monotonic() - began
        it.heal()
        lost = load.lost()
        receipts = it.receipts()
        named = it.quarantined()
        found |= {
            "campaign": name, "durability": durability, "replicas": replicas,
            "operations": load.operations, "per_second": round(load.operations / lasted),
            "typical_per_second": round(load.typical_per_second()),
            "acknowledged": load.acked, "lost": len(lost),
            "lost_without_receipt": sum(key not in named for key in lost),
            "receipts": len(receipts), "errors": dict(load.errors().most_common(8)),
            "p50": quantile(found["seconds"], 0.5), "p99": quantile(found["seconds"], 0.99),
        }  # fmt: skip
        return found


def main() -> int:
    """Run a campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("campaign", choices=sorted(CAMPAIGNS))
    parser.add_argument("--times", type=int, default=5, help="kills; or seconds")
    parser.add_argument("--durability", default="replica")
    parser.add_argument("--persistence", default="aof:everysec")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = vars(parser.parse_args())
    found = run(args.pop("campaign"), **args)
    print(json.dumps({k: v for k, v in found.items() if k != "seconds"}, indent=1))
    return 1 if found["lost_without_receipt"] else 0


if __name__ == "__main__":
    sys.exit(main())
