"""``python -m bench``: the command line of the benchmark."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import isthmus
from bench import replication, run, saving, screen, stalls, targets
from bench.large import LARGE, fill
from bench.process import BenchError, Raw, Server
from bench.report import JSON_VERSION, row_json
from bench.workloads import WORKLOADS, choose

BUILD = "compiled" if isthmus.compiled() else "pure"
NODE_BUDGET = 1.0
PROXY_BUDGET = 1.2
MEMORY_BUDGET = 1.4
LARGE_BUDGET = 2.0
STALL_BUDGET_MS = 5.0
SAVED_KEYS = 2_000_000
FOLLOWED_WRITES = 1_000_000
EVERYTHING = ("node", "proxy", "memory", "large", "stalls", "saving", "replication")
QUICK_TESTS = "SET,GET,LPUSH,LPOP"

EXAMPLES = """\
examples:
  python -m bench                            everything (about twenty minutes)
  python -m bench --quick                    a minute's look: 4 tests, one round
  python -m bench node --tests SET,GET --pipeline 16 --rounds 5
  python -m bench node --node-port 6380      our side is a server that runs already
  python -m bench node --node "redis-server --port {port} --save ''"    A/A: the noise itself
  python -m bench node --peer "/opt/redis/redis-server --port {port} --save ''"
  python -m bench --memory                   bytes per key at 1,000,000 keys
  python -m bench large stalls               structures of 1,000,000; how long the loop stands
  python -m bench saving --saved-keys 500000   what a snapshot costs to write and to read
  python -m bench replication --replica "/opt/redis/redis-server --port {port}"
  python -m bench proxy --shards 2 --json proxy.json

What counts is the ratio of CPU per operation; bench/README.md says why.
exit status: 0 every row within budget, 1 some row over it, 2 something could not be measured.
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure our node against redis-server and our proxy against nutcracker, "
        "side by side in one run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"of {', '.join(EVERYTHING)} (default: all)"
    )
    parser.add_argument("--memory", action="store_true", help="the same as WHAT = memory")
    parser.add_argument("--tests", metavar="A,B", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--pipeline", default="1,16", metavar="N,N", help="depths (1,16)")
    parser.add_argument("--clients", type=int, default=50, metavar="N", help="connections (50)")
    parser.add_argument(
        "--requests", type=int, metavar="N", help="per run (100,000; 400,000 when pipelined)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="pairs per row (3)")
    parser.add_argument("--keyspace", type=int, default=100_000, metavar="N", help="-r (100,000)")
    parser.add_argument("--value-bytes", type=int, default=64, metavar="N", help="-d (64)")
    parser.add_argument("--keys", type=int, default=1_000_000, metavar="N", help="memory's keys")
    parser.add_argument("--saved-keys", type=int, metavar="N", help="of saving (2,000,000)")
    parser.add_argument(
        "--replica", metavar="CMD", default=targets.REDIS_BARE,
        help="of replication: what follows, 7.4 or newer, holding {port}",
    )  # fmt: skip
    parser.add_argument("--shards", type=int, default=3, metavar="N", help="backends (3)")
    parser.add_argument("--node", metavar="CMD", help="our side's command, holding {port}")
    parser.add_argument("--node-port", type=int, metavar="P", help="our side runs already")
    parser.add_argument("--peer", metavar="CMD", help="the peer's command, holding {port}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--quick", action="store_true", help="few tests, one round, short runs")
    parser.add_argument(
        "--seconds-max", type=float, default=120.0, metavar="S", help="bound of one run (120)"
    )
    options = parser.parse_args(argv)
    options.what = list(options.what) + (["memory"] if options.memory else [])
    for name in options.what:
        if name not in EVERYTHING:
            parser.error(f"WHAT is one of {', '.join(EVERYTHING)}, not {name!r}")
    options.what = options.what or list(EVERYTHING)
    for name in ("clients", "requests", "rounds", "keyspace", "value_bytes", "keys", "shards"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    try:
        options.pipeline = tuple(int(depth) for depth in options.pipeline.split(","))
        default = QUICK_TESTS if options.quick else ",".join(WORKLOADS)
        if options.what == ["large"] and options.tests:
            options.workloads = ()
            options.large = tuple(LARGE[name] for name in options.tests.upper().split(","))
        else:
            options.workloads = tuple(choose(options.tests or default))
            options.large = tuple(LARGE.values())
    except ValueError:
        parser.error("--pipeline is a list of numbers, such as 1,16")
    except KeyError as error:
        parser.error(f"--tests: {error.args[0]!r} is not one of {', '.join(WORKLOADS)}")
    if min(options.pipeline) < 1:
        parser.error("--pipeline depths are at least 1")
    return options


Start = Callable[[], Server]


@contextmanager
def _both(ours: Start, peer: Start) -> Iterator[tuple[Server, Server]]:
    """Two servers for the length of the block; whatever was started is ended."""
    mine = ours()
    try:
        other = peer()
        try:
            yield mine, other
        finally:
            other.stop()
    finally:
        mine.stop()


class Bench:
    """One invocation: what was asked, what was found, what went wrong."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.out = Console()
        self.err = Console(stderr=True)
        self.failures: list[str] = []
        self.within = True
        self.settings = run.Settings(
            workloads=options.workloads,
            pipelines=options.pipeline,
            clients=options.clients,
            requests=options.requests,
            rounds=options.rounds or (1 if options.quick else 3),
            keyspace=options.keyspace,
            value_bytes=options.value_bytes,
            quick=options.quick,
            seconds_max=options.seconds_max,
        )

    def failed(self, text: str) -> None:
        """Note something that could not be measured, and say it at once."""
        self.failures.append(text)
        self.err.print(text, style="red", markup=False, highlight=False)

    def ours(self) -> Server:
        """Our node: running already, or started."""
        if self.options.node_port:
            return targets.attach("isthmus", self.options.node_port)
        return targets.start_server("isthmus", self.options.node or targets.NODE, self.directory)

    def peer(self) -> Server:
        """redis-server, or what ``--peer`` names."""
        command = self.options.peer or targets.REDIS
        return targets.start_server("redis-server", command, self.directory)

    def node(self) -> dict[str, Any]:
        """Our node against redis-server."""
        return self._compare("node", self.ours, self.peer, NODE_BUDGET)

    def proxy(self) -> dict[str, Any]:
        """Our proxy against nutcracker."""
        shards = self.options.shards
        return self._compare(
            f"proxy, {shards} backends each",
            lambda: targets.start_proxy(shards, self.directory),
            lambda: targets.start_nutcracker(shards, self.directory),
            PROXY_BUDGET,
        )

    def _compare(self, title: str, ours: Start, peer: Start, budget: float) -> dict[str, Any]:
        with _both(ours, peer) as (mine, other), self._progress() as progress:
            task = progress.add_task(title, total=self.settings.runs())

            def tell(what: str) -> None:
                progress.update(task, advance=1, description=what)

            rows = run.compare(mine, other, self.settings, budget, tell, self.failed)
        screen.comparison(self.out, title, mine.name, other.name, rows, budget)
        self.within = self.within and all(row.within for row in rows)
        return {
            "ours": mine.name,
            "peer": other.name,
            "rows": [row_json(row, self.options.clients) for row in rows],
        }

    def memory(self) -> dict[str, Any]:
        """Bytes per key of our node against redis-server, both fresh."""
        keys, value_bytes = self.options.keys, self.options.value_bytes
        with (
            _both(self.ours, self.peer) as (mine, other),
            self.err.status(f"loading {keys:,} keys into each"),
        ):
            found = run.memory(mine, other, keys, value_bytes, MEMORY_BUDGET)
        screen.memory(self.out, mine.name, other.name, found)
        self.within = self.within and found.within
        return {"ours": mine.name, "peer": other.name, **found.json()}

    def large(self) -> dict[str, Any]:
        """Commands on structures of ``--keys`` elements, against redis-server."""
        settings = dataclasses.replace(
            self.settings, workloads=self.options.large, pipelines=(1,), keyspace=self.options.keys
        )
        with _both(self.ours, self.peer) as (mine, other), self._progress() as progress:
            task = progress.add_task("filling", total=settings.runs())
            for server in (mine, other):
                with Raw(server.port, seconds_max=settings.seconds_max) as raw:
                    raw.run(fill(settings.load(settings.workloads[0], 16)))

            def tell(what: str) -> None:
                progress.update(task, advance=1, description=what)

            rows = run.compare(mine, other, settings, LARGE_BUDGET, tell, self.failed)
        title = f"structures of {self.options.keys:,} elements"
        screen.comparison(self.out, title, mine.name, other.name, rows, LARGE_BUDGET)
        self.within = self.within and all(row.within for row in rows)
        return {
            "ours": mine.name,
            "peer": other.name,
            "rows": [row_json(row, self.options.clients) for row in rows],
        }

    def stalls(self) -> dict[str, Any]:
        """The longest answer while a million elements go, ours and redis-server's."""
        keys = self.options.keys
        with _both(self.ours, self.peer) as servers:
            found = {}
            for server in servers:
                with self.err.status(f"{server.name}: a million elements go, in seven ways"):
                    found[server.name] = list(stalls.scenarios(server, keys, self.settings.rounds))
        mine, other = (server.name for server in servers)
        within = screen.stalls(self.out, mine, found[mine], other, found[other], STALL_BUDGET_MS)
        self.within = self.within and within
        return {name: [dataclasses.asdict(stall) for stall in rows] for name, rows in found.items()}

    def saving(self) -> dict[str, Any]:
        """A snapshot of many mixed keys written and read, ours and redis-server's."""
        keys = self.options.saved_keys or (SAVED_KEYS // 20 if self.options.quick else SAVED_KEYS)
        servers = {
            "isthmus": self.options.node or targets.NODE,
            "redis-server": self.options.peer or targets.REDIS_BARE,
        }
        found, empty = [], []
        with self.err.status("saving") as status:
            for name, command in servers.items():
                folder = self.directory / f"saving-{name}"
                empty.append(saving.empty_start(name, command, folder))
                found.append(saving.measure(name, command, folder, keys, status.update))
        mine, other = found
        within = screen.saving(self.out, mine, other, (empty[0], empty[1]), saving.Budgets())
        self.within = self.within and within
        return {row.name: dataclasses.asdict(row) for row in found}

    def replication(self) -> dict[str, Any]:
        """A write and a full sync with one replica, ours and redis-server's."""
        options = self.options
        keys = options.saved_keys or (SAVED_KEYS // 20 if options.quick else SAVED_KEYS)
        requests = FOLLOWED_WRITES // (10 if options.quick else 1)
        servers = {
            "isthmus": options.node or targets.NODE,
            "redis-server": options.peer or targets.REDIS_BARE,
        }
        found = []
        with self.err.status("replication") as status:
            for name, command in servers.items():
                folder = self.directory / f"replication-{name}"
                found.append(replication.measure(
                    name, command, options.replica, folder, keys, requests, status.update
                ))  # fmt: skip
        within = replication.show(self.out, *found)
        self.within = self.within and within
        return {row.name: dataclasses.asdict(row) for row in found}

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
        )

    def header(self) -> dict[str, Any]:
        """The JSON file's frame: when, where and how."""
        options = self.options
        return {
            "version": JSON_VERSION,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
            "machine": {
                "cpus": os.cpu_count(),
                "kernel": platform.release(),
                "python": platform.python_version(),
                "isthmus": BUILD,
            },
            "settings": {
                "clients": options.clients,
                "rounds": self.settings.rounds,
                "keyspace": options.keyspace,
                "value_bytes": options.value_bytes,
            },
        }


def _stopped(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run what was asked; the exit status is described in ``--help``."""
    options = parse(argv)
    signal.signal(signal.SIGTERM, _stopped)
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name:
        bench = Bench(options, Path(name))
        found = bench.header()
        if BUILD == "pure":
            bench.err.print("extensions are off: our side runs interpreted", style="yellow")
        try:
            for what in dict.fromkeys(options.what):
                try:
                    found[what] = getattr(bench, what)()
                except (BenchError, OSError) as error:
                    bench.failed(f"{what}: {error}")
        except KeyboardInterrupt:
            bench.failed("interrupted")
        found["failures"] = bench.failures
        found["within_budget"] = bench.within
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    if bench.failures:
        return 2
    return 0 if bench.within else 1


if __name__ == "__main__":
    sys.exit(main())
