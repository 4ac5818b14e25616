"""Sessions on a pump, without a process: fairness, ends, modes of replies, idle clients, doors."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.node.commands import load_all
from isthmus.node.engine.clock import Clock
from isthmus.node.engine.config import Config
from isthmus.node.engine.node import Node
from isthmus.node.engine.rng import Rng
from isthmus.node.server.cron import Cron
from isthmus.node.server.listener import DENIED, Door, listen_tcp, listen_unix
from isthmus.node.server.session import TURN_REQUESTS_MAX, NodeTicker, Session
from isthmus.wire.pump import Pump

load_all()
START_MS = 1_700_000_000_000


class World:
    """A node on a manual clock with its pump; `connect` gives the far end of a new client."""

    def __init__(self, **config: str) -> None:
        values = {name.replace("_", "-"): value for name, value in config.items()}
        self.clock = Clock(START_MS)
        self.node = Node(self.clock, Rng(1), Config(values), "0" * 40)
        self.pump = Pump(self.node.ctx.reply, NodeTicker(self.node))
        self.cron = Cron(self.node, self.pump)
        self.sockets: list[socket.socket] = []

    def connect(self) -> tuple[Any, socket.socket]:
        near, far = socket.socketpair()
        self.sockets.append(far)
        near.setblocking(False)
        far.setblocking(False)
        state = self.node.new_client()
        session = Session(self.node, state)
        self.pump.add(session, near.detach())
        return session, far

    def settle(self) -> None:
        for _ in range(5000):
            if self.pump.poll(0) == 0:
                return
        raise AssertionError("the pump does not come to rest")

    def ask(self, far: socket.socket, data: bytes) -> bytes:
        far.sendall(data)
        self.settle()
        return available(far)

    def close(self) -> None:
        for peer in list(self.pump.peers.values()):
            self.pump.close(peer)
        for each in self.sockets:
            each.close()
        assert not self.node.clients


def available(far: socket.socket) -> bytes:
    got = bytearray()
    try:
        while data := far.recv(1 << 20):
            got += data
    except BlockingIOError:
        pass
    return bytes(got)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_turn_runs_so_many_requests_and_no_more(world: World) -> None:
    session, far = world.connect()
    far.sendall(b"PING\r\n" * (TURN_REQUESTS_MAX + 10))
    world.pump.poll(0)
    assert session.state.commands == TURN_REQUESTS_MAX
    world.settle()
    assert session.state.commands == TURN_REQUESTS_MAX + 10


def test_nothing_runs_behind_quit(world: World) -> None:
    session, far = world.connect()
    assert world.ask(far, b"SET k 1\r\nQUIT\r\nSET k 2\r\n") == b"+OK\r\n+OK\r\n"
    assert not session.open
    _, other = world.connect()
    assert world.ask(other, b"GET k\r\n") == b"$1\r\n1\r\n"


def test_nothing_runs_behind_a_protocol_error(world: World) -> None:
    session, far = world.connect()
    got = world.ask(far, b"PING\r\n*1\r\n$x\r\nPING\r\n*1\r\n$4\r\nPING\r\n")
    assert got == b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"
    assert not session.open


def test_replies_off_and_skipped(world: World) -> None:
    _, far = world.connect()
    assert world.ask(far, b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\n") == b"+PONG\r\n"
    assert world.ask(far, b"CLIENT REPLY OFF\r\nPING\r\nNOSUCH\r\nGET\r\nSET k v\r\n") == b""
    assert world.ask(far, b"CLIENT REPLY SKIP\r\nPING\r\n") == b""
    assert world.ask(far, b"CLIENT REPLY ON\r\nGET k\r\n") == b"+OK\r\n$1\r\nv\r\n"
    assert world.ask(far, b"CLIENT REPLY SKIP\r\nMULTI\r\nPING\r\nEXEC\r\n") == (
        b"+QUEUED\r\n*1\r\n+PONG\r\n"
    )
    assert world.ask(far, b"CLIENT REPLY SKIP\r\nNOSUCH\r\nPING\r\n") == b"+PONG\r\n"


def test_one_client_kills_another(world: World) -> None:
    class Server:
        def kill(self, client: Any) -> None:
            client.close()
            world.pump.close(client.peer)

    world.node.server = Server()
    session, far = world.connect()
    _, killer = world.connect()
    assert world.ask(far, b"WATCH k\r\nMULTI\r\n") == b"+OK\r\n+OK\r\n"
    assert world.ask(killer, b"CLIENT KILL ID %d\r\n" % session.state.id) == b":1\r\n"
    assert not session.open
    assert world.node.keyspace.databases[0].watched == {}


def test_a_fault_puts_no_error_into_a_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is sent a stream and no replies would take the error for a part of it."""

    def broken(ctx: Any, argv: list[bytes]) -> None:
        raise LookupError("a bug")

    session, far = world.connect()
    session.state.reply_off = True
    monkeypatch.setattr(world.node.commands[b"echo"], "handler", broken)
    assert world.ask(far, b"ECHO x\r\n") == b""
    assert not session.open


def test_a_fault_of_ours_closes_one_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reply it had begun is taken back, the log has the traceback, the others go on."""
    spec = world.node.commands[b"echo"]

    def broken(ctx: Any, argv: list[bytes]) -> None:
        ctx.reply.array(3)
        raise LookupError("a bug")

    session, far = world.connect()
    _, other = world.connect()
    monkeypatch.setattr(spec, "handler", broken)
    got = world.ask(far, b"PING\r\nECHO x\r\nPING\r\n")
    assert got == b"+PONG\r\n-ERR internal error, see the log of the server\r\n"
    assert not session.open
    log = capsys.readouterr().err
    assert "command_fault" in log and "LookupError: a bug" in log
    assert world.ask(other, b"PING\r\n") == b"+PONG\r\n"


def test_idle_clients_are_closed() -> None:
    world = World(timeout="10")
    idle, _ = world.connect()
    busy, far = world.connect()
    world.clock.advance(9_000)
    assert world.ask(far, b"PING\r\n") == b"+PONG\r\n"
    world.clock.advance(1_001)
    for _ in range(10):
        world.cron.step()
    assert (idle.open, busy.open) == (False, True)
    world.close()


def test_without_a_timeout_nobody_is_closed(world: World) -> None:
    session, _ = world.connect()
    world.clock.advance(10**9)
    for _ in range(10):
        world.cron.step()
    assert session.open


def test_a_step_expires_keys_and_frees_values(world: World) -> None:
    _, far = world.connect()
    data = b"".join(b"SET k%d v PX %d\r\n" % (n, n + 1) for n in range(300))
    world.ask(far, data + b"RPUSH big " + b"x " * 5000 + b"\r\nDEL big\r\n")
    assert world.node.keyspace.garbage
    world.clock.advance(1000)
    while world.cron.step():
        pass
    assert world.node.keyspace.databases[0].size == 0
    assert not world.node.keyspace.garbage


def test_a_unix_socket_has_its_permissions_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    before = os.umask(0o022)
    os.umask(before)
    listener = listen_unix(path, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()
    # A stale socket is replaced; a file of another kind is left alone.
    listen_unix(path, 0o777).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    path.unlink()
    path.write_text("precious")
    with pytest.raises(OSError):
        listen_unix(path, 0o600)
    assert path.read_text() == "precious"
    after = os.umask(before)
    assert after == before


def test_a_unix_client_has_an_address(world: World, tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    listener = listen_unix(path, 0o700)
    world.sockets.append(listener)
    world.pump.listen(listener.fileno(), Door(world.node).admit)
    far = socket.socket(socket.AF_UNIX)
    world.sockets.append(far)
    far.connect(str(path))
    far.setblocking(False)
    assert b"addr=" + str(path).encode() + b":0 " in world.ask(far, b"CLIENT INFO\r\n")
    world.pump.unlisten(listener.fileno())


def test_past_maxclients() -> None:
    world = World(maxclients="2")
    listener = listen_tcp("127.0.0.1", 0)
    world.sockets.append(listener)
    world.pump.listen(listener.fileno(), Door(world.node).admit)
    for _ in range(3):
        far = socket.create_connection(listener.getsockname())
        far.setblocking(False)
        world.sockets.append(far)
        world.settle()
    assert available(far) == b"-ERR max number of clients reached\r\n"
    assert (world.node.connections_received, world.node.connections_rejected) == (2, 1)
    world.pump.unlisten(listener.fileno())
    world.close()


@pytest.mark.parametrize("address, config, refused", [
    (b"127.0.0.1:5", {}, False), (b"[::1]:5", {}, False), (b"[::ffff:127.0.0.1]:5", {}, False),
    (b"/tmp/x:0", {}, False), (b"10.0.0.9:5", {}, True), (b"[2001:db8::1]:5", {}, True),
    (b"?:0", {}, True), (b"10.0.0.9:5", {"requirepass": "pw"}, False),
    (b"10.0.0.9:5", {"protected_mode": "no"}, False),
])  # fmt: skip
def test_protected_mode(address: bytes, config: dict[str, str], refused: bool) -> None:
    assert Door(World(**config).node).refusal(address) == (DENIED if refused else b"")


def test_a_use_is_marked_with_the_time_of_its_turn(world: World) -> None:
    """However long ago the timer ran: it runs seldom while nobody asks for anything."""
    _, far = world.connect()
    assert world.ask(far, b"SET old v\r\n") == b"+OK\r\n"
    world.clock.advance(5000)
    assert world.ask(far, b"SET new v\r\nOBJECT IDLETIME new\r\n") == b"+OK\r\n:0\r\n"
    assert world.ask(far, b"OBJECT IDLETIME old\r\n") == b":5\r\n"
