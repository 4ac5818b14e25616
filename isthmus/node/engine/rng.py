"""Random numbers of the engine: xorshift64*, seeded by the composition root.

Randomness is a parameter here as time is: two nodes with one seed and one command stream choose
the same members, which is what makes a simulated run repeatable. Not for secrets.
Twin of rng.pyx.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFFFFFFFFFF


class Rng:
    """A stream of pseudo-random numbers (Marsaglia's xorshift with a multiplied output)."""

    __slots__ = ("state",)

    def __init__(self, seed: int) -> None:
        self.state = (seed & _MASK) | 1

    def next64(self) -> int:
        x = self.state
        x ^= x >> 12
        x ^= (x << 25) & _MASK
        x ^= x >> 27
        self.state = x
        return (x * 0x2545F4914F6CDD1D) & _MASK

    def below(self, n: int) -> int:
        """A number in [0, n), n >= 1; the bias of the modulus is below 2**-20 for n < 2**43."""
        return (self.next64() >> 1) % n
