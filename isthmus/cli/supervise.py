"""Running a local cluster (io): start in order, keep running, stop in order.

Start: the coordinator first; once it answers, all nodes and proxies; ready when the coordinator
says that every slot is served. Nodes that load their data may take as long as it takes. A process
that ends before that ends the attempt: it would most likely end again, and the user is waiting for
the reason.

Afterwards a process that ends is started again, after a pause that doubles with each failure
within RESTART_WINDOW_SECONDS; after RESTARTS_MAX of them it is left down, and said so. The others
serve on.

On SIGUSR1 it asks the coordinator how many nodes are missing for what is wanted of the cluster
(isthmus scale), and starts as many more, on the ports behind those of the others.

Stop, on SIGINT, SIGTERM or SIGHUP: SIGTERM to proxies and nodes, then to the coordinator; who has
not ended within STOP_SECONDS_MAX is killed, a node, which may have a snapshot to write, after
NODE_STOP_SECONDS_MAX. A second signal kills at once. When ``run`` returns, no
child is left and the state file is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

from isthmus.cli import inquiry, local, process
from isthmus.cli.plan import HOST, Options, Spec, node, ready

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
NODE_STOP_SECONDS_MAX = 300.0
POLL_SECONDS = 0.1
LOADING_POLL_SECONDS = 5.0
RESTARTS_MAX = 5
RESTART_WINDOW_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


Start = Callable[[Sequence[str], Path], "subprocess.Popen[bytes]"]
Ask = Callable[[str], Awaitable[dict[str, object]]]
Decide = Callable[[str, str], Awaitable[dict[str, object]]]


class NotStarted(Exception):
    """The cluster did not come up; the text says why."""


class Watcher(Protocol):
    """Who is told what happens."""

    def progress(self, text: str) -> None:
        """How far the start has come."""

    def ready(self, status: dict[str, object]) -> None:
        """The cluster serves; its status."""

    def event(self, text: str, details: Sequence[str] = ()) -> None:
        """Something the user should know; details are lines of a log."""


@dataclass(slots=True)
class Child:
    """One process of the cluster, through all its restarts."""

    spec: Spec
    log: Path
    running: subprocess.Popen[bytes] | None = None
    started: int = 0
    failures: deque[float] = field(default_factory=deque)

    def noted(self) -> local.Noted:
        """As the state file names it."""
        pid = self.running.pid if self.running else 0
        return local.Noted(self.spec.name, self.spec.role, pid, self.started, str(self.log))


def how_it_ended(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def pause_before_restart(failures: deque[float], now: float) -> float | None:
    """Note a failure at ``now`` (seconds); how long to wait, or None to give up."""
    while failures and now - failures[0] > RESTART_WINDOW_SECONDS:
        failures.popleft()
    failures.append(now)
    if len(failures) > RESTARTS_MAX:
        return None
    return RESTART_PAUSE_SECONDS * float(2 ** (len(failures) - 1))


class Supervisor:
    """One run of a cluster. The caller holds the directory's lock."""

    def __init__(
        self,
        options: Options,
        specs: Sequence[Spec],
        watcher: Watcher,
        *,
        start: Start = process.start,
        ask: Ask = inquiry.status,
        decide: Decide = inquiry.set_persistence,
        decide_durability: Decide = inquiry.set_durability,
    ) -> None:
        self.options = options
        self.watcher = watcher
        self.start = start
        self.ask = ask
        self.decide = decide
        self.decide_durability = decide_durability
        self.ready = False
        logs = options.data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.children = [Child(spec, logs / f"{spec.name}.log") for spec in specs]
        self.failure: str | None = None

    async def run(self) -> None:
        """Serve until a signal comes. Raises NotStarted."""
        # Who sends it too early shall not end us.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        with trio.open_signal_receiver(*SIGNALS) as signals:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_signal, signals, nursery.cancel_scope)
                    await self._start(nursery)
            except* OSError as errors:
                self.failure = f"the supervisor failed: {errors.exceptions[0]}"
            finally:
                with trio.CancelScope(shield=True):
                    await self._stop(signals)
                local.remove(self.options.data_dir)
        if self.failure is not None:
            raise NotStarted(self.failure)

    async def _start(self, nursery: trio.Nursery) -> None:
        coordinators = [child for child in self.children if child.spec.role == "coordinator"]
        others = [child for child in self.children if child.spec.role != "coordinator"]
        with trio.move_on_after(READY_SECONDS_MAX) as bound:
            for child in coordinators:
                self._spawn(child, nursery)
            self.watcher.progress("coordinator starting")
            if not await self._decide(await self._answer(), nursery):
                return
            for child in others:
                self._spawn(child, nursery)
            status = await self._whole(bound)
        if bound.cancelled_caught:
            self._fail(
                f"the cluster was not ready after {READY_SECONDS_MAX:g} s; "
                f"the logs are in {self.options.data_dir / 'logs'}",
                nursery,
            )
            return
        self.ready = True
        self._note()
        self.watcher.ready(status)
        nursery.start_soon(self._grow_when_asked, nursery)

    async def _grow_when_asked(self, nursery: trio.Nursery) -> None:
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            async for _ in signals:
                try:
                    status = await self.ask(self.options.coordinator)
                except inquiry.Unanswered as error:
                    self.watcher.event(f"no node is added: {error}")
                    continue
                goal = status.get("goal")
                missing = goal.get("missing_nodes") if isinstance(goal, dict) else 0
                for _ in range(missing if isinstance(missing, int) else 0):
                    self._add_node(nursery)

    def _add_node(self, nursery: trio.Nursery) -> None:
        """One more node, on the next port that nobody has."""
        nodes = [child.spec for child in self.children if child.spec.role == "node"]
        taken = {child.spec.port for child in self.children}
        port = max(spec.port for spec in nodes) + 1
        while port in taken or process.port_in_use(HOST, port):
            port += 1
        spec = node(self.options, len(nodes), port)
        child = Child(spec, self.options.data_dir / "logs" / f"{spec.name}.log")
        self.children.append(child)
        self._spawn(child, nursery)
        self.watcher.event(f"{spec.name} started on port {port} (pid {child.noted().pid})")

    async def _answer(self) -> dict[str, object]:
        """The coordinator's status, as soon as it gives one."""
        while True:
            try:
                return await self.ask(self.options.coordinator)
            except inquiry.Unanswered:
                await trio.sleep(POLL_SECONDS)

    async def _decide(self, status: dict[str, object], nursery: trio.Nursery) -> bool:
        """A cluster that had another policy than the user wants now gets that one."""
        for name, wanted, decide in (
            ("persistence", self.options.persistence, self.decide),
            ("durability", self.options.durability, self.decide_durability),
        ):
            if wanted is None or status.get(name) == wanted:
                continue
            self.watcher.event(f"{name} was {status.get(name)}, now {wanted}")
            try:
                await decide(self.options.coordinator, wanted)
            except inquiry.Unanswered as error:
                self._fail(str(error), nursery)
                return False
        return True

    async def _whole(self, bound: trio.CancelScope) -> dict[str, object]:
        """Wait for the whole cluster; `bound` moves on while nodes load what they have kept."""
        ports = [child.spec.port for child in self.children if child.spec.role == "node"]
        asked = trio.current_time()
        while True:
            status = await self._answer()
            options = self.options
            whole, text = ready(status, options.shards, options.proxies, options.replicas)
            if whole:
                return status
            self.watcher.progress(text)
            if trio.current_time() - asked > LOADING_POLL_SECONDS:
                asked = trio.current_time()
                loading = [port for port in ports if await inquiry.loading(HOST, port)]
                if loading:
                    bound.deadline = asked + READY_SECONDS_MAX
                    self.watcher.progress(f"{text}; {len(loading)} loading their data")
            await trio.sleep(POLL_SECONDS)

    def _spawn(self, child: Child, nursery: trio.Nursery) -> None:
        child.running = self.start(child.spec.arguments, child.log)
        child.started = process.started_at(child.running.pid) or 0
        self._note()
        nursery.start_soon(self._keep, child, nursery)

    async def _keep(self, child: Child, nursery: trio.Nursery) -> None:
        assert child.running is not None
        await process.ended(child.running.pid)
        what = f"{child.spec.name} (pid {child.running.pid}) {how_it_ended(child.running.wait())}"
        child.running = None
        if not self.ready:
            lines = "\n".join(process.last_lines(child.log))
            self._fail(
                f"{what} while the cluster was starting; {child.log} ends:\n{lines}", nursery
            )
            return
        pause = pause_before_restart(child.failures, trio.current_time())
        self.watcher.event(
            f"{what}; "
            + (
                f"failed {RESTARTS_MAX + 1} times within a minute: leaving it down"
                if pause is None
                else f"starting it again in {pause:g} s"
            ),
            process.last_lines(child.log),
        )
        self._note()
        if pause is not None:
            await trio.sleep(pause)
            self._spawn(child, nursery)
            self.watcher.event(f"{child.spec.name} started again (pid {child.noted().pid})")

    def _fail(self, text: str, nursery: trio.Nursery) -> None:
        if self.failure is None:
            self.failure = text
        nursery.cancel_scope.cancel()

    def _note(self) -> None:
        pid = os.getpid()
        me = local.Noted("supervisor", "supervisor", pid, process.started_at(pid) or 0, "")

        def addresses(role: str) -> tuple[str, ...]:
            found = [child.spec for child in self.children if child.spec.role == role]
            return tuple(f"{HOST}:{spec.port}" for spec in found)

        cluster = local.Cluster(
            ready=self.ready,
            coordinator=self.options.coordinator,
            proxies=addresses("proxy"),
            nodes=addresses("node"),
            supervisor=me,
            processes=tuple(child.noted() for child in self.children if child.running),
        )
        local.save(self.options.data_dir, cluster)

    async def _stop(self, signals: AsyncIterator[int]) -> None:
        coordinators = [child for child in self.children if child.spec.role == "coordinator"]
        others = [child for child in self.children if child.spec.role != "coordinator"]
        hurry = trio.Event()
        if self.ready:
            self.watcher.event("stopping (a second signal kills)")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hurry_at_signal, signals, hurry)
            for group in (others, coordinators):
                await self._stop_group(group, hurry)
            nursery.cancel_scope.cancel()
        if self.ready:
            self.watcher.event("every process has ended")

    async def _stop_group(self, group: Sequence[Child], hurry: trio.Event) -> None:
        alive = [child.running for child in group if child.running is not None]
        for running in alive:
            running.terminate()
        await _all_ended(alive, hurry, STOP_SECONDS_MAX)
        late = [
            c for c in group if c.spec.role == "node" and c.running and c.running.poll() is None
        ]
        if late and not hurry.is_set():
            for child in late:
                text = f"{child.spec.name} is still stopping; it may be saving its data"
                self.watcher.event(text, process.last_lines(child.log, 3))
            await _all_ended(alive, hurry, NODE_STOP_SECONDS_MAX - STOP_SECONDS_MAX)
        for child in group:
            if child.running is None:
                continue
            if child.running.poll() is None:
                self.watcher.event(f"{child.spec.name} did not stop in time: killing it")
                child.running.kill()
            child.running.wait()
            child.running = None


async def _all_ended(
    alive: Sequence[subprocess.Popen[bytes]], hurry: trio.Event, seconds: float
) -> None:
    """Wait until all have ended, for so long, or until somebody is in a hurry."""
    with trio.move_on_after(0 if hurry.is_set() else seconds) as bound:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cut_short, hurry, bound)
            for running in alive:
                await process.ended(running.pid)
            nursery.cancel_scope.cancel()


async def _until_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return


async def _hurry_at_signal(signals: AsyncIterator[int], hurry: trio.Event) -> None:
    async for _ in signals:
        hurry.set()
        return


async def _cut_short(hurry: trio.Event, bound: trio.CancelScope) -> None:
    await hurry.wait()
    bound.cancel()
