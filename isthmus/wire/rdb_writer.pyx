"""Compiled twin of rdb_writer.py, which states the contract.

Every path makes room first and writes after. How long a string is when it is packed is known only
then, and it stands before it: so it is packed behind room for its head, and moved up to that.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from isthmus.wire.digits cimport read_int
from isthmus.wire.listpack_write cimport put_number, put_text
from isthmus.wire.lzf cimport lzf_pack

cdef enum:
    START_BYTES = 4096
    KEEP_BYTES_MAX = 1 << 20
    PACKED_ABOVE_BYTES = 20
    NUMBER_DIGITS_MAX = 11
    LISTPACK_HEAD = 6


cdef inline Py_ssize_t put_length(char* out, uint64_t value) noexcept:
    """Write a length; how many bytes it takes."""
    cdef int i
    if value < 64:
        out[0] = <char>value
        return 1
    if value < 16384:
        out[0] = <char>(0x40 | value >> 8)
        out[1] = <char>(value & 0xFF)
        return 2
    if value <= 0xFFFFFFFF:
        out[0] = <char>0x80
        for i in range(4):
            out[1 + i] = <char>(value >> (24 - 8 * i) & 0xFF)
        return 5
    out[0] = <char>0x81
    for i in range(8):
        out[1 + i] = <char>(value >> (56 - 8 * i) & 0xFF)
    return 9


cdef char* enlarged(char* buf, Py_ssize_t* capacity, Py_ssize_t wanted) except NULL:
    cdef Py_ssize_t room = max(<Py_ssize_t>START_BYTES, capacity[0] * 2)
    cdef char* moved
    if room < wanted:
        room = wanted
    moved = <char*>PyMem_RawRealloc(buf, room)
    if moved == NULL:
        raise MemoryError
    capacity[0] = room
    return moved


@cython.final
cdef class RdbWriter:
    """Collects RDB in one buffer."""

    def __cinit__(self):
        self.compress = True

    def __dealloc__(self):
        PyMem_RawFree(self.buf)
        PyMem_RawFree(self.pack)

    cdef int reserve(self, Py_ssize_t extra) except -1:
        if extra > self.capacity - self.size:
            self.buf = enlarged(self.buf, &self.capacity, self.size + extra)
        return 0

    cdef int append(self, const char* data, Py_ssize_t count) except -1:
        self.reserve(count)
        memcpy(self.buf + self.size, data, count)
        self.size += count
        return 0

    cpdef int byte(self, int value) except -1:
        """One byte."""
        self.reserve(1)
        self.buf[self.size] = <char>value
        self.size += 1
        return 0

    cpdef int length(self, uint64_t value) except -1:
        """A length, or any number that is not negative."""
        self.reserve(9)
        self.size += put_length(self.buf + self.size, value)
        return 0

    cpdef int raw(self, bytes data) except -1:
        """Bytes as they are."""
        return self.append(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cpdef int number(self, long long value) except -1:
        """Eight bytes, little-endian."""
        return self.append(<char*>&value, 8)

    cpdef int double(self, double value) except -1:
        """Eight bytes of a double, little-endian."""
        return self.append(<char*>&value, 8)

    cpdef int string(self, bytes data) except -1:
        """A string: as a number or packed where that is shorter."""
        return self.string_raw(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int string_raw(self, const char* data, Py_ssize_t count) except -1:
        cdef long long value
        cdef Py_ssize_t packed, head
        cdef char* out
        cdef char heads[20]
        cdef int32_t wide
        cdef int16_t narrow
        self.reserve(count + 24)
        out = self.buf + self.size
        if 0 < count <= NUMBER_DIGITS_MAX and (data[0] <= 57 and read_int(data, count, &value)):
            if -128 <= value <= 127:
                out[0] = <char>0xC0
                out[1] = <char>value
                self.size += 2
                return 0
            if -32768 <= value <= 32767:
                narrow = <int16_t>value
                out[0] = <char>0xC1
                memcpy(out + 1, &narrow, 2)
                self.size += 3
                return 0
            if -2147483648 <= value <= 2147483647:
                wide = <int32_t>value
                out[0] = <char>0xC2
                memcpy(out + 1, &wide, 4)
                self.size += 5
                return 0
        if self.compress and count > PACKED_ABOVE_BYTES:
            packed = lzf_pack(<const uint8_t*>data, count, <uint8_t*>out + 20, count - 4)
            if packed:
                heads[0] = <char>0xC3
                head = 1 + put_length(heads + 1, packed)
                head += put_length(heads + head, count)
                memmove(out + head, out + 20, packed)
                memcpy(out, heads, head)
                self.size += head + packed
                return 0
        head = put_length(out, count)
        memcpy(out + head, data, count)
        self.size += head + count
        return 0

    # -- listpacks ----------------------------------------------------------------------------

    cpdef int begin_listpack(self) except -1:
        """Begin a listpack; one at a time."""
        self.pack_size = LISTPACK_HEAD
        self.pack_count = 0
        return 0

    cdef int text_raw(self, const char* data, Py_ssize_t count) except -1:
        if self.pack_size + count + 16 > self.pack_capacity:
            self.pack = enlarged(self.pack, &self.pack_capacity, self.pack_size + count + 16)
        self.pack_size += put_text(self.pack + self.pack_size, data, count)
        self.pack_count += 1
        return 0

    cpdef int lp_text(self, bytes data) except -1:
        """An element of the listpack; the canonical spelling of a number is kept as one."""
        return self.text_raw(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cpdef int lp_number(self, long long value) except -1:
        """A number as an element of the listpack."""
        if self.pack_size + 16 > self.pack_capacity:
            self.pack = enlarged(self.pack, &self.pack_capacity, self.pack_size + 16)
        self.pack_size += put_number(self.pack + self.pack_size, value)
        self.pack_count += 1
        return 0

    cpdef Py_ssize_t listpack_size(self) except -1:
        """Bytes of the listpack so far, its end included."""
        return self.pack_size + 1

    cpdef int end_listpack(self) except -1:
        """Write the listpack as a string."""
        cdef uint32_t total
        cdef uint16_t count = <uint16_t>min(self.pack_count, <Py_ssize_t>0xFFFF)
        if self.pack_size >= <Py_ssize_t>0xFFFFFFFF:
            raise OverflowError("a listpack of 4 GiB")
        if self.pack_size + 1 > self.pack_capacity:
            self.pack = enlarged(self.pack, &self.pack_capacity, self.pack_size + 1)
        self.pack[self.pack_size] = <char>0xFF
        total = <uint32_t>(self.pack_size + 1)
        memcpy(self.pack, &total, 4)
        memcpy(self.pack + 4, &count, 2)
        self.string_raw(self.pack, total)
        self.pack_count = 0
        if self.pack_capacity > KEEP_BYTES_MAX:
            PyMem_RawFree(self.pack)
            self.pack = NULL
            self.pack_capacity = 0
        return 0

    # -- the buffer ---------------------------------------------------------------------------

    cpdef Py_ssize_t mark(self) except -1:
        """Where writing stands."""
        return self.size

    cpdef int truncate(self, Py_ssize_t mark) except -1:
        """Take back what was written since mark."""
        if not 0 <= mark <= self.size:
            raise ValueError("no such mark")
        self.size = mark
        return 0

    cpdef bytes take(self):
        """All that was written; the writer is empty then."""
        cdef bytes data = PyBytes_FromStringAndSize(self.buf, self.size)
        self.size = 0
        if self.capacity > KEEP_BYTES_MAX:
            PyMem_RawFree(self.buf)
            self.buf = NULL
            self.capacity = 0
        return data
