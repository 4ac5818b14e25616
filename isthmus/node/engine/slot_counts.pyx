"""Compiled twin of slot_counts.py (see there)."""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.string cimport memset

cdef enum:
    SLOTS = 16384
    GROUP_SHIFT = 7
    GROUPS = 128


cdef class SlotCounts:
    def __dealloc__(self):
        PyMem_RawFree(self.counts)
        PyMem_RawFree(self.groups)

    cpdef int add(self, long long slot, long long change) except -1:
        if self.counts == NULL:
            self.counts = <int*>PyMem_RawCalloc(SLOTS, sizeof(int))
            self.groups = <long long*>PyMem_RawCalloc(GROUPS, sizeof(long long))
            if self.counts == NULL or self.groups == NULL:
                raise MemoryError
        self.counts[slot] += <int>change
        self.groups[slot >> GROUP_SHIFT] += change
        return 0

    cpdef long long find(self, long long rank):
        cdef int group = 0, slot
        if self.counts == NULL:
            return -1
        while group < GROUPS and rank >= self.groups[group]:
            rank -= self.groups[group]
            group += 1
        if group == GROUPS:
            return -1
        slot = group << GROUP_SHIFT
        while rank >= self.counts[slot]:
            rank -= self.counts[slot]
            slot += 1
        return slot

    cpdef int reset(self) except -1:
        if self.counts != NULL:
            memset(self.counts, 0, SLOTS * sizeof(int))
            memset(self.groups, 0, GROUPS * sizeof(long long))
        return 0
