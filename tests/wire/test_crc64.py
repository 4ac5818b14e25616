"""The checksum of RDB files and of our seals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire.crc64 import crc64, extend


def test_check_value() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA
    assert crc64(b"") == 0


@given(data=st.binary(max_size=100), cut=st.integers(0, 100))
def test_goes_on_where_it_ended(data: bytes, cut: int) -> None:
    assert extend(crc64(data[:cut]), memoryview(data)[cut:]) == crc64(data)
