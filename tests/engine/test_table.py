"""Table, both twins, against a plain dict: contents, expiry, scan, draws, memory given back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus
from isthmus.node.engine.access import set_clock
from isthmus.node.engine.rng import Rng
from isthmus.node.engine.table import Table
from isthmus.wire.reply import ReplyWriter
from tests.support import twins

TWINS = twins.both("isthmus.node.engine.table")
NEVER = 2**63 - 1
LONG = b"k" * 65_535

KEYS = st.one_of(
    st.integers(0, 30).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"\0", b"\0\0", LONG, LONG + b"k", LONG + b"l"]),
)
# Around the limits of packing: 16-byte size classes, 512 (small objects), 1024 (packed at all).
VALUES = st.one_of(
    st.sampled_from([0, 1, 7, 8, 9, 64, 400, 500, 512, 1023, 1024, 1025, 5000]).map(bytes),
    st.binary(max_size=40),
    st.just(bytearray(b"mutable")),
)
EXPIRIES = st.one_of(st.just(-1), st.integers(0, 50))
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES, EXPIRIES),
    st.tuples(st.just("put_keep"), KEYS, VALUES, st.just(0)),
    st.tuples(st.just("set_expiry"), KEYS, st.just(b""), EXPIRIES),
    st.tuples(st.just("discard"), KEYS, st.just(b""), st.just(0)),
    st.tuples(st.just("pop"), KEYS, st.just(b""), st.just(0)),
    st.tuples(st.just("expire"), st.just(b""), st.just(b""), st.integers(0, 50)),
    st.tuples(st.just("many"), st.just(b""), st.just(b""), st.integers(1, 200)),
    st.tuples(st.just("few"), st.just(b""), st.just(b""), st.integers(1, 200)),
)
Model = dict[bytes, tuple[Any, int]]


@pytest.fixture(params=TWINS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    made: ModuleType = request.param
    return made


def step(table: Any, model: Model, verb: str, key: bytes, value: Any, number: int) -> None:
    """One operation on both, with its result compared."""
    if verb == "put":
        assert table.put(key, value, number) == (key not in model)
        model[key] = value, number
    elif verb == "put_keep":
        assert table.put_keep(key, value) == (key not in model)
        model[key] = value, model.get(key, (None, -1))[1]
    elif verb == "set_expiry":
        assert table.set_expiry(key, number) == (key in model)
        if key in model:
            model[key] = model[key][0], number
    elif verb == "discard":
        assert table.discard(key) == (model.pop(key, None) is not None)
    elif verb == "pop":
        assert table.pop(key) == model.pop(key, (None, 0))[0]
    elif verb == "expire":
        gone = [k for k, (_, expire) in model.items() if 0 <= expire <= number]
        assert set(remove_expired(table, number)) == set(gone)
        for k in gone:
            del model[k]
    else:
        for i in range(number):
            key = b"filler%d" % i
            if verb == "many":
                table.put(key, b"x", -1)
                model[key] = b"x", -1
            else:
                assert table.discard(key) == (model.pop(key, None) is not None)


def remove_expired(table: Any, now: int) -> list[bytes]:
    """Walk the table a few buckets at a time, as the active expiry does; two whole walks."""
    removed: list[bytes] = []
    for _ in range(200):
        for key in table.expired_keys(now, 5):
            assert table.discard(key)
            removed.append(key)
    return removed


def agree(table: Any, model: Model) -> None:
    table.check()
    assert len(table) == table.count == len(model)
    assert dict(table.items()) == {key: value for key, (value, _) in model.items()}
    assert sorted(table.keys()) == sorted(model)
    soonest = min((e for _, e in model.values() if e >= 0), default=NEVER)
    assert table.volatile_count == sum(expire >= 0 for _, expire in model.values())
    assert soonest == NEVER or table.expire_hint <= soonest
    for key, (value, expire) in model.items():
        assert key in table and table.contains(key)
        assert table.get(key) == value and table.expiry(key) == expire
        assert table.fetch(key, 25) == (None if 0 <= expire <= 25 else value)
        assert table.expired(key, 25) == (0 <= expire <= 25)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(steps=st.lists(STEPS, min_size=10, max_size=60))
@pytest.mark.parametrize("module", TWINS)
def test_behaves_like_a_dict(module: ModuleType, steps: list[tuple[str, bytes, Any, int]]) -> None:
    table, model = module.Table(), {}
    for verb, key, value, number in steps:
        step(table, model, verb, key, value, number)
        assert len(table) == len(model)
    agree(table, model)
    for key in (b"absent", LONG + b"absent"):
        assert table.get(key) is None and table.fetch(key, 0) is None and table.pop(key) is None
        assert not table.contains(key) and not table.discard(key) and not table.expired(key, NEVER)
        assert table.expiry(key) == -2 and table.access(key) == -1


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("module", TWINS)
def test_a_scan_returns_what_stays(module: ModuleType, data: st.DataObject) -> None:
    table = module.Table()
    staying = {b"stay%d" % i for i in range(data.draw(st.integers(1, 600)))}
    for key in staying:
        table.add(key)
    passing = data.draw(st.integers(0, 3000))
    for i in range(passing):
        table.add(b"pass%d" % i)
    seen: list[bytes] = []
    cursor = 0
    for turn in range(10_000):
        cursor = table.scan(cursor, seen, False, 0)
        if cursor == 0:
            break
        if turn % 7 == 0 and turn < 70:
            target = data.draw(st.integers(0, 3000))
            for i in range(passing, target):
                table.add(b"pass%d" % i)
            for i in range(target, passing):
                table.discard(b"pass%d" % i)
            passing = target
    assert cursor == 0
    assert staying <= set(seen)
    assert all(key in staying or key.startswith(b"pass") for key in seen)


def test_a_scan_of_an_unchanged_table_repeats_nothing(module: ModuleType) -> None:
    table = module.Table()
    for i in range(1500):
        table.put(b"%d" % i, b"v%d" % i, 10 if i % 2 else -1)
    seen: list[Any] = []
    cursor = table.scan(0, seen, True, 10)
    while cursor:
        cursor = table.scan(cursor, seen, True, 10)
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert len(pairs) == 750
    assert dict(pairs) == {b"%d" % i: b"v%d" % i for i in range(0, 1500, 2)}


@pytest.mark.parametrize("cursor", [1, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_any_cursor_ends(module: ModuleType, cursor: int) -> None:
    table = module.Table()
    assert table.scan(cursor, [], False, 0) == 0
    for i in range(100):
        table.add(b"%d" % i)
    for _ in range(1000):
        cursor = table.scan(cursor, [], False, 0)
        if cursor == 0:
            return
    pytest.fail("the scan did not end")


@pytest.mark.parametrize("left", [60, 400])
def test_draws_are_fair(module: ModuleType, left: int) -> None:
    table, rng = module.Table(), Rng(5)
    assert table.random_key(rng) is None
    for i in range(400):
        table.add(b"%d" % i)
    for i in range(left, 400):
        table.discard(b"%d" % i)
    draws = 20 * left
    counts = dict.fromkeys(table.keys(), 0)
    for _ in range(draws):
        counts[table.random_key(rng)] += 1
    expected = draws / left
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    # Mean `left` - 1, variance twice that; the layout differs from run to run, hence 7 deviations.
    assert chi_square < left + 7 * (2 * left) ** 0.5


def test_a_table_is_freed_in_slices(module: ModuleType) -> None:
    table = module.Table()
    values = [bytearray(b"object") for _ in range(3)]
    for i in range(3000):
        table.put(b"%d" % i, values[i % 3] if i % 2 else b"packed", 5 if i % 5 else -1)
    before, steps = len(table), 0
    while left := table.clear_slice(100):
        assert left <= before
        before = left
        steps += 1
        assert steps < 200
    assert steps >= 10
    assert len(table) == 0 and table.nbytes == 0 and table.volatile_count == 0
    assert table.put(b"again", b"v", -1) and table.get(b"again") == b"v"
    table.check()


def test_memory_is_given_back(module: ModuleType) -> None:
    table = module.Table()
    for i in range(3000):
        table.put(b"%d" % i, b"x" * (i % 2000), 7)
        table.set_expiry(b"%d" % i, -1)
    full = table.nbytes
    assert full > 3000 * 10
    for i in range(3000):
        table.discard(b"%d" % i)
    table.check()
    assert 0 <= table.nbytes < full // 50


def test_members_and_scores(module: ModuleType) -> None:
    table = module.Table()
    assert table.add(b"member") and not table.add(b"member")
    assert table.items() == [(b"member", True)]
    scores = module.Table()
    assert scores.put_score(b"one", 1.5) and not scores.put_score(b"one", -0.0)
    assert str(scores.score(b"one")) == "-0.0" and scores.score(b"none") is None
    assert scores.put_score(LONG + b"k", float("inf"))
    assert dict(scores.items()) == {b"one": 0.0, LONG + b"k": float("inf")}


def test_replies_are_written_from_the_table(module: ModuleType) -> None:
    table, reply = module.Table(), ReplyWriter()
    big = b"b" * 3000
    table.put(b"small", b"s", -1)
    assert table.write_value(b"small", reply) and not table.write_value(b"none", reply)
    assert reply.take() == b"$1\r\ns\r\n"
    assert table.write_all(reply, True, True) == 1
    assert reply.take() == b"$5\r\nsmall\r\n$1\r\ns\r\n"
    table.put(b"small", big, -1)
    assert table.write_all(reply, False, True) == 1
    assert reply.take() == b"$3000\r\n" + big + b"\r\n"
    table.put(LONG + b"k", b"", -1)
    table.discard(b"small")
    assert table.write_all(reply, True, False) == 1
    assert reply.take() == b"$65536\r\n" + LONG + b"k\r\n"


def test_the_access_clock_is_stamped_by_fetch_only() -> None:
    table = Table()
    set_clock(1)
    table.put(b"k", b"v", -1)
    set_clock(0x1FFFFFF)
    assert table.get(b"k") == b"v" and table.contains(b"k") and table.access(b"k") == 1
    assert table.fetch(b"k", 0) == b"v" and table.access(b"k") == 0xFFFFFF
    set_clock(0)


def test_draws_from_a_few_are_fair(module: ModuleType) -> None:
    """However they are spread over buckets, which differs from run to run."""
    rng = Rng(5)
    for table_number in range(60):
        table = module.Table()
        for n in range(8):
            table.put(b"%d:%d" % (table_number, n), b"", -1)
        seen = Counter(table.random_key(rng) for _ in range(800))
        assert len(seen) == 8
        # Seven degrees of freedom: beyond 60 once in a billion times.
        assert sum((n - 100) ** 2 / 100 for n in seen.values()) < 60


def test_an_object_is_released_once(module: ModuleType) -> None:
    class Witness(bytearray):
        gone = 0

        def __del__(self) -> None:
            Witness.gone += 1

    table = module.Table()
    table.put(b"a", Witness(), -1)
    table.put(b"a", Witness(), 5)
    assert Witness.gone == 1
    table.set_expiry(b"a", -1)
    held = table.pop(b"a")
    assert Witness.gone == 1
    del held
    assert Witness.gone == 2
    for i in range(10):
        table.put(b"%d" % i, Witness(), -1)
    del table
    assert Witness.gone == 12


# Puts, and changes of expiry, of values whose records pass between the small-object allocator
# (512 bytes and less) and the C library's, and grow within a size class.
CHURN = """
import random
from isthmus.node.engine.table import Table

rng, table, model = random.Random(1), Table(), {}
for _ in range(20_000):
    key = b"%d" % rng.randrange(20)
    if rng.randrange(4):
        value = rng.randbytes(rng.choice((rng.randrange(1100), rng.randrange(440, 540))))
        table.put(key, value, rng.choice((-1, -1, 5)))
        model[key] = value
    else:
        table.set_expiry(key, rng.choice((-1, 5)))
assert {key: table.get(key) for key in model} == model
"""


@pytest.mark.skipif(not isthmus.compiled(), reason="extensions are not in use")
def test_records_stay_within_their_blocks() -> None:
    """Python's debugging allocator ends a process that has written behind a block."""
    env = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run([sys.executable, "-c", CHURN], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
