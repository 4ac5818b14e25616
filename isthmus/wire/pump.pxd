from isthmus.wire.parser cimport Feed
from isthmus.wire.reply cimport ReplyWriter


cdef class Ticker:
    cpdef int tick(self) except -1
    cpdef int ahead(self, list[Peer] peers) except -1
    cpdef long long commit(self) except -1
    cpdef int background(self, int ready) except -1
    cpdef int feed(self) except -1


cdef class Peer:
    cdef public Pump pump
    cdef public Feed parser
    cdef public ReplyWriter reply
    cdef public long long fd
    cdef public bint open
    cdef public bint closing
    cdef public bint queued
    cdef public bint overrun
    cdef public bint fed
    cdef bint writing
    # Served in the next turn; bytes wait in its socket, also its end; requests wait in its parser;
    # it does not read what it was sent.
    cdef bint again
    cdef bint unread
    cdef bint hung
    cdef bint left
    cdef bint stalled
    # It got something in a turn that holds, and how much it had been sent or was to be before.
    cdef bint kept
    cdef long long kept_from
    # Nothing behind this place in all it is sent may go out yet; -1: everything may.
    cdef long long fence
    # (token, place up to which its output may be sent once that is released), oldest first.
    cdef object marks
    # What it is sent is never held: the others wait for what it answers.
    cdef public bint exempt
    # It is owed a promise for something that happened in this turn.
    cdef public bint promised
    # reply[range_start:range_end] is its, from this turn, and not sent yet.
    cdef bint ranged
    cdef Py_ssize_t range_start, range_end
    cdef char* backlog
    cdef Py_ssize_t backlog_start, backlog_end, backlog_capacity
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public long long output_bytes_max

    cpdef int prepare(self) except -1
    cpdef int process(self) except -1
    cpdef int closed(self) except -1
    cpdef int overflowed(self) except -1
    cpdef int send(self, bytes data) except -1
    cdef int send_raw(self, const char* data, Py_ssize_t count) except -1
    cpdef long long pending_output(self)
    cpdef int close_soon(self) except -1


cdef class Pump:
    cdef int epoll_fd
    cdef char* inbuf
    cdef void* events
    cdef public ReplyWriter reply
    cdef public dict peers
    cdef public dict listeners
    cdef public Ticker ticker
    cdef public list dirty
    cdef public list ready
    cdef list gathered
    cdef bint gathering
    cdef public bint stopped
    cdef public bint holding
    cdef public bint background
    cdef public bint feeding
    cdef bint rested
    cdef list held
    # (token, peer) of what waits to be released, oldest first.
    cdef object deferred
    cdef public bint woken
    cdef int watched
    cdef public bint accept_paused
    cdef public long long cycles
    cdef public long long reads
    cdef public long long writes
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public long long output_limit_disconnections
    cdef public long long input_limit_disconnections
    cdef public long long accept_errors
    cdef public bint timed
    cdef public long long longest_turn_ns
    cdef long long turn_began_ns

    cpdef long long poll(self, long long timeout_ms)
    cpdef long long spin(self, long long budget_us, long long timeout_ms)
    cdef int time_turn(self) except -1
    cpdef int resume(self, Peer peer) except -1
    cpdef int wake(self) except -1
    cpdef int hold(self) except -1
    cdef int let_go(self) except -1
    cdef int defer(self, Peer peer, long long token) except -1
    cpdef int release(self, long long token) except -1
    cdef long long work_ready(self) except -1
    cdef int control(self, int op, int fd, unsigned int events) except -1
    cdef int later(self, Peer peer) except -1
    cdef int receive(self, Peer peer) except -1
    cdef int gather(self, Peer peer) except -1
    cdef int work_gathered(self) except -1
    cdef int work(self, Peer peer) except -1
    cdef int overflow(self, Peer peer) except -1
    cdef int run(self, Peer peer) except -1
    cdef int finish(self, Peer peer, int more) except -1
    cdef int push(self, Peer peer, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int drain(self, Peer peer) except -1
    cdef int settle_queues(self) except -1
    cdef int accept_all(self, int fd, object factory) except -1
    cpdef int close(self, Peer peer) except -1
