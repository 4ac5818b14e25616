"""Primitives and packed blobs of RDB: the twins, what they read, and what they refuse."""

from __future__ import annotations

import mmap
import struct
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.blobs import intset, length, listpack, string, ziplist, zipmap
from tests.support.twins import both

LZF = "isthmus.wire.lzf"
BLOBS = "isthmus.wire.listpack_reader"
READER = "isthmus.wire.rdb_reader"

ITEMS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-5000, 5000),
    st.binary(max_size=70), st.binary(min_size=4090, max_size=4100),
    st.sampled_from([b"", b"12", b"-1", b"x" * 16383, b"y" * 16377]),
)  # fmt: skip


def spelt(items: Any) -> list[bytes]:
    return [b"%d" % item if isinstance(item, int) else item for item in items]


@pytest.mark.parametrize("module", both(LZF))
@pytest.mark.parametrize(
    ("data", "out"),
    [
        (b"", b""),
        (b"\0a", b"a"),
        (b"\2abc", b"abc"),
        (b"\0a\x20\0", b"aaaa"),
        (b"\0a\xe0\x18\0", b"a" * 34),
        (b"\1ab\x60\1", b"abababa"),
        (b"\5abcdef\x40\5", b"abcdefabcd"),
    ],
)
def test_lzf(module: Any, data: bytes, out: bytes) -> None:
    assert module.decompress(data, len(out)) == out
    assert module.decompress(memoryview(data), len(out)) == out
    for size in (len(out) - 1, len(out) + 1):
        with pytest.raises(ValueError):
            module.decompress(data, size)


@pytest.mark.parametrize("module", both(LZF))
@pytest.mark.parametrize(
    "data", [b"\1a", b"\0a\x20", b"\0a\xe0", b"\0a\xe0\1", b"\x20\0", b"\0a\x20\1", b"\0a\x3f\xff"]
)
def test_lzf_that_is_broken(module: Any, data: bytes) -> None:
    for size in range(100):
        with pytest.raises(ValueError):
            module.decompress(data, size)


@pytest.mark.parametrize("module", both(LZF))
def test_lzf_bomb(module: Any) -> None:
    with pytest.raises(ValueError):
        module.decompress(b"\0a\xe0\xff\0", 1 << 40)


@pytest.mark.parametrize("module", both(BLOBS))
@settings(max_examples=30)
@given(items=st.lists(ITEMS, max_size=8))
def test_listpack_and_ziplist(module: Any, items: list[Any]) -> None:
    assert module.read_listpack(listpack(items)) == spelt(items)
    assert module.read_mixed(listpack(items)) == items
    assert module.read_ziplist(ziplist(items)) == spelt(items)


@pytest.mark.parametrize("module", both(BLOBS))
@given(pairs=st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=4),
       free=st.integers(0, 9))  # fmt: skip
def test_zipmap(module: Any, pairs: Any, free: int) -> None:
    assert module.read_zipmap(zipmap(pairs, free)) == [text for pair in pairs for text in pair]


@pytest.mark.parametrize("module", both(BLOBS))
@given(numbers=st.lists(st.integers(-(1 << 63), (1 << 63) - 1), unique=True).map(sorted))
def test_intset(module: Any, numbers: list[int]) -> None:
    assert module.read_intset(intset(numbers, 8)) == spelt(numbers)


@pytest.mark.parametrize("module", both(BLOBS))
def test_counts_of_long_blobs_are_not_told(module: Any) -> None:
    many = struct.pack("<IH", 7 + 2 * 70000, 0xFFFF) + b"\x01\x01" * 70000 + b"\xff"
    assert module.read_listpack(many) == [b"1"] * 70000
    entries = b"\0\xf2" + b"\x02\xf2" * 69999
    many = struct.pack("<IIH", 11 + 2 * 70000, 10 + 2 * 69999, 0xFFFF) + entries + b"\xff"
    assert module.read_ziplist(many) == [b"1"] * 70000
    assert module.read_zipmap(b"\xfe" + zipmap([(b"a", b"b")])[1:]) == [b"a", b"b"]


SAMPLES = {
    "read_listpack": listpack([b"a", b"x" * 70, 5, 300, -70000, 1 << 20, 1 << 40, b"y" * 4097]),
    "read_mixed": listpack([b"a", 5, -1]),
    "read_ziplist": ziplist([b"a", b"x" * 70, 5, 300, -70000, 1 << 20, 1 << 40, b"y" * 260, -7]),
    "read_intset": intset([-7, 1, 300]),
    "read_zipmap": zipmap([(b"a", b"b"), (b"c" * 260, b"d")], 2),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_blobs_are_the_same_to_both_twins(name: str) -> None:
    pure, compiled = (parameter.values[0] for parameter in both(BLOBS))
    if compiled is None:
        compiled = pure
    data = SAMPLES[name]
    damaged = [data[:cut] for cut in range(len(data))]
    damaged += [data + b"\xff"]
    for at in range(min(len(data), 120)):
        for change in (1, 2, 0x40, 0x80, 0xFF):
            damaged.append(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
    for blob in damaged:
        assert outcome(pure, name, blob) == outcome(compiled, name, blob), blob


def outcome(module: Any, name: str, blob: bytes) -> Any:
    try:
        return getattr(module, name)(blob)
    except ValueError:
        return "refused"


@pytest.mark.parametrize("module", both(READER))
def test_primitives(module: Any) -> None:
    data = (
        length(5) + length(700) + length(1 << 20) + length(1 << 40) + string(b"text")
        + b"\xc0\xff" + b"\xc1\x00\x80" + b"\xc2\xff\xff\xff\x7f" + b"\xc3\x05\x22\0a\xe0\x18\0"
        + b"\x07" + struct.pack("<qQid", -5, 1 << 63, -7, 1.5) + b"\xff\xfe\xfd\x041e10"
        + string(listpack([b"a", 1])) + string(ziplist([b"a", 1])) + string(intset([1]))
        + string(zipmap([(b"a", b"b")])) + string(b"skipped") + b"\xc1ab" + b"raw"
    )  # fmt: skip
    reader = module.RdbReader(data, 100)
    assert reader.length() == 5
    assert reader.length_or_encoding() == (700, False)
    assert [reader.length(), reader.number()] == [1 << 20, 1 << 40]
    assert [reader.string() for _ in range(5)] == [
        b"text", b"-1", b"-32768", b"2147483647", b"a" * 34,
    ]  # fmt: skip
    assert reader.byte() == 7
    assert (reader.i64(), reader.u64(), reader.i32(), reader.double()) == (-5, 1 << 63, -7, 1.5)
    assert reader.old_double() == float("-inf")
    assert reader.old_double() == float("inf")
    assert reader.old_double() != reader.old_double()
    assert reader.listpack() == [b"a", b"1"]
    assert reader.ziplist() == [b"a", b"1"]
    assert reader.intset() == [b"1"]
    assert reader.zipmap() == [b"a", b"b"]
    reader.skip_string()
    reader.skip_string()
    reader.skip(1)
    assert reader.raw(2) == b"aw"
    assert reader.left == 0
    assert reader.position == len(data)
    assert bytes(reader.view(0, 3)) == data[:3]
    assert reader.error("why").offset == 100 + len(data)
    assert str(reader.error("why", 3)) == "offset 103: why"


@pytest.mark.parametrize("module", both(READER))
@pytest.mark.parametrize(
    ("call", "data", "offset", "reason"),
    [
        ("byte", b"", 0, "1 bytes where 0 are left"),
        ("length", b"\xc1ab", 0, "an encoded string where a number should be"),
        ("length", b"\x85", 0, "0x85 begins no length"),
        ("length", b"\x81" + b"\xff" * 8, 0, f"{(1 << 64) - 1} is no length"),
        ("string", b"\x05text", 0, "a string of 5 bytes where 4 are left"),
        ("string", b"\xc5", 0, "unknown encoding 5 of a string"),
        ("string", b"\xc3\x05\x80\xff\xff\xff\xff\0a\xe0\x18\0", 0,
         "a string of 4294967295 bytes from 5 compressed, 5 are left"),
        ("skip_string", b"\x05text", 0, "a string of 5 bytes where 4 are left"),
        ("skip_string", b"\xc3\x05\x20", 0, "a string of 5 bytes where 0 are left"),
        ("old_double", b"\x03abc", 0, "b'abc' is no score"),
        ("old_double", b"\x031_0", 0, "b'1_0' is no score"),
        ("listpack", string(b"x"), 0, "a listpack of 1 bytes: wrong size or no end mark"),
        ("listpack", b"\x3fx", 0, "a string of 63 bytes where 1 are left"),
    ],
)  # fmt: skip
def test_errors_say_where_and_why(
    module: Any, call: str, data: bytes, offset: int, reason: str
) -> None:
    with pytest.raises(module.RdbError) as caught:
        getattr(module.RdbReader(data), call)()
    assert (caught.value.offset, caught.value.reason) == (offset, reason)


@pytest.mark.parametrize("module", both(READER))
def test_counts_are_compared_with_what_is_left(module: Any) -> None:
    reader = module.RdbReader(length(70000) + b"x" * 12)
    with pytest.raises(module.RdbError, match="offset 0: a list of 70000 elements in 12 bytes"):
        reader.count(1, "list")
    assert module.RdbReader(length(6) + b"x" * 12).count(2, "hash") == 6
    with pytest.raises(module.RdbError):
        module.RdbReader(length(7) + b"x" * 12).count(2, "hash")


@pytest.mark.parametrize("module", both(READER))
def test_any_buffer_will_do_and_is_let_go(module: Any) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(string(b"text") * 2)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            reader = module.RdbReader(mapped)
            assert reader.string() == b"text"
            reader.close()
            with pytest.raises(module.RdbError):
                reader.byte()
    assert module.RdbReader(memoryview(b"xx\x01a")[2:]).string() == b"a"


@pytest.mark.parametrize("module", both(READER))
@pytest.mark.parametrize("count", [-1, 6, 1 << 62, -(1 << 63)])
def test_no_count_leads_outside(module: Any, count: int) -> None:
    for call in ("raw", "skip"):
        with pytest.raises(module.RdbError):
            getattr(module.RdbReader(b"12345"), call)(count)
