# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The longest common subsequence of two strings, in C; lcs.py says what is computed and how ties
are broken.

The table is one block of 32-bit numbers, row by row; the length alone needs two rows, used in turn.
Blocks are freed before returning, and where one cannot be had MemoryError is raised before anything
else. The caller has bounded the product of the lengths, so nothing here overflows.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport uint32_t
from libc.string cimport memset


cdef void next_row(uint32_t* row, const uint32_t* above, char x, const char* right,
                   Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef uint32_t last = 0
    row[0] = 0
    for j in range(n):
        if x == right[j]:
            last = above[j] + 1
        elif above[j + 1] > last:
            last = above[j + 1]
        row[j + 1] = last


cpdef long long length(bytes left, bytes right) except -1:
    cdef const char* a = PyBytes_AS_STRING(left)
    cdef const char* b = PyBytes_AS_STRING(right)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(right), i
    cdef uint32_t* rows = <uint32_t*>PyMem_RawMalloc(2 * (n + 1) * sizeof(uint32_t))
    cdef uint32_t* row
    cdef uint32_t* above
    cdef uint32_t* swap
    cdef long long total
    if rows == NULL:
        raise MemoryError
    row = rows
    above = rows + n + 1
    memset(above, 0, (n + 1) * sizeof(uint32_t))
    for i in range(PyBytes_GET_SIZE(left)):
        next_row(row, above, a[i], b, n)
        swap = above
        above = row
        row = swap
    total = above[n]
    PyMem_RawFree(rows)
    return total


cpdef tuple matches(bytes left, bytes right):
    cdef const char* a = PyBytes_AS_STRING(left)
    cdef const char* b = PyBytes_AS_STRING(right)
    cdef Py_ssize_t i = PyBytes_GET_SIZE(left), j = PyBytes_GET_SIZE(right)
    cdef Py_ssize_t width = j + 1, at, run = 0
    cdef uint32_t* table = <uint32_t*>PyMem_RawMalloc((i + 1) * width * sizeof(uint32_t))
    cdef bytes common
    cdef char* out
    cdef list found = []
    if table == NULL:
        raise MemoryError
    try:
        memset(table, 0, width * sizeof(uint32_t))
        for at in range(i):
            next_row(table + (at + 1) * width, table + at * width, a[at], b, j)
        at = table[i * width + j]
        common = PyBytes_FromStringAndSize(NULL, at)
        out = PyBytes_AS_STRING(common)
        while i > 0 and j > 0:
            if a[i - 1] == b[j - 1]:
                at -= 1
                out[at] = a[i - 1]
                run += 1
                i -= 1
                j -= 1
                continue
            if run:
                found.append((i, i + run - 1, j, j + run - 1, run))
                run = 0
            if table[(i - 1) * width + j] > table[i * width + j - 1]:
                i -= 1
            else:
                j -= 1
        if run:
            found.append((i, i + run - 1, j, j + run - 1, run))
    finally:
        PyMem_RawFree(table)
    return common, found
