# cython: boundscheck=False, wraparound=False
"""Compiled twin of piece_writer.py, which says what for.

A ring with one writer and one reader. The loop puts a pointer, with a reference of its own, and
posts a semaphore, which never blocks; the thread writes the bytes behind the pointer and counts the
piece as done; the loop gives the reference back when it looks next. Each counter has one side that
changes it. A NULL is the end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EINTR, errno
from posix.unistd cimport fsync, write as c_write

import os

from isthmus.wire.crc64 import extend

PIECES_MAX = RING

cdef extern from *:
    """
    #include <Python.h>
    #include <fcntl.h>
    #define isthmus_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define isthmus_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    /* Of a reference that the loop holds; nothing of the object is changed. */
    #define isthmus_data(p) (((PyBytesObject*)(p))->ob_sval)
    #define isthmus_size(p) (((PyVarObject*)(p))->ob_size)
    static int isthmus_write_back(int fd, long long offset, long long count) {
    #ifdef SYNC_FILE_RANGE_WRITE
        return sync_file_range(fd, offset, count, SYNC_FILE_RANGE_WRITE);
    #else
        return fdatasync(fd);
    #endif
    }
    """
    unsigned long long isthmus_load(unsigned long long* p) noexcept nogil
    int isthmus_load_int "isthmus_load"(int* p) noexcept nogil
    void isthmus_store(unsigned long long* p, unsigned long long v) noexcept nogil
    void isthmus_store_int "isthmus_store"(int* p, int v) noexcept nogil
    const char* isthmus_data(void* p) noexcept nogil
    Py_ssize_t isthmus_size(void* p) noexcept nogil
    int isthmus_write_back(int fd, long long offset, long long count) noexcept nogil

cdef long long WRITEBACK_BYTES = 4 * 1024 * 1024


cdef class PieceWriter:
    def __cinit__(self, *args, **kwargs):
        sem_init(&self.queued, 0, 0)

    def __init__(self, int descriptor, long long size, crc, checksum, writeback):
        self.descriptor = descriptor
        self.size = self.begun = size
        self.crc = crc
        self.checksum = checksum
        self.writeback = writeback

    def __dealloc__(self):
        # Whoever is in run() holds a reference, so the thread is gone; it may never have been.
        isthmus_store(&self.done_count, self.put_count)
        self.collect()
        sem_destroy(&self.queued)

    @property
    def stopped(self):
        """True if what waits is not to be written."""
        return self.halted != 0

    cdef int collect(self) except -1:
        """Give back the references to what has been written."""
        cdef unsigned long long done = isthmus_load(&self.done_count)
        cdef void* piece
        while self.collected < done:
            piece = self.pieces[self.collected % RING]
            self.collected += 1
            if piece != NULL:
                self.pending -= isthmus_size(piece)
                Py_DECREF(<object>piece)
        return 0

    cdef int push(self, void* piece) except -1:
        self.collect()
        if self.put_count - self.collected >= RING:
            raise OverflowError("too many pieces wait to be written")
        self.pieces[self.put_count % RING] = piece
        self.put_count += 1
        # The semaphore orders what was stored before what the thread reads.
        sem_post(&self.queued)
        return 0

    cpdef long long put(self, bytes piece) except -1:
        """Queue a piece; raises OverflowError if too many wait."""
        self.push(<void*>piece)
        # Nobody gives it back before: that is done on this side, too.
        Py_INCREF(piece)
        self.pending += PyBytes_GET_SIZE(piece)
        self.size += PyBytes_GET_SIZE(piece)
        if self.checksum:
            self.crc = extend(self.crc, piece)
        return 0

    cpdef long long waiting(self) except -1:
        """Bytes that are queued and not written."""
        self.collect()
        return self.pending

    def close(self):
        """No more pieces come."""
        if not self.closed:
            self.closed = True
            self.push(NULL)

    def stop(self):
        """Write nothing more."""
        isthmus_store_int(&self.halted, 1)
        self.close()

    def run(self):
        """Write until closed, and sync; called in a thread."""
        cdef int problem
        with nogil:
            problem = self.work()
        if problem:
            raise OSError(problem, os.strerror(problem))

    cdef int work(self) noexcept nogil:
        """The thread; returns an errno, or 0."""
        cdef unsigned long long number = 0
        cdef long long written = 0, synced = 0
        cdef int problem = 0
        cdef void* piece
        while True:
            while sem_wait(&self.queued) != 0:
                pass
            piece = self.pieces[number % RING]
            number += 1
            if piece == NULL:
                isthmus_store(&self.done_count, number)
                break
            if problem == 0 and not isthmus_load_int(&self.halted):
                problem = self.write(isthmus_data(piece), isthmus_size(piece))
                written += isthmus_size(piece)
            isthmus_store(&self.done_count, number)
            if self.writeback and written - synced >= WRITEBACK_BYTES and problem == 0:
                isthmus_write_back(self.descriptor, self.begun + synced, written - synced)
                synced = written
        if problem == 0 and not isthmus_load_int(&self.halted) and fsync(self.descriptor) != 0:
            problem = errno
        return problem

    cdef int write(self, const char* data, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t done = 0
        while count > 0:
            done = c_write(self.descriptor, data, count)
            if done < 0:
                if errno == EINTR:
                    continue
                return errno
            data += done
            count -= done
        return 0
