"""The tests of large structures: commands whose cost must not grow with what they work on.

Each works on one structure of a million elements (``Load.keyspace``), made once for both servers,
and is shaped so that every request does the same amount of work however many have run before:
additions replace or add within the same names, draws leave the element where it is. What Redis
documents as O(log n) or O(1) shows here as a cost near that of a small structure; what it documents
as O(n) (LINSERT) is compared at the same n. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.workloads import RANDOM, Argv, Load, Workload

BATCH = 500
NAMES = ("big:zset", "big:hash", "big:list", "big:stream", "big:set")


def _names(load: Load) -> Iterator[range]:
    for start in range(0, load.keyspace, BATCH):
        yield range(start, min(start + BATCH, load.keyspace))


def _zset(load: Load) -> Iterator[Argv]:
    for run in _names(load):
        pairs = [part for i in run for part in (b"%d" % (i * 7919 % 1_000_003), b"m:%012d" % i)]
        yield [b"ZADD", b"big:zset", *pairs]


def _hash(load: Load) -> Iterator[Argv]:
    for run in _names(load):
        yield [b"HSET", b"big:hash", *(p for i in run for p in (b"f:%012d" % i, load.value))]


def _list(load: Load) -> Iterator[Argv]:
    for run in _names(load):
        yield [b"RPUSH", b"big:list", *(b"%012d" % i for i in run)]


def _stream(load: Load) -> Iterator[Argv]:
    for i in range(load.keyspace):
        yield [b"XADD", b"big:stream", b"%d-1" % (i + 1), b"name", b"%d" % i, b"value", load.value]


def _set(load: Load) -> Iterator[Argv]:
    for run in _names(load):
        yield [b"SADD", b"big:set", *(b"m:%012d" % i for i in run)]


def _keys(load: Load) -> Iterator[Argv]:
    for run in _names(load):
        yield [b"MSET", *(part for i in run for part in (b"key:%012d" % i, b"0"))]


def _nothing(load: Load) -> Iterator[Argv]:
    return iter(())


PREPARATIONS = (_zset, _hash, _list, _stream, _set, _keys)

LARGE: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("ZADD", ("ZADD", "big:zset", RANDOM, f"m:{RANDOM}"), _nothing),
        Workload("ZRANK", ("ZRANK", "big:zset", f"m:{RANDOM}"), _nothing),
        Workload(
            "ZRANGEBYSCORE",
            ("ZRANGEBYSCORE", "big:zset", RANDOM, "+inf", "LIMIT", "0", "10"),
            _nothing,
        ),
        Workload("HSET", ("HSET", "big:hash", f"f:{RANDOM}", "{value}"), _nothing),
        Workload("HSCAN", ("HSCAN", "big:hash", RANDOM), _nothing),
        Workload("LINDEX", ("LINDEX", "big:list", "500000"), _nothing),
        Workload(
            "LINSERT",
            ("LINSERT", "big:list", "BEFORE", "000000500000", "{value}"),
            _nothing,
            weight=400,
        ),
        Workload("XADD", ("XADD", "big:stream", "*", "name", RANDOM, "value", "{value}"), _nothing),
        Workload("XRANGE", ("XRANGE", "big:stream", RANDOM, "+", "COUNT", "10"), _nothing),
        Workload("SPOP", ("SPOP", "big:set"), _nothing),
        Workload("SRANDMEMBER", ("SRANDMEMBER", "big:set"), _nothing),
        Workload("SCAN", ("SCAN", RANDOM), _nothing),
    )
}


def fill(load: Load) -> Iterator[Argv]:
    """Every structure the tests work on."""
    for make in PREPARATIONS:
        yield from make(load)
