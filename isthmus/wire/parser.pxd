cimport cython


cdef class Feed:
    # The unread bytes are data[pos:end]; `data` is either the caller's memory or `own`.
    cdef const char* data
    cdef Py_ssize_t pos
    cdef Py_ssize_t end
    cdef char* own
    cdef Py_ssize_t own_capacity
    cdef Py_ssize_t wanted
    cdef Py_ssize_t taken
    cdef bint borrowed
    cdef bint dead
    cdef object owner
    cdef public long long query_buffer_bytes_max

    cdef int feed_raw(self, const char* data, Py_ssize_t count) except -1
    cdef int hold(self, Py_ssize_t extra) except -1
    cdef long long kept_max(self) noexcept
    cdef int forget_spans(self) except -1
    cdef int check_kept(self) except -1
    cdef void drop(self) noexcept
    cpdef int settle(self) except -1


@cython.final
cdef class RequestParser(Feed):
    cdef public bint authenticated
    cdef public long long bulk_bytes_max
    cdef public long long args_max
    cdef public long long inline_bytes_max
    cdef list args
    cdef list spare
    cdef Py_ssize_t count
    cdef Py_ssize_t bulk
    cdef Py_ssize_t scanned
    # Where the last request lies in `data`, if it is there whole and well-formed; else -1, and
    # `last` holds its arguments.
    cdef Py_ssize_t raw_start
    cdef Py_ssize_t raw_stop
    cdef list last
    cdef bint rough

    cpdef list next(self)
    cpdef bytes raw(self)
    cdef list read_args(self, list argv, Py_ssize_t filled, Py_ssize_t room, Py_ssize_t begin)
    cdef int bulk_head(self) except -1
    cdef int multibulk_head(self, long long* count) except -1
    cdef int head(self, bytes too_big, long long* value, char* kind) except -1
    cdef Py_ssize_t line_end(self, char stop, bytes too_big) except -2
    cdef list inline_request(self)
    cdef int fail(self, bytes text) except -1
