cimport cython

from isthmus.wire.parser cimport Feed, RequestParser
from isthmus.wire.pump cimport Peer
from isthmus.wire.reply cimport ReplyWriter


@cython.final
cdef class FrameReader(Feed):
    cdef readonly long long count
    cdef readonly long long protocol
    cdef readonly long long flags
    cdef readonly long long epoch
    cdef readonly long long sequence
    cdef Py_ssize_t payload_at, payload_size
    cdef Py_ssize_t sizes_at, reply_at, reply_size

    cpdef bint next(self) except -1
    cpdef bytes payload(self)
    cpdef int open_requests(self, RequestParser parser) except -1
    cpdef int open_replies(self) except -1
    cpdef int next_reply(self) except -2
    cpdef bytes reply(self)
    cpdef int reply_to(self, Peer peer) except -1


cdef class FramePeer(Peer):
    cdef readonly long long sequence
    cdef long long frame_at, frame_size, frame_count
    cdef long long frame_flags, frame_protocol, frame_epoch

    cdef int begin_request(self, long long flags, long long protocol, long long epoch) except -1
    cdef int end_request(self) except -1
    cpdef int add_request(self, RequestParser parser, long long flags, long long protocol,
                          long long epoch) except -1
    cpdef int add_argv(self, list argv, long long flags, long long protocol,
                       long long epoch) except -1
    cpdef int add_hello(self, long long flags, long long epoch, bytes payload) except -1


@cython.final
cdef class ReplyFrame:
    cdef ReplyWriter writer
    cdef Py_ssize_t head, mark, room
    cdef readonly long long count

    cpdef int begin(self, ReplyWriter writer, long long room) except -1
    cpdef int note(self) except -1
    cpdef int finish(self, long long protocol, long long epoch, long long sequence) except -1
