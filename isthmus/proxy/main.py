"""The proxy process (io): the only place where a proxy's parts are put together.

Exit code 0 after SIGTERM or SIGINT, 1 when something outside is wrong (a port is taken), 2 for
arguments that make no sense. A proxy keeps nothing: its id is new with each start.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import trio
from prometheus_client import CollectorRegistry

import isthmus
from isthmus.proxy.observe import ProxyCollector
from isthmus.proxy.server import ProxyServer, listen
from isthmus.proxy.state import Proxy, Settings
from isthmus.wire.logs import log
from isthmus.wire.loop import run_pump, settle_collector
from isthmus.wire.membership import Membership, address_list
from isthmus.wire.metrics_http import serve_metrics
from isthmus.wire.pump import Pump, Ticker
from isthmus.wire.reply import ReplyWriter

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def wall_us() -> int:
    """Unix time in microseconds."""
    return time.time_ns() // 1000


class ProxyProcess:
    """A proxy from its command line to its end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.id = secrets.token_hex(20)
        self.incarnation = secrets.token_hex(8)
        self.pump = Pump(ReplyWriter(), Ticker())
        self.listener: socket.socket | None = None
        self.proxy: Proxy
        self.address = ""
        self.metrics_address = ""

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises OSError if a port cannot be had."""
        args = self.args
        self.listener = listen(args.host, args.port)
        port = self.listener.getsockname()[1]
        self.address = f"{args.announce_host or args.host}:{port}"
        settings = Settings(
            id=self.id, host=args.host, port=port, region=args.region, zone=args.zone,
            pid=os.getpid(), password=args.password.encode("utf-8", "surrogateescape"),
            maxclients=args.maxclients,
        )  # fmt: skip
        self.proxy = Proxy(settings, wall_us, random.random)
        registry = CollectorRegistry()
        registry.register(ProxyCollector(self.proxy, self.pump))
        try:
            with trio.open_signal_receiver(*SIGNALS) as signals:
                async with trio.open_nursery() as nursery:
                    await self.start(nursery, registry)
                    async for number in signals:
                        log("proxy_stopping", signal=signal.Signals(number).name)
                        break
                    nursery.cancel_scope.cancel()
        finally:
            self.close()

    async def start(self, nursery: trio.Nursery, registry: CollectorRegistry) -> None:
        """Start every task, then say so."""
        args = self.args
        assert self.listener is not None
        if args.metrics_port >= 0:
            serve = functools.partial(
                serve_metrics, args.host, args.metrics_port, registry, healthy=self.healthy
            )
            self.metrics_address = await nursery.start(serve)
        server = ProxyServer(self.proxy, self.pump, nursery)
        self.pump.listen(self.listener.fileno(), server.admit)
        membership = Membership(self.describe, server.on_topology)
        nursery.start_soon(membership.run, args.coordinator)
        nursery.start_soon(server.run_timer)
        nursery.start_soon(run_pump, self.pump)
        settle_collector()
        log(
            "proxy_ready", address=self.address, metrics=self.metrics_address, pid=os.getpid(),
            compiled="yes" if isthmus.compiled() else "no",
        )  # fmt: skip

    def healthy(self) -> bool:
        """True once a topology is in force."""
        return self.proxy.router.epoch > 0

    def describe(self) -> dict[str, Any]:
        """What the coordinator is told, at registration and with each heartbeat."""
        router = self.proxy.router
        return {
            "id": self.id, "role": "proxy", "region": self.args.region, "zone": self.args.zone,
            "address": self.address, "link_address": "", "metrics_address": self.metrics_address,
            "pid": os.getpid(), "incarnation": self.incarnation, "cluster": router.cluster,
            "epoch": router.epoch, "slots": 0, "keys": 0,
        }  # fmt: skip

    def close(self) -> None:
        """Close every socket; replies that are written already have been sent."""
        if self.listener is not None:
            self.pump.unlisten(self.listener.fileno())
            self.listener.close()
        for peer in list(self.pump.peers.values()):
            self.pump.close(peer)
        log("proxy_stopped", commands=self.proxy.commands() if hasattr(self, "proxy") else 0)


def parser() -> argparse.ArgumentParser:
    """The command line of `isthmus proxy`."""
    it = argparse.ArgumentParser(
        prog="isthmus proxy",
        description="One proxy: a single endpoint that makes a cluster look like one Redis.",
    )
    it.add_argument(
        "--coordinator",
        metavar="HOST:PORT[,...]",
        required=True,
        type=address_list,
        help="the cluster to serve; all its coordinators, if it has several",
    )
    it.add_argument(
        "--host", "--bind", default="127.0.0.1", help="address to listen on (%(default)s)"
    )
    it.add_argument("--port", type=int, default=10000, help="RESP port; 0: any (%(default)s)")
    it.add_argument("--metrics-port", type=int, default=-1, help="0: any free one; -1: none")
    it.add_argument("--announce-host", default="", help="address told to others, if not --host")
    it.add_argument("--zone", default="a", help="availability zone (%(default)s)")
    it.add_argument("--region", default="local", help="region (%(default)s)")
    it.add_argument(
        "--password", default="", help="what clients must AUTH with; nodes have the same"
    )
    it.add_argument(
        "--maxclients", type=int, default=10000, help="client connections (%(default)s)"
    )
    return it


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    args = parser().parse_args(argv)
    if args.maxclients < 1 or not 0 <= args.port < 65536:
        print("isthmus proxy: --maxclients or --port out of range", file=sys.stderr)
        return 2
    code = 0
    try:
        trio.run(ProxyProcess(args).run)
    except* OSError as group:
        log("proxy_failed", level="ERROR", why=str(group.exceptions[0]), port=args.port)
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
