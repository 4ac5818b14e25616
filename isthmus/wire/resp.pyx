# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of `resp.py`, which states the contract and the format.

Reading makes no object but the arguments, looks at no byte outside the buffer, and keeps the buffer
(a mapped file, say) from being closed. Writing adds up the sizes first and fills one object; what
is small is written to the stack, since that needs the sizes only about. Sizes are counted in
Py_ssize_t from lengths of objects that exist, so they do not overflow.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcpy

from isthmus.wire.digits cimport read_int, write_int

RECORD = 0
LINE = 1
END = 2
TORN = 3
BAD = 4
LINE_BYTES_MAX = 1024

cdef enum:
    _RECORD = 0
    _LINE = 1
    _END = 2
    _TORN = 3
    _BAD = 4
    _LINE_MAX = 1024
    _DIGITS_MAX = 20
    _HEADER_ROOM = 24


@cython.final
cdef class CommandReader:
    """Reads the records of a buffer from `position` on; see the Python twin."""

    def __init__(self, data, Py_ssize_t position=0):
        self.view = memoryview(data).cast("B")
        self.end = self.view.shape[0]
        self.data = <const char*>&self.view[0] if self.end else NULL
        self.position = position
        self.start = position
        self.state = _RECORD
        self.reason = ""
        self.line = b""
        if not 0 <= position <= self.end:
            raise ValueError("a position outside the data")

    cpdef list next(self):
        """The arguments of the next record if it is a command; `state` says what it was."""
        if self.state >= _END:
            return None
        self.start = self.position
        if self.start == self.end:
            self.state = _END
            return None
        if self.data[self.start] == c'#':
            self.annotation()
            return None
        return self.read()

    cdef list read(self):
        cdef Py_ssize_t at = self.start, left
        cdef long long count, size, i
        cdef list argv
        if not self.number(&at, c'*', &count):
            return None
        if count < 1:
            self.state = _BAD
            self.reason = "a command without arguments"
            return None
        argv = []
        for i in range(count):
            if not self.number(&at, c'$', &size):
                return None
            if size < 0:
                self.state = _BAD
                self.reason = "an argument of negative size"
                return None
            left = self.end - at
            if left < 2 or size > left - 2:
                if left > size and self.data[at + size] != c'\r':
                    self.state = _BAD
                    self.reason = "an argument does not end where its size says"
                else:
                    self.state = _TORN
                return None
            if self.data[at + size] != c'\r' or self.data[at + size + 1] != c'\n':
                self.state = _BAD
                self.reason = "an argument does not end where its size says"
                return None
            argv.append(PyBytes_FromStringAndSize(self.data + at, size))
            at += size + 2
        self.position = at
        self.state = _RECORD
        return argv

    cdef int number(self, Py_ssize_t* where, char kind, long long* value) noexcept:
        """The number of the header at `where`, which moves behind it; 0 and the state if not."""
        cdef const char* data = self.data
        cdef Py_ssize_t at = where[0], end = self.end, stop
        cdef bint cut
        if at == end:
            self.state = _TORN
            return 0
        if data[at] != kind:
            self.state = _BAD
            self.reason = f"'{chr(kind)}' expected, not byte 0x{<unsigned char>data[at]:02x}"
            return 0
        stop = at + 1
        while (stop < end and stop - at <= _DIGITS_MAX + 1
               and (c'0' <= data[stop] <= c'9' or data[stop] == c'-')):
            stop += 1
        cut = stop == end or (stop + 1 == end and data[stop] == c'\r')
        if cut and (stop == at + 1 or (stop == at + 2 and data[at + 1] == c'-')):
            self.state = _TORN
            return 0
        if read_int(data + at + 1, stop - at - 1, value):
            if cut:
                self.state = _TORN
                return 0
            if data[stop] == c'\r' and data[stop + 1] == c'\n':
                where[0] = stop + 2
                return 1
        self.state = _BAD
        self.reason = "a header without a number"
        return 0

    cdef void annotation(self):
        cdef Py_ssize_t start = self.start, window = min(self.end - start, <Py_ssize_t>_LINE_MAX)
        cdef const char* stop = <const char*>memchr(self.data + start, c'\n', window)
        cdef Py_ssize_t size
        if stop != NULL:
            size = stop - (self.data + start)
            self.position = start + size + 1
            if size and self.data[start + size - 1] == c'\r':
                size -= 1
            self.line = PyBytes_FromStringAndSize(self.data + start, size)
            self.state = _LINE
        elif window < _LINE_MAX:
            self.state = _TORN
        else:
            self.state = _BAD
            self.reason = "an annotation longer than 1024 bytes"


cdef inline Py_ssize_t _room(list argv) except -1:
    """Bytes that argv takes at most."""
    cdef Py_ssize_t total = _HEADER_ROOM
    for arg in argv:
        total += PyBytes_GET_SIZE(<bytes?>arg) + _HEADER_ROOM + 2
    return total


cdef inline char* _write(char* out, list argv) noexcept:
    cdef Py_ssize_t size
    out[0] = c'*'
    out += 1 + write_int(out + 1, len(argv))
    out[0] = c'\r'
    out[1] = c'\n'
    out += 2
    for arg in argv:
        size = PyBytes_GET_SIZE(arg)
        out[0] = c'$'
        out += 1 + write_int(out + 1, size)
        out[0] = c'\r'
        out[1] = c'\n'
        out += 2
        memcpy(out, PyBytes_AS_STRING(arg), size)
        out += size
        out[0] = c'\r'
        out[1] = c'\n'
        out += 2
    return out


cdef enum:
    _SMALL = 1024


cpdef bytes pack(list argv):
    """One command as RESP."""
    return pack_all([argv])


cpdef bytes pack_all(list commands):
    """Commands as RESP, one behind the other."""
    cdef char small[_SMALL]
    cdef Py_ssize_t room = 0
    cdef list argv
    cdef char* out
    for argv in commands:
        room += _room(argv)
    if room <= _SMALL:
        out = small
        for argv in commands:
            out = _write(out, argv)
        return PyBytes_FromStringAndSize(small, out - small)
    return _pack_big(commands)


cdef inline Py_ssize_t _digits(Py_ssize_t value) noexcept:
    cdef Py_ssize_t count = 1
    while value >= 10:
        value //= 10
        count += 1
    return count


cdef bytes _pack_big(list commands):
    """As pack_all, with the exact size first: what is big is copied once."""
    cdef Py_ssize_t total = 0, size
    cdef list argv
    cdef bytes packed
    cdef char* out
    for argv in commands:
        total += 3 + _digits(len(argv))
        for arg in argv:
            size = PyBytes_GET_SIZE(arg)
            total += 5 + _digits(size) + size
    packed = PyBytes_FromStringAndSize(NULL, total)
    out = PyBytes_AS_STRING(packed)
    for argv in commands:
        out = _write(out, argv)
    return packed
