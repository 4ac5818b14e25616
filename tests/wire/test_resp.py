"""Commands in files: what is written is read again, and what is wrong is told apart. Both twins."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.twins import both

twins = pytest.mark.parametrize("resp", both("isthmus.wire.resp"))
COMMANDS = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=6), max_size=6)


def read(resp: ModuleType, data: Any, position: int = 0) -> tuple[list[list[bytes]], int, int, str]:
    """All commands, the last state, where it began and its reason."""
    reader = resp.CommandReader(data, position)
    found = []
    while True:
        argv = reader.next()
        if argv is not None:
            assert reader.state == resp.RECORD
            found.append(argv)
        elif reader.state != resp.LINE:
            assert reader.next() is None, "an end is final"
            return found, reader.state, reader.start, reader.reason


@twins
@given(commands=COMMANDS)
def test_round_trip(resp: ModuleType, commands: list[list[bytes]]) -> None:
    data = resp.pack_all(commands)
    assert data == b"".join(map(resp.pack, commands))
    assert read(resp, data) == (commands, resp.END, len(data), "")
    assert read(resp, memoryview(bytearray(b"??" + data)), 2)[0] == commands


@twins
def test_spelling(resp: ModuleType) -> None:
    assert resp.pack([b"SET", b"k", b""]) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"
    assert resp.pack_all([]) == b""
    big = b"x" * 100_000
    assert resp.pack_all([[b"a"], [big]]) == b"*1\r\n$1\r\na\r\n*1\r\n$100000\r\n%b\r\n" % big


@twins
@given(commands=COMMANDS, data=st.data())
def test_cut_anywhere_is_torn(
    resp: ModuleType, commands: list[list[bytes]], data: st.DataObject
) -> None:
    whole = resp.pack_all(commands)
    cut = data.draw(st.integers(0, len(whole)))
    found, state, start, _ = read(resp, whole[:cut])
    assert found == commands[: len(found)]
    assert start == len(resp.pack_all(found))
    assert state == (resp.END if cut == start else resp.TORN)


@twins
def test_annotations(resp: ModuleType) -> None:
    reader = resp.CommandReader(b"#TS:1\r\n*1\r\n$1\r\na\r\n#\n#cut")
    assert reader.next() is None and reader.state == resp.LINE and reader.line == b"#TS:1"
    assert reader.next() == [b"a"]
    assert reader.next() is None and reader.state == resp.LINE and reader.line == b"#"
    assert reader.next() is None and reader.state == resp.TORN and reader.start == 20
    long = b"#" + b"x" * 2000
    for tail in (b"", b"\n"):
        _, state, start, reason = read(resp, long + tail)
        assert (state, start, "longer than 1024" in reason) == (resp.BAD, 0, True)


@twins
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SET a b\r\n", "'*' expected, not byte 0x53"),
        (b"\0\0\0", "'*' expected, not byte 0x00"),
        (b"*0\r\n", "without arguments"),
        (b"*-1\r\n", "without arguments"),
        (b"*\r\n", "without a number"),
        (b"*x\r\n", "without a number"),
        (b"*01\r\n", "without a number"),
        (b"*1 \r\n", "without a number"),
        (b"*1\n$1\r\na\r\n", "without a number"),
        (b"*1\rx$1\r\na\r\n", "without a number"),
        (b"*99999999999999999999\r\n", "without a number"),
        (b"*1111111111111111111111111111111", "without a number"),
        (b"*1-", "without a number"),
        (b"*1\r\n:1\r\n", "'$' expected, not byte 0x3a"),
        (b"*1\r\n$-1\r\n", "negative size"),
        (b"*1\r\n$1\r\nab\r\n", "does not end where its size says"),
        (b"*1\r\n$1\r\nab", "does not end where its size says"),
        (b"*1\r\n$1\r\na\rb", "does not end where its size says"),
        (b"*1\r\n$0\r\nx", "does not end where its size says"),
    ],
)
def test_what_is_no_record(resp: ModuleType, data: bytes, reason: str) -> None:
    before = resp.pack([b"PING"])
    found, state, start, said = read(resp, before + data)
    assert (found, state, start) == ([[b"PING"]], resp.BAD, len(before))
    assert reason in said


@twins
def test_lengths_reserve_nothing(resp: ModuleType) -> None:
    for head in (b"*9223372036854775807\r\n", b"*1\r\n$9223372036854775807\r\n"):
        assert read(resp, head)[1:3] == (resp.TORN, 0)
    assert read(resp, head + b"xy" * 100)[1:3] == (resp.TORN, 0)


@twins
def test_only_bytes(resp: ModuleType) -> None:
    with pytest.raises(ValueError, match="outside the data"):
        resp.CommandReader(b"", 1)
    with pytest.raises(TypeError):
        resp.pack([b"a", "text"])


@given(data=st.binary(max_size=60) | st.text("*$0123\r\n-#a", max_size=40).map(str.encode))
def test_twins_agree(data: bytes) -> None:
    pure, other = (parameter.values[0] for parameter in both("isthmus.wire.resp"))
    if other is not None:
        assert read(pure, data) == read(other, data)
