"""ScoreIndex, both twins, against a plain dict that is sorted anew for every question."""

from __future__ import annotations

import importlib
import math
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.values.score_text import parse_bound
from isthmus.wire.reply import ReplyWriter
from isthmus.wire.scalars import format_float
from tests.support import twins

MODULE = "isthmus.node.values.score_index"
TABLE = "isthmus.node.engine.table"


def load_pure() -> ModuleType:
    """The plain twin, on top of the plain table: it is a subclass, so they come as a pair."""
    usual = importlib.import_module(TABLE)
    sys.modules[TABLE] = twins.load_pure(TABLE)
    try:
        return twins.load_pure(MODULE)
    finally:
        sys.modules[TABLE] = usual


TWINS = [pytest.param(load_pure(), id="pure"), twins.both(MODULE)[1]]

SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, math.inf, -math.inf, 5e-324, 1.7e308]),
    st.integers(-1000, 1000).map(float),
    st.floats(allow_nan=False),
)
# Few, so that updates and ties are common; with prefixes of each other, high and zero bytes.
MEMBERS = st.one_of(
    st.sampled_from([b"", b"a", b"aa", b"ab", b"b", b"\0", b"a\0", b"\xff", b"\x80a"]),
    st.integers(0, 3000).map(lambda n: b"member:%d" % n),
)

Model = dict[bytes, float]


def ordered(model: Model) -> list[tuple[bytes, float]]:
    return sorted(model.items(), key=lambda item: (item[1], item[0]))


def replied(entries: list[tuple[bytes, float]], scores: bool, nested: bool) -> bytes:
    writer = ReplyWriter()
    for member, score in entries:
        if nested:
            writer.array(2)
        writer.bulk(member)
        if scores:
            writer.double(score)
    return writer.take()


def add_many(index: Any, model: Model, draw: Any) -> None:
    """A run of neighbours, up, down or at one score: what splits and fills runs."""
    count = draw(st.sampled_from([5, 100, 700, 1500]))
    start = draw(st.integers(0, 3000))
    slope = draw(st.sampled_from([0.0, 1.0, -1.0, 0.37]))
    for i in range(count):
        member = b"member:%d" % (start + i)
        score = (i * 7919 % 997) * 1.0 if slope == 0.37 else i * slope
        state = 2 if member not in model else 1 if model[member] != score else 0
        assert index.upsert(member, score) == state
        # An equal score is no change: zero stays the zero it was, of either sign.
        if state:
            model[member] = score


def step(index: Any, model: Model, draw: Any) -> None:
    """One random change of both."""
    verbs = ["many", "many", "put", "put", "remove", "range", "drain", "nudge"]
    verb = draw(st.sampled_from(verbs))
    if verb == "many":
        add_many(index, model, draw)
    elif verb == "put":
        member, score = draw(MEMBERS), draw(SCORES)
        assert index.put_score(member, score) == (member not in model)
        if model.get(member) != score:
            model[member] = score
    elif verb == "remove":
        for member in draw(st.lists(MEMBERS, max_size=20)):
            assert index.pop(member) == model.pop(member, None)
            assert not index.discard(member)
    elif verb == "nudge" and model:
        for member in ordered(model)[:: draw(st.integers(1, 50))]:
            delta = draw(st.sampled_from([0.5, -0.5, 3.0, 10_000.0]))
            model[member[0]] += delta
            index.upsert(member[0], model[member[0]])
    elif verb == "range" and model:
        start = draw(st.integers(0, len(model) - 1))
        count = draw(st.sampled_from([0, 1, 10, 400, 5000]))
        for member, _ in ordered(model)[start : start + count]:
            del model[member]
        index.remove_range(start, count)
    elif verb == "drain":
        for _ in range(min(draw(st.sampled_from([3, 300])), len(model))):
            member, score = ordered(model)[0] if len(model) < 9 else min_entry(model)
            assert (index.member_at(0), index.score_at(0)) == (member, score)
            index.remove_range(0, 1)
            del model[member]


def min_entry(model: Model) -> tuple[bytes, float]:
    return min(model.items(), key=lambda item: (item[1], item[0]))


def compare(index: Any, model: Model, draw: Any) -> None:
    """Ask both everything that can be asked."""
    index.check()
    entries = ordered(model)
    assert len(index) == len(entries)
    assert index.slice(0, len(entries)) == entries
    assert dict(index.items()) == model
    if entries:
        start = draw(st.integers(0, len(entries) - 1))
        count = draw(st.integers(0, len(entries)))
        scores, nested = draw(st.booleans()), draw(st.booleans())
        up = entries[start : start + count]
        down = entries[start::-1][:count]
        for part, reverse in ((up, False), (down, True)):
            writer = ReplyWriter()
            index.write_range(writer, start, len(part), reverse, scores, nested)
            assert writer.take() == replied(part, scores, nested)
            assert index.slice(start, len(part), reverse) == part
            assert index.members(start, len(part), reverse) == [member for member, _ in part]
        member, score = entries[start]
        assert index.rank(member) == start
        assert index.score(member) == score
        assert (index.member_at(start), index.score_at(start)) == (member, score)
    asked = draw(SCORES)
    assert index.count_below(asked, False) == sum(score < asked for _, score in entries)
    assert index.count_below(asked, True) == sum(score <= asked for _, score in entries)
    assert index.rank(b"nobody") == -1


@pytest.mark.parametrize("module", TWINS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_random_operations(module: ModuleType, data: st.DataObject) -> None:
    index = module.ScoreIndex()
    model: Model = {}
    for _ in range(data.draw(st.integers(1, 12))):
        step(index, model, data.draw)
        compare(index, model, data.draw)


@pytest.mark.parametrize("module", TWINS)
@settings(max_examples=12, deadline=None)
@given(members=st.sets(MEMBERS), asked=MEMBERS, inclusive=st.booleans(), many=st.booleans())
def test_order_by_member(
    module: ModuleType, members: set[bytes], asked: bytes, inclusive: bool, many: bool
) -> None:
    if many:
        members |= {b"member:%d" % n for n in range(0, 3000, 2)}
    index = module.ScoreIndex()
    for member in members:
        index.upsert(member, 7.0)
    expected = sum(m < asked or (inclusive and m == asked) for m in members)
    assert index.count_lex_below(asked, inclusive) == expected
    index.check()


@pytest.mark.parametrize("module", TWINS)
@pytest.mark.parametrize("order", ["up", "down", "mixed"])
def test_many_runs(module: ModuleType, order: str) -> None:
    count = 12_000
    step = {"up": 1, "down": count - 1, "mixed": 7919}[order]
    index = module.ScoreIndex()
    for i in range(count):
        n = i * step % count
        index.upsert(b"%05d" % n, float(n))
    for n in range(0, count, 997):
        assert index.rank(b"%05d" % n) == n
        assert index.member_at(n) == b"%05d" % n
        assert index.count_below(n, True) == n + 1
    index.check()
    # Thin out at even distances, so that runs join, then take the rest from both ends.
    for n in range(count):
        if n % 16:
            index.discard(b"%05d" % n)
    index.check()
    assert index.members(0, 3) == [b"00000", b"00016", b"00032"]
    while len(index) > 300:
        index.remove_range(0, 100)
        index.remove_range(len(index) - 100, 100)
    index.check()
    index.remove_range(0, len(index))
    index.check()
    assert len(index) == 0
    assert index.upsert(b"again", 1.0) == 2
    index.check()


@pytest.mark.parametrize("module", TWINS)
def test_memory_is_counted_and_given_back(module: ModuleType) -> None:
    index = module.ScoreIndex()
    empty = index.nbytes
    for i in range(5000):
        index.upsert(b"%d" % i, i * 7919 % 4999)
    assert index.rank(b"17") >= 0
    assert index.nbytes - empty > 5000 * 30
    left = len(index)
    while left:
        before, left = left, index.clear_slice(500)
        assert before - left <= 600
    assert index.nbytes - empty <= 1000


@pytest.mark.parametrize("module", TWINS)
def test_widest_is_remembered(module: ModuleType) -> None:
    index = module.ScoreIndex()
    index.upsert(b"long" * 20, 1.0)
    index.upsert(b"short", 1.0)
    index.discard(b"long" * 20)
    assert index.widest == 80


@pytest.mark.parametrize("module", TWINS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0.0), (b"1", 1.0), (b"-1", -1.0), (b"+1", 1.0), (b"0.1", 0.1), (b"-.5", -0.5),
        (b"5.", 5.0), (b"007", 7.0), (b"1e3", 1000.0), (b"inf", math.inf), (b"-INF", -math.inf),
        (b"+Infinity", math.inf), (b"999999999999999", 999999999999999.0), (b"0x10", 16.0),
        (b"9007199254740993", 9007199254740992.0), (b"0.100000000000000005", 0.1),
        (b"123456.789012345", 123456.789012345), (b"0.00000000000001", 1e-14), (b"-0x1p-1", -0.5),
    ],
)  # fmt: skip
def test_scores_are_read(module: ModuleType, text: bytes, value: float) -> None:
    assert module.read_score(text) == value


@pytest.mark.parametrize("module", TWINS)
@pytest.mark.parametrize(
    "text",
    [b"", b"-", b".", b"-.", b"nan", b"-nan", b"1_0", b" 1", b"1 ", b"1.2.3", b"1e400", b"1e-400",
     b"--1", b"0x", b"0x1p5000", b"0x1p-5000", b"abc", b"1,5", b"\xd9\xa1", b"1\x00"],
)  # fmt: skip
def test_what_is_no_score(module: ModuleType, text: bytes) -> None:
    with pytest.raises(ValueError):
        module.read_score(text)


@pytest.mark.parametrize("module", TWINS)
@given(value=st.floats(allow_nan=False))
def test_every_score_survives_its_text(module: ModuleType, value: float) -> None:
    read = module.read_score(format_float(value))
    assert read == value and math.copysign(1, read) == math.copysign(1, value)


@pytest.mark.parametrize("module", TWINS)
@given(text=st.from_regex(rb"-?[0-9]{0,9}\.?[0-9]{0,9}", fullmatch=True))
def test_decimals_are_rounded_as_strtod_does(module: ModuleType, text: bytes) -> None:
    if text.strip(b"-.") == b"":
        with pytest.raises(ValueError):
            module.read_score(text)
    else:
        assert module.read_score(text) == float(text)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        (b"1", (1.0, False)), (b"(1", (1.0, True)), (b"", (0.0, False)), (b"(", (0.0, True)),
        (b" 1", (1.0, False)), (b"( 1", (1.0, True)), (b"1e400", (math.inf, False)),
        (b"-1e400", (-math.inf, False)), (b"(inf", (math.inf, True)), (b"0x10", (16.0, False)),
        (b"1\x00junk", (1.0, False)), (b"1e-400", (0.0, False)), (b"0x1p5000", (math.inf, False)),
    ],
)  # fmt: skip
def test_bounds_are_read_leniently(text: bytes, bound: tuple[float, bool]) -> None:
    assert parse_bound(text) == bound


@pytest.mark.parametrize("text", [b"1 ", b"nan", b"((1", b"[1", b"abc", b" ", b"1_0", b"(nan"])
def test_what_is_no_bound(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_bound(text)
