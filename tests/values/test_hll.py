"""HyperLogLog arithmetic: both twins, against each other, by example and on corrupt bytes."""

from __future__ import annotations

import random
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import twins

MODULE = "isthmus.node.values.hll"
TWINS = pytest.mark.parametrize("hll", twins.both(MODULE))
PURE = twins.load_pure(MODULE)


def made(module: ModuleType, elements: int, limit: int = 3000) -> bytearray:
    data: bytearray = module.empty()
    for number in range(elements):
        module.add(data, b"%d" % number, limit)
    return data


@TWINS
def test_hash_of_every_length(hll: ModuleType) -> None:
    rng = random.Random(1)
    for length in range(40):
        element = rng.randbytes(length)
        assert hll.murmur(element) == PURE.murmur(element)
        assert hll.place(element) == PURE.place(element)


@TWINS
@pytest.mark.parametrize("elements", [0, 1, 100, 1000])
def test_estimates_are_near(hll: ModuleType, elements: int) -> None:
    data = made(hll, elements)
    assert abs(hll.count(data) - elements) <= elements * 0.03
    assert data == made(PURE, elements)
    assert hll.count(data) == PURE.count(data)


@TWINS
def test_dense_and_sparse_hold_the_same(hll: ModuleType) -> None:
    data = made(hll, 300)
    dense = bytearray(data)
    assert hll.to_dense(dense)
    assert hll.valid(dense)
    assert not hll.sparse(dense)
    assert len(dense) == hll.DENSE_BYTES
    assert hll.count(dense) == hll.count(data)
    left, right = bytearray(hll.REGISTERS), bytearray(hll.REGISTERS)
    assert hll.merge(left, data)
    assert hll.merge(right, dense)
    assert left == right
    again = hll.empty()
    assert hll.write_registers(again, left, 3000)
    assert hll.count(again) == hll.count(data)


@TWINS
def test_every_register_in_every_order(hll: ModuleType) -> None:
    rng = random.Random(2)
    data, twin, plain = hll.empty(), PURE.empty(), bytearray(hll.REGISTERS)
    for _ in range(1500):
        index, value = rng.choice((rng.randrange(300), rng.randrange(16384))), rng.randrange(1, 7)
        raised = hll.raise_register(data, index, value, 4000)
        assert raised == PURE.raise_register(twin, index, value, 4000) == (value > plain[index])
        plain[index] = max(plain[index], value)
    assert data == twin
    held = bytearray(hll.REGISTERS)
    assert hll.merge(held, data)
    assert held == plain


@TWINS
def test_what_makes_it_dense(hll: ModuleType) -> None:
    data = hll.empty()
    assert hll.raise_register(data, 5, 33, 3000) == 1
    assert not hll.sparse(data)
    data = hll.empty()
    assert hll.raise_register(data, 5, 1, 18) == 1
    assert not hll.sparse(data)
    assert hll.raise_register(data, 16383, 63, 18) == 1
    assert hll.raise_register(data, 16383, 63, 18) == 0
    assert len(data) == hll.DENSE_BYTES


@TWINS
def test_all_registers_saturated(hll: ModuleType) -> None:
    full = bytearray(b"\x3f" * hll.REGISTERS)
    assert hll.count_registers(full) == 0
    assert hll.count_registers(bytearray(b"\x33" * hll.REGISTERS)) == 0
    assert hll.count_registers(bytearray(hll.REGISTERS)) == 0


CODES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from([b"\x7f\xff", b"\x40", b"\x3f", b"\xff", b"\x80", b"\x00"])).map(
        b"".join
    ),
)


@TWINS
@settings(derandomize=True, deadline=None, max_examples=150)
@given(code=CODES, element=st.binary(max_size=4), encoding=st.sampled_from([0, 1, 2]))
def test_corrupt_bytes_are_told(
    hll: ModuleType, code: bytes, element: bytes, encoding: int
) -> None:
    data = bytearray(b"HYLL" + bytes([encoding]) + bytes(11) + code)
    assert hll.valid(data) == PURE.valid(data) == (encoding == 1)
    if not hll.valid(data):
        return
    twin = bytearray(data)
    assert hll.opcodes(data) == PURE.opcodes(data)
    assert hll.count(data) == PURE.count(data)
    registers = bytearray(hll.REGISTERS)
    assert hll.merge(registers, data) == PURE.merge(bytearray(hll.REGISTERS), data)
    if hll.count(data) < 0:
        assert registers == bytearray(hll.REGISTERS)
    assert hll.add(data, element, 3000) == PURE.add(twin, element, 3000)
    assert data == twin
    assert hll.to_dense(data) == PURE.to_dense(twin)
    assert data == twin
