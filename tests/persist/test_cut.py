"""The cut against commands of every kind that run while it is taken."""

from __future__ import annotations

import random

import pytest

from isthmus.node.engine.clock import Clock
from isthmus.node.engine.context import GATE_CUT
from isthmus.node.engine.effect import apply
from isthmus.node.engine.keyspace import Keyspace
from isthmus.node.engine.rng import Rng
from isthmus.node.persist.cut import Cut
from isthmus.node.persist.snapshot_format import end_mark, header
from isthmus.node.values.lists import ListValue
from tests.persist.cutting import Cutting, Mirrored, empty, loaded_from, make_tiny
from tests.support.pace import examples
from tests.support.store import START_MS, Store, contents

SEEDS = examples(30)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_cut_is_what_was_there(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    Cutting(seed).run_all(40, 50)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_cut_that_is_given_up(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    Cutting(seed + 1000, cancel=True).run_all(40, 50)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_the_cut_of_a_replica(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    Mirrored(seed + 2000).run_all(40, 50)


def finished(cut: Cut) -> bytes:
    """All that is left of a cut, as a file."""
    while cut.step(0):
        pass
    return header([]) + cut.out.take() + end_mark() + bytes(8)


def test_effects_of_subcommands_ask_the_cut() -> None:
    keyspace = Keyspace(Clock(START_MS), Rng(1))
    apply(keyspace, 0, [b"XADD", b"s", b"1-1", b"f", b"v"])
    expected = contents(keyspace)
    cut = Cut(keyspace)
    cut.begin()
    apply(keyspace, 0, [b"XGROUP", b"CREATE", b"s", b"g", b"0-0", b"ENTRIESREAD", b"0"])
    assert loaded_from(finished(cut)) == expected


@pytest.mark.parametrize("when", ["before", "in it", "behind"])
def test_a_flushed_database_is_freed_in_slices(when: str) -> None:
    keyspace = Keyspace(Clock(START_MS), Rng(1))
    for db in (0, 1):
        for number in range(300):
            apply(keyspace, db, [b"SET", b"k%d" % number, b"v"])
    expected = contents(keyspace)
    cut = Cut(keyspace)
    cut.begin()
    while (when == "in it" and not cut.sources[0].slot) or (when == "behind" and not cut.walking):
        cut.advance()
    apply(keyspace, 0, [b"FLUSHDB"])
    apply(keyspace, 0, [b"SET", b"k1", b"other"])
    assert loaded_from(finished(cut)) == expected
    assert sum(map(len, keyspace.garbage)) == 300
    empty(keyspace)


def test_ending_a_cut_again_leaves_the_next_alone() -> None:
    store = Store()
    store("SET", "a", 1)
    first = Cut(store.node.keyspace, on_finished=lambda: ended.append(1))
    ended: list[int] = []
    first.begin()
    first.end()
    second = Cut(store.node.keyspace)
    second.begin()
    first.end()
    assert not first.step(0) and ended == [1]
    assert store.node.keyspace.cut is second
    store("SET", "a", 2)
    assert loaded_from(finished(second)) == {(0, b"a"): (b"1", -1)}


def filled(size: int) -> Store:
    """Strings, and lists that are big values, of about a hundred bytes an element."""
    store = Store()
    for number in range(size):
        store("SET", f"k{number}", f"{number}" * 25)
    for number in range(4):
        store("RPUSH", f"l{number}", *("x" * 100 for _ in range(5000)))
    return store


def test_what_waits_stays_small_while_everything_is_overwritten() -> None:
    """A taker who keeps pace needs no more than a piece; values that were replaced are counted."""
    store = filled(3000)
    keyspace = store.node.keyspace
    expected = contents(keyspace)
    cut = Cut(keyspace, compress=False)
    cut.begin()
    data, peak, kept, more, number = [header([])], 0, 0, True, 0
    for number in range(4):
        store("DEL", f"l{number}")
    while more:
        store("SET", f"k{number % 3000}", "new")
        number += 1
        more = cut.step(0)
        peak, kept = max(peak, cut.pending_bytes()), max(kept, cut.kept_bytes)
        data.append(cut.out.take())
    assert peak < 100_000
    assert 4 * 5000 * 100 < kept < 4 * 5000 * 200 and cut.kept_bytes == 0
    assert loaded_from(b"".join(data) + end_mark() + bytes(8)) == expected
    assert [type(value) for value in keyspace.garbage].count(ListValue) == 4


def test_a_cut_that_nobody_takes_fails_and_harms_nothing() -> None:
    store = filled(10)
    cut = Cut(store.node.keyspace, compress=False, pending_bytes_max=100_000)
    cut.begin()
    before = contents(store.node.keyspace)
    while cut.step(0):
        pass
    assert "more than 100000 bytes wait to be written" in cut.failure
    assert cut.pending_bytes() < 400_000
    assert store.node.keyspace.cut is None and contents(store.node.keyspace) == before
    store("APPEND", "k1", "x")


@pytest.mark.parametrize("key", ["k{}", "{{t}}k{}"])
def test_a_taker_who_stands_still_costs_no_memory(key: str) -> None:
    """Nobody calls step while he waits for the disk, or for a client: commands go on."""
    store = Store()
    for number in range(2000):
        store("SET", key.format(number), f"{number}" * 100)
    store("RPUSH", "big", *range(5000))
    cut = Cut(store.node.keyspace, compress=False, pending_bytes_max=50_000)
    cut.begin()
    peak = 0
    for number in range(2000):
        store("SET", key.format(number), "new")
        peak = max(peak, cut.pending_bytes())
    assert 40_000 < peak < 51_000 and cut.failure and cut.finished
    assert store.node.keyspace.cut is None and not cut.step(0)
    assert store("RPUSH", "big", 1) == 5001


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_cut_that_fails_in_the_middle(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch, random.Random(seed))
    run = Cutting(seed + 3000)
    run.pending_bytes_max = 150
    run.run_all(40, 50)


@pytest.mark.parametrize("request_", [("DEL", "l0", "l1", "l2", "l3"), ("FLUSHALL",)])
def test_what_the_cut_keeps_does_not_count_against_maxmemory(request_: tuple[str, ...]) -> None:
    """Else each value that is evicted would be kept, and all would be evicted for nothing."""
    store = filled(100)
    store("CONFIG", "SET", "maxmemory", "100mb")
    keyspace, memory = store.node.keyspace, store.node.memory
    cut = Cut(keyspace)
    cut.begin()
    while not cut.queue or cut.walking < len(cut.sources):
        cut.advance()
    before = memory.excess()
    store(*request_)
    assert before - memory.excess() > 4 * 5000 * 100
    while cut.step(0):
        cut.out.take()
    assert before - memory.excess() > 4 * 5000 * 100 and cut.kept_bytes == 0
    empty(keyspace)
    assert before - memory.excess() > 4 * 5000 * 100


def test_a_command_that_reads_and_notes_its_result() -> None:
    store = Store()
    store("PFADD", "h", "a", "b")
    expected = contents(store.node.keyspace)
    cut = Cut(store.node.keyspace)
    cut.begin()
    store.node.ctx.gates |= GATE_CUT
    store("PFCOUNT", "h")
    assert contents(store.node.keyspace) != expected
    assert loaded_from(finished(cut)) == expected
