"""StreamLog, both twins, against a plain list of entries; and one against the other."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.engine import heap
from isthmus.node.values.stream_ids import MAX_ID, ZERO_ID, format_id, make_id
from isthmus.wire.reply import ReplyWriter
from tests.support import twins

MODULE = "isthmus.node.values.stream_log"
TWINS = twins.both(MODULE)
U64 = (1 << 64) - 1

# Around every change of coding: numbers of each width, short, middling and long texts.
TEXTS = [
    b"", b"a", b"-", b"-0", b"00", b"+1", b"x" * 63, b"x" * 64, b"y" * 125, b"y" * 126,
    b"z" * 4095, b"z" * 4096, b"w" * 20_000, b"0", b"127", b"128", b"-1", b"-4096", b"-4097",
    b"4095", b"4096", b"32767", b"32768", b"-32769", b"8388607", b"8388608", b"-8388609",
    b"2147483647", b"2147483648", b"-2147483649", b"9223372036854775807", b"-9223372036854775808",
    b"9223372036854775808", b"1" * 20, b"1" * 21,
]  # fmt: skip
Entry = tuple[bytes, list[bytes]]


def replies(entries: list[Entry], framed: bool = True) -> bytes:
    writer = ReplyWriter()
    if framed:
        writer.array(len(entries))
    for id, texts in entries:
        writer.array(2)
        writer.bulk(format_id(id))
        writer.array(len(texts))
        for text in texts:
            writer.bulk(text)
    return writer.take()


class Both:
    """A log and what it should hold."""

    def __init__(self, module: ModuleType, rng: random.Random) -> None:
        self.log = module.StreamLog()
        self.rng = rng
        self.entries: list[Entry] = []
        self.last = ZERO_ID
        self.added = 0
        self.bytes_max = rng.choice([0, 100, 4096])
        self.entries_max = rng.choice([0, 1, 3, 100])

    def texts(self) -> list[bytes]:
        rng = self.rng
        if rng.random() < 0.6:
            return [b"field", rng.choice(TEXTS), b"7", b"%d" % rng.getrandbits(rng.randint(1, 63))]
        return [rng.choice(TEXTS[:12]) for _ in range(2 * rng.randint(1, 3))]

    def some_id(self) -> bytes:
        if self.entries and self.rng.random() < 0.8:
            return self.rng.choice(self.entries)[0]
        return self.rng.choice([ZERO_ID, MAX_ID, make_id(self.rng.randint(0, 60), 1)])

    def step(self) -> None:
        verb = self.rng.choice(["add"] * 8 + ["remove", "remove", "length", "before"])
        if verb == "add":
            ms = int.from_bytes(self.last[:8], "big") + self.rng.choice([0, 1, 1, 300, 1 << 33])
            seq = min(int.from_bytes(self.last[8:], "big") + self.rng.choice([1, 1, 200]), U64)
            id, texts = (
                make_id(ms, self.rng.choice([seq, seq, U64 - 5 + self.added % 5])),
                self.texts(),
            )
            if id <= self.last:
                return
            argv = [b"XADD", *texts]
            self.log.append(argv, 1, id, self.bytes_max, self.entries_max)
            self.entries.append((id, texts))
            self.last = id
            self.added += 1
        elif verb == "remove":
            id = self.some_id()
            there = any(entry[0] == id for entry in self.entries)
            assert self.log.contains(id) == there
            assert self.log.remove(id) == there
            self.entries = [entry for entry in self.entries if entry[0] != id]
        elif verb == "length":
            most = self.rng.randint(0, len(self.entries) + 1)
            self.trimmed(self.log.trim_length(most, True, 0), max(len(self.entries) - most, 0))
        else:
            id = self.some_id()
            gone = sum(entry[0] < id for entry in self.entries)
            self.trimmed(self.log.trim_before(id, True, 0), gone)

    def trimmed(self, removed: int, expected: int) -> None:
        assert removed == expected
        del self.entries[:expected]

    def check(self) -> None:
        log, entries = self.log, self.entries
        log.check()
        assert len(log) == len(entries)
        assert log.last_id == self.last
        assert log.first_id == (entries[0][0] if entries else ZERO_ID)
        assert log.last_valid() == (entries[-1][0] if entries else ZERO_ID)
        assert log.entries_added == self.added
        assert log.slice(ZERO_ID, MAX_ID, 0, False) == entries
        start, end, count = self.some_id(), self.some_id(), self.rng.choice([0, 1, 2, 50])
        found = [entry for entry in entries if start <= entry[0] <= end]
        for reverse in (False, True):
            expected = (found[::-1] if reverse else found)[: count or None]
            assert log.slice(start, end, count, reverse) == expected
            writer, ids = ReplyWriter(), list[bytes]()
            assert log.write_range(writer, start, end, count, reverse, True, ids) == len(expected)
            assert writer.take() == replies(expected)
            assert ids == [id for id, _ in expected]


@pytest.fixture(scope="module")
def only_us() -> Iterator[None]:
    """What other tests left in cycles is freed before, not in between."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("only_us")
@pytest.mark.slow
@pytest.mark.parametrize("module", TWINS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 80))
def test_like_a_list(module: ModuleType, seed: int, steps: int) -> None:
    before = heap.used()
    both = Both(module, random.Random(seed))
    for _ in range(steps):
        both.step()
    both.check()
    twin = module.StreamLog()
    twin.take_copy(both.log)
    twin.check()
    assert twin.slice(ZERO_ID, MAX_ID, 0, False) == both.entries
    assert (twin.first_id, twin.last_id) == (both.log.first_id, both.log.last_id)
    del twin, both
    assert heap.used() == before


@pytest.mark.skipif(twins.load_compiled(MODULE) is None, reason="extensions are not in use")
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 150))
def test_the_twins_have_the_same_blocks(seed: int, steps: int) -> None:
    pair = []
    for param in TWINS:
        rng = random.Random(seed)
        both = Both(param.values[0], rng)
        for _ in range(steps):
            both.step()
            if rng.random() < 0.1:
                most = rng.randint(0, len(both.entries) + 1)
                removed = both.log.trim_length(most, False, rng.choice([0, 0, 5, 50]))
                del both.entries[:removed]
        pair.append((both.log.listpacks(), both.log.tree_nodes(), both.log.top_deleted))
    assert pair[0] == pair[1]


@pytest.mark.parametrize("module", TWINS)
def test_blocks_are_those_of_redis(module: ModuleType) -> None:
    log = module.StreamLog()
    for i in range(250):
        log.append([b"f", b"v"], 0, make_id(i + 1, 0), 4096, 100)
    assert log.block_count == 3
    # Only whole blocks go, and none that would leave less than asked for.
    assert log.trim_length(150, False, 0) == 100
    assert log.trim_length(149, False, 0) == 0
    assert log.trim_length(0, False, 120) == 100
    assert log.trim_before(make_id(240, 0), False, 0) == 0
    assert log.trim_before(make_id(251, 0), False, 0) == 50
    assert (len(log), log.block_count, log.tree_nodes(), log.first_id) == (0, 0, 1, ZERO_ID)


@pytest.mark.parametrize("module", TWINS)
def test_a_block_is_full_by_bytes(module: ModuleType) -> None:
    log = module.StreamLog()
    for i in range(40):
        log.append([b"f", b"x" * 1000], 0, make_id(1, i + 1), 4096, 100)
    assert log.block_count == 10
    # An entry that is larger than a block has one of its own.
    log.append([b"f", b"x" * 10_000], 0, make_id(2, 0), 4096, 100)
    log.append([b"f", b"x"], 0, make_id(2, 1), 4096, 100)
    assert log.block_count == 12


@pytest.mark.parametrize("module", TWINS)
def test_deleted_entries_count_for_their_block(module: ModuleType) -> None:
    log = module.StreamLog()
    for i in range(10):
        log.append([b"f", b"v"], 0, make_id(1, i), 4096, 5)
    for i in range(4):
        assert log.remove(make_id(1, i))
    assert (log.block_count, log.first_id) == (2, make_id(1, 4))
    assert log.remove(make_id(1, 4))
    assert not log.remove(make_id(1, 4))
    assert (log.block_count, log.first_id) == (1, make_id(1, 5))
    assert log.top_deleted == make_id(1, 4)
    log.check()


@pytest.mark.parametrize("module", TWINS)
def test_nodes_of_the_radix_tree(module: ModuleType) -> None:
    # One key is a run of 16 bytes and a leaf; what several share is a run and a fork.
    for keys, nodes in (
        ([(0, 1)], 2), ([(0, 1), (0, 2)], 4), ([(0, 1), (1, 0)], 6),
        ([(0, 1), (0, 2), (1 << 56, 0)], 7), ([(0, 255), (0, 256)], 6),
    ):  # fmt: skip
        log = module.StreamLog()
        for ms, seq in keys:
            log.append([b"f", b"v"], 0, make_id(ms, seq), 4096, 1)
        assert log.tree_nodes() == nodes, keys


@pytest.mark.parametrize("module", TWINS)
def test_freed_in_slices(module: ModuleType) -> None:
    log = module.StreamLog()
    for i in range(1000):
        log.append([b"f", b"v"], 0, make_id(1, i), 4096, 100)
    assert [log.clear_slice(3) for _ in range(5)] == [700, 400, 100, 0, 0]
    log.append([b"f", b"v"], 0, make_id(2, 0), 4096, 100)
    assert len(log) == 1


@pytest.mark.parametrize("module", TWINS)
def test_ids_that_the_clock_gives(module: ModuleType) -> None:
    log = module.StreamLog()
    assert log.auto_id(5) == make_id(5, 0)
    log.set_state(make_id(7, 3), ZERO_ID, 1)
    assert log.auto_id(7) == make_id(7, 4) == log.auto_id(6)
    log.set_state(make_id(7, U64), ZERO_ID, 1)
    assert log.auto_id(6) == make_id(8, 0)
    log.set_state(MAX_ID, ZERO_ID, 1)
    assert log.auto_id(6) is None


@pytest.mark.parametrize("module", TWINS)
def test_memory_of_many_entries(module: ModuleType) -> None:
    log = module.StreamLog()
    for i in range(2000):
        log.append([b"field", b"%016d" % i], 0, make_id(1_700_000_000_000 + i, 0), 4096, 100)
    assert log.nbytes < 34 * 2000


@pytest.mark.parametrize("module", twins.both("isthmus.node.values.stream_ids"))
def test_ids_as_texts(module: ModuleType) -> None:
    good = {
        b"5": (5, 0), b"5-1": (5, 1), b"0-0": (0, 0), b"007-01": (7, 1), b" 5": (5, 0),
        b"+5-+1": (5, 1), b"5- -1": (5, U64), b"5--01": (5, U64), b"1-\t2": (1, 2), b"5--0": (5, 0),
        b"18446744073709551615-18446744073709551615": (U64, U64), b"5-1\x00junk": (5, 1),
        b"5--9223372036854775809": (5, U64 - 9223372036854775808), b"0" * 126 + b"1": (1, 0),
    }  # fmt: skip
    for text, (ms, seq) in good.items():
        assert module.parse_id(text, False) == make_id(ms, seq), text
    assert module.parse_id(b"5", True) == make_id(5, U64)
    for text in (
        b"", b"-", b"+", b"a", b"5-", b"-5", b"5--1", b"1-1-1", b"18446744073709551616", b"5 ",
        b"1-18446744073709551616", b"5- ", b"1e3", b"0" * 127 + b"1", b"5--9223372036854775808",
        b"\x001", b"9" * 127,
    ):  # fmt: skip
        assert module.parse_id(text, False) is None, text
    for id in (ZERO_ID, MAX_ID, make_id(1 << 63, 1 << 63), make_id(12345678901234, 10)):
        assert module.parse_id(module.format_id(id), False) == id
    assert module.next_id(make_id(1, U64)) == make_id(2, 0)
    assert module.previous_id(make_id(2, 0)) == make_id(1, U64)
    assert module.next_id(MAX_ID) is None is module.previous_id(ZERO_ID)
    assert module.wrap64(1 << 63) == -(1 << 63)


@pytest.mark.slow
@pytest.mark.parametrize("module", twins.both("isthmus.node.values.pending_list"))
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 600), bare=st.booleans())
def test_pending_like_a_dict(module: ModuleType, seed: int, steps: int, bare: bool) -> None:
    rng = random.Random(seed)
    before = heap.used()
    pending: Any = module.PendingList(bare)
    model: dict[bytes, tuple[int, int, int]] = {}
    for step in range(steps):
        id = make_id(rng.choice([step, rng.randint(0, 300)]), 0)
        if rng.random() < 0.7:
            record = (rng.randint(0, 1 << 62), rng.randint(-(1 << 63), (1 << 63) - 1), step)
            assert pending.put(id, *record) == (id not in model)
            model[id] = (0, 0, 0) if bare else record
        else:
            assert pending.remove(id) == (model.pop(id, None) is not None)
    pending.check()
    ids = sorted(model)
    assert len(pending) == len(ids)
    assert pending.last() == (ids[-1] if ids else None)
    assert all(pending.get(id) == model[id] for id in ids)
    assert pending.get(make_id(1000, 1)) is None
    low, high, count = make_id(rng.randint(0, 400), 0), make_id(rng.randint(0, 700), 0), 7
    inside = [id for id in ids if low <= id <= high]
    assert pending.page(low, high, 0) == inside
    assert pending.page(low, high, count) == inside[:count]
    twin = module.PendingList(bare)
    twin.take_copy(pending)
    twin.check()
    twin.put(make_id(5, 5), 1, 1, 1)
    assert len(twin) == len(pending) + 1
    while pending.clear_slice(1):
        pass
    del twin, pending
    assert heap.used() == before
