"""The tests: one command each, and the preparation that lets it do its named work.

Every request of a test must do what the test is called after. redis-benchmark's own list does not
promise that: its LPOP may meet an empty list, its GET may miss. So each workload names the keys it
wants to find (``prepare``), which both servers get through the same connection before the clock
starts, and a command (``leftover``) whose integer reply must be positive afterwards: had a pop
test drained its structure, the rest of its requests would have been cheap misses.

The commands and key names are redis-benchmark's. Numbers it puts in place of ``__rand_int__`` are
12 digits, uniform in ``0 .. keyspace - 1``. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Argv = list[bytes]
Preparation = Callable[["Load"], Iterator[Argv]]

RANDOM = "__rand_int__"
BATCH = 100
STRUCTURES = (b"mylist", b"myset", b"myhash", b"myzset")


@dataclass(frozen=True, slots=True)
class Load:
    """The size of one run: what is sent, how, and over how many keys."""

    requests: int
    pipeline: int
    clients: int
    keyspace: int
    value_bytes: int

    @property
    def value(self) -> bytes:
        """The value every write carries."""
        return b"x" * self.value_bytes

    @property
    def taken(self) -> int:
        """Upper bound of the requests sent: redis-benchmark finishes the batches in flight."""
        return self.requests + 2 * self.clients * self.pipeline


@dataclass(frozen=True, slots=True)
class Workload:
    """One test. ``weight`` divides the number of requests where one request is heavy."""

    name: str
    command: tuple[str, ...]
    prepare: Preparation
    leftover: tuple[bytes, ...] | None = None
    weight: int = 1

    def argv(self, load: Load) -> list[str]:
        """The command line redis-benchmark is given, with the value filled in."""
        value = load.value.decode()
        return [part.replace("{value}", value) for part in self.command]


def _nothing(load: Load) -> Iterator[Argv]:
    return iter(())


def _numbered(prefix: bytes, count: int) -> Iterator[list[bytes]]:
    """Batches of ``prefix`` + 12 digits, the names redis-benchmark makes of RANDOM."""
    for start in range(0, count, BATCH):
        yield [b"%s%012d" % (prefix, i) for i in range(start, min(start + BATCH, count))]


def _strings(load: Load) -> Iterator[Argv]:
    for names in _numbered(b"key:", load.keyspace):
        yield [b"MSET", *(part for name in names for part in (name, load.value))]


def _counters(load: Load) -> Iterator[Argv]:
    for names in _numbered(b"counter:", load.keyspace):
        yield [b"MSET", *(part for name in names for part in (name, b"0"))]


def _list_to_drain(load: Load) -> Iterator[Argv]:
    for _ in range(0, load.taken + BATCH, BATCH):
        yield [b"RPUSH", b"mylist", *[load.value] * BATCH]


def _list_to_read(load: Load) -> Iterator[Argv]:
    yield [b"RPUSH", b"mylist", *[load.value] * BATCH]


def _set_to_drain(load: Load) -> Iterator[Argv]:
    for names in _numbered(b"element:", load.taken + BATCH):
        yield [b"SADD", b"myset", *names]


def _zset_to_drain(load: Load) -> Iterator[Argv]:
    for names in _numbered(b"element:", load.taken + BATCH):
        # Scores in an order unlike that of the names, so that pops walk the whole structure.
        scores = [b"%d" % (int(name[-12:]) * 7919 % 1_000_003) for name in names]
        yield [b"ZADD", b"myzset", *(p for pair in zip(scores, names, strict=True) for p in pair)]


_MSET = ("MSET", *(part for _ in range(10) for part in (f"key:{RANDOM}", "{value}")))

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("PING", ("PING",), _nothing),
        Workload("SET", ("SET", f"key:{RANDOM}", "{value}"), _strings),
        Workload("GET", ("GET", f"key:{RANDOM}"), _strings),
        Workload("INCR", ("INCR", f"counter:{RANDOM}"), _counters),
        Workload("LPUSH", ("LPUSH", "mylist", "{value}"), _nothing, (b"LLEN", b"mylist")),
        Workload("RPUSH", ("RPUSH", "mylist", "{value}"), _nothing, (b"LLEN", b"mylist")),
        Workload("LPOP", ("LPOP", "mylist"), _list_to_drain, (b"LLEN", b"mylist")),
        Workload("RPOP", ("RPOP", "mylist"), _list_to_drain, (b"LLEN", b"mylist")),
        Workload("SADD", ("SADD", "myset", f"element:{RANDOM}"), _nothing, (b"SCARD", b"myset")),
        Workload(
            "HSET",
            ("HSET", "myhash", f"element:{RANDOM}", "{value}"),
            _nothing,
            (b"HLEN", b"myhash"),
        ),
        Workload("SPOP", ("SPOP", "myset"), _set_to_drain, (b"SCARD", b"myset")),
        Workload(
            "ZADD",
            ("ZADD", "myzset", RANDOM, f"element:{RANDOM}"),
            _nothing,
            (b"ZCARD", b"myzset"),
        ),
        Workload("ZPOPMIN", ("ZPOPMIN", "myzset"), _zset_to_drain, (b"ZCARD", b"myzset")),
        Workload("MSET", _MSET, _strings, weight=4),
        Workload(
            "LRANGE_100",
            ("LRANGE", "mylist", "0", "99"),
            _list_to_read,
            (b"LLEN", b"mylist"),
            weight=8,
        ),
    )
}


def cleaning(workload: Workload) -> Iterator[Argv]:
    """Commands that remove the one structure a test fills or drains, before it and after it."""
    name = workload.command[1].encode() if len(workload.command) > 1 else b""
    if name in STRUCTURES:
        yield [b"DEL", name]


def memory_load(keys: int, value_bytes: int) -> Iterator[Argv]:
    """SETs of ``keys`` different 16-byte keys, each with a different value of ``value_bytes``."""
    for i in range(keys):
        yield [b"SET", b"key:%012d" % i, b"%0*d" % (value_bytes, i)]


def choose(names: str) -> list[Workload]:
    """Workloads named in a comma-separated list (any case); KeyError names the unknown one."""
    chosen = []
    for name in names.upper().split(","):
        name = {"LRANGE": "LRANGE_100"}.get(name.strip(), name.strip())
        if name not in WORKLOADS:
            raise KeyError(name)
        chosen.append(WORKLOADS[name])
    return chosen
