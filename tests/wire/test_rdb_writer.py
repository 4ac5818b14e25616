"""RdbWriter and LZF, both twins: the same bytes, and what the reader makes of them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire.rdb_reader import RdbReader
from tests.support.twins import both, load_compiled, load_pure

WRITERS = both("isthmus.wire.rdb_writer")
PACKERS = both("isthmus.wire.lzf")
# Text that repeats itself, as data does.
REPEATING = st.lists(st.binary(min_size=1, max_size=40), max_size=30).flatmap(
    lambda words: (
        st.lists(st.sampled_from(words), max_size=200).map(b"".join) if words else st.just(b"")
    )
)


@pytest.mark.parametrize("module", WRITERS)
@pytest.mark.parametrize("number", [0, 63, 64, 16383, 16384, 2**32 - 1, 2**32, 2**63 - 1])
def test_lengths(module: Any, number: int) -> None:
    out = module.RdbWriter()
    out.length(number)
    assert out.size in (1, 2, 5, 9)
    assert RdbReader(out.take()).length() == number


@pytest.mark.parametrize("module", WRITERS)
@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (b"", b"\0"), (b"0", b"\xc0\0"), (b"-128", b"\xc0\x80"), (b"127", b"\xc0\x7f"),
        (b"128", b"\xc1\x80\0"), (b"-129", b"\xc1\x7f\xff"), (b"32768", b"\xc2\0\x80\0\0"),
        (b"2147483647", b"\xc2\xff\xff\xff\x7f"), (b"-2147483648", b"\xc2\0\0\0\x80"),
        (b"2147483648", b"\x0a2147483648"), (b"007", b"\x03007"), (b"-0", b"\x02-0"),
        (b"+1", b"\x02+1"), (b"1 ", b"\x021 "), (b"a" * 20, b"\x14" + b"a" * 20),
        (b"a" * 21, b"\xc3\x06\x15\x01aa\xe0\x0a\x00"),
    ],
)  # fmt: skip
def test_strings(module: Any, text: bytes, encoded: bytes) -> None:
    out = module.RdbWriter()
    out.string(text)
    data = out.take()
    assert data == encoded
    assert RdbReader(data).string() == text


@pytest.mark.parametrize("module", WRITERS)
def test_strings_that_are_not_packed(module: Any) -> None:
    out = module.RdbWriter()
    out.compress = False
    out.string(b"a" * 100)
    assert out.take() == b"\x40\x64" + b"a" * 100


@pytest.mark.parametrize("module", WRITERS)
def test_numbers_marks_and_what_was_taken(module: Any) -> None:
    out = module.RdbWriter()
    out.byte(0xFC)
    out.number(-2)
    mark = out.mark()
    out.double(0.5)
    out.truncate(mark)
    out.raw(b"xy")
    assert out.take() == b"\xfc" + struct.pack("<q", -2) + b"xy"
    assert out.size == 0 and out.take() == b""
    with pytest.raises(ValueError, match="no such mark"):
        out.truncate(1)


@pytest.mark.parametrize("module", WRITERS)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=70), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=5000)
        ),
        max_size=40,
    )
)
def test_listpacks(module: Any, elements: list[bytes | int]) -> None:
    out = module.RdbWriter()
    out.begin_listpack()
    for element in elements:
        if isinstance(element, int):
            out.lp_number(element)
        else:
            out.lp_text(element)
    size = out.listpack_size()
    out.end_listpack()
    reader = RdbReader(out.take())
    blob = reader.string()
    assert len(blob) == size
    again = module.RdbWriter()
    again.compress = False
    again.string(blob)
    texts = [b"%d" % e if isinstance(e, int) else e for e in elements]
    assert RdbReader(again.take()).listpack() == texts


@pytest.mark.parametrize("module", PACKERS)
@given(REPEATING)
def test_what_is_packed_comes_back(module: Any, data: bytes) -> None:
    packed = module.compress(data)
    if packed is not None:
        assert len(packed) <= len(data) - 4
        assert module.decompress(packed, len(data)) == data


@pytest.mark.parametrize("module", PACKERS)
def test_repeats_beyond_the_window_and_beyond_a_copy(module: Any) -> None:
    block = bytes(range(256)) * 40
    for data in (b"a" * 100_000, block + b"z" * 9000 + block, b"ab" * 5000 + b"c"):
        packed = module.compress(data)
        assert packed is not None and module.decompress(packed, len(data)) == data
    assert module.compress(bytes(range(200))) is None
    assert module.compress(b"abc") is None


def test_twins_write_the_same() -> None:
    pure, compiled = load_pure("isthmus.wire.lzf"), load_compiled("isthmus.wire.lzf")
    if compiled is None:
        pytest.skip("extensions are not in use")
    for seed in range(200):
        data = (b"key:%d value " % seed) * (seed % 37) + bytes((seed,)) * seed
        assert pure.compress(data) == compiled.compress(data)
