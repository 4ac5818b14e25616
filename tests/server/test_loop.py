"""The task that owns a pump: it waits for the scheduler too, and gives it its turns."""

from __future__ import annotations

import socket

import trio

from isthmus.wire.loop import run_pump, scheduler_descriptor
from isthmus.wire.parser import RequestParser
from isthmus.wire.pump import Peer, Pump, Ticker
from isthmus.wire.reply import ReplyWriter


class Echo(Peer):
    """Answers every request with OK."""

    def __init__(self) -> None:
        parser = RequestParser()
        parser.authenticated = True
        super().__init__(parser)
        self.requests = parser

    def process(self) -> int:
        """Answer what is complete."""
        while self.requests.next() is not None:
            self.reply.ok()
        return 0


async def test_the_scheduler_can_be_waited_for_from_the_pump() -> None:
    """Without it everything works, but each batch of requests costs more."""
    assert scheduler_descriptor() is not None


async def test_sockets_timers_and_descriptors_share_the_wait() -> None:
    pump = Pump(ReplyWriter(), Ticker())
    near, far = socket.socketpair()
    near.setblocking(False)
    pump.add(Echo(), near.detach())
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_pump, pump)
            await trio.sleep(0.002)
            far.sendall(b"PING\r\n")
            await theirs.send(b"x")
            assert await ours.recv(1) == b"x"
            await trio.lowlevel.wait_readable(far)
            assert far.recv(100) == b"+OK\r\n"
            nursery.cancel_scope.cancel()
    far.close()
    for peer in list(pump.peers.values()):
        pump.close(peer)


async def test_a_callback_inside_the_pump_may_wake_a_task() -> None:
    """The event is set while the pump would wait for a long time."""
    pump = Pump(ReplyWriter(), Ticker())
    asked = trio.Event()

    class Waker(Echo):
        def process(self) -> int:
            asked.set()
            pump.wake()
            return super().process()

    near, far = socket.socketpair()
    near.setblocking(False)
    pump.add(Waker(), near.detach())
    with far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_pump, pump)
            far.sendall(b"PING\r\n")
            with trio.fail_after(1):
                await asked.wait()
            nursery.cancel_scope.cancel()
    for peer in list(pump.peers.values()):
        pump.close(peer)


async def test_no_task_waits_for_the_pump_to_come_back() -> None:
    """Tasks that become ready together with the pump's, or through each other, run at once."""
    pump = Pump(ReplyWriter(), Ticker())
    rounds = 20
    turns = [trio.Event() for _ in range(rounds + 1)]

    async def pass_on(place: int) -> None:
        await turns[place].wait()
        turns[place + 1].set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_pump, pump)
        for place in range(rounds):
            nursery.start_soon(pass_on, place)
        # Nothing else has a deadline: a pump that waited would wait for a second each time.
        started = trio.current_time()
        await trio.sleep(0.005)
        turns[0].set()
        await turns[rounds].wait()
        assert trio.current_time() - started < 0.5
        nursery.cancel_scope.cancel()
