"""The supervisor over real processes, with a coordinator's answers made up.

The children are shells that sleep until they are ended, or end at once; what the coordinator
would say is a function of the test.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from isthmus.cli import inquiry, local, process, supervise
from isthmus.cli.plan import Options, make

SECONDS_MAX = 20


def options(data_dir: Path) -> Options:
    return Options(
        shards=1,
        replicas=0,
        zones=("a",),
        port=10000,
        node_port=8500,
        coordinator_port=9400,
        proxies=1,
        region="local",
        data_dir=data_dir,
    )


WHOLE: dict[str, object] = {
    "epoch": 1,
    "processes": [
        {"role": "primary", "state": "up", "topology_epoch": 1, "slots": [[0, 16383]]},
        {"role": "proxy", "state": "up", "topology_epoch": 1, "slots": []},
    ],
}


class Cluster:  # pretends to be a Watcher too
    """A supervisor under test: what it started, and what it told."""

    def __init__(self, data_dir: Path, commands: dict[str, str] | None = None) -> None:
        self.commands = commands or {}
        self.data_dir = data_dir
        self.started: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.is_ready = trio.Event()
        self.on_start: dict[int, trio.Event] = {}
        self.supervisor = supervise.Supervisor(
            options(data_dir), make(options(data_dir)), self, start=self.start, ask=self.ask
        )

    def start(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        command = self.commands.get(arguments[0], "exec sleep 1000")
        with log.open("ab") as out:
            child = subprocess.Popen(
                ["/bin/sh", "-c", command], stdout=out, stderr=out, process_group=0
            )
        self.started.append((arguments[0], child.pid))
        event = self.on_start.get(len(self.started))
        if event is not None:
            event.set()
        return child

    async def ask(self, address: str) -> dict[str, object]:
        assert address == "127.0.0.1:9400"
        await trio.lowlevel.checkpoint()
        if not self.started:
            raise inquiry.Unanswered("not yet")
        return WHOLE

    def progress(self, text: str) -> None:
        self.told.append(text)

    def ready(self, status: dict[str, object]) -> None:
        self.is_ready.set()

    def event(self, text: str, details: Sequence[str] = ()) -> None:
        self.told.append(text)


def test_how_it_ended() -> None:
    assert supervise.how_it_ended(3) == "ended with status 3"
    assert supervise.how_it_ended(-9) == "was ended by SIGKILL"
    assert supervise.how_it_ended(-63) == "was ended by signal 63"


def test_pauses_double_and_then_it_gives_up() -> None:
    failures: deque[float] = deque()
    pauses = [supervise.pause_before_restart(failures, float(now)) for now in range(6)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_old_failures_are_forgiven() -> None:
    failures: deque[float] = deque()
    for now in range(0, 1000, 100):
        assert supervise.pause_before_restart(failures, float(now)) == 0.5


def gone(cluster: Cluster) -> bool:
    return all(process.started_at(pid) is None for _, pid in cluster.started)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    cluster = Cluster(tmp_path)

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.supervisor.run)
                await cluster.is_ready.wait()
                found = local.load(tmp_path)
                assert found is not None
                assert found.ready
                assert [noted.pid for noted in found.running()] == [
                    os.getpid(),
                    *(pid for _, pid in cluster.started),
                ]
                os.kill(os.getpid(), number)

    trio.run(run)
    assert [role for role, _ in cluster.started] == ["coordinator", "node", "proxy"]
    assert gone(cluster)
    assert local.load(tmp_path) is None


@pytest.mark.slow
def test_a_child_that_ends_is_started_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    again = cluster.on_start[4] = trio.Event()

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.supervisor.run)
                await cluster.is_ready.wait()
                os.kill(cluster.started[1][1], signal.SIGKILL)
                await again.wait()
                os.kill(os.getpid(), signal.SIGINT)

    trio.run(run)
    assert cluster.started[3][0] == "node"
    assert any("node-0" in text and "SIGKILL" in text for text in cluster.told)
    assert gone(cluster)


@pytest.mark.slow
def test_a_child_that_fails_at_the_start_ends_the_attempt(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, {"proxy": "echo no such zone; exit 3"})

    async def never(address: str) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"processes": []}

    cluster.supervisor.ask = never

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            await cluster.supervisor.run()

    with pytest.raises(supervise.NotStarted, match=r"proxy-0 .* status 3 .*(\n|.)*no such zone"):
        trio.run(run)
    assert gone(cluster)
    assert local.load(tmp_path) is None


@pytest.mark.slow
def test_a_second_signal_kills_who_ignores_the_first(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; while :; do read line <&3; done 3<>fifo"
    os.mkfifo(tmp_path / "fifo")
    cluster = Cluster(tmp_path, {"node": f"cd {tmp_path}; echo deaf; {stubborn}"})
    log = tmp_path / "logs" / "node-0.log"

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.supervisor.run)
                await cluster.is_ready.wait()
                while not log.exists() or "deaf" not in log.read_text():
                    await trio.lowlevel.checkpoint()
                os.kill(os.getpid(), signal.SIGINT)
                await process.ended(cluster.started[2][1])
                os.kill(os.getpid(), signal.SIGINT)

    trio.run(run)
    assert any("killing it" in text for text in cluster.told)
    assert gone(cluster)


@pytest.mark.slow
def test_a_node_that_saves_gets_time_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "STOP_SECONDS_MAX", 0.3)
    os.mkfifo(tmp_path / "fifo")
    saving = "trap 'echo saving; read -t 1 line <&3; echo saved; exit 0' TERM"
    deaf = "echo deaf; while :; do read line <&3; done 3<>fifo"
    node = f'exec bash -c "cd {tmp_path}; {saving}; {deaf}"'
    cluster = Cluster(tmp_path, {"node": node})
    log = tmp_path / "logs" / "node-0.log"

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.supervisor.run)
                await cluster.is_ready.wait()
                while not log.exists() or "deaf" not in log.read_text():
                    await trio.lowlevel.checkpoint()
                os.kill(os.getpid(), signal.SIGINT)

    trio.run(run)
    assert any("node-0 is still stopping" in text for text in cluster.told)
    assert not any("killing it" in text for text in cluster.told)
    assert "saved" in log.read_text()
    assert gone(cluster)


@pytest.mark.slow
def test_the_policy_that_is_wanted_is_set_before_nodes_start(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    decided: list[tuple[str, str, int]] = []

    async def decide(address: str, policy: str) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        decided.append((address, policy, len(cluster.started)))
        return WHOLE

    chosen = replace(options(tmp_path), persistence="rdb:1h")
    cluster.supervisor = supervise.Supervisor(
        chosen, make(chosen), cluster, start=cluster.start, ask=cluster.ask, decide=decide
    )

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.supervisor.run)
                await cluster.is_ready.wait()
                os.kill(os.getpid(), signal.SIGINT)

    trio.run(run)
    assert decided == [("127.0.0.1:9400", "rdb:1h", 1)]
    assert gone(cluster)


@pytest.mark.slow
def test_a_coordinator_that_does_not_take_the_policy(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    async def decide(address: str, policy: str) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        raise inquiry.Unanswered("it says no")

    cluster.supervisor.options = replace(options(tmp_path), persistence="rdb:1h")
    cluster.supervisor.decide = decide

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            await cluster.supervisor.run()

    with pytest.raises(supervise.NotStarted, match="it says no"):
        trio.run(run)
    assert [role for role, _ in cluster.started] == ["coordinator"]
    assert gone(cluster)


@pytest.mark.slow
def test_nodes_that_load_get_the_time_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "READY_SECONDS_MAX", 1.0)
    monkeypatch.setattr(supervise, "LOADING_POLL_SECONDS", 0.2)
    cluster = Cluster(tmp_path)
    began = time.monotonic()
    asked: list[int] = []

    async def loading(host: str, port: int) -> bool:
        await trio.lowlevel.checkpoint()
        asked.append(port)
        return time.monotonic() - began < 2

    async def ask(address: str) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return WHOLE if time.monotonic() - began > 2 else {"processes": []}

    monkeypatch.setattr(inquiry, "loading", loading)
    cluster.supervisor.ask = ask

    async def run() -> None:
        with trio.fail_after(SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.supervisor.run)
                await cluster.is_ready.wait()
                os.kill(os.getpid(), signal.SIGINT)

    trio.run(run)
    assert set(asked) == {8500} and any("1 loading their data" in text for text in cluster.told)


async def test_asking_who_loads(nursery: trio.Nursery) -> None:
    for reply, wanted in ((b"-LOADING Redis is\r\n", True), (b"+PONG\r\n", False), (b"", False)):

        async def answer(stream: trio.SocketStream, reply: bytes = reply) -> None:
            async with stream:
                await stream.receive_some(64)
                if reply:
                    await stream.send_all(reply)

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        port = listeners[0].socket.getsockname()[1]
        assert await inquiry.loading("127.0.0.1", port) == wanted
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not await inquiry.loading("127.0.0.1", unused.getsockname()[1])
    nursery.cancel_scope.cancel()
