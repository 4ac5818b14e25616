"""Keys to slots, against values that every cluster client agrees on."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.support.twins import both


def bitwise_crc(data: bytes) -> int:
    """CRC-16/XMODEM by its definition, one bit at a time."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ (0x11021 if crc & 0x8000 else 0)
    return crc


@pytest.mark.parametrize("twin", both("isthmus.wire.slots"))
def test_slots(twin: ModuleType) -> None:
    slot = twin.key_slot
    assert twin.SLOTS == 16384
    assert slot(b"123456789") == 0x31C3
    assert slot(b"foo") == 12182
    assert slot(b"") == 0
    assert slot(b"{user}.a") == slot(b"x{user}y{z}") == slot(b"user")
    assert slot(b"a{{b}}") == slot(b"{b")
    unequal = slot(b"{}foo"), slot(b"foo{"), slot(b"fo}o{")
    assert slot(b"foo") not in unequal
    assert len({slot(b"%d" % n) for n in range(1000)}) > 950
    assert slot(bytes(range(256))) == slot(b"|"), "the tag lies between the braces"
    for size in (1, 2, 255, 4000):
        key = bytes(byte * 7 % 120 for byte in range(size))
        assert slot(key) == bitwise_crc(key) & 16383
