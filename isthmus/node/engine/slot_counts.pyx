"""Compiled twin of slot_counts.py, which says what it is for: keys by slot, and who is found.

The counts are a C array, with the sums of groups of 128 beside them, and one byte for each slot
that is hidden; `add` and `hide` keep all of it true, and no Python object is made on the way.
"""

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
        PyMem_RawFree(self.mask)

    cpdef int add(self, long long slot, long long change) except -1:
        if self.counts == NULL:
            self.counts = <int*>PyMem_RawCalloc(SLOTS, sizeof(int))
            self.groups = <long long*>PyMem_RawCalloc(GROUPS, sizeof(long long))
            if self.counts == NULL or self.groups == NULL:
                raise MemoryError
        self.counts[slot] += <int>change
        if self.mask != NULL and self.mask[slot]:
            self.hidden += change
        else:
            self.groups[slot >> GROUP_SHIFT] += change
        return 0

    cpdef int hide(self, const unsigned char[:] mask) except -1:
        cdef int slot
        if self.mask == NULL:
            self.mask = <unsigned char*>PyMem_RawCalloc(SLOTS, 1)
            if self.mask == NULL:
                raise MemoryError
        for slot in range(SLOTS):
            self.mask[slot] = mask[slot]
        self.hidden = 0
        if self.counts != NULL:
            memset(self.groups, 0, GROUPS * sizeof(long long))
            for slot in range(SLOTS):
                if self.mask[slot]:
                    self.hidden += self.counts[slot]
                else:
                    self.groups[slot >> GROUP_SHIFT] += self.counts[slot]
        return 0

    cpdef long long of(self, long long slot):
        return 0 if self.counts == NULL else self.counts[slot]

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
        while (self.mask != NULL and self.mask[slot]) or rank >= self.counts[slot]:
            if self.mask == NULL or not self.mask[slot]:
                rank -= self.counts[slot]
            slot += 1
        return slot

    cpdef int reset(self) except -1:
        self.hidden = 0
        if self.counts != NULL:
            memset(self.counts, 0, SLOTS * sizeof(int))
            memset(self.groups, 0, GROUPS * sizeof(long long))
        return 0
