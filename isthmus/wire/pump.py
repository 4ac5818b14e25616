"""The pump: one epoll set that serves every client socket of a process.

A trio task per connection costs as much CPU as a dozen requests. So trio owns lifetimes, timers and
the links between processes, and one task of it owns this pump: it waits until the epoll set is
readable, then `spin`s: receive, `Peer.process`, one send per ready connection.

A Peer is one socket. Its owner subclasses it: `process` pulls requests from `self.parser` and
writes to `self.reply`, the writer all peers share; the pump sends that at once. Bytes for *another*
peer go through `send`, which queues them until the end of the turn. Returning 1 from `process` asks
for another turn, so one connection with a deep pipeline cannot starve the others.

Holding. A reply may promise that something is on the disk. While the pump holds (`hold`, called by
whoever has something to be made last) nothing is sent; at the end of the turn `Ticker.commit` makes
it last, once for all clients of the turn, and then everything goes out. If that fails, those who
would have got something are cut off: they cannot be told what became of their requests. Where it
takes somebody else to make it last (a replica), `commit` returns a token, and what was held for
those who are `promised` something is *deferred*: each one's output waits, behind what it was sent
before, until `release` is called with that token or a later one. Other turns go on meanwhile, also
for that client.

Limits. A client that does not read is not served: while more than `STALL_BYTES` wait for it, its
requests are received (it may be one that sends everything before it reads) but not run, so it costs
what it sent, never what it asked for; the parser bounds that. `output_bytes_max` bounds the rest: a
single huge reply, however fast it is read, or what others send it; past it, or when its input
outgrows its limit or our memory, the peer is cut off. A peer with requests left over is not read
from before they have run. A turn accepts at most 64 connections per listener and reads at most
64 KiB per connection. When the process runs out of descriptors the listeners rest until
`resume_accepting`.

Feeding. What a peer is sent may be kept elsewhere, where many peers share it: its owner hands on a
window of it, sets `fed`, and is asked for more (`Ticker.feed`) when the peer has taken some.

How long others wait for a turn can be measured (`time_turns`): the CPU time of the thread from one
return of epoll to the next, so all that runs in between counts, the other tasks of the thread too,
and what the machine does to others does not. It costs a system call per turn, so it is off.

This is the Python twin of pump.pyx; errors of a socket close its peer, all others propagate.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable

from isthmus.wire.parser import Feed, QueryBufferExceeded
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import i64

STALL_BYTES = 1 << 20
# What one turn writes for a peer may exceed its limit by so much, as the fixed buffer of Redis.
OUTPUT_FREE_BYTES = 16384
_INBUF_BYTES = 65536
_EVENTS_MAX = 512
_ACCEPTS_PER_TURN_MAX = 64
# How long to wait while the work between turns rests.
REST_MS = 1
_BROKEN = select.EPOLLHUP | select.EPOLLERR


class Ticker:
    """What the owner of the pump does once per turn."""

    def tick(self) -> i64:
        """Called once per turn of the loop, before the first request is run."""
        return 0

    def ahead(self, peers: list[Peer]) -> i64:
        """These peers are about to process what they prepared."""
        return 0

    def commit(self) -> i64:
        """Make last what replies are held for; 0 if that failed and they may not be sent, a token
        above 1 if they may be once that is released."""
        return 1

    def background(self, ready: i64) -> i64:
        """Do a little of what goes on beside requests; 1 if it did. So many sockets were ready."""
        return 0

    def feed(self) -> i64:
        """Hand on what is kept for peers elsewhere: one asked for it, or has taken some of it."""
        return 0


class Peer:
    """One socket and what was received and not yet sent."""

    def __init__(self, parser: Feed) -> None:
        self.parser = parser
        self.open = True
        self.closing = False
        self.queued = False
        # Others sent it more than may wait for it: it is cut off at the end of the turn.
        self.overrun = False
        # More is kept for it elsewhere: `Ticker.feed` is called when it has taken something.
        self.fed = False
        self.fd = -1
        self.bytes_in = 0
        self.bytes_out = 0
        self.output_bytes_max = 1 << 30
        self.pump: Pump
        self.reply: ReplyWriter
        # What it is sent is never held: the others wait for what it answers.
        self.exempt = False
        # It is owed a promise for something that happened in this turn.
        self.promised = False
        # It got something in a turn that holds, and how much it had been sent or was to be before.
        self._kept = False
        self._kept_from = 0
        # Nothing behind this place in all it is sent may go out yet; -1: everything may.
        self._fence = -1
        # (token, place up to which its output may be sent once that is released), oldest first.
        self._marks: deque[tuple[int, int]] = deque()
        self._writing = False
        # It stands in pump.ready; it is not served before it reads what it was sent.
        self._again = False
        self._stalled = False
        self._backlog = bytearray()
        self._socket: socket.socket | None = None

    def prepare(self) -> i64:
        """Parse what came and run nothing; 1 if process() is to be called later in this turn.

        The compiled pump asks the peers of a turn in groups, so that their owner can fetch from
        memory, for all of them at once, what they will touch. This twin never asks.
        """
        return 0

    def process(self) -> i64:
        """Run what the parser holds; 1 if there is more to do in the next turn."""
        raise TypeError("a Peer must say how it processes its input")

    def closed(self) -> i64:
        """The socket is gone; release what hangs on it."""
        return 0

    def overflowed(self) -> i64:
        """Its input outgrew its limit or our memory: say so; the pump closes it."""
        return 0

    def send(self, data: bytes) -> i64:
        """Queue bytes to be sent at the end of this turn; too many cut the peer off."""
        if self.open and data:
            self._keep()
            if len(self._backlog) > self.output_bytes_max:
                self.overrun = True
                return 0
            self._backlog += data
            too_much = len(self._backlog) > self.output_bytes_max
            if not self.queued and (too_much or not self._writing):
                self.queued = True
                self.pump.dirty.append(self)
        return 0

    def _keep(self) -> None:
        """It gets something: not yet, if this turn holds."""
        if self.pump.holding and not self._kept and not self.exempt:
            self._kept = True
            self._kept_from = self.bytes_out + len(self._backlog)
            self.pump._held.append(self)

    def pending_output(self) -> i64:
        """Bytes that wait to be sent."""
        return len(self._backlog)

    def close_soon(self) -> i64:
        """Close once everything queued has been sent."""
        self.closing = True
        if self.open and not self.queued:
            self.queued = True
            self.pump.dirty.append(self)
        return 0


class Pump:
    """The epoll set, its listeners and its peers."""

    def __init__(self, reply: ReplyWriter, ticker: Ticker) -> None:
        self._epoll = select.epoll()
        self.reply = reply
        self.ticker = ticker
        self.peers: dict[int, Peer] = {}
        self.listeners: dict[int, Callable[[int], Peer | None]] = {}
        self.dirty: list[Peer] = []
        self.ready: list[Peer] = []
        self.stopped = False
        self.woken = False
        self.holding = False
        # Between turns there is work that goes on beside requests; nobody waits for sockets then.
        self.background = False
        # `Ticker.feed` is to be called at the end of the turn.
        self.feeding = False
        self._rested = False
        self._held: list[Peer] = []
        # (token, peer) of what waits to be released, oldest first.
        self._deferred: deque[tuple[int, Peer]] = deque()
        self._watched = -1
        self.accept_paused = False
        self.cycles = 0
        self.reads = 0
        self.writes = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.output_limit_disconnections = 0
        self.input_limit_disconnections = 0
        self.accept_errors = 0
        self.timed = False
        self.longest_turn_ns = 0
        self._turn_began_ns = 0

    def fileno(self) -> int:
        """The descriptor that is readable while any socket has work."""
        return self._epoll.fileno()

    # -- sockets in and out -------------------------------------------------------------------

    def listen(self, fd: int, factory: Callable[[int], Peer | None]) -> None:
        """Accept on fd, the caller's; factory(fd) makes a Peer, or None after closing fd."""
        self.listeners[fd] = factory
        self._epoll.register(fd, select.EPOLLIN)

    def unlisten(self, fd: int) -> None:
        """Stop accepting on fd."""
        if self.listeners.pop(fd, None) is not None and not self.accept_paused:
            self._epoll.unregister(fd)

    def resume_accepting(self) -> None:
        """Listen again after the process had run out of descriptors or memory."""
        if self.accept_paused:
            self.accept_paused = False
            for fd in self.listeners:
                self._epoll.register(fd, select.EPOLLIN)

    def add(self, peer: Peer, fd: int) -> None:
        """Own fd (non-blocking) from now on and pump it for peer."""
        peer.fd = fd
        peer.pump = self
        peer.reply = self.reply
        peer._socket = socket.socket(fileno=fd)
        self.peers[fd] = peer
        self._epoll.register(fd, select.EPOLLIN)

    def close(self, peer: Peer) -> i64:
        """Close peer's socket now."""
        if peer.open and peer._socket is not None:
            peer.open = False
            self.peers.pop(peer.fd, None)
            peer._socket.close()
            peer.closed()
            peer._backlog = bytearray()
        return 0

    def _accept_all(self, listener: int, factory: Callable[[int], Peer | None]) -> None:
        door = socket.socket(fileno=listener)
        try:
            for _ in range(_ACCEPTS_PER_TURN_MAX):
                try:
                    accepted, _address = door.accept()
                except BlockingIOError:
                    return
                except (InterruptedError, ConnectionAbortedError):
                    continue
                accepted.setblocking(False)
                fd = accepted.detach()
                peer = factory(fd)
                if peer is not None:
                    self.add(peer, fd)
        except OSError:
            # Out of descriptors or memory: a level-triggered listener would spin.
            self.accept_errors += 1
            self.accept_paused = True
            for other in self.listeners:
                self._epoll.unregister(other)
        finally:
            door.detach()

    # -- one turn -----------------------------------------------------------------------------

    def poll(self, timeout_ms: i64) -> i64:
        """Wait at most timeout_ms for sockets, serve all that are ready; returns how many were."""
        timeout = 0.0 if self.ready or self.feeding else timeout_ms / 1000
        events = self._epoll.poll(timeout, _EVENTS_MAX)
        if self.timed:
            self._time_turn()
        self.cycles += 1
        self.ticker.tick()
        worked = self._work_ready() if self.ready else 0
        for fd, mask in events:
            peer = self.peers.get(fd)
            if peer is None:
                factory = self.listeners.get(fd)
                if factory is not None and not self.accept_paused:
                    self._accept_all(fd, factory)
                elif fd == self._watched:
                    self.woken = True
                continue
            if mask & select.EPOLLOUT:
                self._drain(peer)
            if mask & (select.EPOLLIN | _BROKEN) and peer.open:
                self._receive(peer)
        if self.holding:
            self._let_go()
        if self.feeding:
            self.feeding = False
            self.ticker.feed()
        self._settle_queues()
        if self.background:
            self._rested = self.ticker.background(len(events)) == 0
            worked += not self._rested
        return len(events) + worked + self.feeding

    def hold(self) -> i64:
        """Send nothing before `ticker.commit` has been called at the end of the turn."""
        self.holding = True
        return 0

    def _let_go(self) -> None:
        held, self._held = self._held, []
        self.holding = False
        verdict = self.ticker.commit()
        for peer in held:
            peer._kept = False
            if verdict == 0:
                self.close(peer)
            elif verdict > 1 and peer.open and peer.promised:
                self._defer(peer, verdict)
            peer.promised = False

    def _defer(self, peer: Peer, token: int) -> None:
        """What peer got in this turn goes out when token is released."""
        if peer._fence < 0:
            peer._fence = peer._kept_from
            peer._marks.clear()
        peer._marks.append((token, peer.bytes_out + len(peer._backlog)))
        self._deferred.append((token, peer))

    def release(self, token: i64) -> i64:
        """Send what waits for this token or an earlier one."""
        while self._deferred and self._deferred[0][0] <= token:
            peer = self._deferred.popleft()[1]
            if not peer.open:
                continue
            place = peer._marks.popleft()[1]
            peer._fence = place if peer._marks else -1
            if not peer.queued:
                peer.queued = True
                self.dirty.append(peer)
        return 0

    def waiting_for(self) -> int:
        """The oldest token that somebody waits for; 0 if nobody does."""
        return self._deferred[0][0] if self._deferred else 0

    def cut_off_deferred(self) -> int:
        """Close everybody who waits for a token: what became of their requests is unknown."""
        deferred = list(self._deferred)
        self._deferred.clear()
        for _, peer in deferred:
            self.close(peer)
        return len(deferred)

    def _time_turn(self) -> None:
        now = time.thread_time_ns()
        if self._turn_began_ns:
            self.longest_turn_ns = max(self.longest_turn_ns, now - self._turn_began_ns)
        self._turn_began_ns = now

    def time_turns(self, on: bool) -> int:
        """Measure from now on the longest turn, or stop; returns the longest so far, in ns."""
        longest = self.longest_turn_ns
        self.longest_turn_ns = 0
        if not on or not self.timed:
            self._turn_began_ns = 0
        self.timed = on
        return longest

    def resume(self, peer: Peer) -> i64:
        """Let peer process in the next turn what it left waiting."""
        if peer.open and not peer.closing and not peer._stalled and not peer._again:
            peer._again = True
            self.ready.append(peer)
        return 0

    def wake(self) -> i64:
        """Let spin() return after this turn: somebody else has work."""
        self.woken = True
        return 0

    def watch(self, fd: int) -> None:
        """Let spin() return when fd (not ours) becomes readable."""
        self._watched = fd
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self) -> None:
        """Forget the descriptor given to watch()."""
        if self._watched >= 0:
            self._epoll.unregister(self._watched)
            self._watched = -1

    def spin(self, budget_us: i64, timeout_ms: i64) -> i64:
        """Poll until nothing comes for timeout_ms, the budget is used up, or wake() is called.

        Returns 0 if nothing came, else 1. Going back to the scheduler costs several requests' worth
        of CPU, so a busy loop does it only once per budget.
        """
        start = time.monotonic_ns()
        while not self.stopped:
            wait_ms = timeout_ms
            if self.background:
                # What it rests for may be over at any time, and rings no bell.
                wait_ms = min(timeout_ms, REST_MS) if self._rested else 0
            if self.poll(wait_ms) == 0:
                return 0
            if self.woken:
                self.woken = False
                return 1
            if time.monotonic_ns() - start > budget_us * 1000:
                return 1
        return 0

    def _work_ready(self) -> int:
        ready, self.ready = self.ready, []
        for peer in ready:
            peer._again = False
            if peer.open and not peer.closing:
                self._work(peer)
        return len(ready)

    def _receive(self, peer: Peer) -> None:
        assert peer._socket is not None
        if peer._again:
            return
        try:
            data = peer._socket.recv(_INBUF_BYTES, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close(peer)
            return
        self.reads += 1
        self.bytes_in += len(data)
        peer.bytes_in += len(data)
        # What a closing peer still sends is read and dropped, or its socket would stay ready.
        if peer.closing:
            return
        try:
            peer.parser.feed(data)
            if peer._stalled:
                peer.parser.settle()
                return
        except (QueryBufferExceeded, MemoryError):
            self._overflow(peer)
            return
        self._work(peer)

    def _overflow(self, peer: Peer) -> None:
        self.input_limit_disconnections += 1
        peer.overflowed()
        self.close(peer)

    def _work(self, peer: Peer) -> None:
        more = peer.process()
        try:
            peer.parser.settle()
        except MemoryError:
            self._overflow(peer)
        data = self.reply.take()
        if len(data) - OUTPUT_FREE_BYTES > peer.output_bytes_max and peer.open:
            self.output_limit_disconnections += 1
            self.close(peer)
        elif data and peer.open:
            peer._keep()
            peer._backlog += data
            self._drain(peer)
        if peer.closing:
            if peer.open and not peer._backlog:
                self.close(peer)
        elif not peer.open:
            return
        elif len(peer._backlog) > STALL_BYTES:
            peer._stalled = True
        elif more:
            peer._again = True
            self.ready.append(peer)

    def _settle_queues(self) -> None:
        while self.dirty:
            dirty, self.dirty = self.dirty, []
            for peer in dirty:
                peer.queued = False
                if peer.open:
                    self._drain(peer)

    def _drain(self, peer: Peer) -> None:
        """Send the backlog as far as the socket takes it; EPOLLOUT is armed while some is left."""
        assert peer._socket is not None
        backlog = peer._backlog
        if peer.overrun:
            self.output_limit_disconnections += 1
            self.close(peer)
            return
        if self.holding and not peer.exempt:
            # At the end of the turn, then.
            if not peer.queued:
                peer.queued = True
                self.dirty.append(peer)
            return
        ready = len(backlog) if peer._fence < 0 else peer._fence - peer.bytes_out
        if ready:
            try:
                with memoryview(backlog) as view:
                    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
                    sent = peer._socket.send(view[:ready], flags)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close(peer)
                return
            self.writes += 1
            self.bytes_out += sent
            peer.bytes_out += sent
            ready -= sent
            del backlog[:sent]
            if peer.fed:
                self.feeding = True
        if not backlog:
            if peer._writing:
                peer._writing = False
                self._epoll.modify(peer.fd, select.EPOLLIN)
            if peer.closing:
                self.close(peer)
                return
        if peer._stalled and len(backlog) <= STALL_BYTES // 2 and not peer.closing:
            peer._stalled = False
            peer._again = True
            self.ready.append(peer)
        if not backlog:
            return
        if len(backlog) > peer.output_bytes_max:
            self.output_limit_disconnections += 1
            self.close(peer)
        elif ready and not peer._writing:
            peer._writing = True
            self._epoll.modify(peer.fd, select.EPOLLIN | select.EPOLLOUT)
        elif not ready and peer._writing:
            # What is left waits for a token.
            peer._writing = False
            self._epoll.modify(peer.fd, select.EPOLLIN)
