"""Long doubles: 64 bits of mantissa, and the texts that INCRBYFLOAT answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire.long_double import parse


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        ("10.50", "0.1", "10.6"),
        ("0.1", "0.2", "0.3"),
        ("5e3", "0", "5000"),
        ("5.0e3", "2.0e2", "5200"),
        ("-0.0", "0", "0"),
        ("-0.000000000000000000001", "0", "0"),
        ("1e40", "0", "9999999999999999999783686092270256259072"),
        ("9223372036854775807", "3.14159", "9223372036854775810"),
        ("0x1.8p1", "-0X10", "-13"),
        ("1", "1e-17", "1.00000000000000001"),
        (".5", "5.", "5.5"),
        ("1e-4950", "0", "0"),
    ],
)
def test_sums(one: str, other: str, text: str) -> None:
    assert (parse(one.encode()) + parse(other.encode())).spelt() == text.encode()


@pytest.mark.parametrize(
    "text",
    ["", ".", "+", "x", " 1", "1 ", "1_0", "1e", "0x", "nan", "-nan", "1e4933", "1e-5000", "1\n"]
    + ["9" * 6000, "1e99999999999999999999", "-1e-99999999999999999999", "0x1p999999"],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text.encode())


@pytest.mark.parametrize("text", ["inf", "-INF", "+Infinity"])
def test_infinities(text: str) -> None:
    assert not parse(text.encode()).is_finite()


def test_the_largest_number_doubled_is_infinite() -> None:
    largest = parse(b"1.18973149535723176502e+4932")
    assert largest.is_finite()
    assert not (largest + largest).is_finite()


@given(st.integers(-(1 << 63), 1 << 63), st.integers(-(1 << 62), 1 << 62))
def test_what_fits_is_exact(one: int, other: int) -> None:
    found = parse(str(one).encode()) + parse(str(other).encode())
    if (one + other).bit_length() <= 64:
        assert found.spelt() == str(one + other).encode()


@given(st.floats(-1e15, 1e15))
def test_doubles_are_among_them(value: float) -> None:
    read = parse(repr(value).encode())
    assert float(read.spelt()) == pytest.approx(value, rel=1e-15, abs=1e-17)
