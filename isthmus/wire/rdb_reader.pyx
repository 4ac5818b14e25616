# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""RdbReader in C; rdb_reader.py has the format and the contract.

`take` is the only place where the position moves over what is read, and it compares first. Packed
blobs that are not compressed are read where they lie in the buffer.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from isthmus.wire.digits cimport write_int
from isthmus.wire.listpack_read cimport little
from isthmus.wire.listpack_reader cimport (
    intset_items, listpack_items, zipmap_items, ziplist_items
)
from isthmus.wire.lzf cimport lzf_expand, lzf_fits

INT8, INT16, INT32, LZF = 0, 1, 2, 3
LENGTH_MAX = (1 << 63) - 1

cdef enum:
    ENCODING_INT32 = 2
    ENCODING_LZF = 3


class RdbError(ValueError):
    """What was read is no valid RDB: at which offset, in bytes, and why."""

    def __init__(self, offset, reason):
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


cdef inline uint64_t big(const uint8_t* p, int width) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(width):
        number = number << 8 | p[i]
    return number


cdef class RdbReader:
    """Reads forward through a buffer; the contract is in rdb_reader.py."""

    def __cinit__(self, data, long long base=0):
        self.held = False
        PyObject_GetBuffer(data, &self.buffer, PyBUF_SIMPLE)
        self.held = True
        self.p = <const uint8_t*>self.buffer.buf
        self.size = self.buffer.len
        self.position = 0
        self.base = base

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)

    def close(self):
        """Let go of the buffer; nothing can be read afterwards."""
        if self.held:
            self.held = False
            self.size = self.position = 0
            PyBuffer_Release(&self.buffer)

    @property
    def left(self):
        """Bytes that have not been read."""
        return self.size - self.position

    cpdef object error(self, str reason, Py_ssize_t at=-1):
        """An error, to be raised, at a position (by default the present one)."""
        return RdbError(self.base + (self.position if at < 0 else at), reason)

    cpdef object view(self, Py_ssize_t start, Py_ssize_t stop):
        """What lies between two positions, without a copy."""
        return memoryview(<object>self.buffer.obj if self.held else b"").cast("B")[start:stop]

    cdef const uint8_t* take(self, Py_ssize_t count) except NULL:
        """Pass over `count` bytes; where they begin."""
        cdef const uint8_t* at = self.p + self.position
        if count < 0 or count > self.size - self.position:
            raise self.error(f"{count} bytes where {self.size - self.position} are left")
        self.position += count
        return at

    cpdef bytes raw(self, Py_ssize_t count):
        """The next `count` bytes."""
        return PyBytes_FromStringAndSize(<const char*>self.take(count), count)

    cpdef int skip(self, Py_ssize_t count) except -1:
        """Pass over `count` bytes."""
        self.take(count)
        return 0

    cpdef int byte(self) except -1:
        """One byte."""
        return self.take(1)[0]

    cdef int read_length(self, uint64_t* number) except -1:
        """Read a length: 0; or what is encoded instead: 1."""
        cdef uint8_t head = self.take(1)[0]
        if head < 0x40:
            number[0] = head
            return 0
        if head < 0x80:
            number[0] = <uint64_t>(head & 0x3F) << 8 | self.take(1)[0]
            return 0
        if head == 0x80:
            number[0] = big(self.take(4), 4)
            return 0
        if head == 0x81:
            number[0] = big(self.take(8), 8)
            return 0
        if head >= 0xC0:
            number[0] = head & 0x3F
            return 1
        raise self.error(f"0x{head:02x} begins no length", self.position - 1)

    def length_or_encoding(self):
        """A length (or any number of 64 bits), or (encoding, True)."""
        cdef uint64_t number = 0
        cdef bint encoded = self.read_length(&number)
        return number, encoded

    cpdef uint64_t number(self) except? 0xFFFFFFFFFFFFFFFF:
        """An unsigned number of 64 bits that is written as a length."""
        cdef Py_ssize_t at = self.position
        cdef uint64_t number = 0
        if self.read_length(&number):
            raise self.error("an encoded string where a number should be", at)
        return number

    cpdef long long length(self) except -1:
        """A length or a count that nothing vouches for yet; below 2^63."""
        cdef Py_ssize_t at = self.position
        cdef uint64_t number = self.number()
        if number > <uint64_t>0x7FFFFFFFFFFFFFFF:
            raise self.error(f"{number} is no length", at)
        return <long long>number

    cpdef Py_ssize_t count(self, Py_ssize_t bytes_min, str what) except -1:
        """How many of `what` follow, each of which takes at least so many bytes."""
        cdef Py_ssize_t at = self.position
        cdef uint64_t count = self.number()
        if count > <uint64_t>((self.size - self.position) // bytes_min):
            raise self.error(
                f"a {what} of {count} elements in {self.size - self.position} bytes", at
            )
        return <Py_ssize_t>count

    cpdef bytes string(self):
        """A string, however it is encoded."""
        cdef Py_ssize_t at = self.position, left
        cdef uint64_t size = 0, packed, real
        cdef char digits[20]
        cdef const uint8_t* source
        cdef bytes out
        cdef int width
        if not self.read_length(&size):
            if size > <uint64_t>(self.size - self.position):
                raise self.error(
                    f"a string of {size} bytes where {self.size - self.position} are left", at
                )
            source = self.take(<Py_ssize_t>size)
            return PyBytes_FromStringAndSize(<const char*>source, <Py_ssize_t>size)
        if size <= ENCODING_INT32:
            width = 1 << size
            return PyBytes_FromStringAndSize(
                digits, write_int(digits, little(self.take(width), width))
            )
        if size != ENCODING_LZF:
            raise self.error(f"unknown encoding {size} of a string", at)
        packed = self.number()
        real = self.number()
        left = self.size - self.position
        if packed > <uint64_t>left or not lzf_fits(<Py_ssize_t>packed, real):
            raise self.error(
                f"a string of {real} bytes from {packed} compressed, {left} are left", at
            )
        source = self.take(<Py_ssize_t>packed)
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>real)
        if not lzf_expand(
            source, <Py_ssize_t>packed, <uint8_t*>PyBytes_AS_STRING(out), <Py_ssize_t>real
        ):
            raise self.error(f"compressed data is not that of {real} bytes", at)
        return out

    cpdef int skip_string(self) except -1:
        """Pass over a string without decompressing it."""
        cdef Py_ssize_t at = self.position
        cdef uint64_t size = 0
        if self.read_length(&size):
            if size > ENCODING_LZF:
                raise self.error(f"unknown encoding {size} of a string", at)
            if size == ENCODING_LZF:
                size = self.number()
                self.number()
            else:
                size = <uint64_t>1 << size
        if size > <uint64_t>(self.size - self.position):
            raise self.error(
                f"a string of {size} bytes where {self.size - self.position} are left", at
            )
        self.position += <Py_ssize_t>size
        return 0

    cpdef uint64_t u64(self) except? 0xFFFFFFFFFFFFFFFF:
        """8 bytes as an unsigned number, little-endian."""
        return <uint64_t>little(self.take(8), 8)

    cpdef int64_t i64(self) except? -1:
        """8 bytes as a signed number, little-endian."""
        return little(self.take(8), 8)

    cpdef long i32(self) except? -1:
        """4 bytes as a signed number, little-endian."""
        return <long>little(self.take(4), 4)

    cpdef double double(self) except? -1:
        """A double in 8 bytes, which may be no number."""
        cdef double value
        memcpy(&value, self.take(8), 8)
        return value

    cpdef double old_double(self) except? -1:
        """A double spelt in decimal, which may be no number."""
        cdef Py_ssize_t at = self.position
        cdef int size = self.byte()
        if size >= 253:
            return float(("nan", "inf", "-inf")[size - 253])
        return read_double(self, self.raw(size), at)

    # -- packed blobs -------------------------------------------------------------------------

    cdef list blob(self, Items items):
        cdef Py_ssize_t at = self.position
        cdef uint64_t size = 0
        cdef bytes data
        try:
            if self.size > at and self.p[at] < 0xC0:
                self.read_length(&size)
                if size <= <uint64_t>(self.size - self.position):
                    return items(self.take(<Py_ssize_t>size), <Py_ssize_t>size)
                self.position = at
            data = self.string()
            return items(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        except RdbError:
            raise
        except ValueError as error:
            raise self.error(str(error), at) from None

    cpdef list listpack(self):
        """The elements of a listpack."""
        return self.blob(listpack_items)

    cpdef list ziplist(self):
        """The elements of a ziplist."""
        return self.blob(ziplist_items)

    cpdef list intset(self):
        """The members of an intset."""
        return self.blob(intset_items)

    cpdef list zipmap(self):
        """The keys and values of a zipmap."""
        return self.blob(zipmap_items)


cpdef double read_double(RdbReader reader, bytes text, Py_ssize_t at) except? -1:
    """A double as C prints and reads it; RdbError at position `at` for anything else."""
    try:
        # float() takes more than C does: underscores, and blanks around.
        if b"_" in text or text.strip() != text:
            raise ValueError
        return float(text)
    except ValueError:
        raise reader.error(f"{text[:40]!r} is no score", at) from None
