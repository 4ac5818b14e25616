"""The coordinator process (io): arguments, signals, exit codes.

Exit code 0 after SIGTERM or SIGINT, 1 when something outside is wrong (the port is taken, the
data folder is in use or unusable, the disk fails), 2 for arguments that make no sense. There is
nothing to flush at the end: what was ever sent had been committed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from isthmus.coordinator.model import Limits
from isthmus.coordinator.placement import SLOTS
from isthmus.coordinator.server import Coordinator, Settings
from isthmus.coordinator.store.base import Store, StoreError
from isthmus.coordinator.store.sqlite import SqliteStore
from isthmus.wire import durability
from isthmus.wire.durability import Durability, DurabilityError
from isthmus.wire.logs import log
from isthmus.wire.policy import OFF, Policy, PolicyError, parse

REPLICAS_MAX = 6


def parser() -> argparse.ArgumentParser:
    """The command line of `isthmus coordinator`."""
    it = argparse.ArgumentParser(
        prog="isthmus coordinator", description="The authority of one region's cluster."
    )
    it.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    it.add_argument("--port", type=_port, default=9400, help="node RPC; 0: any (%(default)s)")
    it.add_argument("--metrics-port", type=_port, default=0, help="0: any free one")
    it.add_argument("--data-dir", type=Path, required=True, help="where the cluster is kept")
    it.add_argument("--region", type=_name, default="local", help="its name (%(default)s)")
    it.add_argument("--shards", type=_shards, default=3, help="of a new cluster (%(default)s)")
    it.add_argument(
        "--persistence", type=_policy, default=OFF, metavar="POLICY",
        help="of a new cluster: off, rdb:PERIOD, aof:everysec or aof:always (%(default)s)",
    )  # fmt: skip
    it.add_argument(
        "--replicas", type=_replicas, metavar="R",
        help="of each shard; nodes are given to shards until they have them, and taken away"
        " (default: as the data folder has it, 0 if it is new)",
    )  # fmt: skip
    it.add_argument(
        "--durability", type=_durability, default=Durability(), metavar="POLICY",
        help="of a new cluster, when a write is acknowledged: async (at once), replica or fsync,"
        " with limits of how far replicas may lag, as in async:MS:BYTES (%(default)s)",
    )  # fmt: skip
    it.add_argument(
        "--suspect-ms", type=_milliseconds, default=Limits().suspect_ms,
        help="silence after which a primary may be replaced (%(default)s); after twice as long a"
        " process counts as dead",
    )  # fmt: skip
    it.add_argument(
        "--replace-ms", type=_milliseconds, default=Limits().replace_ms,
        help="how long a replica is dead before a spare takes its place (%(default)s)",
    )  # fmt: skip
    return it


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit code."""
    args = parser().parse_args(argv)
    settings = Settings(
        region=args.region, host=args.host, port=args.port, metrics_port=args.metrics_port,
        shards=args.shards, replicas=args.replicas, persistence=args.persistence,
        durability=args.durability,
        limits=Limits(
            suspect_ms=args.suspect_ms, dead_ms=2 * args.suspect_ms, replace_ms=args.replace_ms
        ),
    )  # fmt: skip
    store: Store | None = None
    try:
        store = SqliteStore(args.data_dir)
        trio.run(_run, Coordinator(settings, store))
    except* (StoreError, OSError) as group:
        for error in _leaves(group):
            log("coordinator_failed", level="ERROR", why=str(error))
        return_code = 1
    else:
        return_code = 0
    finally:
        if store is not None:
            store.close()
    return return_code


async def _run(coordinator: Coordinator) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(coordinator.run)
            async for number in signals:
                log("coordinator_stopping", signal=signal.Signals(number).name)
                break
            nursery.cancel_scope.cancel()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _port(text: str) -> int:
    return _bounded(text, 0, 65535)


def _shards(text: str) -> int:
    return _bounded(text, 1, min(SLOTS, 500))


def _policy(text: str) -> Policy:
    try:
        return parse(text)
    except PolicyError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _durability(text: str) -> Durability:
    try:
        return durability.parse(text)
    except DurabilityError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _replicas(text: str) -> int:
    return _bounded(text, 0, REPLICAS_MAX)


def _milliseconds(text: str) -> int:
    return _bounded(text, 500, 600_000)


def _name(text: str) -> str:
    if not text or len(text) > 64 or not all(c.isalnum() or c in "-_." for c in text):
        raise argparse.ArgumentTypeError("letters, digits, - _ . only")
    return text


def _bounded(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"a whole number from {low} to {high}, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
