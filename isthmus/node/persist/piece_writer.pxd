cdef enum:
    RING = 1024

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t* sem, int shared, unsigned int value)
    int sem_destroy(sem_t* sem)
    int sem_post(sem_t* sem)
    int sem_wait(sem_t* sem)

cdef class PieceWriter:
    cdef readonly int descriptor
    cdef readonly long long size
    cdef long long begun
    cdef public unsigned long long crc
    cdef readonly bint checksum
    cdef readonly bint writeback
    cdef readonly bint closed
    cdef int halted
    cdef sem_t queued
    # Pieces by their number: [collected, put) belong to the thread or wait for it.
    cdef void* pieces[RING]
    cdef unsigned long long put_count
    cdef unsigned long long collected
    cdef unsigned long long done_count
    cdef long long pending
    cpdef long long put(self, bytes piece) except -1
    cpdef long long waiting(self) except -1
    cdef int collect(self) except -1
    cdef int push(self, void* piece) except -1
    cdef int work(self) noexcept nogil
    cdef int write(self, const char* data, Py_ssize_t count) noexcept nogil
