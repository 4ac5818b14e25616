"""The coordinator process (io): arguments, signals, exit codes.

Exit code 0 after SIGTERM or SIGINT, 1 when something outside is wrong (the port is taken, the
data folder is in use or unusable, the disk fails), 2 for arguments that make no sense. There is
nothing to flush at the end: what was ever sent had been committed.

With `--store etcd://...` the process is one of several that share a store; it stands by until it is
elected, so losing the store or the lead does not end it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

from isthmus.coordinator.model import Limits
from isthmus.coordinator.placement import SLOTS
from isthmus.coordinator.server import Coordinator, Settings, boot_clock
from isthmus.coordinator.store.base import StoreError
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
    it.add_argument("--data-dir", type=Path, help="where the cluster is kept, unless --store tells")
    it.add_argument(
        "--store", default="", metavar="URL",
        help="etcd://HOST:PORT[,HOST:PORT...][/PREFIX], or etcds:// with TLS: one store for several"
        " coordinators, one of which leads (PREFIX: isthmus/REGION); needs isthmus[etcd]",
    )  # fmt: skip
    it.add_argument(
        "--store-ttl",
        type=_ttl,
        default=5,
        metavar="SECONDS",
        help="after which another one may lead if this one is gone (%(default)s)",
    )
    for name, what in (
        ("ca", "authorities of the store's certificate"),
        ("cert", "certificate to show the store"), ("key", "its private key"),
    ):  # fmt: skip
        it.add_argument(f"--store-{name}", type=Path, metavar="FILE", help=f"etcds: {what}, PEM")
    it.add_argument(
        "--announce",
        type=_address,
        metavar="HOST:PORT",
        help="where members reach this one, if not at --host and --port",
    )
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
    args = _arguments(argv)
    settings = Settings(
        region=args.region, host=args.host, port=args.port, metrics_port=args.metrics_port,
        shards=args.shards, replicas=args.replicas, persistence=args.persistence,
        durability=args.durability,
        limits=Limits(
            suspect_ms=args.suspect_ms, dead_ms=2 * args.suspect_ms, replace_ms=args.replace_ms
        ),
    )  # fmt: skip
    code = 0
    try:
        if args.store:
            _several(args, settings)
        else:
            _alone(args, settings)
    except* (StoreError, OSError) as group:
        for error in _leaves(group):
            log("coordinator_failed", level="ERROR", why=str(error))
        code = 1
    return code


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    it = parser()
    args = it.parse_args(argv)
    if bool(args.store) == bool(args.data_dir):
        it.error("--data-dir or --store: one of them says where the cluster is kept")
    return args


def _alone(args: argparse.Namespace, settings: Settings) -> None:
    store = SqliteStore(args.data_dir)
    try:
        trio.run(_run, Coordinator(settings, store).run)
    finally:
        store.close()


def _several(args: argparse.Namespace, settings: Settings) -> None:
    try:
        from isthmus.coordinator.candidate import Candidate
        from isthmus.coordinator.store.etcd import Etcd
        from isthmus.coordinator.store.gateway import Tls, place
    except ModuleNotFoundError as error:
        raise StoreError(f"{error.name} is not installed: pip install 'isthmus[etcd]'") from error
    files = (args.store_ca, args.store_cert, args.store_key)
    try:
        where = place(args.store, f"isthmus/{settings.region}", Tls(*files) if any(files) else None)
    except ValueError as error:
        raise StoreError(str(error)) from None
    etcd = Etcd(where, boot_clock, ttl_seconds=args.store_ttl, pid=os.getpid())
    try:
        if problem := etcd.gateway.version_problem(1.0):
            log("store_version", level="WARN", why=problem)
        trio.run(_run, Candidate(settings, etcd, args.announce or "").run)
    finally:
        etcd.close()


async def _run(serve: Callable[..., Awaitable[None]]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
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


def _ttl(text: str) -> int:
    return _bounded(text, 2, 60)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"HOST:PORT, not {text!r}")
    return text


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
