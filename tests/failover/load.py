"""A load whose every acknowledged write is remembered, through the proxy of a cluster.

Writers send batches of a fixed mix at a fixed rate, each write to a key of its own, whose value
says which one it is. What is not answered, or with an error, may or may not have happened; what is
acknowledged must be there at the end, or be in a loss receipt.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from isthmus.wire.resp import pack
from isthmus.wire.slots import key_slot
from tests.support.peer import Peer

BATCH = 20
TIMEOUT_SECONDS = 15.0


@dataclass
class Written:
    """What one writer did: the numbers acknowledged, with when, and answers that were none."""

    acked: dict[int, float] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    operations: int = 0


def key_of(writer: int, sequence: int) -> bytes:
    """The key of a writer's write."""
    return b"w:%d:%d" % (writer, sequence)


class Writer(threading.Thread):
    """One connection: batches of half writes, half other commands, `rate` operations a second."""

    def __init__(self, number: int, port: int, rate: float) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.port = port
        self.period = BATCH / rate
        self.done = Written()
        self.stopping = threading.Event()
        self.sequence = 0

    def run(self) -> None:
        connection: Lines | None = None
        due = time.monotonic()
        while not self.stopping.is_set():
            due = max(due + self.period, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if connection is None:
                    connection = Lines(self.port)
                self.batch(connection)
            except OSError as error:
                self.done.errors[type(error).__name__] += 1
                self.done.reconnects += 1
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.05)
        if connection is not None:
            connection.close()

    def batch(self, connection: Lines) -> None:
        requests = []
        numbers: list[int | None] = []
        for at in range(BATCH):
            if at % 2 == 0:
                self.sequence += 1
                numbers.append(self.sequence)
                requests.append([b"SET", key_of(self.number, self.sequence), b"%d" % self.sequence])
            else:
                numbers.append(None)
                other = b"o:%d:%d" % (self.number, self.sequence % 1000)
                requests.append((
                    [b"GET", other], [b"INCR", b"c" + other], [b"HSET", b"h" + other, b"f", b"v"],
                    [b"GET", key_of(self.number, max(1, self.sequence - 50))],
                )[at // 2 % 4])  # fmt: skip
        connection.send(b"".join(map(pack, requests)))
        for number in numbers:
            reply = connection.reply()
            self.done.operations += 1
            if reply.startswith(b"-"):
                self.done.errors[reply[1:60].decode()] += 1
            elif number is not None:
                self.done.acked[number] = time.monotonic()


class Lines:
    """A connection whose replies are looked at only as far as their first line."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self.file = self.socket.makefile("rb", 1 << 16)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def reply(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("closed")
        if line.startswith(b"$") and line[1:2] != b"-":
            self.file.read(int(line[1:]) + 2)
        return line


class Probe(threading.Thread):
    """Writes to one shard all the time, one request after the other; when it was acknowledged."""

    def __init__(self, port: int, slots: list[tuple[int, int]], name: str) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.key = next(
            key for n in range(1_000_000)
            if any(a <= key_slot(key := b"probe:%s:%d" % (name.encode(), n)) <= b for a, b in slots)
        )  # fmt: skip
        self.stopping = threading.Event()
        # (sent, answered, whether it was acknowledged)
        self.samples: list[tuple[float, float, bool]] = []
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        connection: Lines | None = None
        count = 0
        while not self.stopping.is_set():
            count += 1
            sent = time.monotonic()
            try:
                if connection is None:
                    connection = Lines(self.port)
                connection.send(pack([b"SET", self.key, b"%d" % count]))
                reply = connection.reply()
                good = reply == b"+OK\r\n"
                if not good:
                    self.errors[reply[1:60].decode()] += 1
            except OSError as error:
                if connection is not None:
                    connection.close()
                good, connection = False, None
                self.errors[type(error).__name__] += 1
            self.samples.append((sent, time.monotonic(), good))
            time.sleep(0.005)
        if connection is not None:
            connection.close()

    def first_after(self, moment: float) -> float | None:
        """Seconds from `moment` to the first acknowledgement of a write sent after it."""
        for sent, answered, good in self.samples:
            if good and sent > moment:
                return answered - moment
        return None

    def longest(self, since: float, until: float) -> float:
        """The longest time between two acknowledgements in a period, in seconds."""
        times = [a for _, a, good in self.samples if good and since <= a <= until]
        return max((b - a for a, b in zip(times, times[1:], strict=False)), default=0.0)


class Load:
    """All writers, and a probe for each shard."""

    def __init__(self, port: int, shards: dict[int, list[tuple[int, int]]], rate: float) -> None:
        self.port = port
        writers = 16
        self.writers = [Writer(n, port, rate / writers) for n in range(writers)]
        self.probes = {n: Probe(port, slots, str(n)) for n, slots in shards.items()}

    def start(self) -> None:
        for thread in [*self.writers, *self.probes.values()]:
            thread.start()

    def stop(self) -> None:
        threads = [*self.writers, *self.probes.values()]
        for thread in threads:
            thread.stopping.set()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS * 2)

    def errors(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for thread in [*(w.done for w in self.writers), *self.probes.values()]:
            total.update(thread.errors)
        return total

    def lost(self) -> dict[bytes, float]:
        """Acknowledged writes that are not there, with when they were acknowledged."""
        missing = {}
        with closing(Peer(self.port)) as peer:
            for writer in self.writers:
                numbers = list(writer.done.acked)
                for at in range(0, len(numbers), 500):
                    part = numbers[at : at + 500]
                    found = peer("MGET", *(key_of(writer.number, n) for n in part))
                    for number, value in zip(part, found, strict=True):
                        if value != b"%d" % number:
                            missing[key_of(writer.number, number)] = writer.done.acked[number]
        return missing

    def typical_per_second(self) -> float:
        """Operations in the median second: while a shard is away everybody's batches wait for it,
        which pulls the mean down."""
        seconds = Counter(int(at) for writer in self.writers for at in writer.done.acked.values())
        return 2.0 * statistics.median(seconds.values()) if seconds else 0.0

    @property
    def operations(self) -> int:
        return sum(writer.done.operations for writer in self.writers)

    @property
    def acked(self) -> int:
        return sum(len(writer.done.acked) for writer in self.writers)
