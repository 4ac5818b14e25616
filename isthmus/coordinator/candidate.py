"""A coordinator among several (io): it stands by, leads for a term, steps down, stands by again.

They share a store that only one holds at a time (`store/etcd.py`). Each listens on its own port all
the time, and serves whoever comes in its present *role*:

- **Standing by** it refuses members with code NOT_LEADER, naming the leader's address, and answers
  `status` from what it can read, marked with "standby". What it reads is a hint, and it decides
  nothing.
- **Leading** it is a `Coordinator` like any other, made anew from the store for each term.

A role is a nursery that all of the role's connections live in. A term ends when the store says that
it is over, or cannot say that it is not (`Store.confirm`, `commit`, `renew`): the nursery is
cancelled, every connection ends, what was in memory is dropped. Members come back when they find
the next leader, perhaps here.

A new leader waits until the one before it has certainly ceased to act (`EtcdStore.wait_ms`) before
it lets anybody in. With an orderly end of the one before there is nothing to wait for.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any, Final

import trio
from prometheus_client import CollectorRegistry

from isthmus.coordinator import model
from isthmus.coordinator.observe import CandidateCollector
from isthmus.coordinator.rpc import Frame, Hub
from isthmus.coordinator.server import (
    Coordinator,
    Settings,
    boot_clock,
    own_line,
    with_own_line,
)
from isthmus.coordinator.store.base import (
    StaleTerm,
    StoreError,
    StoreLocked,
    StoreUnreachable,
)
from isthmus.coordinator.store.etcd import Etcd, EtcdStore, Glance
from isthmus.coordinator.store.gateway import EtcdRefused
from isthmus.wire.logs import log
from isthmus.wire.membership import NOT_LEADER
from isthmus.wire.metrics_http import serve_metrics
from isthmus.wire.policy import PolicyError

POLL_SECONDS: Final = 0.5
HINTS_MAX: Final = (
    10  # tries that may be given up for a hint, before one that asks etcd for certain
)
RENEWALS: Final = 6  # in the time that a leader may act without one
GLANCE_AGE_SECONDS_MAX: Final = 1.0


class Role:
    """What the process is at present: who serves connections, and where they live."""

    def __init__(self, hub: Hub, nursery: trio.Nursery) -> None:
        self.hub = hub
        self.nursery = nursery

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve a connection to its end, or the role's."""
        if self.nursery.cancel_scope.cancel_called:
            return  # the role is over, though its last connections are still being ended
        done = trio.Event()

        async def connection() -> None:
            try:
                await self.hub.serve(stream)
            finally:
                done.set()

        self.nursery.start_soon(connection)
        await done.wait()


class StandbyHub(Hub):
    """Connections of a coordinator that does not lead: none of them gets anything done."""

    def __init__(self, status: Callable[[], Frame], leader: Callable[[], str]) -> None:
        super().__init__(lambda message: None, status)
        self._leader = leader

    def _take(self, connection: int, frame: Frame) -> None:
        leader = self._leader()
        text = f"this coordinator stands by; the leader is {leader or 'being elected'}"
        if frame.get("method") == "status":
            self.send(connection, {"id": frame.get("id"), "result": self._status()})
        elif "method" in frame:
            self.send(connection, {"id": frame.get("id"), "error": f"{NOT_LEADER} {text}"})
        else:
            refused = {"type": "refused", "code": NOT_LEADER, "error": text, "leader": leader}
            self.send(connection, refused)
            self.close(connection)


class Candidate:
    """One coordinator process over a shared store."""

    def __init__(
        self, settings: Settings, etcd: Etcd, announce: str = "",
        clock: Callable[[], int] = boot_clock,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.etcd = etcd
        self.clock = clock
        self.announce = announce
        self.address = ""
        self.metrics_address = ""
        self.coordinator: Coordinator | None = None  # while it leads
        self.terms = 0
        self._held: EtcdStore | None = None  # from the moment it is won until it is given back
        self._role: Role | None = None
        self._leader = ""
        self._glance = Glance("", None)
        self._glance_ns = 0
        self._complaint = ""

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Stand by and lead until cancelled; `started` gets the RPC address once it listens.

        Raises StoreError for a store that this coordinator will never be able to lead.
        """
        settings = self.settings
        registry = CollectorRegistry()
        registry.register(CandidateCollector(self))
        listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
        self.address = f"{settings.host}:{listeners[0].socket.getsockname()[1]}"
        self.etcd.address = self.announce or self.address
        async with trio.open_nursery() as nursery:
            self.metrics_address = await nursery.start(
                serve_metrics, settings.host, settings.metrics_port, registry
            )
            await nursery.start(functools.partial(trio.serve_listeners, self._serve, listeners))
            task_status.started(self.address)
            try:
                while True:
                    await self._lead(await self._stand_by())
                    await self._resign()
                    # Somebody else may be better off, and a store in trouble needs no hurry.
                    await trio.sleep(POLL_SECONDS)
            finally:
                await self._resign()

    def status(self) -> dict[str, Any]:
        """What a standby knows: the stored cluster as last read, itself first."""
        now = self.clock()
        me = own_line(self.settings, self.address, self.metrics_address)
        me["state"] = "standby"
        problem = ""
        if now - self._glance_ns > GLANCE_AGE_SECONDS_MAX * 1e9:
            try:
                self._glance, self._glance_ns = self.etcd.glance(), now
            except StoreError as error:
                problem = str(error)
        said = self._stored()
        return {
            **with_own_line(said, me),
            "standby": True, "leader": self._glance.leader, "problem": problem,
        }  # fmt: skip

    def _stored(self) -> dict[str, object]:
        saved, settings = self._glance.saved, self.settings
        if saved is None:
            state = model.State("", settings.region, settings.shards, settings.limits)
            return model.status(state)
        try:
            state = model.restore(saved, settings.shards, settings.limits, self.clock())
        except PolicyError:
            state = model.State(saved.cluster_id, saved.region, settings.shards, epoch=saved.epoch)
        return model.status(state)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        if self._role is not None:
            await self._role.serve(stream)

    async def _stand_by(self) -> EtcdStore:
        """Refuse whoever comes until elected, and until the one before may act no more."""
        log("coordinator_standby", address=self.address, metrics=self.metrics_address)
        async with trio.open_nursery() as nursery:
            self._role = Role(StandbyHub(self.status, lambda: self._leader), nursery)
            store = await self._stand()
            while not await self._take_office(store):
                await self._resign()
                store = await self._stand()
            self._role = None
            nursery.cancel_scope.cancel()
        return store

    async def _stand(self) -> EtcdStore:
        """Stand for election again and again; the store of the term that was won."""
        for tries in itertools.count(1):
            stand = functools.partial(self.etcd.open, hint=tries % HINTS_MAX != 0)
            try:
                # Not abandoned when cancelled: an office that nobody knows of would lie idle.
                self._held = await trio.to_thread.run_sync(stand)
                self._leader = ""
                return self._held
            except StoreLocked as held:
                self._leader = str(held)
                self._complain(f"led from {held}")
            except (StoreUnreachable, StaleTerm, EtcdRefused) as error:
                self._leader = ""
                self._complain(str(error))
            await trio.sleep(POLL_SECONDS * (0.75 + random.random() / 2))
        raise AssertionError("unreachable")

    async def _take_office(self, store: EtcdStore) -> bool:
        """Wait for the end of the one before, keeping the office; True if it may act now."""
        log("coordinator_elected", term=store.term, wait_ms=store.wait_ms)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._renew, store)
                await trio.sleep(store.wait_ms / 1000)
                nursery.cancel_scope.cancel()
            await trio.to_thread.run_sync(store.begin)
        except* StoreError as group:
            self._stepped_down(store, group)
            store.ended = True
        return not store.ended

    async def _lead(self, store: EtcdStore) -> None:
        """One term, from loading what is stored to the end of the last connection.

        Raises StoreError if what is stored is not for this coordinator.
        """
        try:
            coordinator = Coordinator(self.settings, store, self.clock)
        except (StaleTerm, StoreUnreachable) as error:
            self._stepped_down(store, ExceptionGroup("", [error]))
            return
        coordinator.address, coordinator.metrics_address = self.address, self.metrics_address
        self.terms += 1
        try:
            async with trio.open_nursery() as nursery:
                self.coordinator = coordinator
                self._role = Role(coordinator.hub, nursery)
                nursery.start_soon(self._renew, store)
                coordinator.begin(nursery)
                coordinator.say_ready()
                await trio.sleep_forever()
        except* StoreError as group:
            self._stepped_down(store, group)
        finally:
            self._role = self.coordinator = None

    async def _renew(self, store: EtcdStore) -> None:
        """Prove the term again and again; StaleTerm when it is over."""
        while True:
            try:
                await trio.to_thread.run_sync(store.renew, abandon_on_cancel=True)
            except StoreUnreachable as error:
                self._complain(str(error))
                # The term goes on until the last proof is too old.
                store.confirm(self.clock())
            except StoreError:
                store.ended = True  # what is still said on connections may no longer be acted on
                raise
            await trio.sleep(store.seconds / RENEWALS)

    async def _resign(self) -> None:
        store, self._held = self._held, None
        if store is not None:
            with trio.CancelScope(shield=True):  # bounded by the store
                await trio.to_thread.run_sync(store.close)

    def _stepped_down(self, store: EtcdStore, group: BaseExceptionGroup[StoreError]) -> None:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        log("coordinator_stepped_down", level="WARN", term=store.term, why=str(first))

    def _complain(self, why: str) -> None:
        """Log why it does not lead, or may not for long: once, not at every try."""
        if why != self._complaint:
            self._complaint = why
            log("coordinator_waits", why=why)
