# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `reply.py`, which states the contract.

The buffer is this object's own (PyMem_RawMalloc), so `buf` and `size` may be handed to send(2)
as they are. Every path reserves first and writes after, so a failed allocation leaves the
buffer as it was. Methods return 0 only so that C callers see errors without asking the
interpreter.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.string cimport memchr, memcpy

from isthmus.wire.scalars import format_float

cdef enum:
    _START = 1024  # first allocation, bytes
    _KEEP_MAX = 1048576  # a larger buffer is given back once it is empty
    _NUMBER_MAX = 32  # a type byte, a sign, 19 digits and two line ends fit

# 2**53. Not an enumerator: those may be unsigned in C, and then its negative is a huge number.
cdef double _EXACT = 9007199254740992.0

cdef char _pairs[200]


cdef void _fill_pairs() noexcept:
    cdef int i
    for i in range(100):
        _pairs[2 * i] = <char>(48 + i // 10)
        _pairs[2 * i + 1] = <char>(48 + i % 10)


_fill_pairs()


cdef inline char* _write_number(char* out, long long value) noexcept:
    """Write `value` in decimal at `out`; return the position after it."""
    cdef char digits[24]
    cdef char* at = digits + 24
    cdef unsigned long long rest
    cdef unsigned int pair
    cdef Py_ssize_t count
    if value < 0:
        out[0] = c'-'
        out += 1
        rest = 0 - <unsigned long long>value
    else:
        rest = <unsigned long long>value
    if rest < 10:
        out[0] = <char>(48 + rest)
        return out + 1
    while rest >= 100:
        pair = <unsigned int>(rest % 100)
        rest //= 100
        at -= 2
        at[0] = _pairs[2 * pair]
        at[1] = _pairs[2 * pair + 1]
    if rest >= 10:
        at -= 2
        at[0] = _pairs[2 * rest]
        at[1] = _pairs[2 * rest + 1]
    else:
        at -= 1
        at[0] = <char>(48 + rest)
    count = digits + 24 - at
    memcpy(out, at, count)
    return out + count


@cython.final
cdef class ReplyWriter:
    """Collects replies in one buffer, in the protocol version of the client."""

    def __cinit__(self, int protocol=2):
        self.buf = NULL
        self.size = 0
        self.capacity = 0
        self.protocol = protocol

    def __dealloc__(self):
        PyMem_RawFree(self.buf)

    cdef int grow(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t wanted
        cdef Py_ssize_t capacity
        cdef char* buf
        if extra > (<Py_ssize_t>1 << 62) - self.size:
            raise MemoryError
        wanted = self.size + extra
        capacity = max(<Py_ssize_t>_START, self.capacity * 2)
        if capacity < wanted:
            capacity = wanted
        buf = <char*>PyMem_RawRealloc(self.buf, capacity)
        if buf == NULL:
            raise MemoryError
        self.buf = buf
        self.capacity = capacity
        return 0

    cdef inline int reserve(self, Py_ssize_t extra) except -1:
        if extra > self.capacity - self.size:
            return self.grow(extra)
        return 0

    cdef inline int header(self, char kind, long long value) except -1:
        cdef char* out
        self.reserve(_NUMBER_MAX)
        out = self.buf + self.size
        out[0] = kind
        out = _write_number(out + 1, value)
        out[0] = c'\r'
        out[1] = c'\n'
        self.size = out + 2 - self.buf
        return 0

    cdef inline int append(self, const char* data, Py_ssize_t count) except -1:
        self.reserve(count)
        memcpy(self.buf + self.size, data, count)
        self.size += count
        return 0

    cdef int line(self, char kind, bytes text) except -1:
        cdef Py_ssize_t count = len(text)
        cdef const char* data = PyBytes_AS_STRING(text)
        cdef char* out
        cdef Py_ssize_t i
        self.reserve(count + 3)
        out = self.buf + self.size
        out[0] = kind
        out += 1
        memcpy(out, data, count)
        if memchr(data, c'\r', count) != NULL or memchr(data, c'\n', count) != NULL:
            for i in range(count):
                if out[i] == c'\r' or out[i] == c'\n':
                    out[i] = c' '
        out[count] = c'\r'
        out[count + 1] = c'\n'
        self.size += count + 3
        return 0

    cdef int bulk_raw(self, const char* data, Py_ssize_t count) except -1:
        """A bulk string from `count` bytes at `data`, which must not lie in this buffer."""
        cdef char* out
        self.reserve(count + _NUMBER_MAX)
        out = self.buf + self.size
        out[0] = c'$'
        out = _write_number(out + 1, count)
        out[0] = c'\r'
        out[1] = c'\n'
        out += 2
        memcpy(out, data, count)
        out += count
        out[0] = c'\r'
        out[1] = c'\n'
        self.size = out + 2 - self.buf
        return 0

    cpdef int ok(self) except -1:
        """+OK"""
        return self.append(b"+OK\r\n", 5)

    cpdef int simple(self, bytes text) except -1:
        """A simple string; line ends in it become spaces."""
        return self.line(c'+', text)

    cpdef int error(self, bytes text) except -1:
        """An error; `text` starts with its code (`ERR ...`)."""
        return self.line(c'-', text)

    cpdef int integer(self, long long value) except -1:
        """An integer."""
        return self.header(c':', value)

    cpdef int bulk(self, bytes value) except -1:
        """A bulk string."""
        return self.bulk_raw(PyBytes_AS_STRING(value), len(value))

    cpdef int null(self) except -1:
        """The absent value."""
        if self.protocol >= 3:
            return self.append(b"_\r\n", 3)
        return self.append(b"$-1\r\n", 5)

    cpdef int null_array(self) except -1:
        """The absent array."""
        if self.protocol >= 3:
            return self.append(b"_\r\n", 3)
        return self.append(b"*-1\r\n", 5)

    cpdef int empty_array(self) except -1:
        """An array of nothing."""
        return self.append(b"*0\r\n", 4)

    cpdef int array(self, long long count) except -1:
        """The head of an array; its `count` elements follow."""
        return self.header(c'*', count)

    cpdef int map(self, long long count) except -1:
        """The head of a map; `count` keys and values follow, alternating."""
        if self.protocol >= 3:
            return self.header(c'%', count)
        return self.header(c'*', 2 * count)

    cpdef int set(self, long long count) except -1:
        """The head of a set; its `count` elements follow."""
        return self.header(c'~' if self.protocol >= 3 else c'*', count)

    cpdef int push(self, long long count) except -1:
        """The head of an out-of-band message; its `count` elements follow."""
        return self.header(c'>' if self.protocol >= 3 else c'*', count)

    cpdef int double(self, double value) except -1:
        """A double, spelt as `format_float` spells it."""
        cdef char digits[_NUMBER_MAX]
        cdef long long whole
        cdef bytes text
        cdef const char* data
        cdef Py_ssize_t count
        if -_EXACT <= value <= _EXACT and value != 0.0 and <double><long long>value == value:
            whole = <long long>value
            data = digits
            count = _write_number(digits, whole) - digits
        else:
            text = format_float(value)
            data = PyBytes_AS_STRING(text)
            count = PyBytes_GET_SIZE(text)
        if self.protocol < 3:
            return self.bulk_raw(data, count)
        self.reserve(count + 3)
        self.buf[self.size] = c','
        self.size += 1
        self.append(data, count)
        return self.append(b"\r\n", 2)

    cpdef int boolean(self, bint value) except -1:
        """True or false; 1 or 0 in RESP2."""
        if self.protocol >= 3:
            return self.append(b"#t\r\n" if value else b"#f\r\n", 4)
        return self.append(b":1\r\n" if value else b":0\r\n", 4)

    cpdef int big_number(self, bytes digits) except -1:
        """A number of any size, given as its digits; a bulk string in RESP2."""
        if self.protocol >= 3:
            return self.line(c'(', digits)
        return self.bulk(digits)

    cpdef int verbatim(self, bytes fmt3, bytes text) except -1:
        """Text with a format of three letters (`txt`, `mkd`); a bulk string in RESP2."""
        cdef Py_ssize_t count = len(text)
        if len(fmt3) != 3:
            raise ValueError("a verbatim format has three bytes")
        if self.protocol < 3:
            return self.bulk(text)
        self.reserve(count + 4 + _NUMBER_MAX)
        self.header(c'=', count + 4)
        self.append(PyBytes_AS_STRING(fmt3), 3)
        self.append(b":", 1)
        self.append(PyBytes_AS_STRING(text), count)
        return self.append(b"\r\n", 2)

    cpdef int raw(self, bytes data) except -1:
        """Bytes that are already a reply, or part of one."""
        return self.append(PyBytes_AS_STRING(data), len(data))

    cpdef Py_ssize_t mark(self) except -1:
        """The present size, for `truncate`."""
        return self.size

    cpdef int truncate(self, Py_ssize_t mark) except -1:
        """Forget what was written since `mark`."""
        if mark < 0 or mark > self.size:
            raise ValueError("mark outside the buffer")
        self.size = mark
        return 0

    cpdef bytes take(self):
        """Return everything written, and forget it."""
        cdef bytes data = PyBytes_FromStringAndSize(self.buf, self.size)
        self.clear()
        return data

    cpdef bytes take_from(self, Py_ssize_t mark):
        """Return what was written since `mark`, and forget it."""
        cdef bytes data
        if mark < 0 or mark > self.size:
            raise ValueError("mark outside the buffer")
        data = PyBytes_FromStringAndSize(self.buf + mark, self.size - mark)
        self.size = mark
        return data

    cpdef int clear(self) except -1:
        """Forget everything; a buffer that had grown above 1 MiB goes back to the system."""
        self.size = 0
        if self.capacity > _KEEP_MAX:
            PyMem_RawFree(self.buf)
            self.buf = NULL
            self.capacity = 0
        return 0
