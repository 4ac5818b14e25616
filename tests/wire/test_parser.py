"""One contract for both parsers: whole, byte by byte, cut anywhere, with more behind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.twins import both, load_compiled, load_pure
from tests.wire.hostile import PING, VECTORS, Vector

NAME = "isthmus.wire.parser"
PURE = load_pure(NAME)
COMPILED = load_compiled(NAME)
Outcome = tuple[list[tuple[bytes, ...]], bytes | None, int]


def encode(*argv: bytes) -> bytes:
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in argv)


def outcome(
    twin: Any, data: bytes, cuts: Iterable[int] = (), authenticated: bool = True
) -> Outcome:
    """Feed `data` cut at `cuts`: the requests, the error text if any, and what is left."""
    parser = twin.RequestParser()
    parser.authenticated = authenticated
    requests: list[tuple[bytes, ...]] = []
    start = 0
    for stop in [*cuts, len(data)]:
        parser.feed(data[start:stop])
        start = stop
        try:
            while (argv := parser.next()) is not None:
                requests.append(tuple(argv))
                assert parser.raw() == encode(*argv)
        except twin.ProtocolError as error:
            parser.feed(PING)
            assert parser.next() is None, "an error is final"
            return requests, error.text, 0
        parser.settle()
    return requests, None, parser.pending


@pytest.mark.parametrize("twin", both(NAME))
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_hostile_vectors(twin: ModuleType, vector: Vector) -> None:
    error = None if vector.error is None else b"Protocol error: " + vector.error
    data = vector.data
    cuts: list[Iterable[int]] = [()]
    if len(data) < 100:
        cuts += [range(1, len(data)), *((cut,) for cut in range(1, len(data)))]
    else:
        cuts += [(1, 3, len(data) // 2, len(data) - 1), range(1, len(data), 997)]
    for cut in cuts:
        requests, text, pending = outcome(twin, data, cut, vector.authenticated)
        assert (tuple(requests), text) == (vector.requests, error)
        assert (pending > 0) == vector.waits
    if not vector.waits:
        requests, text, pending = outcome(twin, data + PING + b"*1\r", (), vector.authenticated)
        if error is None:
            assert tuple(requests) == (*vector.requests, (b"PING",))
            assert pending == 3
        else:
            assert (tuple(requests), text) == (vector.requests, error)


@pytest.mark.parametrize("twin", both(NAME))
def test_byte_by_byte_at_the_line_limit(twin: ModuleType) -> None:
    parser = twin.RequestParser()
    for _ in range(65536):
        parser.feed(b"a")
        assert parser.next() is None
        parser.settle()
    parser.feed(b"\n")
    assert parser.next() == [b"a" * 65536]


@pytest.mark.parametrize("twin", both(NAME))
def test_large_bulk_in_pieces(twin: ModuleType) -> None:
    value = bytes(range(256)) * 8192
    data = encode(b"SET", b"k", value) + encode(b"GET", b"k")
    expected = ([(b"SET", b"k", value), (b"GET", b"k")], None, 0)
    assert outcome(twin, data, range(7, len(data), 16000)) == expected


@pytest.mark.parametrize("twin", both(NAME))
@pytest.mark.parametrize("head", [b"*300000000\r\n", b"*1048577\r\n", b"*2\r\n$536870913\r\n"])
def test_refused_lengths_allocate_nothing(twin: ModuleType, head: bytes) -> None:
    parser = twin.RequestParser()
    parser.authenticated = True
    tracemalloc.start()
    try:
        parser.feed(head)
        with pytest.raises(twin.ProtocolError):
            parser.next()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("twin", both(NAME))
@pytest.mark.parametrize("head", [b"*1048576\r\n", b"*1\r\n$536870912\r\n"])
def test_allowed_lengths_allocate_only_for_what_came(twin: ModuleType, head: bytes) -> None:
    parser = twin.RequestParser()
    parser.authenticated = True
    tracemalloc.start()
    try:
        parser.feed(head + b"$3\r\nabc\r\n")
        assert parser.next() is None
        parser.settle()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert parser.pending == len(head) + 9


@pytest.mark.parametrize("twin", both(NAME))
def test_unfinished_request_above_the_buffer_limit(twin: ModuleType) -> None:
    parser = twin.RequestParser()
    parser.authenticated = True
    parser.query_buffer_bytes_max = 1000
    parser.feed(encode(*[b"x" * 20] * 100))  # whole requests may be larger
    assert len(parser.next()) == 100
    parser.feed(b"*2\r\n$600\r\n" + b"x" * 602)
    assert parser.next() is None
    parser.settle()
    with pytest.raises(twin.QueryBufferExceeded):
        parser.feed(b"$600\r\n" + b"x" * 600)
        parser.next()
    assert parser.next() is None


@pytest.mark.parametrize("twin", both(NAME))
def test_authentication_in_the_middle_of_a_pipeline(twin: ModuleType) -> None:
    parser = twin.RequestParser()
    many = encode(*[b"x"] * 11)
    parser.feed(encode(b"AUTH", b"pw") + many)
    assert parser.next() == [b"AUTH", b"pw"]
    parser.authenticated = True
    assert parser.next() == [b"x"] * 11


@pytest.mark.parametrize("twin", both(NAME))
def test_raw_is_gone_after_settle(twin: ModuleType) -> None:
    parser = twin.RequestParser()
    parser.feed(b"PING a\r\n")
    assert parser.next() == [b"PING", b"a"]
    assert parser.raw() == encode(b"PING", b"a")
    parser.settle()
    with pytest.raises(ValueError, match="gone"):
        parser.raw()


ARGV = st.lists(st.binary(max_size=12), min_size=1, max_size=12)
BYTES = st.sampled_from(sorted(b"\r\n*$0123456789-+:\0\"' \\xa"))
EDITS = st.lists(
    st.tuples(st.sampled_from("rid"), st.integers(0, 10_000), BYTES), min_size=0, max_size=5
)


def mutated(pipeline: list[list[bytes]], edits: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(b'PING\r\nset "a\\x41" b\r\n' + b"".join(encode(*argv) for argv in pipeline))
    for kind, at, byte in edits:
        at %= len(data) or 1
        data[at : at + (kind != "i")] = b"" if kind == "d" else bytes([byte])
    return bytes(data)


@given(st.lists(ARGV, max_size=5), EDITS, st.lists(st.integers(0, 400), max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_mutated_pipelines_do_not_depend_on_cuts_or_twin(
    pipeline: list[list[bytes]], edits: list[tuple[str, int, int]], cuts: list[int], auth: bool
) -> None:
    data = mutated(pipeline, edits)
    inside = sorted(cut for cut in cuts if cut < len(data))
    expected = outcome(PURE, data, (), auth)
    assert outcome(PURE, data, inside, auth) == expected
    if COMPILED is not None:
        assert outcome(COMPILED, data, (), auth) == expected
        assert outcome(COMPILED, data, inside, auth) == expected
        assert outcome(COMPILED, data, range(1, len(data)), auth) == expected
