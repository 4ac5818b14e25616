"""Load on a cluster, every change of which is accounted for: nothing may be lost, doubled or stale.

Some threads go through the proxy, some talk to the nodes as cluster clients do (redis-py's
RedisCluster). Each has keys of its own, one of every type, and remembers what they must hold; each
element it adds is unique, so that one that is there twice shows as well as one that is missing. It
reads back what it wrote, so a stale answer shows at once. Commands that fail are counted.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

# Not a multiple of the five kinds of steps: each kind comes to each place.
KEYS = 41
# A client that sends a command again would do it twice.
ONCE: dict[str, Any] = {"socket_timeout": 30, "retry": Retry(NoBackoff(), 0)}


class Worker(threading.Thread):
    """One client with keys of its own."""

    def __init__(self, name: str, client: Any) -> None:
        super().__init__(daemon=True)
        self.id = name
        self.client = client
        self.stopped = False
        self.counters: dict[str, int] = {}
        self.sets: dict[str, set[str]] = {}
        self.lists: dict[str, list[str]] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.errors: list[str] = []
        self.stale: list[str] = []
        self.doubtful: set[str] = set()
        # (when, seconds) of each command.
        self.times: list[tuple[float, float]] = []

    def run(self) -> None:
        at = 0
        while not self.stopped:
            at += 1
            began = time.monotonic()
            try:
                self.step(at)
            except redis.RedisError as error:
                self.errors.append(f"{self.name_of(at)}: {error}")
                # Whether it was done nobody knows.
                self.doubtful.add(self.name_of(at))
            now = time.monotonic()
            self.times.append((now, now - began))

    def name_of(self, at: int) -> str:
        """The key of a command."""
        return f"{'nslhn'[at % 5]}{self.id}:{at % KEYS}"

    def step(self, at: int) -> None:
        """One command, and now and then a look at what an earlier one left."""
        place, kind = at % KEYS, at % 5
        key, text = f"{self.id}:{place}", f"{self.id}-{at}"
        client = self.client
        if kind == 0:
            self.counters[f"n{key}"] = wanted = self.counters.get(f"n{key}", 0) + 1
            found = client.incr(f"n{key}")
            if found != wanted and f"n{key}" not in self.doubtful:
                self.stale.append(f"n{key}: {found}, not {wanted}")
            if found != wanted:
                self.counters[f"n{key}"] = found
        elif kind == 1:
            self.sets.setdefault(f"s{key}", set()).add(text)
            client.sadd(f"s{key}", text)
        elif kind == 2:
            self.lists.setdefault(f"l{key}", []).append(text)
            client.rpush(f"l{key}", text)
        elif kind == 3:
            self.hashes.setdefault(f"h{key}", {})[f"f{at % 7}"] = text
            client.hset(f"h{key}", f"f{at % 7}", text)
        elif (wanted := self.counters.get(f"n{key}")) is not None:
            found = int(client.get(f"n{key}") or 0)
            if found != wanted and f"n{key}" not in self.doubtful:
                self.stale.append(f"n{key}: {found} read, not {wanted}")

    def problems(self, client: Any) -> list[str]:
        """What is not as it must be, asked for through `client`."""
        found = [*self.stale, *(f"error: {error}" for error in self.errors)]
        sure = self.doubtful.isdisjoint
        for name, number in self.counters.items():
            if sure({name}) and int(client.get(name) or 0) != number:
                found.append(f"{name}: {client.get(name)}, not {number}")
        for name, members in self.sets.items():
            if sure({name}) and {m.decode() for m in client.smembers(name)} != members:
                found.append(f"{name}: other members")
        for name, items in self.lists.items():
            if sure({name}) and [m.decode() for m in client.lrange(name, 0, -1)] != items:
                found.append(f"{name}: other elements, or in another order")
        for name, fields in self.hashes.items():
            held = {f.decode(): v.decode() for f, v in client.hgetall(name).items()}
            if sure({name}) and held != fields:
                found.append(f"{name}: other fields")
        return found

    def keys(self) -> int:
        """How many keys it has made."""
        return sum(map(len, (self.counters, self.sets, self.lists, self.hashes)))


class Load:
    """Workers of both kinds, for the length of a block."""

    def __init__(self, proxy: int, node: int, through_proxy: int = 2, direct: int = 2) -> None:
        self.proxy = proxy
        self.workers = [
            Worker(f"p{i}", redis.Redis(port=proxy, **ONCE)) for i in range(through_proxy)
        ]
        self.workers += [
            Worker(
                f"d{i}",
                RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", node)], socket_timeout=30),
            )
            for i in range(direct)
        ]

    def __enter__(self) -> Load:
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stopped = True
        for worker in self.workers:
            worker.join(30)

    def problems(self) -> list[str]:
        """What is not as it must be, of all workers; to be asked when they have ended."""
        client = redis.Redis(port=self.proxy)
        return [problem for worker in self.workers for problem in worker.problems(client)]

    def keys(self) -> int:
        """How many keys were made."""
        return sum(worker.keys() for worker in self.workers)

    def commands(self) -> int:
        """How many commands were sent."""
        return sum(len(worker.times) for worker in self.workers)

    def latency_ms(self, since: float, until: float, share: float, kind: str = "p") -> float:
        """A percentile of the times of commands that ended then, of one kind of workers."""
        found = sorted(
            seconds for worker in self.workers if worker.id.startswith(kind)
            for when, seconds in worker.times if since <= when < until
        )  # fmt: skip
        return found[min(len(found) - 1, int(len(found) * share))] * 1000 if found else 0.0
