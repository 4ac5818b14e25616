# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `parser.py`, which states the contract.

How it is fast: bytes are read where recv(2) left them; a head of the usual form (`*2`, `$16`:
canonical, at most nine digits, CRLF) is read in one pass by `_short_head`, anything else takes
the careful way through `head`; the argument list is made at its final size; and the names of
commands, which repeat for ever, come from a small table of ready objects with a cached hash.

How it is safe: an argument list longer than `_PRESIZED_MAX` grows as arguments arrive, storage
grows with the bytes that arrived (at most twofold), so nothing is allocated on the word of a
header. A list that is still being filled has a size that covers only what is filled whenever
Python code may run between two calls.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_Append, PyList_New
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.string cimport memchr, memcmp, memcpy, memmove

from isthmus.wire.scalars import split_inline

cdef extern from "Python.h":
    PyObject* _new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    void _set_item "PyList_SET_ITEM"(list, Py_ssize_t, PyObject*)
    void _set_size "Py_SET_SIZE"(list, Py_ssize_t)
    char* _bytes_data "PyBytes_AS_STRING"(PyObject*)
    Py_ssize_t _bytes_size "PyBytes_GET_SIZE"(PyObject*)
    void _incref "Py_INCREF"(PyObject*)
    Py_ssize_t _references "Py_REFCNT"(list)
    PyObject* _get_item "PyList_GET_ITEM"(list, Py_ssize_t)
    void _decref "Py_DECREF"(PyObject*)

cdef enum:
    _KEEP_MAX = 16384  # larger own storage is given back once it is empty
    _PRESIZED_MAX = 1024
    _SPARE_ARGS_MAX = 32
    _SPARE_BYTES_MAX = 4096
    _NAMES = 128
    _NAME_MAX = 24
    _UNAUTHENTICATED_ARGS_MAX = 10
    _UNAUTHENTICATED_BULK_MAX = 16384
    _UNAUTHENTICATED_BUFFER_MAX = 1048576

cdef PyObject* _names[_NAMES]


class ProtocolError(Exception):
    """The client broke the protocol: reply `-ERR <text>`, then close."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class QueryBufferExceeded(Exception):
    """An unfinished request outgrew the query buffer: close without a reply."""


cdef inline PyObject* _name(const char* data, Py_ssize_t size) except NULL:
    """A new reference to the name of a command, from the table if it is there."""
    cdef unsigned int slot
    cdef PyObject* name
    if size == 0 or size > _NAME_MAX:
        return _new_bytes(data, size)
    slot = (<unsigned char>data[0] * 31 + <unsigned char>data[size - 1] * 7
            + <unsigned char>data[size >> 1] + <unsigned int>size) & (_NAMES - 1)
    name = _names[slot]
    if name != NULL:
        if _bytes_size(name) == size and memcmp(_bytes_data(name), data, size) == 0:
            _incref(name)
            return name
        _decref(name)
        _names[slot] = NULL
    name = _new_bytes(data, size)
    _incref(name)
    _names[slot] = name
    return name


cdef inline void _empty(list argv, Py_ssize_t count) noexcept:
    """Take the items out of a list that is about to be filled again."""
    cdef Py_ssize_t at
    cdef PyObject* item
    for at in range(count):
        item = _get_item(argv, at)
        _set_item(argv, at, NULL)
        _decref(item)


cdef inline const char* _short_head(const char* at, const char* end, long long* value) noexcept:
    """Read `<digits>CRLF` at `at`; the position after it, or NULL for `head` to look closer."""
    cdef unsigned int digit
    cdef long long number
    cdef const char* limit
    if end - at < 3:
        return NULL
    digit = <unsigned char>at[0] - 48
    if digit > 9:
        return NULL
    if at[1] == c'\r':
        value[0] = digit
        return at + 3 if at[2] == c'\n' else NULL
    if digit == 0:
        return NULL
    number = digit
    limit = end - 1 if end - at < 10 else at + 9
    at += 1
    while at < limit:
        digit = <unsigned char>at[0] - 48
        if digit > 9:
            if at[0] != c'\r' or at[1] != c'\n':
                return NULL
            value[0] = number
            return at + 2
        number = number * 10 + digit
        at += 1
    return NULL


cdef bint _int64(const char* at, Py_ssize_t size, long long* value) noexcept:
    """Read a canonical int64 of exactly `size` bytes; False if it is none."""
    cdef unsigned long long number = 0
    cdef unsigned int digit
    cdef bint negative = False
    cdef Py_ssize_t i
    if size == 1 and at[0] == c'0':
        value[0] = 0
        return True
    if size > 0 and at[0] == c'-':
        negative = True
        at += 1
        size -= 1
    if size < 1 or size > 19 or at[0] == c'0':
        return False
    for i in range(size):  # 19 digits fit unsigned 64 bits
        digit = <unsigned char>at[i] - 48
        if digit > 9:
            return False
        number = number * 10 + digit
    if number > <unsigned long long>0x7FFFFFFFFFFFFFFF + (1 if negative else 0):
        return False
    value[0] = <long long>(0 - number) if negative else <long long>number
    return True


cdef class Feed:
    """Bytes that came in and were not read yet."""

    def __cinit__(self):
        self.query_buffer_bytes_max = 1 << 30

    def __dealloc__(self):
        PyMem_RawFree(self.own)

    @property
    def pending(self):
        """Bytes fed and not yet returned as part of a request."""
        return self.taken + self.end - self.pos

    def feed(self, data):
        """Take `data`; see the Python twin."""
        cdef bytes kept = data if type(data) is bytes else bytes(data)
        if kept and not self.dead:
            self.feed_raw(PyBytes_AS_STRING(kept), len(kept))
            if self.borrowed:
                self.owner = kept

    cdef int feed_raw(self, const char* data, Py_ssize_t count) except -1:
        """Borrow `count` bytes at `data`, which must stay as they are until `settle`."""
        if count <= 0 or self.dead:
            return 0
        self.forget_spans()
        if self.pos == self.end:
            self.data = data
            self.pos = 0
            self.end = count
            self.borrowed = True
            self.owner = None
            return 0
        if self.taken + (self.end - self.pos) + count > self.kept_max():
            self.drop()
            raise QueryBufferExceeded
        self.hold(count)
        memcpy(self.own + self.end, data, count)
        self.end += count
        return 0

    cpdef int settle(self) except -1:
        """Copy what is unread out of the caller's memory; give back storage that is not needed."""
        cdef Py_ssize_t rest = self.end - self.pos
        self.forget_spans()
        if rest == 0:
            self.data = NULL
            self.pos = self.end = 0
            self.borrowed = False
            self.owner = None
            if self.own_capacity > _KEEP_MAX:
                PyMem_RawFree(self.own)
                self.own = NULL
                self.own_capacity = 0
        elif self.borrowed or (self.own_capacity > _KEEP_MAX and rest < self.own_capacity >> 2):
            self.hold(0)
        return 0

    cdef int hold(self, Py_ssize_t extra) except -1:
        """Have the unread bytes in own storage, with room for `extra` more behind them."""
        cdef Py_ssize_t rest = self.end - self.pos
        cdef Py_ssize_t need = rest + extra
        cdef Py_ssize_t capacity = need + (need >> 1 if need < _KEEP_MAX else need)
        cdef char* fresh
        if need < self.wanted < capacity:
            capacity = self.wanted
        if self.borrowed and need <= self.own_capacity:
            memcpy(self.own, self.data + self.pos, rest)
        elif not self.borrowed and extra and self.end + extra <= self.own_capacity:
            return 0
        elif not self.borrowed and extra and need <= self.own_capacity >> 1:
            memmove(self.own, self.own + self.pos, rest)
        elif not self.borrowed and self.pos == 0 and extra:
            fresh = <char*>PyMem_RawRealloc(self.own, capacity)
            if fresh == NULL:
                raise MemoryError
            self.own = fresh
            self.own_capacity = capacity
        else:
            fresh = <char*>PyMem_RawMalloc(capacity)
            if fresh == NULL:
                raise MemoryError
            memcpy(fresh, self.data + self.pos, rest)
            PyMem_RawFree(self.own)
            self.own = fresh
            self.own_capacity = capacity
        self.data = self.own
        self.pos = 0
        self.end = rest
        self.borrowed = False
        self.owner = None
        return 0

    cdef long long kept_max(self) noexcept:
        return self.query_buffer_bytes_max

    cdef int forget_spans(self) except -1:
        """For a subclass that remembers positions in `data`: they are about to change."""
        return 0

    cdef int check_kept(self) except -1:
        """Refuse an unfinished request above the limit."""
        if self.taken + (self.end - self.pos) > self.kept_max():
            self.drop()
            raise QueryBufferExceeded
        return 0

    cdef void drop(self) noexcept:
        """Forget all input, also what is still to come."""
        self.dead = True
        self.pos = self.end
        self.taken = 0
        self.wanted = 0


@cython.final
cdef class RequestParser(Feed):
    """Requests of one client, one at a time."""

    def __cinit__(self):
        self.authenticated = False
        self.bulk_bytes_max = 512 << 20
        self.args_max = 1 << 20
        self.inline_bytes_max = 65536
        self.bulk = -1
        self.raw_start = -1

    cdef long long kept_max(self) noexcept:
        if not self.authenticated and self.query_buffer_bytes_max > _UNAUTHENTICATED_BUFFER_MAX:
            return _UNAUTHENTICATED_BUFFER_MAX
        return self.query_buffer_bytes_max

    cdef int forget_spans(self) except -1:
        self.raw_start = -1
        self.last = None
        return 0

    cpdef list next(self):
        """The next request, or None if more bytes are needed; see the Python twin."""
        cdef const char* at
        cdef long long count
        cdef list argv
        cdef Py_ssize_t begin, room
        self.raw_start = -1
        if self.last is not None:
            self.last = None
        if self.args is not None:
            argv = self.args
            self.args = None
            return self.read_args(argv, len(argv), 0, -1)
        while self.pos < self.end:
            begin = self.pos
            if self.data[begin] != c'*':
                argv = self.inline_request()
                if argv is None:
                    break
                if argv:
                    self.last = argv
                    return argv
                continue
            self.rough = False
            at = _short_head(self.data + begin + 1, self.data + self.end, &count)
            if at != NULL:
                self.pos = at - self.data
                self.scanned = 0
            elif not self.multibulk_head(&count):
                break
            if count > self.args_max:
                self.fail(b"invalid multibulk length")
            if count > _UNAUTHENTICATED_ARGS_MAX and not self.authenticated:
                self.fail(b"unauthenticated multibulk length")
            if count > 0:
                self.count = count
                room = count if count <= _PRESIZED_MAX else 0
                argv = self.spare
                if argv is not None and len(argv) == count:
                    self.spare = None
                    # Held here and nowhere else: the list of the last request serves again.
                    if _references(argv) == 1:
                        _empty(argv, count)
                        return self.read_args(argv, 0, room, begin)
                return self.read_args(PyList_New(room), 0, room, begin)
        self.check_kept()
        return None

    cdef list read_args(self, list argv, Py_ssize_t filled, Py_ssize_t room, Py_ssize_t begin):
        """Read arguments into `argv`, which has `filled` of them and `room` empty places.

        `begin` is where the request starts in `data`, or -1 if its start is gone.
        """
        cdef const char* data = self.data
        cdef const char* at = data + self.pos
        cdef const char* after
        cdef const char* end = data + self.end
        cdef Py_ssize_t entered = self.pos if begin < 0 else begin
        cdef Py_ssize_t count = self.count
        cdef long long size = self.bulk
        cdef PyObject* item
        while filled < count:
            if size < 0:
                after = NULL
                if at < end and at[0] == c'$':
                    after = _short_head(at + 1, end, &size)
                if after == NULL:
                    self.pos = at - data
                    if not self.bulk_head():
                        break
                    size = self.bulk
                    at = data + self.pos
                else:
                    at = after
                    self.scanned = 0
                if size > self.bulk_bytes_max:
                    self.fail(b"invalid bulk length")
                if size > _UNAUTHENTICATED_BULK_MAX and not self.authenticated:
                    self.fail(b"unauthenticated bulk length")
            if end - at < size + 2:
                self.bulk = size
                self.wanted = size + 2
                break
            item = _new_bytes(at, size) if filled else _name(at, size)
            if room:
                _set_item(argv, filled, item)
            else:
                try:
                    PyList_Append(argv, <object>item)
                finally:
                    _decref(item)
            filled += 1
            at += size
            if at[0] != c'\r' or at[1] != c'\n':
                self.rough = True
            at += 2
            size = -1
        self.pos = at - data
        if filled < count:
            if room:
                _set_size(argv, filled)
            self.bulk = size
            self.args = argv
            self.taken += self.pos - entered
            self.check_kept()
            return None
        self.bulk = -1
        self.taken = 0
        self.wanted = 0
        if begin >= 0 and not self.rough:
            self.raw_start = begin
            self.raw_stop = self.pos
            if count <= _SPARE_ARGS_MAX and self.pos - begin <= _SPARE_BYTES_MAX:
                self.spare = argv
        else:
            self.last = argv
        return argv

    cpdef bytes raw(self):
        """The bytes of the last request; see the Python twin."""
        if self.raw_start >= 0:
            return PyBytes_FromStringAndSize(self.data + self.raw_start,
                                             self.raw_stop - self.raw_start)
        if self.last is None:
            raise ValueError("the last request is gone")
        parts = [b"*%d\r\n" % len(self.last)]
        for arg in self.last:
            parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
        return b"".join(parts)

    cdef int multibulk_head(self, long long* count) except -1:
        """Read `*<count>` the careful way; 0 if its line is not complete."""
        cdef char kind
        cdef int found = self.head(b"too big mbulk count string", count, &kind)
        if found == 2:
            self.fail(b"invalid multibulk length")
        return found

    cdef int bulk_head(self) except -1:
        """Read `$<size>` into `self.bulk` the careful way; 0 if its line is not complete."""
        cdef char kind = 0
        cdef long long size = -1
        cdef int found = self.head(b"too big bulk count string", &size, &kind)
        if found == 0:
            return 0
        if kind != c'$':
            self.fail(b"expected '$', got '" + PyBytes_FromStringAndSize(&kind, 1) + b"'")
        if found == 2 or size < 0:
            self.fail(b"invalid bulk length")
        self.bulk = size
        return 1

    cdef int head(self, bytes too_big, long long* value, char* kind) except -1:
        """Read one header line at `pos`: 0 not complete, 1 read, 2 not a number (and read)."""
        cdef Py_ssize_t size = self.line_end(c'\r', too_big)
        cdef const char* line = self.data + self.pos
        if size < 0:
            return 0
        if size + 2 > self.end - self.pos:
            self.scanned = size
            return 0
        kind[0] = line[0]
        if line[size + 1] != c'\n':
            self.rough = True
        self.pos += size + 2
        self.scanned = 0
        return 1 if _int64(line + 1, size - 1, value) else 2

    cdef Py_ssize_t line_end(self, char stop, bytes too_big) except -2:
        """Find `stop` in the line at `pos`; -1 if absent, or hidden by a NUL as in Redis."""
        cdef const char* line = self.data + self.pos
        cdef Py_ssize_t size = self.end - self.pos
        cdef Py_ssize_t window = min(size, <Py_ssize_t>self.inline_bytes_max + 1)
        cdef const char* found = NULL
        cdef const char* nul
        if self.scanned < window:
            found = <const char*>memchr(line + self.scanned, stop, window - self.scanned)
            nul = <const char*>memchr(line + self.scanned, 0,
                                      (found - line if found != NULL else window) - self.scanned)
            if nul != NULL:
                self.scanned = nul - line
                found = NULL
            else:
                self.scanned = window
        if found != NULL:
            self.scanned = 0
            return found - line
        if size > self.inline_bytes_max:
            self.fail(too_big)
        return -1

    cdef list inline_request(self):
        """A request typed as text, one line; None if the line is not complete, [] if empty."""
        cdef Py_ssize_t size = self.line_end(c'\n', b"too big inline request")
        cdef const char* line = self.data + self.pos
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t start
        cdef list argv = []
        if size < 0:
            return None
        self.pos += size + 1
        if size and line[size - 1] == c'\r':
            size -= 1
        if memchr(line, c'"', size) != NULL or memchr(line, c"'", size) != NULL:
            try:
                return split_inline(PyBytes_FromStringAndSize(line, size))
            except ValueError:
                self.fail(b"unbalanced quotes in request")
        while True:
            while at < size and (line[at] == c' ' or 9 <= line[at] <= 13):
                at += 1
            if at == size:
                return argv
            start = at
            while at < size and not (line[at] == c' ' or line[at] == c'\t'
                                     or line[at] == c'\n' or line[at] == c'\r'):
                at += 1
            argv.append(PyBytes_FromStringAndSize(line + start, at - start))

    cdef int fail(self, bytes text) except -1:
        """Raise, and read nothing more from this client."""
        self.drop()
        self.args = None
        self.bulk = -1
        raise ProtocolError(b"Protocol error: " + text)
