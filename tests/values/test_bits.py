"""Counting, searching and combining bits, both twins, against one character per bit."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import twins

MODULE = "isthmus.node.values.bits"
DATA = st.one_of(
    st.binary(min_size=1, max_size=100),
    st.tuples(st.integers(1, 90), st.sampled_from([0, 255]), st.binary(max_size=3)).map(
        lambda t: bytes([t[1]]) * t[0] + t[2]
    ),
)


TWINS = pytest.mark.parametrize("bits", twins.both(MODULE))


@TWINS
@settings(derandomize=True)
@given(data=DATA, ends=st.tuples(st.integers(0, 110), st.integers(0, 110)), mutable=st.booleans())
def test_count_and_search(
    bits: ModuleType, data: bytes, ends: tuple[int, int], mutable: bool
) -> None:
    first, last = (min(end, len(data) - 1) for end in sorted(ends))
    drawn = "".join(f"{byte:08b}" for byte in data[first : last + 1])
    held = bytearray(data) if mutable else data
    assert bits.count_ones(held, first, last) == drawn.count("1")
    for bit in (0, 1):
        found = drawn.find(str(bit))
        assert bits.first_bit(held, first, last, bit) == (found + 8 * first if found >= 0 else -1)


@TWINS
@settings(derandomize=True)
@given(operands=st.lists(DATA, min_size=1, max_size=4))
def test_combine(bits: ModuleType, operands: list[bytes]) -> None:
    length = max(map(len, operands))
    columns = list(zip(*(data.ljust(length, b"\0") for data in operands), strict=True))
    joined = {name: [columns[i][0] for i in range(length)] for name in ("AND", "OR", "XOR")}
    for at, column in enumerate(columns):
        for byte in column[1:]:
            joined["AND"][at] &= byte
            joined["OR"][at] |= byte
            joined["XOR"][at] ^= byte
    for name, expected in joined.items():
        assert bits.combine(getattr(bits, name), operands, length) == bytes(expected), name
    inverse = bytes(255 - byte for byte in operands[0])
    assert bits.combine(bits.NOT, operands[:1], len(operands[0])) == inverse


@TWINS
def test_nothing_in_an_empty_range(bits: ModuleType) -> None:
    assert bits.count_ones(b"\xff", 1, 0) == 0
    assert bits.first_bit(b"\xff", 1, 0, 1) == -1
    assert bits.combine(bits.OR, [b"", b"a"], 1) == b"a"


@TWINS
def test_more_than_one_slice(bits: ModuleType) -> None:
    data = bytes(200_000) + b"\x10" + bytes(7)
    assert bits.first_bit(data, 0, len(data) - 1, 1) == 8 * 200_000 + 3
    assert bits.count_ones(b"\xff" * 200_000, 1, 199_998) == 8 * 199_998
