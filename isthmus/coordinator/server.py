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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from prometheus_client import CollectorRegistry

from isthmus.coordinator import model
from isthmus.coordinator.observe import CoordinatorCollector
from isthmus.coordinator.rpc import Hub
from isthmus.coordinator.store.base import Batch, Store, StoreError
from isthmus.wire.beats import until_next
from isthmus.wire.logs import log
from isthmus.wire.metrics_http import serve_metrics
from isthmus.wire.policy import OFF, Policy, PolicyError

TICK_SECONDS: Final = 0.25
_LOUD: Final = frozenset({"peer_refused", "member_dead", "own_pause", "epoch_floor_raised"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator chooses. Port 0 takes a free one."""

    region: str = "local"
    host: str = "127.0.0.1"
    port: int = 9400
    metrics_port: int = 0
    shards: int = 3
    # Of a cluster that has no policy yet.
    persistence: Policy = OFF
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
        self.hub = Hub(self.handle, self.status)
        self.address = ""
        self.metrics_address = ""
        self.commits = 0
        self.commit_ns = 0
        self.failed = False

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
        for event, fields in out.notes:
            log(event, level="WARN" if event in _LOUD else "INFO", **fields)

    def status(self) -> dict[str, Any]:
        """The cluster as `isthmus status` shows it, this process first."""
        me = own_line(self.settings, self.address, self.metrics_address)
        me.update(
            id=self.state.cluster_id, epoch=self.state.epoch, topology_epoch=self.state.epoch,
            term=self.store.term,
        )  # fmt: skip
        return with_own_line(model.status(self.state), me)

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
            self.handle(model.Tick())
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
    except PolicyError as error:
        raise StoreError(f"the stored persistence policy cannot be understood: {error}") from error
    if state.shards_wanted != settings.shards:
        log("shards_kept", level="WARN", wanted=settings.shards, formed_with=state.shards_wanted)
    if state.persistence is None:
        _give_policy(settings.persistence, state, store)
    return state


def _give_policy(policy: Policy, state: model.State, store: Store) -> None:
    """A new store, or one of a version without policies: from now on there is one in it."""
    state.persistence = policy
    # Members may hold the topology of this epoch, and the policy is a part of the next.
    state.epoch += bool(state.epoch)
    store.commit(Batch(state.epoch, {model.PERSISTENCE: {"policy": str(policy)}}))
