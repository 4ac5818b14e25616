"""Shards come and go under load, with a large hash and many keys; figures, and what went wrong.

    python -m tests.moves.soak [--keys 1000000] [--hash-mb 100] [--replicas 0]

3 shards become 5 and 3 again. Prints what clients of the proxy and cluster clients felt meanwhile
and while nothing moved, and exits with 1 if anything was lost, doubled, stale or an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import redis

from tests.e2e.cluster import free_ports, isthmus, running
from tests.moves.load import Load

IDLE_SECONDS = 15.0
FIELD_BYTES = 100
SCALE_SECONDS_MAX = 1800.0


def fill(client: redis.Redis, keys: int, hash_bytes: int) -> int:
    """The keys and the hash; how many fields that has."""
    for start in range(0, keys, 2000):
        client.mset({f"key{i}": f"value{i}" for i in range(start, min(keys, start + 2000))})
    fields = hash_bytes // FIELD_BYTES
    for start in range(0, fields, 2000):
        names = range(start, min(fields, start + 2000))
        client.hset("big", mapping={f"field{i}": f"{i:0{FIELD_BYTES - 12}}" for i in names})
    return fields


def wrong(client: redis.Redis, keys: int, fields: int, load: Load) -> list[str]:
    """What is not as it must be."""
    found = load.problems()
    wanted = keys + 1 + load.keys()
    for what, number in (
        ("DBSIZE", client.dbsize()),
        ("keys listed", sum(1 for _ in client.scan_iter(count=5000))),
    ):
        if number != wanted:
            found.append(f"{what}: {number}, not {wanted}")
    for start in range(0, keys, 2000):
        names = [f"key{i}" for i in range(start, min(keys, start + 2000))]
        for name, value in zip(names, client.mget(names), strict=True):
            if value != b"value" + name[3:].encode():
                found.append(f"{name}: {value!r}")
    seen = 0
    for field, value in client.hscan_iter("big", count=5000):
        seen += 1
        if value != f"{int(field[5:]):0{FIELD_BYTES - 12}}".encode():
            found.append(f"big {field!r}: {value!r}")
    if seen != fields or client.hlen("big") != fields:
        found.append(f"big: {seen} fields, not {fields}")
    return found


def main() -> int:
    """Run it; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--hash-mb", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isthmus-moves-") as folder:
        data = Path(folder) / "data"
        more = ["--replicas", str(args.replicas), "--persistence", "off"]
        with running(data, 3, *more, ports=free_ports(5 * (1 + args.replicas))) as cluster:
            client = redis.Redis(port=cluster.ports.proxy)
            fields = fill(client, args.keys, args.hash_mb << 20)
            print(f"{args.keys:,} keys and a hash of {fields:,} fields are there", flush=True)
            spans: list[tuple[str, float, float]] = []
            with Load(cluster.ports.proxy, cluster.ports.node) as load:
                began = time.monotonic()
                time.sleep(IDLE_SECONDS)
                spans.append(("nothing moves", began, time.monotonic()))
                for shards in (5, 3):
                    began = time.monotonic()
                    words = ("scale", "--shards", str(shards), "--data-dir", str(data))
                    done = isthmus(*words, seconds=SCALE_SECONDS_MAX)
                    assert done.returncode == 0, done.stdout + done.stderr
                    spans.append((f"to {shards} shards", began, time.monotonic()))
                    print(f"{shards} shards after {spans[-1][2] - began:.1f} s", flush=True)
            for kind, name in (("p", "proxy"), ("d", "RedisCluster")):
                for what, since, until in spans:
                    figures = " ".join(
                        f"p{share * 100:g} {load.latency_ms(since, until, share, kind):.2f} ms"
                        for share in (0.5, 0.99, 0.999, 1.0)
                    )
                    print(f"{name:13} {what:14} {figures}")
            problems = wrong(client, args.keys, fields, load)
            print(f"{load.commands():,} commands; {len(problems)} problems")
            for problem in problems[:20]:
                print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
