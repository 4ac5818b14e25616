"""What it costs to keep data: a snapshot of many keys written and read (io).

Each server is filled with the same mix of keys, and then asked three things:

- BGSAVE while nobody else asks for anything: how long it takes;
- BGSAVE while a client overwrites 2,000 keys a second: how long, how much memory it
  takes beside the data (redis-server: what its child had to copy; ours: the peak of the process
  above what it was), and how long the client waits, against how long it waits when nothing is
  saved;
- a start from the file: how long until the data can be asked for.

Of ten keys six are strings of 32 to 160 bytes, and one each a hash, a sorted set, a list and a set
of eight elements.
"""

from __future__ import annotations

import random
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.process import (
    BenchError,
    Raw,
    Server,
    cpu_ns,
    free_port,
    last_lines,
    reset_peak,
    start,
    status_kib,
    stop,
)
from bench.workloads import Argv

IDLE_SECONDS = 4.0
SAVE_SECONDS_MAX = 600.0
LOAD_SECONDS_MAX = 600.0
ELEMENTS = 8
WRITES_PER_SECOND = 2000
POLL_SECONDS = 0.01
# How long before a write is due its client stops sleeping and looks at the clock.
SPIN_SECONDS = 0.000_15


@dataclass(frozen=True, slots=True)
class Saving:
    """One server: seconds, bytes, and waits of the writing client in ms."""

    name: str
    keys: int
    data_bytes: int
    file_bytes: int
    save_seconds: float
    save_cpu_seconds: float
    busy_save_seconds: float
    extra_bytes: int
    load_seconds: float
    load_cpu_seconds: float
    idle_p50_ms: float
    idle_p999_ms: float
    busy_p50_ms: float
    busy_p999_ms: float
    busy_longest_ms: float
    idle_writes: int
    busy_writes: int


@dataclass(frozen=True, slots=True)
class Budgets:
    """Of save and load seconds against the peer's; of the memory beside the data, as a share of it;
    of the p99.9 of writes while saving, against when nothing is saved."""

    seconds_ratio: float = 1.5
    extra_share: float = 0.1
    slower_ratio: float = 2.0


def mixed(count: int) -> Iterator[Argv]:
    """The commands that make `count` keys; the same for every server."""
    draw = random.Random(7)
    text = draw.randbytes(1 << 16).hex().encode()
    for i in range(count):
        kind = i % 10
        at = draw.randrange(len(text) - 200)
        if kind < 6:
            yield [b"SET", b"string:%d" % i, text[at : at + draw.randrange(32, 160)]]
            continue
        words = [text[at + 8 * n : at + 8 * n + 12] for n in range(ELEMENTS)]
        if kind == 6:
            fields = [word for n in range(ELEMENTS) for word in (b"field%d" % n, words[n])]
            yield [b"HSET", b"hash:%d" % i, *fields]
        elif kind == 7:
            pairs = [word for n in range(ELEMENTS) for word in (b"%d" % (at + n), words[n])]
            yield [b"ZADD", b"zset:%d" % i, *pairs]
        elif kind == 8:
            yield [b"RPUSH", b"list:%d" % i, *words]
        else:
            yield [b"SADD", b"set:%d" % i, *words]


def begin(name: str, command: str, folder: Path) -> tuple[Server, float, int]:
    """Start a server on its folder; seconds until it serves its data, and its CPU until then."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    words = shlex.split(command.replace("{port}", str(port)))
    started = time.perf_counter()
    child = start([*words, "--dir", str(folder), "--save", ""], log)
    try:
        while True:
            if child.poll() is not None or time.perf_counter() - started > LOAD_SECONDS_MAX:
                raise BenchError(f"{name} did not start:\n{last_lines(log)}")
            try:
                with Raw(port, seconds_max=10) as raw:
                    if raw.call(b"PING") == b"PONG":
                        break
            except (OSError, BenchError):
                pass
            time.sleep(POLL_SECONDS)
    except BenchError:
        stop(child)
        raise
    seconds = time.perf_counter() - started
    return Server(name, port, child.pid, [child]), seconds, cpu_ns(child.pid)


class Writer:
    """Overwrites strings on a connection of its own and keeps how long each took."""

    def __init__(self, port: int, keys: int) -> None:
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        draw = random.Random(11)
        value = b"w" * 64
        self.requests = []
        for _ in range(20_000):
            i = draw.randrange(keys)
            key = b"string:%d" % (i - i % 10 + i % 6)
            self.requests.append(
                b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$64\r\n%b\r\n" % (len(key), key, value)
            )
        self.times: list[float] = []

    def write(self, done: Callable[[], bool]) -> list[float]:
        """Write until done() says so; the times in ms, sorted.

        At a fixed rate, each time counted from when the write was due: a server that stands still
        lets all writes wait that were due meanwhile. Between two writes the client sleeps, because
        one that never did would take a processor away from the server and what writes its file; in
        the last moment it does not, because its own waking up would be counted.
        """
        link, times, clock, requests = self.link, self.times, time.perf_counter, self.requests
        times.clear()
        at = 0
        due = clock()
        while not done():
            for _ in range(16):
                due += 1 / WRITES_PER_SECOND
                wait = due - clock() - SPIN_SECONDS
                if wait > 0:
                    time.sleep(wait)
                while clock() < due:
                    pass
                link.sendall(requests[at % len(requests)])
                answer = link.recv(64)
                times.append(clock() - due)
                at += 1
                if answer != b"+OK\r\n":
                    raise BenchError(f"SET was answered {answer!r}")
        return sorted(seconds * 1000 for seconds in times)


def save(raw: Raw, file: Path) -> float:
    """Run BGSAVE to its end; how long it took.

    The end is that there is a new file. The server is not asked: its answers take their turn, too,
    and would be a good part of the waits that are measured.
    """
    old = file.stat().st_ino if file.exists() else 0
    started = time.perf_counter()
    raw.call(b"BGSAVE")
    while time.perf_counter() - started < SAVE_SECONDS_MAX:
        if file.exists() and file.stat().st_ino != old:
            seconds = time.perf_counter() - started
            while info(raw, "rdb_bgsave_in_progress") != "0":
                time.sleep(POLL_SECONDS)
            if info(raw, "rdb_last_bgsave_status") != "ok":
                raise BenchError("BGSAVE failed")
            return seconds
        time.sleep(POLL_SECONDS)
    raise BenchError("BGSAVE takes too long")


def info(raw: Raw, name: str, section: bytes = b"persistence") -> str:
    """A field of INFO."""
    text = raw.call(b"INFO", section)
    assert isinstance(text, bytes)
    for line in text.decode().splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2]
    raise BenchError(f"INFO has no {name}")


def at(sorted_ms: list[float], share: float) -> float:
    """A percentile."""
    return sorted_ms[min(int(len(sorted_ms) * share), len(sorted_ms) - 1)]


def measure(
    name: str, command: str, folder: Path, keys: int, tell: Callable[[str], None]
) -> Saving:
    """All figures of one server."""
    tell(f"{name}: filling")
    server, _, _ = begin(name, command, folder)
    try:
        with Raw(server.port, seconds_max=SAVE_SECONDS_MAX) as raw:
            raw.run(mixed(keys))
            data_bytes = int(info(raw, "used_memory", b"memory"))
            tell(f"{name}: saving, nothing else")
            before_ns = cpu_ns(server.pid)
            file = folder / "dump.rdb"
            save_seconds = save(raw, file)
            save_cpu_ns = cpu_ns(server.pid) - before_ns
            writer = Writer(server.port, keys)
            tell(f"{name}: writing, nothing saved")
            until = time.perf_counter() + IDLE_SECONDS
            idle = writer.write(lambda: time.perf_counter() > until)
            tell(f"{name}: saving while a client writes")
            resident = status_kib(server.pid, "VmRSS")
            reset_peak(server.pid)
            seconds: list[float] = []
            thread = threading.Thread(target=lambda: seconds.append(save(raw, file)))
            thread.start()
            busy = writer.write(lambda: not thread.is_alive())
            thread.join()
            peak = status_kib(server.pid, "VmHWM")
            copied = int(info(raw, "rdb_last_cow_size"))
        extra = copied if name == "redis-server" else (peak - resident) * 1024
    finally:
        server.stop()
    tell(f"{name}: starting from the file")
    again, load_seconds, load_ns = begin(name, command, folder)
    try:
        with Raw(again.port) as raw:
            if raw.call(b"DBSIZE") != keys:
                raise BenchError(f"{name} came back with another number of keys")
    finally:
        again.stop()
    return Saving(
        name, keys, data_bytes, (folder / "dump.rdb").stat().st_size, save_seconds,
        save_cpu_ns / 1e9, seconds[0], extra, load_seconds, load_ns / 1e9, at(idle, 0.5),
        at(idle, 0.999), at(busy, 0.5), at(busy, 0.999), busy[-1], len(idle), len(busy),
    )  # fmt: skip


def empty_start(name: str, command: str, folder: Path) -> float:
    """Seconds that a start takes without data, which are no part of loading."""
    server, seconds, _ = begin(name, command, folder)
    server.stop()
    return seconds
