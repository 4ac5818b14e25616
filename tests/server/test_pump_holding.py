"""Replies that promise something: held to the end of a turn, deferred to a token, or never sent.

`SET n` changes something and replies `:n`; what comes of the turn's changes is the world's verdict.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.wire.reply import ReplyWriter
from tests.server.test_pump import PONG, World, available, ended
from tests.support.twins import both


class Holding(World):
    """A world whose peers change data; `verdicts` are what commit says, the last one for ever."""

    def __init__(self, twin: Any) -> None:
        super().__init__(twin)
        world = self
        self.verdict = 1
        self.commits = 0

        class Ticker(twin.Ticker):  # type: ignore[misc]
            def commit(self) -> int:
                world.commits += 1
                return world.verdict

        class Peer(self.make):  # type: ignore[misc, name-defined]
            def answer(self, argv: list[bytes]) -> None:
                if argv[0] == b"SET":
                    self.pump.hold()
                    self.promised = True
                    self.reply.integer(int(argv[1]))
                else:
                    super().answer(argv)

        self.pump = twin.Pump(ReplyWriter(), Ticker())
        self.make = Peer


@pytest.fixture(params=both("isthmus.wire.pump"))
def world(request: pytest.FixtureRequest) -> Iterator[Holding]:
    made = Holding(request.param)
    yield made
    for peer in list(made.pump.peers.values()):
        made.pump.close(peer)
    for far in made.sockets:
        far.close()


def test_what_is_made_last_is_sent_in_the_same_turn(world: Holding) -> None:
    _, far = world.connect()
    _, reader = world.connect()
    far.sendall(b"SET 1\r\nSET 2\r\n")
    reader.sendall(b"PING\r\n")
    world.turn()
    assert (world.commits, available(far), available(reader)) == (1, b":1\r\n:2\r\n", PONG)


def test_what_could_not_be_made_last_cuts_off_who_would_hear_of_it(world: Holding) -> None:
    peer, far = world.connect()
    other, quiet = world.connect()
    world.verdict = 0
    far.sendall(b"SET 1\r\n")
    world.turn()
    assert (peer.open, other.open) == (False, True)
    assert ended(far)
    world.verdict = 1
    quiet.sendall(b"PING\r\n")
    world.settle()
    assert available(quiet) == PONG


def test_a_deferred_reply_waits_for_its_token(world: Holding) -> None:
    peer, far = world.connect()
    world.verdict = 10
    far.sendall(b"SET 1\r\n")
    world.settle()
    assert available(far) == b""
    assert world.pump.waiting_for() == 10
    world.pump.release(9)
    world.settle()
    assert available(far) == b""
    world.pump.release(10)
    world.turn()
    assert available(far) == b":1\r\n"
    assert (world.pump.waiting_for(), peer.pending_output()) == (0, 0)


def test_replies_behind_a_deferred_one_keep_their_order(world: Holding) -> None:
    _, far = world.connect()
    world.verdict = 10
    far.sendall(b"PING\r\nSET 1\r\n")
    world.settle()
    far.sendall(b"PING\r\n")
    world.settle()
    world.verdict = 20
    far.sendall(b"SET 2\r\nPING\r\n")
    world.settle()
    assert available(far) == b""
    world.pump.release(10)
    world.settle()
    assert available(far) == PONG + b":1\r\n"
    world.pump.release(20)
    world.settle()
    assert available(far) == PONG + b":2\r\n" + PONG


def test_who_is_promised_nothing_is_not_deferred(world: Holding) -> None:
    _, far = world.connect()
    _, reader = world.connect()
    world.verdict = 10
    far.sendall(b"SET 1\r\n")
    reader.sendall(b"PING\r\n")
    world.settle()
    assert (available(far), available(reader)) == (b"", PONG)


def test_others_are_served_meanwhile(world: Holding) -> None:
    _, far = world.connect()
    _, reader = world.connect()
    world.verdict = 10
    far.sendall(b"SET 1\r\n")
    world.settle()
    reader.sendall(b"PING\r\n")
    world.settle()
    assert available(reader) == PONG


def test_what_was_to_be_sent_before_does_not_wait(world: Holding) -> None:
    """The socket is full of an older reply: only what the turn added waits."""
    peer, far = world.connect(send_buffer=4096)
    far.sendall(b"BIG 400000\r\n")
    world.settle()
    assert peer.pending_output() > 0
    world.verdict = 10
    far.sendall(b"SET 1\r\n")
    world.settle()
    assert len(world.read(far, 400_000)) == 400_000
    world.settle()
    assert available(far) == b""
    assert world.pump.poll(0) == 0, "it must not spin while it waits"
    world.pump.release(10)
    assert world.read(far, 4) == b":1\r\n"


def test_who_is_gone_is_not_waited_for(world: Holding) -> None:
    peer, far = world.connect()
    _, other = world.connect()
    world.verdict = 10
    far.sendall(b"SET 1\r\n")
    world.turn()
    world.verdict = 20
    other.sendall(b"SET 2\r\n")
    world.turn()
    world.pump.close(peer)
    world.pump.release(30)
    world.turn()
    assert available(other) == b":2\r\n"


def test_all_who_wait_can_be_cut_off(world: Holding) -> None:
    waiting, far = world.connect()
    idle, _ = world.connect()
    world.verdict = 10
    far.sendall(b"SET 1\r\nPING\r\n")
    world.settle()
    assert world.pump.cut_off_deferred() == 1
    assert (waiting.open, idle.open, world.pump.waiting_for()) == (False, True, 0)
    assert ended(far)


def test_an_exempt_peer_is_never_held(world: Holding) -> None:
    peer, far = world.connect()
    writer, hand = world.connect()
    peer.exempt = True
    writer.victim = peer
    world.verdict = 10
    hand.sendall(b"SET 1\r\nTELL stream\r\n")
    world.settle()
    assert (available(far), available(hand)) == (b"stream", b"")


def test_a_closing_peer_waits_for_its_token(world: Holding) -> None:
    peer, far = world.connect()
    world.verdict = 10
    far.sendall(b"SET 1\r\nQUIT\r\n")
    world.settle()
    assert peer.open
    world.pump.release(10)
    world.settle()
    assert not peer.open
    far.setblocking(True)
    assert far.recv(100) == b":1\r\n+OK\r\n"


@pytest.mark.parametrize("seed", range(20))
def test_any_history_sends_everything_in_order_and_nothing_early(world: Holding, seed: int) -> None:
    rng = random.Random(seed)
    ends = [world.connect(send_buffer=4096) for _ in range(3)]
    wanted = [b""] * 3
    got = [b""] * 3
    promised: list[tuple[int, int, int]] = []  # token, client, how much it may have without it
    token, released, count = 10, 0, 0
    for _ in range(200):
        at = rng.randrange(3)
        far = ends[at][1]
        act = rng.random()
        if act < 0.5:
            world.verdict = 1 if rng.random() < 0.3 else token
            for _ in range(rng.randrange(1, 4)):
                count += 1
                if rng.random() < 0.5:
                    if world.verdict == token:
                        promised.append((token, at, len(wanted[at])))
                    far.sendall(b"SET %d\r\n" % count)
                    wanted[at] += b":%d\r\n" % count
                else:
                    far.sendall(b"BIG 3000\r\n")
                    wanted[at] += bytes([(ends[at][0].ran + 1) % 251]) * 3000
                world.settle()
            token += 1
        elif act < 0.8:
            released = max(released, rng.randrange(released, token + 1))
            world.pump.release(released)
            world.settle()
        for end, (_, socket) in enumerate(ends):
            got[end] += available(socket)
            world.settle()
            assert wanted[end].startswith(got[end])
            open_ones = [room for name, who, room in promised if who == end and name > released]
            assert len(got[end]) <= min(open_ones, default=1 << 60)
    world.pump.release(token)
    for end, (_, socket) in enumerate(ends):
        got[end] += world.read(socket, len(wanted[end]) - len(got[end]))
    assert got == wanted
