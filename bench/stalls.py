"""How long the loop stands still (io): the longest answer to PING while something large goes, and
the longest turn of the loop in CPU time.

A server answers nobody while it frees a large value, flushes a database, expires or evicts a
million keys in one step. So one connection asks PING as fast as it is answered, another starts the
work, and the longest answer until the work is done is the stall, to which the noise of the machine
adds: the longest answer of an idle server, measured first, stands beside it. What the machine does
to others cannot add to CPU time, so a server that can measure its turns (DEBUG LONGEST-TURN, ours)
is asked for the longest of them too.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from bench.process import BenchError, Raw, Server
from bench.workloads import Argv

BATCH = 500
IDLE_SECONDS = 2.0
DONE_SECONDS_MAX = 60.0
PING = b"*1\r\n$4\r\nPING\r\n"


@dataclass(frozen=True, slots=True)
class Stall:
    """One scenario: the longest and the 99.9th percentile answer, in ms, and how long it took.

    `turn_ms` is the longest turn of the loop in CPU time, None where the server does not tell.
    """

    name: str
    longest_ms: float
    p999_ms: float
    seconds: float
    pings: int
    turn_ms: float | None


def _members(count: int) -> Iterator[range]:
    for start in range(0, count, BATCH):
        yield range(start, min(start + BATCH, count))


def _fill(kind: str, count: int) -> Iterator[Argv]:
    for run in _members(count):
        if kind == "hash":
            yield [b"HSET", b"big", *(p for i in run for p in (b"f:%012d" % i, b"x" * 32))]
        elif kind == "zset":
            yield [b"ZADD", b"big", *(p for i in run for p in (b"%d" % i, b"m:%012d" % i))]
        elif kind == "list":
            yield [b"RPUSH", b"big", *(b"x" * 32 for _ in run)]
        elif kind == "set":
            yield [b"SADD", b"big", *(b"m:%012d" % i for i in run)]
        elif kind == "stream":
            for i in run:
                yield [b"XADD", b"big", b"%d-1" % (i + 1), b"value", b"x" * 32]
        else:
            yield [b"MSET", *(p for i in run for p in (b"key:%012d" % i, b"x" * 64))]


class Probe:
    """Asks PING on a connection of its own, and keeps the time of each answer."""

    def __init__(self, port: int) -> None:
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.times: list[float] = []

    def watch(self, done: Callable[[], bool]) -> None:
        """Ask until done() says so."""
        link, times, clock = self.link, self.times, time.perf_counter
        while not done():
            start = clock()
            link.sendall(PING)
            answer = link.recv(64)
            times.append(clock() - start)
            if not answer.startswith(b"+PONG"):
                raise BenchError(f"PING was answered {answer!r}")

    def result(self, name: str, seconds: float, turn_ms: float | None) -> Stall:
        """What was seen."""
        self.link.close()
        times = sorted(self.times)
        return Stall(
            name,
            times[-1] * 1000,
            times[int(len(times) * 0.999)] * 1000,
            seconds,
            len(times),
            turn_ms,
        )


def longest_turn_ms(server: Server) -> float | None:
    """The longest turn since the last time this was asked; None if the server does not tell."""
    with Raw(server.port) as raw:
        try:
            found = raw.call(b"DEBUG", b"LONGEST-TURN", b"1")
        except BenchError:
            return None
    return found / 1000 if isinstance(found, int) else None


def _while(server: Server, name: str, work: Callable[[Raw], None]) -> Stall:
    """Probe the server while `work` runs in another thread."""
    problem: list[BaseException] = []
    # The other thread mostly sleeps; it may not make this one wait for the interpreter.
    sys.setswitchinterval(0.0002)

    def run() -> None:
        try:
            with Raw(server.port) as raw:
                work(raw)
        except (BenchError, OSError) as error:
            problem.append(error)

    longest_turn_ms(server)
    probe = Probe(server.port)
    thread = threading.Thread(target=run)
    started = time.perf_counter()
    thread.start()
    probe.watch(lambda: not thread.is_alive())
    thread.join()
    if problem:
        raise BenchError(f"{name}: {problem[0]}")
    seconds = time.perf_counter() - started
    return probe.result(name, seconds, longest_turn_ms(server))


def _until(raw: Raw, reached: Callable[[Raw], bool]) -> None:
    deadline = time.monotonic() + DONE_SECONDS_MAX
    while not reached(raw):
        if time.monotonic() > deadline:
            raise BenchError("the work was not done in time")
        time.sleep(0.02)


def _settled(raw: Raw) -> bool:
    """True when a quarter of a second passes without the memory changing."""
    before = _used(raw)
    time.sleep(0.25)
    return before == _used(raw)


def _used(raw: Raw) -> int:
    info = raw.call(b"INFO", b"memory")
    assert isinstance(info, bytes)
    return int(info.split(b"used_memory:")[1].split(b"\r\n")[0])


def _unlink(raw: Raw) -> None:
    raw.call(b"UNLINK", b"big")
    _until(raw, _settled)


def _flush(raw: Raw) -> None:
    raw.call(b"FLUSHALL", b"ASYNC")
    _until(raw, _settled)


def _expire(raw: Raw) -> None:
    _until(raw, lambda raw: raw.call(b"DBSIZE") == 0)


def _evict(raw: Raw) -> None:
    raw.call(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru")
    raw.call(b"CONFIG", b"SET", b"maxmemory", b"%d" % (_used(raw) // 2))
    limit = _used(raw) // 2
    _until(raw, lambda raw: _used(raw) <= limit * 1.1)
    raw.call(b"CONFIG", b"SET", b"maxmemory", b"0")


def scenarios(server: Server, count: int, rounds: int) -> Iterator[Stall]:
    """Every scenario, the round with the shortest stall of each: noise is not there each time.

    The longest turn is that of all rounds: there is no such noise in it.
    """
    found: dict[str, Stall] = {}
    turns: dict[str, list[float | None]] = {}
    for _ in range(rounds):
        for stall in one_round(server, count):
            turns.setdefault(stall.name, []).append(stall.turn_ms)
            best = found.get(stall.name)
            if best is None or stall.longest_ms < best.longest_ms:
                found[stall.name] = stall
    for stall in found.values():
        told = [turn for turn in turns[stall.name] if turn is not None]
        yield replace(stall, turn_ms=max(told, default=None))


def one_round(server: Server, count: int) -> Iterator[Stall]:
    """Every scenario once, each with its own data."""
    yield _while(server, "idle", lambda raw: time.sleep(IDLE_SECONDS))
    for kind in ("hash", "zset", "list", "set", "stream"):
        with Raw(server.port) as raw:
            raw.run(_fill(kind, count))
        yield _while(server, f"UNLINK {kind}", _unlink)
    with Raw(server.port) as raw:
        raw.run(_fill("keys", count))
    yield _while(server, "FLUSHALL ASYNC", _flush)
    with Raw(server.port) as raw:
        # All of them at the same time, late enough for the loading to be over.
        at = b"%d" % (int(time.time() * 1000) + max(4000, count // 40))
        raw.run([b"SET", b"key:%012d" % i, b"x" * 64, b"PXAT", at] for i in range(count))
        held = raw.call(b"DBSIZE")
        if held != count:
            raise BenchError(f"only {held!r} keys were loaded before the first expired")
    yield _while(server, "expiry of all keys", _expire)
    with Raw(server.port) as raw:
        raw.run(_fill("keys", count))
    yield _while(server, "eviction of half the keys", _evict)
    with Raw(server.port) as raw:
        raw.call(b"FLUSHALL")
