"""A process's bond with its coordinator (io): the half that nodes and proxies share.

`Membership.run` connects, registers, sends a heartbeat as often as the coordinator asks, hands
every pushed topology to its owner, and when the connection is lost begins again, waiting longer
each time (up to `BACKOFF_SECONDS_MAX`, with jitter, so that a thousand processes do not return in
one instant). It never gives up and never raises for what the coordinator does: a process without
its coordinator goes on with the topology it holds.

Of several coordinators one leads. Those that stand by refuse with code NOT_LEADER and name the
leader's address ("leader", empty while there is none), which is tried at once. Otherwise one after
the other is tried, beginning with the one that had us last; the wait grows with each round of all,
but not beyond `ELECTION_SECONDS_MAX` while one says that it stands by, for then a leader is near.

Frames to the coordinator: `register` (all of `describe()`), `heartbeat` (its `HEARTBEAT_FIELDS`),
`leave` (when the run is cancelled: an orderly shutdown). Frames from it: `registered`, `topology`,
`heartbeat` (the answer: silence beyond `silence_ms` means a dead connection), `refused`. What else
is said either way is its owner's matter (`isthmus/coordinator/DESIGN.md` has all frames).

A topology frame, as `on_topology` gets it:

    {"type": "topology", "cluster": str, "region": str, "epoch": int, "persistence": policy,
     "durability": policy, "lease_ms": int, "replicas_wanted": int,
     "shards": [{"number": int, "id": str, "epoch": int, "primary": node id,
                 "replicas": [node id], "slots": [[first, last], ...],
                 "synced": [node id], "joint": [node id]}],
     "moves": [{"id": str, "source": int, "target": int, "slots": [[first, last], ...],
                "state": str, "epoch": int}],
     "nodes": [{"id": str, "region": str, "zone": str, "address": "host:port",
                "link_address": "host:port" or "", "alive": bool, "shard": int or None}]}

The owner compares epochs: frames may repeat, and one of an older epoch must change nothing.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from isthmus.wire.beats import until_next
from isthmus.wire.link import Link, LinkError
from isthmus.wire.logs import log

Frame = dict[str, Any]
HEARTBEAT_FIELDS: Final = ("epoch", "pid", "slots", "keys", "disk", "copy", "moves")
SAYINGS_MAX: Final = 64
CONNECT_SECONDS_MAX: Final = 2.0
ANSWER_SECONDS_MAX: Final = 5.0
LEAVE_SECONDS_MAX: Final = 0.5
BACKOFF_SECONDS_MIN: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 2.0
ELECTION_SECONDS_MAX: Final = 0.5
NOT_LEADER: Final = "NOT_LEADER"
HEARTBEAT_MS_MIN: Final = 10


def _nobody(*_: str) -> None:
    """Nobody listens."""


def _unheard(_: Frame) -> None:
    """Nobody listens."""


async def open_stream(address: str) -> trio.abc.Stream:
    """A TCP connection to "host:port" (an IPv6 host in brackets). Raises OSError."""
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host.strip("[]"), int(port))


def address_list(text: str) -> str:
    """Addresses of coordinators, "host:port" and commas; ValueError if that is not what it is."""
    addresses = [address.strip() for address in text.split(",")]
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"not HOST:PORT: {address!r}")
    return ",".join(addresses)


class Membership:
    """Keeps one process registered.

    `describe()` gives id, role ("node" or "proxy"), region, zone, address, link_address,
    metrics_address, pid, incarnation, cluster (the id of the cluster it is in, or ""), epoch (of
    the topology it holds, or 0), slots (how many it serves), keys, and for a node disk (how it
    fares with keeping data). It is called for every heartbeat and must be quick.
    `on_refused(code, text)` hears why a registration was refused, though not by one that does not
    lead; `connected` tells whether the coordinator has us now. `on_message` gets every other frame
    of the coordinator: grants of leases, orders for a failover. `say` sends it such a frame, ahead
    of the next heartbeat.
    """

    def __init__(
        self,
        describe: Callable[[], Frame],
        on_topology: Callable[[Frame], None],
        *,
        on_refused: Callable[[str, str], None] = _nobody,
        on_message: Callable[[Frame], None] = _unheard,
        connect: Callable[[str], Awaitable[trio.abc.Stream]] = open_stream,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._describe = describe
        self._on_topology = on_topology
        self._on_refused = on_refused
        self._on_message = on_message
        # What is to be said besides heartbeats, while there is a connection.
        self._sayings: deque[Frame] = deque(maxlen=SAYINGS_MAX)
        self._said = trio.Event()
        self._connect = connect
        self._jitter = jitter
        self._complaints: dict[str, str] = {}  # by address
        self._leader: str | None = None  # whom a coordinator that stands by has named
        self.connected = False
        self.sent = 0
        self.received = 0

    def beat_soon(self) -> None:
        """Send a heartbeat now: something is to be known before the next one is due."""
        self.say(self._heartbeat())

    def _heartbeat(self) -> Frame:
        described = self._describe()
        beat: Frame = {name: described[name] for name in HEARTBEAT_FIELDS if name in described}
        return {"type": "heartbeat", **beat}

    def say(self, frame: Frame) -> None:
        """Send a frame soon; it is lost if there is no connection."""
        if self.connected:
            self._sayings.append(frame)
            self._said.set()

    async def run(self, addresses: str) -> None:
        """Stay registered with a coordinator until cancelled.

        `addresses` are "host:port", with commas between them if there are several coordinators.
        """
        known = addresses.split(",")
        place, tried, backoff = 0, 0, BACKOFF_SECONDS_MIN
        longest = BACKOFF_SECONDS_MAX
        while True:
            at = known[place]
            registered = await self._attempt(at)
            if not registered and self._leader is not None:
                longest = ELECTION_SECONDS_MAX
                if self._leader not in ("", at):
                    at = self._leader
                    registered = await self._attempt(at)
            if registered:
                tried, backoff, longest = 0, BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX
                place = known.index(at) if at in known else place
            else:
                tried += 1
                place = (place + 1) % len(known)
            round_over = tried % len(known) == 0
            wait = min(backoff, longest) if round_over else BACKOFF_SECONDS_MIN
            await trio.sleep(wait * (0.5 + self._jitter() / 2))
            if round_over:
                backoff, longest = min(backoff * 2, BACKOFF_SECONDS_MAX), BACKOFF_SECONDS_MAX

    async def _attempt(self, address: str) -> bool:
        """One connection from beginning to end; True if it got as far as being registered."""
        self._leader = None
        try:
            with trio.fail_after(CONNECT_SECONDS_MAX):
                link = Link(await self._connect(address))
        except (OSError, LinkError, trio.TooSlowError) as error:
            self._complain("coordinator_unreachable", address, str(error) or "no answer")
            return False
        try:
            await self._session(link, address)
        except (LinkError, trio.TooSlowError) as error:
            if self.connected:
                log("coordinator_lost", level="WARN", address=address, why=str(error) or "silence")
        finally:
            registered, self.connected = self.connected, False
            await _close(link)
        return registered

    async def _session(self, link: Link, address: str) -> None:
        described = self._describe()
        await link.greet(str(described["role"]))
        await self._send(link, {"type": "register", **described})
        with trio.fail_after(ANSWER_SECONDS_MAX):
            frame = await self._receive(link)
        if frame.get("type") == "refused":
            code, text = str(frame.get("code", "")), str(frame.get("error", ""))
            self._complain("coordinator_refused", address, f"{code}: {text}")
            if code == NOT_LEADER:
                self._leader = str(frame.get("leader", ""))
            else:
                self._on_refused(code, text)
            return
        if frame.get("type") != "registered":
            raise LinkError(f"expected registered, got {frame.get('type')!r}")
        self.connected = True
        self._complaints.clear()
        log("coordinator_connected", address=address, cluster=frame.get("cluster", ""))
        heartbeat_ms, silence_ms = _times(frame)
        try:
            async with trio.open_nursery() as nursery:
                self._sayings.clear()
                nursery.start_soon(self._beat, link, heartbeat_ms / 1000, nursery.cancel_scope)
                nursery.start_soon(self._speak, link, nursery.cancel_scope)
                await self._listen(link, silence_ms / 1000)
                nursery.cancel_scope.cancel()
        finally:
            if trio.current_effective_deadline() == -math.inf:  # cancelled from outside
                await _say_goodbye(link)

    async def _listen(self, link: Link, silence_seconds: float) -> None:
        """Take frames until the connection ends, in whatever way; says why in the log."""
        while True:
            try:
                with trio.fail_after(silence_seconds):
                    frame = await self._receive(link)
            except (LinkError, trio.TooSlowError) as error:
                log("coordinator_lost", level="WARN", why=str(error) or "silence")
                return
            kind = frame.get("type")
            if kind == "topology":
                self._on_topology(frame)
            elif kind == "refused":
                text = str(frame.get("error", ""))
                log("coordinator_lost", level="WARN", why=text)
                return
            elif kind != "heartbeat":
                self._on_message(frame)

    async def _speak(self, link: Link, session: trio.CancelScope) -> None:
        while True:
            await self._said.wait()
            self._said = trio.Event()
            while self._sayings:
                try:
                    await self._send(link, self._sayings.popleft())
                except LinkError:
                    session.cancel()
                    return

    async def _beat(self, link: Link, seconds: float, session: trio.CancelScope) -> None:
        while True:
            await trio.sleep(until_next(seconds, time.monotonic()))
            try:
                await self._send(link, self._heartbeat())
            except LinkError as error:
                log("coordinator_lost", level="WARN", why=str(error))
                session.cancel()
                return

    async def _send(self, link: Link, frame: Frame) -> None:
        await link.send(frame)
        self.sent += 1

    async def _receive(self, link: Link) -> Frame:
        frame = await link.receive()
        self.received += 1
        return frame

    def _complain(self, event: str, address: str, why: str) -> None:
        """Log a failure once, not at every retry."""
        if self._complaints.get(address) != (complaint := f"{event} {why}"):
            self._complaints[address] = complaint
            log(event, level="WARN", address=address, why=why)


def _times(frame: Frame) -> tuple[int, int]:
    heartbeat_ms, silence_ms = frame.get("heartbeat_ms"), frame.get("silence_ms")
    if not isinstance(heartbeat_ms, int) or not isinstance(silence_ms, int):
        raise LinkError("registered without heartbeat_ms and silence_ms")
    return max(heartbeat_ms, HEARTBEAT_MS_MIN), max(silence_ms, 2 * HEARTBEAT_MS_MIN)


async def _say_goodbye(link: Link) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_SECONDS_MAX):
        try:
            await link.send({"type": "leave"})
        except LinkError:
            return


async def _close(link: Link) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_SECONDS_MAX):
        await link.aclose()
