"""Compiled twin of rng.py (see there)."""


cdef class Rng:
    def __init__(self, seed):
        self.state = (<unsigned long long>(seed & 0xFFFFFFFFFFFFFFFF)) | 1

    cdef unsigned long long next64(self) noexcept:
        cdef unsigned long long x = self.state
        x ^= x >> 12
        x ^= x << 25
        x ^= x >> 27
        self.state = x
        return x * <unsigned long long>0x2545F4914F6CDD1D

    cpdef long long below(self, long long n):
        """A number in [0, n), n >= 1; the bias of the modulus is below 2**-20 for n < 2**43."""
        return <long long>((self.next64() >> 1) % <unsigned long long>n)
