"""The node process (io): the only place where a node's parts are put together.

`isthmus node --standalone` is a drop-in redis-server; with `--coordinator` the process is a member
of a cluster and serves the slots it is given. Exit code 0 after SIGTERM or SIGINT, 1 when something
outside is wrong (port taken, data folder in use), 2 for arguments that make no sense.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from prometheus_client import CollectorRegistry

import isthmus
from isthmus.node.cluster.bus import Bus
from isthmus.node.cluster.identity import Identity, IdentityError, claim, temporary
from isthmus.node.cluster.link import Announcement, CoordinatorLink
from isthmus.node.cluster.view import ClusterView
from isthmus.node.commands import load_all
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config, parse_arguments
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng
from isthmus.node.scripting.scripts import Scripts
from isthmus.node.server import allocator
from isthmus.node.server.cron import Alarm, Cron
from isthmus.node.server.facts import process_facts, reset_counters
from isthmus.node.server.files import read_file, replace_file
from isthmus.node.server.listener import Door, listen_tcp, listen_unix
from isthmus.node.server.observe import NodeCollector
from isthmus.node.server.script_driver import ScriptDriver
from isthmus.node.server.session import NodeTicker
from isthmus.node.sinks.notify import Notifier
from isthmus.wire.logs import log
from isthmus.wire.loop import run_pump, settle_collector
from isthmus.wire.metrics_http import serve_metrics
from isthmus.wire.pump import Pump

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Descriptors that are no clients: listeners, epoll, logs, files.
RESERVED_DESCRIPTORS = 32


class NodeServer:
    """A Node with its sockets; `node.server` for the commands that concern the process."""

    def __init__(self, args: argparse.Namespace, config: Config, identity: Identity) -> None:
        self.args = args
        self.identity = identity
        self.node = Node(Clock(), Rng(int.from_bytes(secrets.token_bytes(8))), config, identity.id)
        self.node.server = self
        Notifier(self.node)
        self.script_driver = ScriptDriver(Scripts(self.node, args.script_memory_mb << 20))
        self.pump = Pump(self.node.ctx.reply, NodeTicker(self.node))
        self.cron = Cron(self.node, self.pump)
        self.listeners: list[socket.socket] = []
        self.unix_path: Path | None = None
        self.stopping = trio.Event()
        self.alarm = Alarm(self.node)
        self.node.blocking.alarm = self.alarm.set
        self.node.blocking.resume = self.resume
        self.link: CoordinatorLink | None = None
        self.bus: Bus | None = None
        self.metrics_address = ""

    # -- what commands ask for ----------------------------------------------------------------

    def kill(self, client: ClientState) -> None:
        """Close a client's connection now; one that does not read would never have its replies."""
        client.close()
        if client.peer is not None:
            self.pump.close(client.peer)

    def resume(self, client: ClientState) -> None:
        """Go on with the requests of a client that waited."""
        if client.peer is not None:
            self.pump.resume(client.peer)

    def shutdown(self) -> None:
        """Stop the process in an orderly way."""
        self.pump.stopped = True
        self.stopping.set()

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can foresee."""
        return secrets.token_bytes(count)

    def read_file(self, path: bytes) -> bytes:
        """The contents of a file; raises OSError."""
        return read_file(path)

    def replace_file(self, path: bytes, data: bytes) -> None:
        """Write a file as a whole or not at all; raises OSError."""
        replace_file(path, data)

    def process_memory(self) -> int:
        """Resident bytes of this process."""
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES

    def process_facts(self) -> dict[str, str]:
        """What INFO tells of this process; see facts.py."""
        names = [listener.getsockname() for listener in self.listeners]
        return process_facts(self.pump, self.cron, names)

    def reset_counters(self) -> None:
        """CONFIG RESETSTAT, as far as the process counts."""
        reset_counters(self.pump, self.cron)

    def hold(self, seconds: float) -> None:
        """DEBUG SLEEP: let the whole process do nothing, as a fault might."""
        time.sleep(seconds)
        self.node.clock.refresh()

    def crash(self, kind: str) -> None:
        """DEBUG SEGFAULT and its like: end at once, with nothing in order."""
        log("crash_asked_for", level="ERROR", kind=kind)
        os.kill(os.getpid(), signal.SIGSEGV if kind.lower() == "segfault" else signal.SIGABRT)

    def debug_log(self, text: str) -> None:
        """DEBUG LOG, and what other sub-commands write to the log."""
        log("debug", level="WARN", text=text)

    def allocator_report(self) -> str:
        """What MEMORY MALLOC-STATS shows."""
        return allocator.report()

    def give_back_memory(self) -> None:
        """MEMORY PURGE: return free pages to the system."""
        allocator.give_back()

    # -- running ------------------------------------------------------------------------------

    def bind(self) -> tuple[str, str]:
        """Open the listeners; the RESP and the link address (empty without a coordinator)."""
        args = self.args
        client = listen_tcp(args.host, args.port)
        self.accept(client, Door(self.node))
        if args.unixsocket is not None:
            self.unix_path = args.unixsocket
            self.accept(listen_unix(args.unixsocket, args.unixsocketperm), Door(self.node))
        address = f"{args.announce_host or args.host}:{client.getsockname()[1]}"
        if not args.coordinator:
            return address, ""
        # Only a member of a cluster needs the link; a standalone node starts without loading it.
        from isthmus.node.server.link_session import LinkSession

        link = listen_tcp(args.host, args.link_port)
        self.accept(link, Door(self.node, LinkSession))
        return address, f"{args.announce_host or args.host}:{link.getsockname()[1]}"

    def accept(self, listener: socket.socket, door: Door) -> None:
        self.listeners.append(listener)
        self.pump.listen(listener.fileno(), door.admit)

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SHUTDOWN."""
        address, link_address = self.bind()
        registry = CollectorRegistry()
        registry.register(NodeCollector(self))
        try:
            async with trio.open_nursery() as nursery:
                if self.args.metrics_port >= 0:
                    serve = functools.partial(
                        serve_metrics, self.args.host, self.args.metrics_port, registry
                    )
                    self.metrics_address = await nursery.start(serve)
                if self.args.coordinator:
                    self.join(nursery, address, link_address)
                # Signals first: from the moment somebody can connect, a signal ends us in order.
                await nursery.start(self.watch_signals)
                nursery.start_soon(run_pump, self.pump)
                nursery.start_soon(self.cron.run)
                nursery.start_soon(self.alarm.run)
                nursery.start_soon(self.script_driver.run)
                settle_collector()
                log(
                    "node_ready", address=address, metrics=self.metrics_address, pid=os.getpid(),
                    mode="cluster" if self.args.coordinator else "standalone",
                    compiled="yes" if isthmus.compiled() else "no",
                )  # fmt: skip
                await self.stopping.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    def join(self, nursery: trio.Nursery, address: str, link_address: str) -> None:
        """Become a member of the coordinator's cluster."""
        host, _, port = address.rpartition(":")
        view = ClusterView(self.identity.id, host=host, port=int(port))
        self.node.use_cluster(view)
        me = Announcement(
            incarnation=self.identity.incarnation, region=self.args.region, zone=self.args.zone,
            address=address, link_address=link_address, metrics_address=self.metrics_address,
        )  # fmt: skip
        self.link = CoordinatorLink(
            view, me, lambda: self.node.keyspace.databases[0].size, self.topology_changed
        )
        self.bus = Bus(view, lambda: os.fsencode(self.node.config.text("requirepass")))
        self.node.pubsub.forward = self.bus.forward
        nursery.start_soon(self.bus.run)
        nursery.start_soon(self.link.run, self.args.coordinator)

    def topology_changed(self) -> None:
        """The view is another one: lanes to other nodes, and shard channels, follow it."""
        if self.bus is not None:
            self.bus.topology_changed()
        self.node.ctx.session = None  # type: ignore[assignment]
        self.node.pubsub.drop_shards(self.node.cluster.mine)

    async def watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                log("node_stopping", signal=signal.Signals(number).name)
                self.shutdown()

    def close(self) -> None:
        """Close every socket and release the identity; replies already written are sent first."""
        for listener in self.listeners:
            self.pump.unlisten(listener.fileno())
            listener.close()
        for peer in list(self.pump.peers.values()):
            self.pump.close(peer)
        if self.unix_path is not None:
            self.unix_path.unlink(missing_ok=True)
        self.identity.release()
        log("node_stopped", commands=self.node.ctx.commands)


def parser() -> argparse.ArgumentParser:
    """The command line of `isthmus node`."""
    it = argparse.ArgumentParser(
        prog="isthmus node",
        description="One node: a member of a cluster, or a Redis of its own with --standalone.",
        epilog="Any parameter of CONFIG GET may follow as --name value, "
        "as redis-server takes them. "
        "Example: isthmus node --standalone --port 6379 --requirepass secret --maxclients 1000",
    )
    mode = it.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--standalone", action="store_true", help="no coordinator, all slots, 16 databases"
    )
    mode.add_argument("--coordinator", metavar="HOST:PORT", default="", help="join this cluster")
    it.add_argument(
        "--host", "--bind", default="127.0.0.1", help="address to listen on (%(default)s)"
    )
    it.add_argument("--port", type=int, default=6379, help="RESP port; 0: any (%(default)s)")
    it.add_argument("--link-port", type=int, default=0, help="port for proxies; 0: any free one")
    it.add_argument(
        "--metrics-port", type=int, default=-1, help="0: any free one; -1: none (%(default)s)"
    )
    it.add_argument("--announce-host", default="", help="address told to clients, if not --host")
    it.add_argument("--unixsocket", type=Path, default=None, help="also listen on this unix socket")
    it.add_argument("--unixsocketperm", type=functools.partial(int, base=8), default=0o700)
    it.add_argument(
        "--script-memory-mb", type=int, default=1024, metavar="MB",
        help="what all Lua scripts may take together (%(default)s)",
    )  # fmt: skip
    it.add_argument("--zone", default="a", help="availability zone (%(default)s)")
    it.add_argument("--region", default="local", help="region (%(default)s)")
    it.add_argument("--data-dir", type=Path, default=None, help="where the node keeps its identity")
    return it


def configure(args: argparse.Namespace, rest: list[str]) -> Config:
    """Config from the arguments; ValueError with a sentence for what makes no sense."""
    values = parse_arguments(rest)
    if args.coordinator:
        values["databases"] = "1"
        values["cluster-enabled"] = "yes"
    values["port"] = str(args.port)
    values["bind"] = args.host
    return Config(values)


def raise_descriptor_limit(clients_max: int) -> None:
    """Let the process have a descriptor for each client, as far as the system permits."""
    wanted = clients_max + RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log(
            "descriptors_short",
            level="WARN",
            limit=allowed,
            wanted=wanted,
            why="fewer clients than maxclients can connect; raise the limit of open files",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    args, rest = parser().parse_known_args(argv)
    load_all()
    try:
        config = configure(args, rest)
        identity = temporary() if args.data_dir is None else claim(args.data_dir)
        raise_descriptor_limit(config.integer("maxclients"))
        server = NodeServer(args, config, identity)
    except (ValueError, IdentityError) as error:
        print(f"isthmus node: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    try:
        trio.run(server.run)
    except* OSError as group:
        for problem in leaves(group):
            log("node_failed", level="ERROR", why=str(problem), port=args.port)
        return_code = 1
    else:
        return_code = 0
    return return_code


def leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The single errors in a group of groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
