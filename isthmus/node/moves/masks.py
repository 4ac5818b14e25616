"""Sets of slots as the hot paths ask them: one byte a slot, 1 for a member (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.wire.slots import SLOTS

Ranges = tuple[tuple[int, int], ...]


def mask_of(ranges: Iterable[tuple[int, int]]) -> bytes:
    """The slots of inclusive ranges."""
    mask = bytearray(SLOTS)
    for first, last in ranges:
        mask[first : last + 1] = b"\1" * (last + 1 - first)
    return bytes(mask)


def slots_of(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """The slots of inclusive ranges, one by one."""
    return [slot for first, last in ranges for slot in range(first, last + 1)]


def within(mask: bytes | bytearray, other: bytes | bytearray) -> bool:
    """True if every slot of `mask` is one of `other`."""
    one, two = int.from_bytes(mask), int.from_bytes(other)
    return one & two == one
