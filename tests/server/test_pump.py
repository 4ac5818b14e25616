"""The pump's contract, over both twins: partial sends, limits, fairness, ends of connections.

A peer of these tests understands `PING`, `BIG n` (n bytes of reply), `QUIT`, and `KILL` and `TELL`,
which concern another peer. A test turns the loop itself, as often as it needs and no more.
"""

from __future__ import annotations

import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from isthmus.wire.parser import RequestParser
from isthmus.wire.reply import ReplyWriter
from tests.support.twins import both

TURN_REQUESTS_MAX = 100
PONG = b"+PONG\r\n"


class World:
    """One pump with its peers; `connect` gives the far end of a new one."""

    def __init__(self, twin: Any) -> None:
        world = self

        class Peer(twin.Peer):  # type: ignore[misc]
            def __init__(self, requests: RequestParser) -> None:
                twin.Peer.__init__(self, requests)
                self.requests = requests
                self.ran = 0
                self.turns: list[int] = []
                self.closed_calls = self.overflows = 0
                self.victim: Any = None

            def process(self) -> int:
                self.turns.append(world.pump.cycles)
                for _ in range(TURN_REQUESTS_MAX):
                    argv = self.requests.next()
                    if argv is None:
                        return 0
                    self.ran += 1
                    self.answer(argv)
                    if self.closing:
                        return 0
                return 1

            def answer(self, argv: list[bytes]) -> None:
                if argv[0] == b"PING":
                    self.reply.simple(b"PONG")
                elif argv[0] == b"BIG":
                    self.reply.raw(bytes([self.ran % 251]) * int(argv[1]))
                elif argv[0] == b"QUIT":
                    self.reply.ok()
                    self.closing = True
                elif argv[0] == b"KILL":
                    self.pump.close(self.victim)
                    self.reply.ok()
                elif argv[0] == b"TELL":
                    self.victim.send(argv[1])

            def closed(self) -> int:
                self.closed_calls += 1
                return 0

            def overflowed(self) -> int:
                self.overflows += 1
                return 0

        self.pump = twin.Pump(ReplyWriter(), twin.Ticker())
        self.make: Callable[[RequestParser], Any] = Peer
        self.sockets: list[socket.socket] = []
        self.peers: list[Any] = []

    def peer(self) -> Any:
        parser = RequestParser()
        parser.authenticated = True
        made = self.make(parser)
        self.peers.append(made)
        return made

    def connect(self, send_buffer: int = 0) -> tuple[Any, socket.socket]:
        near, far = socket.socketpair()
        self.sockets.append(far)
        near.setblocking(False)
        far.setblocking(False)
        if send_buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        peer = self.peer()
        self.pump.add(peer, near.detach())
        return peer, far

    def listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.sockets.append(listener)

        def admit(fd: int) -> Any:
            return self.peer()

        self.pump.listen(listener.fileno(), admit)
        return listener

    def dial(self, listener: socket.socket) -> socket.socket:
        made = socket.create_connection(listener.getsockname())
        made.setblocking(False)
        self.sockets.append(made)
        return made

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.pump.poll(0)

    def settle(self) -> None:
        """Turn until nothing is left to do."""
        for _ in range(5000):
            if self.pump.poll(0) == 0:
                return
        raise AssertionError("the pump does not come to rest")

    def read(self, far: socket.socket, want: int) -> bytes:
        """Read `want` bytes of `far` while the loop turns."""
        got = bytearray()
        for _ in range(20000):
            if len(got) >= want:
                break
            self.turn()
            got += available(far)
        return bytes(got)


def available(far: socket.socket) -> bytes:
    """What can be read now; ends with b"" also at the end of the stream."""
    got = bytearray()
    try:
        while data := far.recv(1 << 20):
            got += data
    except BlockingIOError:
        pass
    return bytes(got)


def ended(far: socket.socket) -> bool:
    """True if the stream is at its end (unread data is dropped)."""
    try:
        while far.recv(1 << 20):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.fixture(params=both("isthmus.wire.pump"))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    yield made
    for peer in list(made.pump.peers.values()):
        made.pump.close(peer)
    for each in made.sockets:
        each.close()
    assert not made.pump.peers
    assert all(peer.closed_calls == 1 for peer in made.peers)


def test_a_reply_larger_than_the_socket_takes_arrives_whole(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    far.sendall(b"BIG 300000\r\nBIG 5\r\nPING\r\n")
    world.turn()
    assert 0 < peer.pending_output() < 300000
    want = b"\1" * 300000 + b"\2" * 5 + PONG
    assert world.read(far, len(want)) == want
    assert peer.pending_output() == 0
    world.settle()
    assert world.pump.bytes_out == peer.bytes_out == len(want)


def test_new_replies_queue_behind_a_backlog(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    far.sendall(b"BIG 100000\r\n")
    world.settle()
    far.sendall(b"PING\r\n")
    world.settle()
    assert peer.ran == 2
    assert world.read(far, 100000 + len(PONG)) == b"\1" * 100000 + PONG


def test_bytes_one_by_one(world: World) -> None:
    peer, far = world.connect()
    data = b"*1\r\n$4\r\nPING\r\nPING\r\n*2\r\n$3\r\nBIG\r\n$1\r\n3\r\n"
    for byte in data:
        far.send(bytes([byte]))
        world.settle()
    assert available(far) == PONG + PONG + b"\3\3\3"
    assert peer.bytes_in == len(data)


def test_who_does_not_read_is_not_served(world: World) -> None:
    """Ten thousand requests for 10 KB each cost their own bytes, not 100 MB."""
    peer, far = world.connect(send_buffer=4096)
    _, other = world.connect()
    request = b"BIG 10000\r\n"
    data = request * 10_000
    while data:
        sent = far.send(data[:65536])
        data = data[sent:]
        world.turn()
    world.settle()
    ran = peer.ran
    assert 100 <= ran <= 300, "served until about a MiB waits"
    assert peer.pending_output() < 3 << 20
    other.sendall(b"PING\r\n")
    world.settle()
    assert available(other) == PONG
    assert peer.ran == ran
    # It begins to read: nothing was lost.
    assert len(world.read(far, 100_000_000)) == 100_000_000
    assert peer.ran == 10_000


def test_a_stalled_peer_that_goes_away_is_closed(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    far.sendall(b"BIG 3000000\r\nPING\r\n")
    world.settle()
    far.sendall(b"PING\r\n")
    world.settle()
    far.close()
    world.settle()
    assert not peer.open


def test_past_the_output_limit_a_peer_is_cut_off(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    peer.output_bytes_max = 50_000
    far.sendall(b"BIG 40000\r\n")
    world.settle()
    assert peer.open
    far.sendall(b"BIG 40000\r\n")
    world.settle()
    assert not peer.open
    assert world.pump.output_limit_disconnections == 1
    assert ended(far)


def test_a_reply_above_the_output_limit_is_not_sent_at_all(world: World) -> None:
    peer, far = world.connect()
    peer.output_bytes_max = 10
    far.sendall(b"BIG 16000\r\n")
    world.settle()
    assert peer.open and len(far.recv(20_000)) == 16_000
    far.sendall(b"BIG 20000\r\n")
    world.settle()
    assert not peer.open
    assert world.pump.output_limit_disconnections == 1
    assert far.recv(20_000) == b""


def test_what_others_send_in_one_turn_does_not_pile_up(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    peer.output_bytes_max = 100_000
    for _ in range(1000):
        peer.send(b"x" * 30_000)
        assert peer.pending_output() <= 130_000
    assert peer.open, "the owner of the pump may be in the middle of something"
    world.settle()
    assert not peer.open
    assert world.pump.output_limit_disconnections == 1


def test_the_output_limit_holds_for_what_others_send(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    peer.output_bytes_max = 200_000
    teller, mouth = world.connect()
    teller.victim = peer
    for _ in range(20):
        mouth.sendall(b"TELL " + b"x" * 30_000 + b"\r\n")
        world.settle()
    assert not peer.open
    assert world.pump.output_limit_disconnections == 1
    assert teller.open


def test_a_deep_pipeline_does_not_starve_others(world: World) -> None:
    deep, far = world.connect()
    other, ear = world.connect()
    pipeline = b"PING\r\n" * 100_000
    got = 0
    sent = 0
    for _ in range(4000):
        if sent < len(pipeline):
            try:
                sent += far.send(pipeline[sent:])
            except BlockingIOError:
                pass
        world.turn()
        got += len(available(far))
        if got == len(PONG) * 100_000:
            break
        before = other.ran
        ear.sendall(b"PING\r\n")
        world.turn(2)
        assert other.ran == before + 1, "two turns must do for one request"
    assert (deep.ran, got) == (100_000, len(PONG) * 100_000)
    assert len(deep.turns) >= 100_000 // TURN_REQUESTS_MAX


def test_a_peer_gets_one_share_of_a_turn(world: World) -> None:
    """Waiting from the last turn and readable again: what it holds is run before more is read."""
    peer, far = world.connect()
    for _ in range(300):
        try:
            far.send(b"PING\r\n" * 400)
        except BlockingIOError:
            pass
        world.turn()
        available(far)
    shares = Counter(peer.turns)
    assert max(shares.values()) <= 2, "once for what is left, once for what came"
    assert peer.requests.pending <= 65536


def test_nothing_runs_behind_quit(world: World) -> None:
    peer, far = world.connect()
    far.sendall(b"PING\r\nQUIT\r\nPING\r\nPING\r\n")
    world.settle()
    assert (peer.ran, peer.open) == (2, False)
    far.setblocking(True)
    assert far.recv(100) == PONG + b"+OK\r\n"


def test_replies_before_quit_are_sent_first(world: World) -> None:
    peer, far = world.connect(send_buffer=4096)
    far.sendall(b"BIG 500000\r\nQUIT\r\nPING\r\n")
    world.settle()
    assert peer.open and peer.closing
    far.sendall(b"PING\r\n")
    world.settle()
    assert len(world.read(far, 500_005)) == 500_005
    world.settle()
    assert (peer.ran, peer.open) == (2, False)
    assert ended(far)


def test_end_of_stream_right_behind_the_last_request(world: World) -> None:
    """Both come in one event: the end must not be overlooked."""
    peer, far = world.connect()
    far.sendall(b"PING\r\n")
    far.close()
    world.settle()
    assert (peer.ran, peer.open) == (1, False)


def test_end_of_stream_behind_more_than_a_buffer(world: World) -> None:
    peer, far = world.connect()
    far.sendall(b"PING\r\n" * 20_000)
    far.shutdown(socket.SHUT_WR)
    got = world.read(far, len(PONG) * 20_000)
    assert len(got) == len(PONG) * 20_000
    world.settle()
    assert (peer.ran, peer.open) == (20_000, False)


def test_input_past_its_limit_closes_only_that_peer(world: World) -> None:
    peer, far = world.connect()
    _, other = world.connect()
    peer.requests.query_buffer_bytes_max = 100_000
    far.sendall(b"*1\r\n$1000000\r\n")
    for _ in range(4):
        if peer.open:
            far.sendall(b"x" * 60_000)
            world.settle()
    assert (peer.open, peer.overflows, peer.ran) == (False, 1, 0)
    assert world.pump.input_limit_disconnections == 1
    assert ended(far)
    other.sendall(b"PING\r\n")
    world.settle()
    assert available(other) == PONG


def test_one_peer_closes_another(world: World) -> None:
    victim, far = world.connect()
    killer, hand = world.connect()
    killer.victim = victim
    hand.sendall(b"KILL\r\n")
    far.sendall(b"PING\r\n")
    world.settle()
    assert not victim.open
    assert ended(far)
    assert available(hand) == b"+OK\r\n"
    hand.sendall(b"KILL\r\n")
    world.settle()
    assert available(hand) == b"+OK\r\n"


def test_a_peer_that_closes_itself_is_gone_at_once(world: World) -> None:
    peer, far = world.connect()
    peer.victim = peer
    far.sendall(b"PING\r\nKILL\r\n")
    world.settle()
    assert not peer.open
    assert ended(far)


def test_a_reset_connection_is_closed(world: World) -> None:
    listener = world.listen()
    far = world.dial(listener)
    world.settle()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    world.settle()
    assert not world.peers[0].open


def test_accepting_rests_without_descriptors_and_goes_on(world: World) -> None:
    listener = world.listen()
    early = world.dial(listener)
    world.settle()
    late = world.dial(listener)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, limits[1]))
    try:
        world.turn(2)
        assert world.pump.accept_paused
        assert world.pump.accept_errors == 1
        assert world.pump.poll(0) == 0, "it must not spin on the listener"
        early.sendall(b"PING\r\n")
        world.settle()
        assert available(early) == PONG
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    late.sendall(b"PING\r\n")
    world.pump.resume_accepting()
    world.settle()
    assert available(late) == PONG
    assert len(world.peers) == 2


def test_a_listener_can_be_taken_away_while_accepting_rests(world: World) -> None:
    listener = world.listen()
    world.pump.unlisten(listener.fileno())
    world.pump.unlisten(listener.fileno())
    world.dial(listener)
    assert world.pump.poll(0) == 0
    assert not world.peers


def test_a_crowd_is_let_in_over_several_turns(world: World) -> None:
    listener = world.listen()
    crowd = [world.dial(listener) for _ in range(100)]
    world.turn()
    assert len(world.peers) == 64
    world.settle()
    assert len(world.peers) == 100
    for far in crowd:
        far.sendall(b"PING\r\n")
    world.settle()
    assert all(available(far) == PONG for far in crowd)


def test_the_longest_turn_is_measured(world: World) -> None:
    def work(count: int) -> int:
        return sum(range(count))

    pump = world.pump
    assert pump.time_turns(True) == 0
    world.turn(3)
    short = pump.longest_turn_ns
    assert 0 < short
    world.turn()
    work(200_000)
    world.turn(3)
    longest = pump.longest_turn_ns
    # What runs between two turns counts: others wait for it as well.
    assert longest > 1_000_000
    assert pump.time_turns(True) == longest
    world.turn(2)
    assert 0 < pump.time_turns(False) < longest
    world.turn(2)
    assert pump.time_turns(True) == 0
    world.turn()
    # What passed while nothing was measured is no turn.
    assert pump.longest_turn_ns == 0
