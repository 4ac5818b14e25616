"""The payload of FUNCTION DUMP: Redis' bytes in both directions, and damaged ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.node.scripting.payload import PayloadError, dump, restore
from isthmus.wire.crc64 import crc64

# Made by a real server from one library, compressed.
REAL = (
    b"\xf5\xc3@R@]\x1f#!lua name=b\nredis.register_func\x04tion{\xc0\x08\x00_`'\x0c'x',callback="
    b"\xc0\x1a\r() end,descrip@5\x02=1}\x0c\x00&4u\xf1\x87=Y\x8c"
)
CODE = (
    b"#!lua name=b\n"
    b"redis.register_function{function_name='x',callback=function() end,description=1}"
)


def test_a_real_servers_payload() -> None:
    assert restore(REAL) == [CODE]
    assert dump([]) == b"\x0c\x00\x96\xedh\x80\xf5U<\x93"


@given(st.lists(st.binary(max_size=300), max_size=3))
def test_round_trip(codes: list[bytes]) -> None:
    assert restore(dump(codes)) == codes


def test_long_codes() -> None:
    codes = [b"x" * size for size in (63, 64, 16383, 16384, 70000)]
    assert restore(dump(codes)) == codes


@given(st.integers(0, len(REAL) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(REAL)
    damaged[place] ^= change
    with pytest.raises(PayloadError):
        restore(bytes(damaged))


def sealed(body: bytes, version: int = 12) -> bytes:
    body += version.to_bytes(2, "little")
    return body + crc64(body).to_bytes(8, "little")


@given(st.binary(max_size=60))
def test_any_body_with_a_right_checksum_ends(body: bytes) -> None:
    try:
        restore(sealed(body))
    except PayloadError:
        pass


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", b"ERR DUMP payload version or checksum are wrong"),
        (dump([])[:-8] + bytes(8), b"ERR DUMP payload version or checksum are wrong"),
        (sealed(b"", 13), b"ERR DUMP payload version or checksum are wrong"),
        (sealed(b"\x00\x01a"), b"ERR given type is not a function"),
        (sealed(b"\xf6\x01a"), b"ERR Pre-release function format not supported."),
        (sealed(b"\xf5\x05abc"), b"ERR Failed loading library data"),
        (sealed(b"\xf5\x81\xff\xff\xff\xff\xff\xff\xff\xff"), b"ERR Failed loading library data"),
        (sealed(b"\xf5\xc3\x03\x81\x00\x00\x00\xff\xff\xff\xff\xff\xe0\xff\x00"),
         b"ERR Failed loading library data"),
        (sealed(b"\xf5\xc4"), b"ERR Failed loading library data"),
    ],
)  # fmt: skip
def test_refusals(data: bytes, text: bytes) -> None:
    with pytest.raises(PayloadError) as caught:
        restore(data)
    assert caught.value.text == text
