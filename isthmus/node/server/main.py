"""The node process (io): the only place where a node's parts are put together.

`isthmus node --standalone` is a drop-in redis-server; with `--coordinator` the process is a member
of a cluster and serves the slots it is given. Exit code 0 after SIGTERM or SIGINT, 1 when something
outside is wrong (port taken, data folder in use), 2 for arguments that make no sense.
"""

from __future__ import annotations

import argparse
import functools
import os
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
from isthmus.node.cluster.identity import Identity, IdentityError, claim, temporary
from isthmus.node.commands import load_all
from isthmus.node.engine.acl_rules import RuleError
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.config_file import ConfigFileError
from isthmus.node.engine.config_rewrite import rewritten
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.keyspace import Database
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng
from isthmus.node.persist.persistence import Persistence
from isthmus.node.persist.policy_keeper import PolicyFileError, PolicyKeeper, set_before_loading
from isthmus.node.persist.recover import RecoverError, recover
from isthmus.node.replicate.follow import Follower
from isthmus.node.replicate.full_sync import FullSyncs
from isthmus.node.replicate.quarantine import Receipt, frame_of, note_told, untold
from isthmus.node.replicate.replication import Replication
from isthmus.node.replicate.segments import Segments
from isthmus.node.scripting.scripts import Scripts
from isthmus.node.server import allocator
from isthmus.node.server.cron import Alarm, Cron
from isthmus.node.server.endpoints import Endpoints, addresses_of
from isthmus.node.server.facts import process_facts, reset_counters
from isthmus.node.server.files import read_file, replace_file
from isthmus.node.server.listener import Door, listen_tcp
from isthmus.node.server.mover import Mover
from isthmus.node.server.observe import NodeCollector
from isthmus.node.server.script_driver import ScriptDriver, script_bytes
from isthmus.node.server.session import NodeTicker
from isthmus.node.server.startup import (
    configure,
    explain,
    introduce_users,
    more_clients,
    open_log,
    parser,
    raise_descriptor_limit,
    spread,
    tell_of_useless,
)
from isthmus.node.server.surroundings import Surroundings
from isthmus.node.sinks.notify import Notifier
from isthmus.wire.logs import log
from isthmus.wire.loop import run_pump, settle_collector
from isthmus.wire.metrics_http import serve_metrics
from isthmus.wire.pump import Pump

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class NodeServer:
    """A Node with its sockets; `node.server` for the commands that concern the process."""

    def __init__(self, args: argparse.Namespace, config: Config, identity: Identity) -> None:
        self.args = args
        # Where metrics are served: beside the first address for clients.
        self.host = addresses_of(config.text("bind"))[0][0]
        self.identity = identity
        self.node = Node(Clock(), Rng(int.from_bytes(secrets.token_bytes(8))), config, identity.id)
        self.node.server = self
        Notifier(self.node)
        self.script_driver = ScriptDriver(Scripts(self.node, script_bytes(args.script_memory_mb)))
        self.persistence = self.node.persistence = Persistence(self.node)
        self.node.replication = Replication(self.node)
        self.follower = Follower(self.node)
        self.ticker = NodeTicker(self.node)
        self.pump = Pump(self.node.ctx.reply, self.ticker)
        self.persistence.aof.buffer.hold = self.pump.hold
        self.node.replication.stream.stir = self.stir
        FullSyncs(self.node)
        if args.backlog_disk_mb > 0 and (args.data_dir or not args.coordinator):
            older = Segments(args.data_dir or ".")
            self.node.replication.keep_on_disk(older, args.backlog_disk_mb)
        self.persistence.snapshots.background = self.walk_between_turns
        self.cron = Cron(self.node, self.pump)
        self.mover = Mover(self.node)
        self.endpoints = Endpoints(self.node, self.pump)
        self.surroundings = Surroundings(config)
        config.on_apply("maxclients", more_clients)
        # The door for proxies, in a cluster.
        self.link_listener: socket.socket | None = None
        self.stopping = trio.Event()
        self.alarm = Alarm(self.node)
        self.node.blocking.alarm = self.alarm.set
        self.node.blocking.resume = self.resume
        self.member: Any = None
        self.policy: PolicyKeeper | None = None
        self.started_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.metrics_address = ""
        self.resident_at_start = self.process_memory()

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

    def shutdown(self, save: bool | None = None, force: bool = False) -> bool:
        """Stop the process in an orderly way. False if data could not be saved, and nothing stops.

        `save`: None is what the save points say.
        """
        wanted = bool(self.node.config.text("save")) if save is None else save
        if wanted and not self.node.persistence.loading.active:
            try:
                self.persistence.snapshots.save_now()
            except RedisError:
                if not force:
                    return False
        self.pump.stopped = True
        self.stopping.set()
        return True

    def stir(self) -> None:
        """Replicas are to be handed something at the end of this turn."""
        self.pump.feeding = True

    def walk_between_turns(self, on: bool) -> None:
        """A cut is being taken, or no more."""
        self.pump.background = on

    def move_keys(self, client: ClientState, db: Database, order: Any) -> None:
        """MIGRATE: send keys to another server, then reply to the client."""
        self.mover.begin(client, db, order)

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can foresee."""
        return secrets.token_bytes(count)

    def read_file(self, path: bytes) -> bytes:
        """The contents of a file; raises OSError."""
        return read_file(path)

    def replace_file(self, path: bytes, data: bytes) -> None:
        """Write a file as a whole or not at all; raises OSError."""
        replace_file(path, data)

    def rewrite_config(self) -> None:
        """Bring the configuration file up to date; raises OSError."""
        path = os.fsencode(self.node.config.path)
        try:
            old = read_file(path)
        except FileNotFoundError:
            old = b""
        text = rewritten(old, self.node.config, os.getcwd(), self.node.acl.lines())
        replace_file(path, text)

    def process_memory(self) -> int:
        """Resident bytes of this process."""
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES

    def process_facts(self) -> dict[str, str]:
        """What INFO tells of this process; see facts.py."""
        names = [listener.getsockname() for listener in self.endpoints.sockets()]
        facts = process_facts(self.pump, self.cron, names)
        # The allocator itself takes too long to answer (allocator.py): this is what the process
        # was before it had data, and what is counted since.
        allocated = self.resident_at_start + self.node.memory.used()
        facts["allocator_allocated"] = str(min(allocated, self.process_memory()))
        return {**facts, "config_file": self.node.config.path}

    def reset_counters(self) -> None:
        """CONFIG RESETSTAT, as far as the process counts."""
        reset_counters(self.pump, self.cron)

    def hold(self, seconds: float) -> None:
        """DEBUG SLEEP: let the whole process do nothing, as a fault might."""
        time.sleep(seconds)

    def longest_turn_us(self, on: bool) -> int:
        """DEBUG LONGEST-TURN: measure turns of the loop or stop; the longest so far, in CPU us."""
        return int(self.pump.time_turns(on)) // 1000

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
        address = self.endpoints.open()
        if not args.coordinator:
            return address, ""
        host, _, port = address.rpartition(":")
        told = args.announce_host or host
        # Only a member of a cluster needs the link; a standalone node starts without loading it.
        from isthmus.node.server.link_session import LinkSession

        link = self.link_listener = listen_tcp(host, args.link_port)
        self.pump.listen(link.fileno(), Door(self.node, LinkSession).admit)
        return f"{told}:{port}", f"{told}:{link.getsockname()[1]}"

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SHUTDOWN."""
        self.surroundings.enter()
        address, link_address = self.bind()
        registry = CollectorRegistry()
        registry.register(NodeCollector(self))
        try:
            async with trio.open_nursery() as nursery:
                if self.args.metrics_port >= 0:
                    serve = functools.partial(
                        serve_metrics, self.host, self.args.metrics_port, registry
                    )
                    self.metrics_address = await nursery.start(serve)
                # Signals first: from the moment somebody can connect, a signal ends us in order.
                await nursery.start(self.watch_signals)
                nursery.start_soon(run_pump, self.pump)
                # Before loading: a collection would look at all that was loaded, again and again.
                settle_collector()
                # Who connects meanwhile is answered LOADING; the cluster hears of us afterwards.
                if self.policy is None or self.policy.folder is not None:
                    await recover(self.node)
                if self.args.coordinator:
                    self.join(nursery, address, link_address)
                self.begin_following(address)
                nursery.start_soon(self.follower.run)
                nursery.start_soon(self.cron.run)
                nursery.start_soon(self.alarm.run)
                nursery.start_soon(self.script_driver.run)
                nursery.start_soon(self.mover.run)
                nursery.start_soon(self.persistence.snapshots.run)
                nursery.start_soon(self.persistence.aof.run)
                settle_collector()
                allocator.settle()
                log(
                    "node_ready", address=address, metrics=self.metrics_address, pid=os.getpid(),
                    mode="cluster" if self.args.coordinator else "standalone",
                    compiled="yes" if isthmus.compiled() else "no",
                )  # fmt: skip
                self.surroundings.ready()
                await self.stopping.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    def begin_following(self, address: str) -> None:
        """Follow whom the configuration names, from now on."""
        port = address.rpartition(":")[2]
        self.follower.port = int(port) if port.isdigit() else 0
        words = self.node.config.text("replicaof").split()
        loading = self.persistence.loading
        if words and not self.persistence.aof.enabled:
            self.follower.restored_from(loading.facts)
        elif (words or self.args.coordinator) and loading.stream is not None:
            self.follower.restored_from_aof(loading.stream)
        if words:
            self.follower.follow(words[0], int(words[1]))

    def join(self, nursery: trio.Nursery, address: str, link_address: str) -> None:
        """Become a member of the coordinator's cluster."""
        # Only a member of a cluster needs all this; a standalone node starts without loading it.
        from isthmus.node.cluster.link import Announcement
        from isthmus.node.cluster.member import Member
        from isthmus.node.moves.moves import Moves
        from isthmus.node.moves.pull import MoveTasks

        me = Announcement(
            incarnation=self.identity.incarnation, region=self.args.region, zone=self.args.zone,
            address=address, link_address=link_address, metrics_address=self.metrics_address,
        )  # fmt: skip
        policy = self.policy
        assert policy is not None
        member = self.member = Member(
            self.node, me, policy.told, policy.health, self.started_boot_ns, policy.folder
        )
        member.duty.release = self.pump.release
        member.duty.cut_off = self.pump.cut_off_deferred
        self.ticker.duty = member.duty
        self.node.replication.stream.hold = self.pump.hold
        self.report_losses(member.receipts)
        moves = self.node.moves = Moves(self.node, member.view)
        moves.say = member.link.say
        nursery.start_soon(MoveTasks(moves).run)
        nursery.start_soon(policy.run)
        nursery.start_soon(member.run, self.args.coordinator)

    def report_losses(self, receipts: Any) -> None:
        """Let the coordinator know what this node had to give up, now or in an earlier life."""
        folder = os.getcwd()

        def lost(receipt: Receipt) -> None:
            receipts.count += 1
            receipts.add(frame_of(receipt))

        self.follower.lost = lost
        receipts.told = functools.partial(note_told, folder)
        for receipt in untold(folder):
            receipts.add(frame_of(receipt))

    async def watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                log("node_stopping", signal=signal.Signals(number).name)
                name = "shutdown-on-sigint" if number == signal.SIGINT else "shutdown-on-sigterm"
                words = self.node.config.text(name).split()
                save = True if "save" in words else False if "nosave" in words else None
                if not self.shutdown(save, "force" in words):
                    log("node_goes_on", level="ERROR", why="the data could not be saved")

    def close(self) -> None:
        """Close every socket and release the identity; replies already written are sent first."""
        if self.link_listener is not None:
            self.pump.unlisten(self.link_listener.fileno())
            self.link_listener.close()
        self.endpoints.close()
        for peer in list(self.pump.peers.values()):
            self.pump.close(peer)
        self.persistence.close()
        self.surroundings.leave()
        self.identity.release()
        log("node_stopped", commands=self.node.ctx.commands)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    args, rest = parser().parse_known_args(spread(sys.argv[1:] if argv is None else argv))
    load_all()
    try:
        source = configure(args, rest)
        config = source.config
        identity = temporary() if args.data_dir is None else claim(args.data_dir)
        open_log(config)
        tell_of_useless(config)
        raise_descriptor_limit(config.integer("maxclients"))
        in_force = set_before_loading(config, args.data_dir) if args.coordinator else None
        server = NodeServer(args, config, identity)
        if args.coordinator:
            server.policy = PolicyKeeper(server.node, args.data_dir, in_force)
        introduce_users(server.node, source.users)
    except (ConfigFileError, RuleError, OSError, IdentityError, PolicyFileError) as error:
        print(explain(error), file=sys.stderr)
        return 1
    except ValueError as error:
        print(explain(error), file=sys.stderr)
        return 2
    try:
        trio.run(server.run)
    except* RecoverError as group:
        for problem in leaves(group):
            log("node_failed", level="ERROR", why=str(problem))
        return_code = 1
    except* OSError as group:
        for problem in leaves(group):
            log("node_failed", level="ERROR", why=str(problem), port=config.text("port"))
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
