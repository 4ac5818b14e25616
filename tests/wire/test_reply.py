"""One contract for both reply writers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.support.twins import both

CALLS: list[tuple[str, tuple[Any, ...], bytes, bytes]] = [
    ("ok", (), b"+OK\r\n", b"+OK\r\n"),
    ("simple", (b"a\r\nb",), b"+a  b\r\n", b"+a  b\r\n"),
    ("error", (b"ERR x\n",), b"-ERR x \r\n", b"-ERR x \r\n"),
    ("bulk", (b"a\r\n",), b"$3\r\na\r\n\r\n", b"$3\r\na\r\n\r\n"),
    ("bulk", (b"",), b"$0\r\n\r\n", b"$0\r\n\r\n"),
    ("null", (), b"$-1\r\n", b"_\r\n"),
    ("null_array", (), b"*-1\r\n", b"_\r\n"),
    ("empty_array", (), b"*0\r\n", b"*0\r\n"),
    ("array", (3,), b"*3\r\n", b"*3\r\n"),
    ("map", (2,), b"*4\r\n", b"%2\r\n"),
    ("set", (100,), b"*100\r\n", b"~100\r\n"),
    ("push", (10,), b"*10\r\n", b">10\r\n"),
    ("boolean", (True,), b":1\r\n", b"#t\r\n"),
    ("boolean", (False,), b":0\r\n", b"#f\r\n"),
    ("big_number", (b"12",), b"$2\r\n12\r\n", b"(12\r\n"),
    ("verbatim", (b"txt", b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
    ("double", (1.5,), b"$3\r\n1.5\r\n", b",1.5\r\n"),
    ("double", (-3.0,), b"$2\r\n-3\r\n", b",-3\r\n"),
    ("double", (-0.0,), b"$2\r\n-0\r\n", b",-0\r\n"),
    ("double", (1e15,), b"$16\r\n1000000000000000\r\n", b",1000000000000000\r\n"),
    ("double", (float("-inf"),), b"$4\r\n-inf\r\n", b",-inf\r\n"),
    ("double", (float("nan"),), b"$3\r\nnan\r\n", b",nan\r\n"),
    ("raw", (b"xyz",), b"xyz", b"xyz"),
]
INTEGERS = [0, 9, 10, 99, 100, 101, 12345, (1 << 63) - 1]


@pytest.mark.parametrize("twin", both("isthmus.wire.reply"))
@pytest.mark.parametrize(("method", "arguments", "resp2", "resp3"), CALLS)
def test_each_reply(
    twin: ModuleType, method: str, arguments: tuple[Any, ...], resp2: bytes, resp3: bytes
) -> None:
    writer = twin.ReplyWriter()
    for writer.protocol, expected in ((2, resp2), (3, resp3)):
        getattr(writer, method)(*arguments)
        assert writer.size == len(expected)
        assert writer.take() == expected
        assert writer.size == 0


@pytest.mark.parametrize("twin", both("isthmus.wire.reply"))
def test_integers(twin: ModuleType) -> None:
    writer = twin.ReplyWriter()
    for value in [*INTEGERS, *(-value for value in INTEGERS), -(1 << 63)]:
        writer.integer(value)
        assert writer.take() == b":%d\r\n" % value
    with pytest.raises(OverflowError):
        writer.integer(1 << 63)
    assert writer.size == 0


@pytest.mark.parametrize("twin", both("isthmus.wire.reply"))
def test_mark_and_truncate(twin: ModuleType) -> None:
    writer = twin.ReplyWriter()
    writer.ok()
    mark = writer.mark()
    writer.bulk(b"x" * 5000)
    writer.truncate(mark)
    assert writer.take() == b"+OK\r\n"
    for bad in (-1, 1):
        with pytest.raises(ValueError, match="mark"):
            writer.truncate(bad)


@pytest.mark.parametrize("twin", both("isthmus.wire.reply"))
def test_growth_keeps_every_byte(twin: ModuleType) -> None:
    writer = twin.ReplyWriter()
    expected = b""
    for size in (1, 1000, 30, 70_000, 3, 1_500_000, 1):
        writer.bulk(b"v" * size)
        expected += b"$%d\r\n%b\r\n" % (size, b"v" * size)
    assert writer.take() == expected
    writer.ok()
    writer.clear()
    assert writer.take() == b""


@pytest.mark.parametrize("twin", both("isthmus.wire.reply"))
@pytest.mark.parametrize("method", ["bulk", "simple", "error", "raw"])
def test_none_is_no_text(twin: ModuleType, method: str) -> None:
    writer = twin.ReplyWriter()
    with pytest.raises((TypeError, AttributeError)):
        getattr(writer, method)(None)
    assert writer.size == 0
