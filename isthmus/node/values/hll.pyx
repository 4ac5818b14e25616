# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""HyperLogLog arithmetic in C; hll.py explains the format and says what each function does.

Strings that change are bytearrays. Their buffer moves when they are resized, so pointers are taken
anew after that. Dense registers are unpacked and packed four at a time, three bytes each.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport INFINITY, pow, sqrt
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

REGISTERS = 16384
HEADER_BYTES = 16
DENSE_BYTES = 12304
NO_LIMIT = 1 << 62

cdef enum:
    M = 16384
    HEADER = 16
    DENSE = 12304
    HASH_BITS = 50
    SPARSE_VALUE_MAX = 32


cdef uint64_t hash_of(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t mul = 0xC6A4A7935BD1E995ULL
    cdef uint64_t h = 0xADC83B19ULL ^ (<uint64_t>n * mul)
    cdef uint64_t word
    while n >= 8:
        memcpy(&word, p, 8)
        word *= mul
        word = (word ^ (word >> 47)) * mul
        h = (h ^ word) * mul
        p += 8
        n -= 8
    if n:
        word = 0
        memcpy(&word, p, n)
        h = (h ^ word) * mul
    h = (h ^ (h >> 47)) * mul
    return h ^ (h >> 47)


def murmur(bytes element):
    """The hash of an element, 64 bits unsigned."""
    return hash_of(<const uint8_t*>PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element))


cdef int place_of(bytes element, int* value) noexcept:
    cdef uint64_t h = hash_of(
        <const uint8_t*>PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element)
    )
    cdef int index = <int>(h & (M - 1))
    cdef int place = 1
    h = (h >> 14) | (<uint64_t>1 << HASH_BITS)
    while not h & 1:
        h >>= 1
        place += 1
    value[0] = place
    return index


def place(bytes element):
    """The register an element concerns, and what it must hold at least."""
    cdef int value = 0
    cdef int index = place_of(element, &value)
    return index, value


cpdef bint valid(object data) except -1:
    cdef Py_buffer view
    cdef const uint8_t* p
    cdef bint good
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    p = <const uint8_t*>view.buf
    good = view.len >= HEADER and memcmp(p, "HYLL", 4) == 0 and p[4] <= 1
    if good and p[4] == 0:
        good = view.len == DENSE
    PyBuffer_Release(&view)
    return good


cpdef bint sparse(object data) except -1:
    return data[4] == 1


cpdef bytearray empty():
    return bytearray(b"HYLL\x01" + bytes(11) + b"\x7f\xff")


cpdef long long cached(object data) except -2:
    if data[15] & 0x80:
        return -1
    return int.from_bytes(data[8:16], "little")


cpdef void set_cached(bytearray data, long long count):
    cdef uint8_t* p = <uint8_t*>PyByteArray_AS_STRING(data)
    cdef int i
    if count < 0:
        p[15] |= 0x80
        return
    for i in range(8):
        p[8 + i] = <uint8_t>(count >> (8 * i))


cdef inline int step_at(const uint8_t* p, const uint8_t* end, int* value, int* count) noexcept:
    """Read one step of the sparse code: its bytes, or 0 if it is cut off."""
    if p[0] & 0x80:
        value[0] = ((p[0] >> 2) & 31) + 1
        count[0] = (p[0] & 3) + 1
        return 1
    value[0] = 0
    if not p[0] & 0x40:
        count[0] = p[0] + 1
        return 1
    if p + 1 >= end:
        return 0
    count[0] = (((p[0] & 63) << 8) | p[1]) + 1
    return 2


cpdef list opcodes(object data):
    cdef bytes held = bytes(data)
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(held)
    cdef const uint8_t* end = p + PyBytes_GET_SIZE(held)
    cdef int value = 0, count = 0, size, total = 0
    cdef list found = []
    p += HEADER
    while p < end:
        size = step_at(p, end, &value, &count)
        total += count
        if size == 0 or total > M:
            return None
        found.append((size, value, count))
        p += size
    return found if total == M else None


cdef bint unpack(uint8_t* out, const uint8_t* p, Py_ssize_t n, bint highest) noexcept nogil:
    """Registers of the string p[:n] to one byte each, or raised to them if highest; 0: corrupt."""
    cdef const uint8_t* end = p + n
    cdef int value = 0, count = 0, size, total = 0, i
    cdef unsigned int bits
    cdef uint8_t four[4]
    if p[4] == 0:
        p += HEADER
        for i in range(M // 4):
            bits = p[0] | <unsigned int>p[1] << 8 | <unsigned int>p[2] << 16
            four[0] = bits & 63
            four[1] = (bits >> 6) & 63
            four[2] = (bits >> 12) & 63
            four[3] = bits >> 18
            for size in range(4):
                if not highest or four[size] > out[size]:
                    out[size] = four[size]
            p += 3
            out += 4
        return True
    p += HEADER
    while p < end:
        if p[0] & 0x80:
            value = ((p[0] >> 2) & 31) + 1
            count = (p[0] & 3) + 1
            size = 1
        elif not p[0] & 0x40:
            value = 0
            count = p[0] + 1
            size = 1
        elif p + 1 < end:
            value = 0
            count = (((p[0] & 63) << 8) | p[1]) + 1
            size = 2
        else:
            return False
        p += size
        if total + count > M:
            return False
        if value == 0:
            if not highest:
                memset(out + total, 0, count)
        else:
            for i in range(total, total + count):
                if not highest or value > out[i]:
                    out[i] = <uint8_t>value
        total += count
    return total == M


cpdef bint to_dense(bytearray data) except -1:
    cdef uint8_t registers[M]
    cdef uint8_t* p = <uint8_t*>PyByteArray_AS_STRING(data)
    cdef unsigned int bits
    cdef int i
    if not unpack(registers, p, PyByteArray_GET_SIZE(data), False):
        return False
    PyByteArray_Resize(data, DENSE)
    p = <uint8_t*>PyByteArray_AS_STRING(data)
    p[4] = 0
    p += HEADER
    for i in range(0, M, 4):
        bits = (registers[i] | <unsigned int>registers[i + 1] << 6
                | <unsigned int>registers[i + 2] << 12 | <unsigned int>registers[i + 3] << 18)
        p[0] = bits & 255
        p[1] = (bits >> 8) & 255
        p[2] = (bits >> 16) & 255
        p += 3
    return True


cdef int set_dense(bytearray data, int index, int value) noexcept:
    cdef uint8_t* p = <uint8_t*>PyByteArray_AS_STRING(data) + HEADER + index * 6 // 8
    cdef int shift = (index * 6) & 7
    cdef bint both = shift > 2
    cdef unsigned int pair = p[0]
    # The last register ends with the string: its second byte is not there.
    if both:
        pair |= <unsigned int>p[1] << 8
    if <int>((pair >> shift) & 63) >= value:
        return 0
    pair = (pair & ~(<unsigned int>63 << shift)) | (<unsigned int>value << shift)
    p[0] = pair & 255
    if both:
        p[1] = (pair >> 8) & 255
    return 1


cdef inline int write_zeros(uint8_t* out, int count) noexcept:
    if count > 64:
        out[0] = <uint8_t>(0x40 | ((count - 1) >> 8))
        out[1] = (count - 1) & 255
        return 2
    out[0] = <uint8_t>(count - 1)
    return 1


cdef inline int write_values(uint8_t* out, int value, int count) noexcept:
    out[0] = <uint8_t>(0x80 | ((value - 1) << 2) | (count - 1))
    return 1


cdef int set_sparse(bytearray data, int index, int value, long long limit) except -2:
    cdef uint8_t* start = <uint8_t*>PyByteArray_AS_STRING(data)
    cdef Py_ssize_t length = PyByteArray_GET_SIZE(data)
    cdef const uint8_t* end = start + length
    cdef const uint8_t* p = start + HEADER
    cdef const uint8_t* before = p
    cdef int first = 0, span = 0, old = 0, size = 0, fresh = 0, left, right
    cdef Py_ssize_t at, joined
    cdef uint8_t run[5]
    if value > SPARSE_VALUE_MAX:
        return set_dense(data, index, value) if to_dense(data) else -1
    while p < end:
        size = step_at(p, end, &old, &span)
        if size == 0:
            return -1
        if index < first + span:
            break
        before = p
        p += size
        first += span
    if p >= end:
        return -1
    if old >= value:
        return 0
    left = index - first
    right = first + span - 1 - index
    if left:
        fresh += write_values(run + fresh, old, left) if old else write_zeros(run + fresh, left)
    fresh += write_values(run + fresh, value, 1)
    if right:
        fresh += write_values(run + fresh, old, right) if old else write_zeros(run + fresh, right)
    if fresh > size and length + fresh - size > limit:
        return set_dense(data, index, value) if to_dense(data) else -1
    at = p - start
    joined = before - start
    if fresh > size:
        PyByteArray_Resize(data, length + fresh - size)
        start = <uint8_t*>PyByteArray_AS_STRING(data)
    memmove(start + at + fresh, start + at + size, length - at - size)
    memcpy(start + at, run, fresh)
    length += fresh - size
    length = join(start, joined, length)
    if length != PyByteArray_GET_SIZE(data):
        PyByteArray_Resize(data, length)
    return 1


cdef Py_ssize_t join(uint8_t* start, Py_ssize_t at, Py_ssize_t length) noexcept:
    """Join neighbours of the same value, from `at` on; returns what is left of length."""
    cdef int i, count
    cdef uint8_t code
    for i in range(5):
        if at >= length:
            break
        code = start[at]
        if not code & 0x80:
            at += 2 if code & 0x40 else 1
            continue
        if at + 1 < length and (start[at + 1] & 0xFC) == (code & 0xFC):
            count = (code & 3) + (start[at + 1] & 3) + 2
            if count <= 4:
                start[at + 1] = <uint8_t>((code & 0xFC) | (count - 1))
                memmove(start + at, start + at + 1, length - at - 1)
                length -= 1
                continue
        at += 1
    return length


cpdef long long raise_register(bytearray data, long long index, long long value,
                               long long limit) except -2:
    if PyByteArray_AS_STRING(data)[4] == 0:
        return set_dense(data, <int>index, <int>value)
    return set_sparse(data, <int>index, <int>value, limit)


cpdef long long add(bytearray data, bytes element, long long limit) except -2:
    cdef int value = 0
    cdef int index = place_of(element, &value)
    return raise_register(data, index, value, limit)


cpdef bint merge(bytearray registers, object data) except -1:
    cdef Py_buffer view
    cdef uint8_t fresh[M]
    cdef uint8_t* out = <uint8_t*>PyByteArray_AS_STRING(registers)
    cdef bint good
    # Into a copy first: a code that turns out corrupt must leave nothing behind.
    memcpy(fresh, out, M)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    good = unpack(fresh, <const uint8_t*>view.buf, view.len, True)
    PyBuffer_Release(&view)
    if good:
        memcpy(out, fresh, M)
    return good


cpdef bint write_registers(bytearray data, bytearray registers, long long limit) except -1:
    cdef const uint8_t* p = <const uint8_t*>PyByteArray_AS_STRING(registers)
    cdef int index
    for index in range(M):
        if p[index] and raise_register(data, index, p[index], limit) < 0:
            return False
    return True


cpdef long long count(object data) except -2:
    cdef Py_buffer view
    cdef uint8_t registers[M]
    cdef bint good
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    good = unpack(registers, <const uint8_t*>view.buf, view.len, False)
    PyBuffer_Release(&view)
    return estimate(registers) if good else -1


cpdef long long count_registers(bytearray registers) except -2:
    return estimate(<const uint8_t*>PyByteArray_AS_STRING(registers))


cdef long long estimate(const uint8_t* registers) noexcept nogil:
    cdef int of_value[256]
    cdef int i
    cdef double total, m = M, whole
    memset(of_value, 0, sizeof(of_value))
    for i in range(M):
        of_value[registers[i]] += 1
    total = m * tau((m - of_value[HASH_BITS + 1]) / m)
    for i in range(HASH_BITS, 0, -1):
        total = (total + of_value[i]) * 0.5
    total += m * sigma(of_value[0] / m)
    if total == 0.0:
        return 0
    total = 0.721347520444481703680 * m * m / total
    whole = <double><long long>total
    return <long long>whole + (1 if total - whole >= 0.5 else 0)


cdef double sigma(double x) noexcept nogil:
    cdef double y = 1.0, z = x, before = -1.0
    if x == 1.0:
        return INFINITY
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


cdef double tau(double x) noexcept nogil:
    cdef double y = 1.0, z = 1.0 - x, before = -1.0
    if x == 0.0 or x == 1.0:
        return 0.0
    while z != before:
        x = sqrt(x)
        before = z
        y *= 0.5
        z -= pow(1.0 - x, 2.0) * y
    return z / 3.0
