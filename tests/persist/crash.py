"""Kill a node in the middle of writing, start it again, and see that nothing acknowledged is lost.

    python -m tests.persist.crash --policy always --times 50 --seconds 600

Several clients write numbered changes, each its own sequence of strings, lists, hashes, counters,
streams and transactions, some of them in pipelines, while a further client asks for BGSAVE and
BGREWRITEAOF all the time; at a random moment, often soon after one of these, the process is killed.
Started again on the same folder it must hold, for each client, exactly what the first `k` of its
changes make, where `k` lies between what it was told of and what it had sent: all acknowledged, a
prefix, no half transaction. That holds with every `appendfsync`: a killed process loses nothing
that it has handed to the system, and it answers after that. (Power cuts: test_power.py.)

The last line of output is a summary as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hiredis

PROGRAM = [sys.executable, "-m", "isthmus.cli.main", "node", "--standalone", "--port", "0"]
START_SECONDS_MAX = 60.0
SOCKET_SECONDS_MAX = 30.0
KINDS = ("set", "push", "hash", "incr", "add", "multi")
ROUNDS_KEPT = 3
FILLER_KEYS = 20_000
FILLER_ELEMENTS = 30_000


class Node:
    """A node process on a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.output = b""
        self.process = subprocess.Popen(
            [*PROGRAM, "--metrics-port", "-1", "--dir", str(folder), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.port = 0

    def wait_ready(self) -> Node:
        """Read its log until it serves; AssertionError with the log if it does not."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while b"node_ready" not in self.output or not self.output.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self.process.stdout], [], [], left)
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert piece, f"the node did not start: {self.output.decode(errors='replace')}"
            self.output += piece
        line = next(line for line in self.output.splitlines() if b"node_ready" in line)
        found = re.search(rb"127\.0\.0\.1:([0-9]+)", line)
        assert found is not None, line
        self.port = int(found[1])
        return self

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def stop(self) -> int:
        self.process.terminate()
        self.end()
        return self.process.returncode

    def end(self) -> None:
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait()


class Link:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SOCKET_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def reply(self) -> Any:
        """The next reply; ConnectionError if there is none any more."""
        while (reply := self.reader.gets()) is False:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("closed")
            self.reader.feed(data)
        return reply

    def __call__(self, *argv: Any) -> Any:
        self.socket.sendall(hiredis.pack_command(argv))
        return self.reply()

    def close(self) -> None:
        self.socket.close()


@dataclass
class Sequence:
    """The changes of one client: the kind of each, how many were sent, how many acknowledged."""

    name: str
    db: int
    kinds: list[str] = field(default_factory=list)
    sent: int = 0
    acknowledged: int = 0

    def requests(self, n: int) -> list[tuple[Any, ...]]:
        """The requests of change number n."""
        name, kind = self.name, self.kinds[n]
        if kind == "set":
            return [("SET", f"{name}:set", n)]
        if kind == "push":
            return [("RPUSH", f"{name}:list", n)]
        if kind == "hash":
            return [("HSET", f"{name}:hash", f"f{n % 50}", n)]
        if kind == "incr":
            return [("INCRBY", f"{name}:incr", n)]
        if kind == "add":
            return [("XADD", f"{name}:stream", f"{n + 1}-1", "n", n)]
        return [
            ("MULTI",), ("SET", f"{name}:m1", n), ("RPUSH", f"{name}:mlist", n),
            ("SET", f"{name}:m2", n), ("EXEC",),
        ]  # fmt: skip

    def after(self, count: int) -> dict[str, Any]:
        """What the first `count` changes make."""
        made: dict[str, Any] = {}
        for n, kind in enumerate(self.kinds[:count]):
            text = str(n).encode()
            if kind == "set":
                made["set"] = text
            elif kind == "push":
                made.setdefault("list", []).append(text)
            elif kind == "hash":
                made.setdefault("hash", {})[f"f{n % 50}".encode()] = text
            elif kind == "incr":
                made["incr"] = made.get("incr", 0) + n
            elif kind == "add":
                made.setdefault("stream", []).append(n)
            else:
                made["m1"] = made["m2"] = text
                made.setdefault("mlist", []).append(text)
        return made

    def held(self, link: Link) -> dict[str, Any]:
        """What a node holds of it."""
        link("SELECT", self.db)
        found: dict[str, Any] = {}
        for part in ("set", "m1", "m2", "incr"):
            value = link("GET", f"{self.name}:{part}")
            if value is not None:
                found[part] = int(value) if part == "incr" else value
        for part in ("list", "mlist"):
            if items := link("LRANGE", f"{self.name}:{part}", 0, -1):
                found[part] = items
        if flat := link("HGETALL", f"{self.name}:hash"):
            found["hash"] = dict(zip(flat[::2], flat[1::2], strict=True))
        if entries := link("XRANGE", f"{self.name}:stream", "-", "+"):
            found["stream"] = [int(fields[1]) for _, fields in entries]
        return found

    def check(self, link: Link) -> tuple[int, str]:
        """How many of its changes a node holds, and what is wrong with that, if anything."""
        found = self.held(link)
        # Between what was acknowledged and what was sent are a few changes at most.
        for count in range(self.acknowledged, self.sent + 1):
            if self.after(count) == found:
                return count, ""
        for count in range(self.acknowledged):
            if self.after(count) == found:
                return count, f"{self.name}: {count} of {self.acknowledged} acknowledged are there"
        return 0, f"{self.name}: what is there is no prefix of what was written"


class Writer(threading.Thread):
    """Writes one sequence until the connection ends."""

    def __init__(self, sequence: Sequence, port: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.sequence = sequence
        self.rng = random.Random(seed)
        self.link = Link(port)
        self.problem = ""

    def run(self) -> None:
        sequence, rng = self.sequence, self.rng
        try:
            self.link("SELECT", sequence.db)
            while True:
                count = rng.choice((1, 1, 1, 2, 5, 20))
                first = len(sequence.kinds)
                sequence.kinds += rng.choices(KINDS, k=count)
                requests = [sequence.requests(n) for n in range(first, first + count)]
                sequence.sent = first + count
                packed = [hiredis.pack_command(argv) for each in requests for argv in each]
                self.link.socket.sendall(b"".join(packed))
                for each in requests:
                    replies = [self.link.reply() for _ in each]
                    wrong = [reply for reply in replies if isinstance(reply, Exception)]
                    if wrong:
                        self.problem = str(wrong[0])
                        return
                    sequence.acknowledged += 1
        except OSError:
            pass
        finally:
            self.link.close()


class Harness:
    """Rounds of writing and killing on one folder."""

    def __init__(self, folder: Path, policy: str, seed: int, filler: int = FILLER_KEYS) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.options = [
            "--appendonly", "yes", "--appendfsync", policy, "--save", "",
            "--auto-aof-rewrite-min-size", "1mb", "--aof-timestamp-enabled", "yes",
        ]  # fmt: skip
        self.kept: list[Sequence] = []
        self.filler = filler
        self.filled = False
        self.problems: list[str] = []
        self.figures = dict.fromkeys(
            ("kills", "in_cut", "tails_cut", "acknowledged", "kept_beyond", "lost"), 0
        )

    def fill(self, link: Link) -> None:
        """Data that makes saves and rewrites take a while."""
        for first in range(0, self.filler, 500):
            pairs = [x for i in range(first, first + 500) for x in (f"filler:{i}", "x" * 100)]
            assert link("MSET", *pairs) == b"OK"
        for first in range(0, FILLER_ELEMENTS if self.filler else 0, 1000):
            link("RPUSH", "filler:list", *range(first, first + 1000))
            link("HSET", "filler:hash", *(x for i in range(first, first + 1000) for x in (i, i)))
        self.filled = True

    def round(self, number: int, clients: int = 4) -> None:
        """Start, look at what is there, write, and kill."""
        node = Node(self.folder, *self.options).wait_ready()
        try:
            link = Link(node.port)
            self.look(node, link)
            if not self.filled:
                self.fill(link)
            link("SELECT", 0)
            sequences = [Sequence(f"r{number}c{i}", i % 2) for i in range(clients)]
            writers = [Writer(each, node.port, self.rng.getrandbits(32)) for each in sequences]
            for writer in writers:
                writer.start()
            self.disturb(link)
        finally:
            node.kill()
        for writer in writers:
            writer.join(SOCKET_SECONDS_MAX)
            if writer.problem:
                self.problems.append(f"round {number}: {writer.problem}")
        self.kept += sequences
        self.figures["kills"] += 1
        self.figures["in_cut"] += any(self.folder.rglob("temp-*"))
        self.figures["acknowledged"] += sum(each.acknowledged for each in sequences)
        link.close()

    def disturb(self, link: Link) -> None:
        """Ask for cuts until it is time to kill."""
        until = time.monotonic() + self.rng.uniform(0.1, 0.7)
        while time.monotonic() < until:
            link(self.rng.choice(("BGSAVE", "BGREWRITEAOF")))
            if self.rng.random() < 0.3:
                # Right behind the beginning, or somewhere in it.
                time.sleep(self.rng.uniform(0, 0.15))
                return
            time.sleep(self.rng.uniform(0, 0.1))

    def look(self, node: Node, link: Link) -> None:
        """Compare what a node that was started again holds with what was written."""
        self.figures["tails_cut"] += b"aof_tail_cut" in node.output
        for sequence in self.kept:
            count, problem = sequence.check(link)
            if problem:
                self.problems.append(problem)
                self.figures["lost"] += 1
            # From now on that much is acknowledged, and nothing more will come.
            self.figures["kept_beyond"] += max(count - sequence.acknowledged, 0)
            sequence.acknowledged = sequence.sent = count
        link("SELECT", 0)
        if self.filled and link("EXISTS", *(f"filler:{i}" for i in range(100))) != 100:
            self.problems.append("the filler is gone")
        if left := [path.name for path in self.folder.rglob("temp-*.rdb")]:
            self.problems.append(f"left behind: {left}")
        old = self.kept[: -4 * ROUNDS_KEPT]
        for sequence in old:
            link("SELECT", sequence.db)
            parts = ("set", "m1", "m2", "incr", "list", "mlist", "hash", "stream")
            link("DEL", *(f"{sequence.name}:{part}" for part in parts))
            self.kept.remove(sequence)

    def finish(self) -> None:
        """A last look, and an orderly end."""
        node = Node(self.folder, *self.options).wait_ready()
        link = Link(node.port)
        self.look(node, link)
        link.close()
        if node.stop() != 0:
            self.problems.append("the node did not end in order")


def run(policy: str, times: int, seconds: float, seed: int, show: bool) -> dict[str, Any]:
    """Up to `times` kills within `seconds`; the summary."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder), policy, seed)
        for number in range(times):
            if time.monotonic() - started > seconds:
                break
            harness.round(number)
            if show:
                line = f"\r{policy}: {number + 1}/{times} kills, {len(harness.problems)} problems"
                print(line, end="", file=sys.stderr, flush=True)
        harness.finish()
    took = round(time.monotonic() - started, 1)
    return {"policy": policy, "seed": seed, "seconds": took, **harness.figures,
            "problems": harness.problems[:10]}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--policy", choices=("always", "everysec", "no", "all"), default="all")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each policy, at most")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    failed = False
    for policy in ("always", "everysec", "no") if options.policy == "all" else (options.policy,):
        seed = options.seed if options.seed is not None else random.getrandbits(32)
        summary = run(policy, options.times, options.seconds, seed, True)
        print(file=sys.stderr)
        print(json.dumps(summary), flush=True)
        failed = failed or bool(summary["problems"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
