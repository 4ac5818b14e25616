"""The running coordinator (io): model, store and connections joined.

One rule holds it together: `handle` is synchronous. A message changes the model, is committed,
and only then are its frames queued; nothing can come between. A commit takes a few milliseconds
of fsync during which nothing else runs, which is fine here: clients never wait for a coordinator.
A store that fails stops the coordinator (the error passes through), for memory is then ahead of
disk; from then on it does nothing more, whatever comes in while its connections are ended. The
process ends with it, or stands by again (`candidate.py`) where several coordinators share a store.
"""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from prometheus_client import CollectorRegistry

from isthmus.coordinator import model
from isthmus.coordinator.observe import CoordinatorCollector
from isthmus.coordinator.rpc import Hub
from isthmus.coordinator.store.base import Batch, Body, Key, Store, StoreError
from isthmus.wire.beats import until_next
from isthmus.wire.durability import Durability, DurabilityError
from isthmus.wire.logs import log
from isthmus.wire.membership import open_stream
from isthmus.wire.metrics_http import serve_metrics
from isthmus.wire.policy import OFF, Policy, PolicyError

TICK_SECONDS: Final = 0.25
PROBE_SECONDS_MAX: Final = 1.0
PROBES_MAX: Final = 64
_LOUD: Final = frozenset(
    {"peer_refused", "member_dead", "own_pause", "epoch_floor_raised", "shard_suspected",
     "shard_waiting", "shard_failover", "shard_forced", "shard_receipt"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator chooses. Port 0 takes a free one."""

    region: str = "local"
    host: str = "127.0.0.1"
    port: int = 9400
    metrics_port: int = 0
    shards: int = 3
    # Of each shard; None: as the store has it, none if it is new.
    replicas: int | None = None
    # Of a cluster that has no policies yet.
    persistence: Policy = OFF
    durability: Durability = field(default_factory=Durability)
    limits: model.Limits = field(default_factory=model.Limits)


def boot_clock() -> int:
    """Monotonic nanoseconds that go on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Coordinator:
    """One region's coordinator over an open store. Raises StoreError for a store of elsewhere."""

    def __init__(
        self, settings: Settings, store: Store, clock: Callable[[], int] = boot_clock
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.state = _load(settings, store, clock())
        self.hub = Hub(self.handle, self.status, self.ask)
        self._probes: trio.Nursery | None = None
        self._probing = 0
        self.address = ""
        self.metrics_address = ""
        self.commits = 0
        self.commit_ns = 0
        self.failed = False
        # What was decided in this process' time, for metrics.
        self.decisions: Counter[str] = Counter()

    def handle(self, message: model.Message) -> None:
        """Take one message: decide, commit, then send. Raises StoreError, and is over then."""
        if self.failed:
            return
        now = self.clock()
        try:
            # The time that is judged is the time that the step acts on: a process that was stopped
            # between the two must not act on what it held before.
            self.store.confirm(now)
            out = model.step(self.state, message, now)
            if out.persist is not None:
                begun = self.clock()
                self.store.commit(out.persist)
                self.commit_ns += self.clock() - begun
                self.commits += 1
        except StoreError:
            self.failed = True
            raise
        for connection, frame in out.send:
            self.hub.send(connection, frame)
        for connection in out.close:
            self.hub.close(connection)
        for member, incarnation, address in out.probes:
            self._start_probe(member, incarnation, address)
        for event, fields in out.notes:
            if event in model.DECISIONS:
                self.decisions[event] += 1
            log(event, level="WARN" if event in _LOUD else "INFO", **fields)

    def status(self) -> dict[str, Any]:
        """The cluster as `isthmus status` shows it, this process first."""
        me = own_line(self.settings, self.address, self.metrics_address)
        me.update(
            id=self.state.cluster_id, epoch=self.state.epoch, topology_epoch=self.state.epoch,
            term=self.store.term,
        )  # fmt: skip
        return with_own_line(model.status(self.state, self.clock()), me)

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Answer `explain`, `whatif` and `preview`. Raises ValueError."""
        if method == "explain":
            shard = params.get("shard")
            if shard is not None and self.state.shard(shard) is None:
                raise ValueError(f"there is no shard {shard}")
            return {"entries": model.journal(self.state, shard)}
        zone, node = params.get("zone"), params.get("node")
        if method == "preview":
            shards = params.get("shards")
            if shards is not None and (not isinstance(shards, int) or isinstance(shards, bool)):
                raise ValueError("shards must be a number")
            return model.preview(self.state, shards, node)
        if (zone is None) == (node is None):
            raise ValueError("give a zone or a node")
        return model.whatif(self.state, zone, node)

    def _start_probe(self, member: str, incarnation: str, address: str) -> None:
        """See whether a process that lost its connection is still there."""
        if self._probes is not None and self._probing < PROBES_MAX:
            self._probing += 1
            self._probes.start_soon(self._probe, member, incarnation, address)

    async def _probe(self, member: str, incarnation: str, address: str) -> None:
        """Only a refusal proves something: the host is there, and nobody listens any more."""
        try:
            with trio.move_on_after(PROBE_SECONDS_MAX):
                await trio.aclose_forcefully(await open_stream(address))
        except OSError as error:
            if _refused(error):
                self.handle(model.Probe(member, incarnation))
        finally:
            self._probing -= 1

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `started` gets the RPC address once both ports are open."""
        settings = self.settings
        registry = CollectorRegistry()
        registry.register(CoordinatorCollector(self))
        listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
        self.address = f"{settings.host}:{listeners[0].socket.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            self.metrics_address = await nursery.start(
                serve_metrics, settings.host, settings.metrics_port, registry
            )
            self.begin(nursery)
            await nursery.start(functools.partial(trio.serve_listeners, self.hub.serve, listeners))
            self.say_ready()
            task_status.started(self.address)

    def begin(self, nursery: trio.Nursery) -> None:
        """Start what goes on for as long as this coordinator decides, beside its connections."""
        self._probes = nursery
        nursery.start_soon(self._tick)

    def say_ready(self) -> None:
        """Log that members may come."""
        log(
            "coordinator_ready", address=self.address, metrics=self.metrics_address,
            region=self.settings.region, cluster=self.state.cluster_id, term=self.store.term,
            epoch=self.state.epoch, shards=len(self.state.shards), pid=os.getpid(),
        )  # fmt: skip

    async def _tick(self) -> None:
        while True:
            self.handle(model.Tick(wall_ms=time.time_ns() // model.MS))
            await trio.sleep(until_next(TICK_SECONDS, self.clock() / 1e9))


def own_line(settings: Settings, address: str, metrics_address: str) -> dict[str, Any]:
    """A coordinator among the processes of a status."""
    return {
        "role": "coordinator",
        "id": "",
        "pid": os.getpid(),
        "region": settings.region,
        "zone": "",
        "shard": None,
        "epoch": 0,
        "topology_epoch": 0,
        "address": address,
        "link_address": address,
        "metrics_address": metrics_address,
        "slots": [],
        "state": "up",
        "connected": True,
        "keys": 0,
        "disk": None,
        "term": 0,
    }


def with_own_line(said: dict[str, object], me: dict[str, Any]) -> dict[str, Any]:
    """A status with its coordinator before all other processes."""
    processes = said["processes"]
    return {**said, "processes": [me, *(processes if isinstance(processes, list) else [])]}


def _load(settings: Settings, store: Store, now: int) -> model.State:
    saved = store.load()
    if saved is None:
        store.create(secrets.token_hex(20), settings.region)
        saved = store.load()
        if saved is None:
            raise StoreError("the store lost the cluster it was just given")
    if saved.region != settings.region:
        raise StoreError(
            f"this store holds region {saved.region}; it cannot serve {settings.region}"
        )
    try:
        state = model.restore(saved, settings.shards, settings.limits, now)
    except (PolicyError, DurabilityError) as error:
        what = "persistence" if isinstance(error, PolicyError) else "durability"
        raise StoreError(f"the stored {what} policy cannot be understood: {error}") from error
    if state.shards_wanted != settings.shards:
        log("shards_kept", level="WARN", wanted=settings.shards, formed_with=state.shards_wanted)
    _give_settings(settings, state, store)
    return state


def _give_settings(settings: Settings, state: model.State, store: Store) -> None:
    """What a new store lacks, or one of an older version, is in it from now on."""
    objects: dict[Key, Body | None] = {}
    if state.persistence is None:
        state.persistence = settings.persistence
        objects[model.PERSISTENCE] = {"policy": str(settings.persistence)}
    if state.durability is None:
        state.durability = settings.durability
        objects[model.DURABILITY] = {"policy": str(settings.durability)}
    if settings.replicas is not None and settings.replicas != state.replicas_wanted:
        state.replicas_wanted = settings.replicas
        objects[model.REPLICAS] = {"count": settings.replicas}
    if objects:
        # Members may hold the topology of this epoch, and these are a part of the next.
        state.epoch += bool(state.epoch)
        store.commit(Batch(state.epoch, objects))


def _refused(error: BaseException) -> bool:
    """Whether a connection was refused; trio joins one error per address that a name has."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return all(_refused(each) for each in cause.exceptions)
    return isinstance(cause or error, ConnectionRefusedError)
