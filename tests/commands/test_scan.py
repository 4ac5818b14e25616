"""SCAN: everything is seen, whatever happens meanwhile, with bounded work for each call."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.wire.slots import key_slot
from tests.support.store import Store


def walk(store: Store, *options: object) -> list[bytes]:
    """A whole walk; asserts that it ends."""
    found: list[bytes] = []
    cursor = b"0"
    for _ in range(100_000):
        cursor, keys = store("SCAN", cursor, *options)
        found += keys
        if cursor == b"0":
            return found
    raise AssertionError("no end")


def test_an_empty_database(either: Store) -> None:
    assert either("SCAN", "0") == [b"0", []]


@pytest.mark.parametrize("count", [1, 7, 10, 1000])
def test_every_key_once_while_nothing_changes(store: Store, count: int) -> None:
    names = {f"k{n}".encode() for n in range(300)}
    store("MSET", *(word for name in names for word in (name, "v")))
    found = walk(store, "COUNT", count)
    assert len(found) == len(names)
    assert set(found) == names


def test_one_slot_with_many_keys(store: Store) -> None:
    for n in range(500):
        store("SET", f"{{tag}}{n}", n)
    cursor, keys = store("SCAN", "0", "COUNT", 20)
    assert 20 <= len(keys) < 60
    assert int(cursor) & 0x3FFF == key_slot(b"tag"), "the slot is in the low 14 bits"
    assert len(walk(store, "COUNT", 20)) == 500


def test_a_call_is_bounded_by_buckets_too(store: Store) -> None:
    for n in range(3000):
        store("SET", f"{{tag}}{n}", n)
    for n in range(2990):
        store("DEL", f"{{tag}}{n}")
    cursor, keys = store("SCAN", "0", "COUNT", 1)
    assert len(keys) <= 10
    assert set(walk(store, "COUNT", 1)) == {b"{tag}%d" % n for n in range(2990, 3000)}


def test_filters(store: Store) -> None:
    store.run("MSET a1 v a2 v b1 v")
    store.run("RPUSH l1 x")
    store.run("SET gone v PX 1")
    store.advance(1)
    assert sorted(walk(store, "MATCH", "a*")) == [b"a1", b"a2"]
    assert sorted(walk(store, "MATCH", "*")) == [b"a1", b"a2", b"b1", b"l1"]
    assert walk(store, "TYPE", "LIST") == [b"l1"]
    assert sorted(walk(store, "TYPE", "string", "MATCH", "*1", "COUNT", 1)) == [b"a1", b"b1"]
    assert walk(store, "TYPE", "nope") == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("x", "ERR invalid cursor"), ("18446744073709551616", "ERR invalid cursor"),
        ("0x1", "ERR invalid cursor"), ("1.0", "ERR invalid cursor"),
        ("0 COUNT 0", "ERR syntax error"), ("0 COUNT -5", "ERR syntax error"),
        ("0 COUNT x", "ERR value is not an integer or out of range"),
        ("0 MATCH", "ERR syntax error"), ("0 FOO bar", "ERR syntax error"),
    ],
)  # fmt: skip
def test_errors(store: Store, words: str, text: str) -> None:
    assert store.error("SCAN", *words.split()) == text


def test_the_largest_count(store: Store) -> None:
    store.run("MSET a 1 b 2")
    assert len(store("SCAN", "0", "COUNT", 2**63 - 1)[1]) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**64 - 1))
def test_any_number_is_a_cursor(cursor: int) -> None:
    store = Store()
    store("MSET", *(word for n in range(40) for word in (f"{{t}}{n}", "v")))
    following, _ = store("SCAN", cursor)
    assert 0 <= int(following) < 2**64


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["{t}", ""]), st.integers(1, 30))
def test_a_key_that_stays_is_seen(rng: random.Random, prefix: str, count: int) -> None:
    store = Store()
    stay = {f"{prefix}s{n}".encode() for n in range(40)}
    store("MSET", *(word for name in stay for word in (name, "v")))
    seen: set[bytes] = set()
    cursor, turn = b"0", 0
    while True:
        cursor, keys = store("SCAN", cursor, "COUNT", count)
        seen.update(keys)
        if cursor == b"0":
            break
        turn += 1
        if turn < 20:
            # Tables grow and shrink under the walk.
            names = [f"{prefix}x{n}" for n in range(rng.randrange(60))]
            word = rng.choice(["MSET", "DEL"])
            if names:
                store(
                    word, *([w for name in names for w in (name, "v")] if word == "MSET" else names)
                )
    assert stay <= seen
