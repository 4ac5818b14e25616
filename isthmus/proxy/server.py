"""The sockets of a proxy (io): its listener, the links to the nodes, and its timers.

Three kinds of trio tasks beside the pump: one keeper for each node of the topology, which connects,
hands the socket to the pump and sleeps until the link is lost; one timer, which moves the router's
coarse clock and sends parked requests again; and the membership.

Whatever touches peers outside the pump ends with a `poll`, or what was queued would lie until some
socket becomes ready.
"""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Mapping
from typing import Any

import trio

from isthmus.node.spec import errors
from isthmus.proxy.backend import Backend, Link
from isthmus.proxy.private import Line, PrivateLink
from isthmus.proxy.session import Session
from isthmus.proxy.state import Proxy
from isthmus.proxy.topology import BadTopology, read
from isthmus.wire.beats import until_next
from isthmus.wire.logs import log
from isthmus.wire.pump import Peer, Pump

BACKLOG = 511
KEEPALIVE_SECONDS = 300
# A node whose machine is gone answers nothing, not even a reset.
LINK_KEEPALIVE_SECONDS = 9
LINK_SILENCE_MS_MAX = 10_000
CONNECT_SECONDS_MAX = 2.0
HELLO_SECONDS_MAX = 2.0
BACKOFF_SECONDS_MIN = 0.02
BACKOFF_SECONDS_MAX = 1.0
# How long a node that lost its shard may take to answer what it was asked before: one that handed
# it over, and one that is not believed anyway.
RETIRE_SECONDS_MAX = 2.0
DOUBTED_SECONDS_MAX = 0.2
# Nothing needs the clock finer than this unless a request is parked; an idle proxy should sleep.
TICK_SECONDS = 1.0
RETRY_SECONDS = 0.01


class ProxyServer:
    """A Proxy with its sockets. `nursery` owns the keepers."""

    def __init__(self, proxy: Proxy, pump: Pump, nursery: trio.Nursery) -> None:
        self.proxy = proxy
        self.pump = pump
        self.nursery = nursery
        self.keepers: dict[str, trio.CancelScope] = {}
        self.parked = trio.Event()
        proxy.router.refresh = self.tick
        proxy.router.on_park = self.on_park
        proxy.open_line = self.open_line
        self.tick()

    # -- clients ------------------------------------------------------------------------------

    def admit(self, fd: int) -> Peer | None:
        """A Session for an accepted connection, or None after refusing and closing it."""
        proxy = self.proxy
        accepted = socket.socket(fileno=fd)
        if len(proxy.sessions) >= proxy.settings.maxclients:
            proxy.connections_rejected += 1
            try:
                accepted.send(b"-" + errors.MAX_CLIENTS + b"\r\n", socket.MSG_DONTWAIT)
            except OSError as error:
                log("client_gone", level="DEBUG", why=str(error))
            accepted.close()
            return None
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(accepted)
        here, there = addresses(accepted)
        accepted.detach()
        session: Session = proxy.new_session()
        session.address, session.local_address = there, here
        return session

    # -- time ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """Move the router's clock."""
        self.proxy.router.now_ms = time.monotonic_ns() // 1_000_000

    async def run_timer(self) -> None:
        """Tick until cancelled; soon again while requests are parked."""
        router = self.proxy.router
        while True:
            with trio.move_on_after(until_next(TICK_SECONDS, time.monotonic())):
                await self.parked.wait()
                await trio.sleep(RETRY_SECONDS)
            self.parked = trio.Event()
            self.tick()
            if router.parked:
                self.retry()
            if self.pump.accept_paused:
                self.pump.resume_accepting()

    def on_park(self) -> None:
        """A request was parked: let the timer come soon."""
        self.parked.set()

    def retry(self) -> None:
        """Send parked requests again now."""
        self.proxy.router.retry()
        self.pump.poll(0)

    # -- topology and links -------------------------------------------------------------------

    def on_topology(self, frame: Mapping[str, Any]) -> None:
        """A topology frame of the coordinator."""
        router = self.proxy.router
        before = router.epoch
        try:
            topology = read(frame)
        except BadTopology as error:
            log("topology_refused", level="ERROR", why=str(error))
            return
        if router.cluster and topology.cluster != router.cluster:
            log("topology_refused", level="ERROR", why=f"cluster {topology.cluster} is not ours")
            return
        self.tick()
        new, gone = router.apply(topology)
        for backend in gone:
            self.drop(backend)
            self.nursery.start_soon(self.retire, backend)
        for backend in new:
            self.nursery.start_soon(self.keep, backend)
        if before != router.epoch:
            log("topology", epoch=router.epoch, shards=len(router.shards))
        self.retry()

    def drop(self, backend: Backend) -> None:
        """A node serves nothing any more: end its keeper, and what waits for no answer."""
        scope = self.keepers.pop(key_of(backend), None)
        if scope is not None:
            scope.cancel()
        idle, backend.idle = backend.idle, []
        for line in idle:
            line.close()

    async def retire(self, backend: Backend) -> None:
        """Let a node that serves nothing any more answer what is under way, but not for ever."""
        link = backend.link
        if link is None:
            return
        link.retire()
        if link.open:
            await trio.sleep(DOUBTED_SECONDS_MAX if link.doubted else RETIRE_SECONDS_MAX)
            self.pump.close(link)
            self.pump.poll(0)

    def open_line(self, line: Line) -> None:
        """Connect a private link."""
        self.nursery.start_soon(self.connect_line, line)

    async def connect_line(self, line: Line) -> None:
        """Connect, shake hands and tell the line; a client waits for it."""
        connection = await dial(line.backend.link_address)
        link = None
        if isinstance(connection, socket.socket):
            link = PrivateLink(line.backend, line)
            await self.shake_hands(link, connection)
        elif connection:
            log("line_failed", level="WARN", node=line.backend.id, why=connection)
        line.opened(link if link is not None and link.up else None)
        self.pump.poll(0)

    async def keep(self, backend: Backend) -> None:
        """Keep one link to a node for as long as it is in the topology."""
        if not backend.link_address or self.proxy.router.backends.get(backend.id) is not backend:
            return
        backoff = BACKOFF_SECONDS_MIN
        complaint = ""
        with trio.CancelScope() as scope:
            self.keepers[key_of(backend)] = scope
            while True:
                lost = trio.Event()
                backend.wake = lost.set
                why = await self.connect(backend)
                if not why:
                    log(
                        "link_up",
                        node=backend.id,
                        shard=backend.shard,
                        address=backend.link_address,
                    )
                    backoff, complaint = BACKOFF_SECONDS_MIN, ""
                    self.tick()
                    self.retry()
                    await lost.wait()
                elif why != complaint:
                    complaint = why
                    log("link_failed", level="WARN", node=backend.id, why=why)
                await trio.sleep(backoff * (0.5 + random.random() / 2))
                backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)

    async def connect(self, backend: Backend) -> str:
        """Connect and shake hands; why it failed, or nothing if the link is up."""
        connection = await dial(backend.link_address)
        if isinstance(connection, str):
            self.tick()
            if not backend.lost_ms:
                backend.lost_ms = self.proxy.router.now_ms
            return connection
        link = Link(backend, self.proxy.router, self.proxy.password)
        await self.shake_hands(link, connection)
        return "" if link.up else link.problem or "no hello"

    async def shake_hands(self, link: Link, connection: socket.socket) -> None:
        """Hand a connection to the pump for link, and wait for the node's hello."""
        proxy = self.proxy
        settled = trio.Event()
        link.settled = settled.set
        self.pump.add(link, connection.detach())
        link.greet(proxy.settings.id, proxy.password, proxy.router.epoch)
        self.pump.poll(0)
        try:
            with trio.move_on_after(HELLO_SECONDS_MAX):
                await settled.wait()
        finally:
            if not link.up:
                self.pump.close(link)


async def dial(address: str) -> socket.socket | str:
    """A connection to a node's link address, or why there is none."""
    host, _, port = address.rpartition(":")
    try:
        with trio.fail_after(CONNECT_SECONDS_MAX):
            stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
    except (OSError, trio.TooSlowError) as error:
        return str(error) or "no answer"
    descriptor = socket.dup(stream.socket.fileno())
    await trio.aclose_forcefully(stream)
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(connection, LINK_KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LINK_SILENCE_MS_MAX)
    return connection


def key_of(backend: Backend) -> str:
    return f"{backend.id} {backend.link_address}"


def keep_alive(connection: socket.socket, seconds: int = KEEPALIVE_SECONDS) -> None:
    """Let the kernel find out that the other end is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def addresses(connection: socket.socket) -> tuple[bytes, bytes]:
    """(local, remote) of a connection as CLIENT LIST shows them."""
    try:
        return spell(connection.getsockname()), spell(connection.getpeername())
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return b"?:0", b"?:0"


def spell(address: tuple[Any, ...]) -> bytes:
    host, port = address[0], address[1]
    return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket (port 0: any free one); OSError if it cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
