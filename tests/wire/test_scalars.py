"""Strict numbers and Redis' spellings."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire.scalars import format_float, parse_float, parse_int

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(INT64)
def test_integers_round_trip(value: int) -> None:
    assert parse_int(b"%d" % value) == value


@pytest.mark.parametrize(
    "text",
    "1_0| 1|1 |+1|01|-0|--1|0x10||-|1.0|9223372036854775808|-9223372036854775809|٣".split("|")
    + ["9" * 5000, "1\n"],
)
def test_refused_integers(text: str) -> None:
    with pytest.raises(ValueError):
        parse_int(text.encode())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1e3", -1000.0),
        ("4e-324", 5e-324),
        ("0e-400", 0.0),
        ("INF", math.inf),
        ("-inf", -math.inf),
        ("+Infinity", math.inf),
    ],
)
def test_floats(text: str, value: float) -> None:
    assert parse_float(text.encode()) == value


@pytest.mark.parametrize(
    "text", "|nan|-nan| 1|1 |1_0|1e400|-1e400|1e-400|0x10|e5|.|1e|inff|+-1|1\n|1\0".split("|")
)
def test_refused_floats(text: str) -> None:
    with pytest.raises(ValueError):
        parse_float(text.encode())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-2.5, "-2.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (0.0001, "0.0001"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-6, "1.5e-6"),
        (1e18, "1000000000000000000"),
        (5e18, "5e+18"),
        (1e21, "1e+21"),
        (1.5e30, "1.5e+30"),
        (-1.5e-300, "-1.5e-300"),
        (12345.678901234567, "1.2345678901234567e+4"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_spelling_of_doubles(value: float, text: str) -> None:
    assert format_float(value) == text.encode()


@given(st.floats(allow_nan=False))
def test_doubles_round_trip(value: float) -> None:
    assert parse_float(format_float(value)) == value
