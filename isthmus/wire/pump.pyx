"""Compiled twin of pump.py, which has the contract and the limits.

Different here: client sockets are edge-triggered, so what is left in one must be remembered
(`unread`, `hung`); replies are sent from the writer's own memory, and only what the socket does not
take is copied to the peer's backlog.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.string cimport memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec
from posix.unistd cimport close as os_close

from collections import deque

from isthmus.wire.parser import QueryBufferExceeded

from isthmus.wire.parser cimport Feed
from isthmus.wire.reply cimport ReplyWriter

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    enum: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET
    enum: EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_CLOEXEC

cdef extern from "Python.h":
    void* PyInterpreterState_Get() noexcept
    void* PyInterpreterState_ThreadHead(void* interpreter) noexcept
    void* PyThreadState_Next(void* thread) noexcept

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void* buf, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void* buf, size_t size, int flags)
    int c_accept4 "accept4"(int fd, void* address, void* size, int flags)
    enum: SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_NOSIGNAL, MSG_DONTWAIT

cdef enum:
    INBUF_BYTES = 65536
    EVENTS_MAX = 512
    ACCEPTS_PER_TURN_MAX = 64
    OUTPUT_KEEP_BYTES = 16384
    OUTPUT_FREE_BYTES = 16384
    GATHERED_MAX = 16
    STALL_LIMIT = 1 << 20
    REST_MS = 1

STALL_BYTES = STALL_LIMIT


cdef class Ticker:
    cpdef int tick(self) except -1:
        """Called once per turn of the loop, before the first request is run."""
        return 0

    cpdef int ahead(self, list[Peer] peers) except -1:
        """These peers are about to process what they prepared."""
        return 0

    cpdef long long commit(self) except -1:
        """Make last what replies are held for; 0 if that failed and they may not be sent, a token
        above 1 if they may be once that is released."""
        return 1

    cpdef int background(self, int ready) except -1:
        """Do a little of what goes on beside requests; 1 if it did. So many sockets were ready."""
        return 0

    cpdef int feed(self) except -1:
        """Hand on what is kept for peers elsewhere: one asked for it, or has taken some of it."""
        return 0


cdef class Peer:
    def __cinit__(self, *args, **kwargs):
        self.fd = -1
        self.fence = -1
        self.backlog = NULL
        self.output_bytes_max = 1 << 30

    def __init__(self, parser):
        self.parser = parser
        self.open = True

    def __dealloc__(self):
        PyMem_RawFree(self.backlog)

    cpdef int prepare(self) except -1:
        """Parse what came and run nothing; 1 if process() is to be called later in this turn."""
        return 0

    cpdef int process(self) except -1:
        """Run what the parser holds; 1 if there is more to do in the next turn."""
        raise TypeError("a Peer must say how it processes its input")

    cpdef int closed(self) except -1:
        """The socket is gone; release what hangs on it."""
        return 0

    cpdef int overflowed(self) except -1:
        """Its input outgrew its limit or our memory: say so; the pump closes it."""
        return 0

    cpdef int send(self, bytes data) except -1:
        """Queue bytes to be sent at the end of this turn; too many cut the peer off."""
        if self.open and self.backlog_end - self.backlog_start > self.output_bytes_max:
            # It stands in pump.dirty already.
            self.overrun = True
            return 0
        return self.send_raw(<char*>data, len(data))

    cdef int send_raw(self, const char* data, Py_ssize_t count) except -1:
        cdef Py_ssize_t size, capacity
        cdef char* grown
        if not self.open or count == 0:
            return 0
        if self.pump is not None and self.pump.holding and not self.kept and not self.exempt:
            self.kept = True
            self.kept_from = self.bytes_out + self.backlog_end - self.backlog_start
            self.pump.held.append(self)
        if self.ranged:
            # What it was answered in this turn, and is not sent yet, comes first.
            self.ranged = False
            self.send_raw(
                self.pump.reply.buf + self.range_start, self.range_end - self.range_start
            )
        size = self.backlog_end - self.backlog_start
        if self.backlog_end + count > self.backlog_capacity:
            if self.backlog_start:
                memmove(self.backlog, self.backlog + self.backlog_start, size)
                self.backlog_start = 0
                self.backlog_end = size
            if size + count > self.backlog_capacity:
                capacity = max(size + count + (size >> 1), 1024)
                grown = <char*>PyMem_RawRealloc(self.backlog, capacity)
                if grown == NULL:
                    raise MemoryError
                self.backlog = grown
                self.backlog_capacity = capacity
        memcpy(self.backlog + self.backlog_end, data, count)
        self.backlog_end += count
        if not self.queued and (
            not self.writing or self.backlog_end - self.backlog_start > self.output_bytes_max
        ):
            self.queued = True
            self.pump.dirty.append(self)
        return 0

    cpdef long long pending_output(self):
        """Bytes that wait to be sent."""
        return self.backlog_end - self.backlog_start

    cpdef int close_soon(self) except -1:
        """Close once everything queued has been sent."""
        self.closing = True
        if self.open and not self.queued:
            self.queued = True
            self.pump.dirty.append(self)
        return 0


cdef class Pump:
    def __cinit__(self, *args, **kwargs):
        self.epoll_fd = -1
        self.inbuf = <char*>PyMem_RawMalloc(INBUF_BYTES)
        self.events = PyMem_RawMalloc(EVENTS_MAX * sizeof(epoll_event))
        if self.inbuf == NULL or self.events == NULL:
            raise MemoryError

    def __init__(self, ReplyWriter reply, Ticker ticker):
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0:
            raise OSError(errno, "epoll_create1 failed")
        self.reply = reply
        self.ticker = ticker
        self.peers = {}
        self.listeners = {}
        self.dirty = []
        self.ready = []
        self.gathered = []
        self.held = []
        self.deferred = deque()
        self.watched = -1

    def __dealloc__(self):
        if self.epoll_fd >= 0:
            os_close(self.epoll_fd)
        PyMem_RawFree(self.inbuf)
        PyMem_RawFree(self.events)

    def fileno(self):
        """The descriptor that is readable while any socket has work."""
        return self.epoll_fd

    cdef int control(self, int op, int fd, unsigned int events) except -1:
        cdef epoll_event event
        event.events = events
        event.data.fd = fd
        if epoll_ctl(self.epoll_fd, op, fd, &event) < 0:
            raise OSError(errno, f"epoll_ctl failed for descriptor {fd}")
        return 0

    # -- sockets in and out -------------------------------------------------------------------

    def listen(self, fd, factory):
        """Accept on fd, the caller's; factory(fd) makes a Peer, or None after closing fd."""
        self.listeners[fd] = factory
        self.control(EPOLL_CTL_ADD, fd, EPOLLIN)

    def unlisten(self, fd):
        """Stop accepting on fd."""
        if self.listeners.pop(fd, None) is not None and not self.accept_paused:
            self.control(EPOLL_CTL_DEL, fd, 0)

    def resume_accepting(self):
        """Listen again after the process had run out of descriptors or memory."""
        if self.accept_paused:
            self.accept_paused = False
            for fd in self.listeners:
                self.control(EPOLL_CTL_ADD, fd, EPOLLIN)

    def add(self, Peer peer, int fd):
        """Own fd (non-blocking) from now on and pump it for peer."""
        peer.fd = fd
        peer.pump = self
        peer.reply = self.reply
        self.peers[fd] = peer
        self.control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET)

    cpdef int close(self, Peer peer) except -1:
        """Close peer's socket now."""
        if not peer.open:
            return 0
        peer.open = False
        self.peers.pop(peer.fd, None)
        os_close(<int>peer.fd)
        peer.closed()
        PyMem_RawFree(peer.backlog)
        peer.backlog = NULL
        peer.backlog_start = peer.backlog_end = peer.backlog_capacity = 0
        return 0

    cdef int accept_all(self, int listener, object factory) except -1:
        cdef int fd, turn, problem
        for turn in range(ACCEPTS_PER_TURN_MAX):
            fd = c_accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                problem = errno
                if problem == EAGAIN:
                    return 0
                if problem == EINTR or problem == ECONNABORTED:
                    continue
                # Out of descriptors or memory: a level-triggered listener would spin.
                self.accept_errors += 1
                self.accept_paused = True
                for other in self.listeners:
                    self.control(EPOLL_CTL_DEL, other, 0)
                return 0
            peer = factory(fd)
            if peer is not None:
                self.add(peer, fd)
        return 0

    # -- one turn -----------------------------------------------------------------------------

    cpdef long long poll(self, long long timeout_ms):
        """Wait at most timeout_ms for sockets, serve all that are ready; returns how many were."""
        cdef epoll_event* events = <epoll_event*>self.events
        cdef int count, i, fd, timeout = <int>timeout_ms
        cdef long long worked
        cdef Peer peer
        cdef object found
        if self.ready or self.feeding:
            timeout = 0
        # Letting go of the interpreter's lock costs a tenth of a request; with one thread nobody
        # wants it.
        if timeout == 0 or (
            PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL
        ):
            count = epoll_wait(self.epoll_fd, events, EVENTS_MAX, timeout)
        else:
            with nogil:
                count = epoll_wait(self.epoll_fd, events, EVENTS_MAX, timeout)
        if count < 0:
            if errno == EINTR:
                return 0
            raise OSError(errno, "epoll_wait failed")
        if self.timed:
            self.time_turn()
        self.cycles += 1
        self.ticker.tick()
        worked = self.work_ready() if self.ready else 0
        self.gathering = count > 1
        for i in range(count):
            fd = events[i].data.fd
            found = self.peers.get(fd)
            if found is None:
                found = self.listeners.get(fd)
                if found is not None and not self.accept_paused:
                    self.accept_all(fd, found)
                elif fd == self.watched:
                    self.woken = True
                continue
            peer = <Peer>found
            if events[i].events & EPOLLOUT:
                self.drain(peer)
            if events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                peer.hung = True
            if events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) and peer.open:
                self.receive(peer)
        self.gathering = False
        if self.gathered:
            self.work_gathered()
        if self.holding:
            self.let_go()
        if self.feeding:
            self.feeding = False
            self.ticker.feed()
        self.settle_queues()
        if self.background:
            self.rested = self.ticker.background(count) == 0
            worked += not self.rested
        return count + worked + self.feeding

    cpdef int hold(self) except -1:
        """Send nothing before `ticker.commit` has been called at the end of the turn."""
        self.holding = True
        return 0

    cdef int let_go(self) except -1:
        """Send what was held, or later, or cut off those who would have got it."""
        cdef list held = self.held
        cdef Peer peer
        cdef long long verdict
        self.holding = False
        self.held = []
        verdict = self.ticker.commit()
        for peer in held:
            peer.kept = False
            if verdict == 0:
                self.close(peer)
            elif verdict > 1 and peer.open and peer.promised:
                self.defer(peer, verdict)
            peer.promised = False
        return 0

    cdef int defer(self, Peer peer, long long token) except -1:
        """What peer got in this turn goes out when token is released."""
        if peer.fence < 0:
            peer.fence = peer.kept_from
            peer.marks = deque()
        peer.marks.append((token, peer.bytes_out + peer.backlog_end - peer.backlog_start))
        self.deferred.append((token, peer))
        return 0

    cpdef int release(self, long long token) except -1:
        """Send what waits for this token or an earlier one."""
        cdef Peer peer
        while self.deferred and <long long>self.deferred[0][0] <= token:
            peer = <Peer>self.deferred.popleft()[1]
            if not peer.open:
                continue
            place = peer.marks.popleft()[1]
            peer.fence = place if peer.marks else -1
            if not peer.queued:
                peer.queued = True
                self.dirty.append(peer)
        return 0

    def waiting_for(self):
        """The oldest token that somebody waits for; 0 if nobody does."""
        return self.deferred[0][0] if self.deferred else 0

    def cut_off_deferred(self):
        """Close everybody who waits for a token: what became of their requests is unknown."""
        deferred = list(self.deferred)
        self.deferred.clear()
        for _, peer in deferred:
            self.close(peer)
        return len(deferred)

    cdef int time_turn(self) except -1:
        cdef timespec t
        cdef long long now
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)
        now = <long long>t.tv_sec * 1000000000 + t.tv_nsec
        if self.turn_began_ns and now - self.turn_began_ns > self.longest_turn_ns:
            self.longest_turn_ns = now - self.turn_began_ns
        self.turn_began_ns = now
        return 0

    def time_turns(self, on):
        """Measure from now on the longest turn, or stop; returns the longest so far, in ns."""
        longest = self.longest_turn_ns
        self.longest_turn_ns = 0
        if not on or not self.timed:
            self.turn_began_ns = 0
        self.timed = on
        return longest

    cpdef int resume(self, Peer peer) except -1:
        """Let peer process in the next turn what it left waiting."""
        if peer.open and not peer.closing and not peer.stalled:
            peer.left = True
            self.later(peer)
        return 0

    cpdef int wake(self) except -1:
        """Let spin() return after this turn: somebody else has work."""
        self.woken = True
        return 0

    def watch(self, int fd):
        """Let spin() return when fd (not ours) becomes readable."""
        self.watched = fd
        self.control(EPOLL_CTL_ADD, fd, EPOLLIN)

    def unwatch(self):
        """Forget the descriptor given to watch()."""
        if self.watched >= 0:
            self.control(EPOLL_CTL_DEL, self.watched, 0)
            self.watched = -1

    cpdef long long spin(self, long long budget_us, long long timeout_ms):
        """Poll until nothing comes for timeout_ms, the budget is used up, or wake() is called."""
        cdef timespec t
        cdef long long start, now, wait_ms
        cdef int turns = 0
        clock_gettime(CLOCK_MONOTONIC, &t)
        start = <long long>t.tv_sec * 1000000 + t.tv_nsec // 1000
        while not self.stopped:
            wait_ms = timeout_ms
            if self.background:
                # What it rests for may be over at any time, and rings no bell.
                wait_ms = min(timeout_ms, REST_MS) if self.rested else 0
            if self.poll(wait_ms) == 0:
                return 0
            if self.woken:
                self.woken = False
                return 1
            turns += 1
            if turns & 7:
                continue
            clock_gettime(CLOCK_MONOTONIC, &t)
            now = <long long>t.tv_sec * 1000000 + t.tv_nsec // 1000
            if now - start > budget_us:
                return 1
        return 0

    cdef long long work_ready(self) except -1:
        cdef list ready = self.ready
        cdef Peer peer
        self.ready = []
        for peer in ready:
            peer.again = False
            if not peer.open:
                continue
            if peer.left and not peer.closing:
                self.work(peer)
            elif peer.unread:
                self.receive(peer)
        return len(ready)

    cdef int later(self, Peer peer) except -1:
        """Serve peer in the next turn, whatever its socket says."""
        if not peer.again and peer.open:
            peer.again = True
            self.ready.append(peer)
        return 0

    cdef int receive(self, Peer peer) except -1:
        cdef ssize_t count
        # Sockets are edge-triggered, which saves a second look at each: that there is more to read
        # is said once. There may be more behind a full buffer, and behind the last bytes of a
        # stream its end. What the peer holds is run before more is read.
        if peer.left and not peer.closing:
            peer.unread = True
            return 0
        count = c_recv(<int>peer.fd, self.inbuf, INBUF_BYTES, MSG_DONTWAIT)
        peer.unread = (
            count == INBUF_BYTES or (count > 0 and peer.hung) or (count < 0 and errno == EINTR)
        )
        if peer.unread:
            self.later(peer)
        if count > 0:
            self.reads += 1
            self.bytes_in += count
            peer.bytes_in += count
            # What a closing peer still sends is read and dropped, or its socket would stay ready.
            if peer.closing:
                return 0
            try:
                peer.parser.feed_raw(self.inbuf, count)
                if peer.stalled:
                    peer.parser.settle()
                    return 0
            except (QueryBufferExceeded, MemoryError):
                return self.overflow(peer)
            if self.gathering and peer.prepare():
                return self.gather(peer)
            self.work(peer)
        elif count == 0 or (errno != EAGAIN and errno != EINTR):
            self.close(peer)
        return 0

    cdef int gather(self, Peer peer) except -1:
        """Let peer process with the others of this turn, once all have said what they want."""
        try:
            peer.parser.settle()
        except MemoryError:
            return self.overflow(peer)
        self.gathered.append(peer)
        if len(self.gathered) == GATHERED_MAX:
            self.work_gathered()
        return 0

    cdef int work_gathered(self) except -1:
        """Run all, then send all: a client woken by its reply finds the next ones already there."""
        cdef list gathered = self.gathered
        cdef Peer peer
        cdef int more[GATHERED_MAX]
        cdef int at = 0
        self.gathered = []
        self.ticker.ahead(gathered)
        for peer in gathered:
            more[at] = -1
            if peer.open and not peer.closing:
                peer.range_start = self.reply.size
                more[at] = self.run(peer)
                peer.range_end = self.reply.size
                peer.ranged = True
            at += 1
        at = 0
        for peer in gathered:
            if more[at] >= 0:
                if peer.ranged:
                    peer.ranged = False
                    self.push(peer, peer.range_start, peer.range_end)
                self.finish(peer, more[at])
            at += 1
        return self.reply.clear()

    cdef int overflow(self, Peer peer) except -1:
        self.input_limit_disconnections += 1
        peer.overflowed()
        return self.close(peer)

    cdef int work(self, Peer peer) except -1:
        cdef int more = self.run(peer)
        self.push(peer, 0, self.reply.size)
        self.finish(peer, more)
        return self.reply.clear()

    cdef int run(self, Peer peer) except -1:
        cdef int more = peer.process()
        try:
            peer.parser.settle()
        except MemoryError:
            self.overflow(peer)
        return more

    cdef int finish(self, Peer peer, int more) except -1:
        peer.left = more and not peer.closing
        if peer.closing:
            if peer.open and peer.backlog_end == peer.backlog_start:
                self.close(peer)
        elif peer.backlog_end - peer.backlog_start > STALL_LIMIT:
            peer.stalled = True
            peer.left = False
        if peer.left or peer.unread:
            self.later(peer)
        return 0

    cdef int push(self, Peer peer, Py_ssize_t start, Py_ssize_t end) except -1:
        """Send what process() wrote, which is reply[start:end]; what the socket does not take waits
        in the backlog."""
        cdef char* data = self.reply.buf + start
        cdef Py_ssize_t size = end - start
        cdef ssize_t sent = 0
        if size == 0 or not peer.open:
            return 0
        if size - OUTPUT_FREE_BYTES > peer.output_bytes_max:
            self.output_limit_disconnections += 1
            return self.close(peer)
        if peer.backlog_end == peer.backlog_start and (not self.holding or peer.exempt):
            sent = c_send(<int>peer.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    return self.close(peer)
                sent = 0
            self.writes += 1
            self.bytes_out += sent
            peer.bytes_out += sent
        if sent < size:
            peer.send_raw(data + sent, size - sent)
        return 0

    cdef int settle_queues(self) except -1:
        cdef list dirty
        cdef Peer peer
        while self.dirty:
            dirty = self.dirty
            self.dirty = []
            for peer in dirty:
                peer.queued = False
                if peer.open:
                    self.drain(peer)
        return 0

    cdef int drain(self, Peer peer) except -1:
        """Send the backlog as far as the socket takes it; EPOLLOUT is armed while some is left."""
        cdef Py_ssize_t total = peer.backlog_end - peer.backlog_start
        cdef Py_ssize_t size = total if peer.fence < 0 else peer.fence - peer.bytes_out
        cdef ssize_t sent = 0
        if peer.overrun:
            self.output_limit_disconnections += 1
            return self.close(peer)
        if self.holding and not peer.exempt:
            # At the end of the turn, then.
            if not peer.queued:
                peer.queued = True
                self.dirty.append(peer)
            return 0
        if size:
            sent = c_send(
                <int>peer.fd,
                peer.backlog + peer.backlog_start,
                size,
                MSG_NOSIGNAL | MSG_DONTWAIT,
            )
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.close(peer)
                    return 0
                sent = 0
            self.writes += 1
            self.bytes_out += sent
            peer.bytes_out += sent
            peer.backlog_start += sent
            if peer.fed:
                self.feeding = True
        if peer.stalled and total - sent <= STALL_LIMIT // 2 and not peer.closing:
            peer.stalled = False
            peer.left = True
            self.later(peer)
        if sent == total:
            peer.backlog_start = peer.backlog_end = 0
            if peer.backlog_capacity > OUTPUT_KEEP_BYTES:
                PyMem_RawFree(peer.backlog)
                peer.backlog = NULL
                peer.backlog_capacity = 0
            if peer.writing:
                peer.writing = False
                self.control(EPOLL_CTL_MOD, <int>peer.fd, EPOLLIN | EPOLLRDHUP | EPOLLET)
            if peer.closing:
                self.close(peer)
        elif total - sent > peer.output_bytes_max:
            self.output_limit_disconnections += 1
            self.close(peer)
        elif sent < size and not peer.writing:
            peer.writing = True
            self.control(
                EPOLL_CTL_MOD, <int>peer.fd, EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET
            )
        elif sent == size and peer.writing:
            # What is left waits for a token.
            peer.writing = False
            self.control(EPOLL_CTL_MOD, <int>peer.fd, EPOLLIN | EPOLLRDHUP | EPOLLET)
        return 0
