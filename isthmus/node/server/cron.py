"""The timers of a node (io): expiry, freeing in slices, memory given back, idle clients, rates.

A step runs ten times a second, or once while nothing happens. Expiry, freeing and giving memory
back to the system have a budget of time each; when one runs out the next step comes sooner, so no
step holds a request up for more than the budgets together.
"""

from __future__ import annotations

import trio

from isthmus.node.engine import access
from isthmus.node.engine.client_memory import limit_of
from isthmus.node.engine.context import GATE_BUSY, GATE_LOADING, NEVER_NS
from isthmus.node.engine.expiry import ExpiryCycle
from isthmus.node.engine.node import Node
from isthmus.node.server import allocator
from isthmus.node.server.rates import Rates, main_thread_usec, totals
from isthmus.wire.beats import until_next
from isthmus.wire.pump import Pump

STEP_SECONDS = 0.1
QUIET_STEP_SECONDS = 1.0
BUSY_STEP_SECONDS = 0.004
BUDGET_NS = 1_000_000
GIVE_BACK_NS = 500_000
IDLE_CHECK_EVERY_MS = 1000
FEW_CLIENTS = 256
ALARM_SECONDS_MAX = 3600.0


class Alarm:
    """Wakes the loop when the time of a waiting client is up.

    The deadline that is slept for is only ever brought forward: clients that wait again and again,
    each a little later, cost no task switch each.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.until_ms = NEVER_NS
        self.earlier = trio.Event()

    def set(self, deadline_ms: int) -> None:
        """Somebody's time is up at deadline_ms (Unix ms)."""
        if deadline_ms < self.until_ms:
            self.until_ms = deadline_ms
            self.earlier.set()

    async def run(self) -> None:
        """Wake clients until cancelled."""
        node = self.node
        while True:
            seconds = (self.until_ms - node.clock.refresh()) / 1000
            with trio.move_on_after(min(max(seconds, 0), ALARM_SECONDS_MAX)):
                await self.earlier.wait()
            self.earlier = trio.Event()
            now_ms = node.clock.refresh()
            if self.until_ms <= now_ms:
                self.until_ms = NEVER_NS
                node.ctx.session = None  # type: ignore[assignment]
                node.blocking.expire(now_ms)


class Cron:
    """The periodic work of one node."""

    def __init__(self, node: Node, pump: Pump) -> None:
        self.node = node
        self.pump = pump
        self.expiry = ExpiryCycle(node.keyspace)
        self.rates = Rates()
        self.loop_usec_before = main_thread_usec()
        self.nanos = 0
        self.steps = 0
        self.commands_seen = 0
        self.idle_check_ms = 0

    async def run(self) -> None:
        """Step until cancelled."""
        while True:
            busy = self.step()
            if busy:
                await trio.sleep(BUSY_STEP_SECONDS)
            else:
                period = QUIET_STEP_SECONDS if self.quiet() else STEP_SECONDS
                await trio.sleep(until_next(period, self.node.clock.mono_ns() / 1e9))

    def quiet(self) -> bool:
        """True if no command has run since the last time and no key waits for its expiry."""
        replication = self.node.replication
        if self.node.output_limits.exceeded_ms or (
            replication is not None and replication.primary.replicas
        ):
            return False
        commands = self.node.ctx.commands
        before, self.commands_seen = self.commands_seen, commands
        return commands == before and not any(
            db.volatile_slots or db.field_expiries.count for db in self.node.keyspace.databases
        )

    def step(self) -> bool:
        """One round of work. True if some is left."""
        node = self.node
        now_ms = node.clock.refresh()
        if node.cron_paused or node.ctx.gates & (GATE_BUSY | GATE_LOADING):
            return False
        started_ns = node.clock.mono_ns()
        node.ctx.session = None  # type: ignore[assignment]
        access.set_clock(now_ms // 1000)
        busy = self.expiry.step(BUDGET_NS)
        expired_ns = node.clock.mono_ns()
        node.latency.sample(b"expire-cycle", (expired_ns - started_ns) // 1_000_000)
        busy |= self.node.keyspace.free_for(BUDGET_NS)
        if node.memory.running:
            node.memory.make_room(node.ctx)
            busy |= node.memory.running
        busy |= self.give_back()
        self.evict_clients()
        if node.keyspace.log.batch:
            node.keyspace.log.flush()
        if node.persistence is not None:
            node.persistence.cron()
        if node.replication is not None:
            node.replication.primary.cron()
        if node.tracking.pending:
            node.tracking.broadcast()
        self.pump.resume_accepting()
        self.steps += 1
        if now_ms - self.idle_check_ms >= IDLE_CHECK_EVERY_MS:
            self.idle_check_ms = now_ms
            self.close_idle(now_ms)
            self.close_slow_readers(now_ms, True)
        else:
            self.close_slow_readers(now_ms, len(node.clients) <= FEW_CLIENTS)
        self.rates.sample(node.clock.mono_ns(), totals(self.pump, node.ctx.commands))
        self.nanos += node.clock.mono_ns() - started_ns
        return busy

    def evict_clients(self) -> None:
        """See what clients hold; close the largest while it is more than maxmemory-clients."""
        held = self.node.client_memory
        held.step()
        self.node.memory.buffers_bytes = held.buffers()
        limit = limit_of(self.node.config)
        if not limit:
            return
        for client in held.over_limit(limit):
            self.node.evicted_clients += 1
            client.close()
            self.pump.close(client.peer)

    def close_slow_readers(self, now_ms: int, everybody: bool) -> None:
        """Cut off clients that have exceeded their soft output limit for too long.

        Who has exceeded it is looked at in each step; who begins to, in each if they are few.
        """
        for client in self.node.output_limits.overdue(now_ms, everybody):
            self.pump.output_limit_disconnections += 1
            self.pump.close(client.peer)

    def give_back(self) -> bool:
        """Return free memory to the system for about the budget. True if there may be more."""
        deadline = self.node.clock.mono_ns() + GIVE_BACK_NS
        while allocator.give_back_slice():
            if self.node.clock.mono_ns() > deadline:
                return True
        return False

    def close_idle(self, now_ms: int) -> None:
        """Close clients that sent nothing for `timeout` seconds (0: never)."""
        limit_ms = self.node.config.integer("timeout") * 1000
        if limit_ms <= 0:
            return
        for client in list(self.node.clients.values()):
            # Who waits or listens is silent by right; a link's silence is the proxy's affair.
            if client.blocked or client.linked or client.replica or self.node.pubsub.count(client):
                continue
            if now_ms - client.active_ms > limit_ms and client.peer is not None:
                self.pump.close(client.peer)
