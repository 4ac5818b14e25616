"""Hash values: encoding, copies, effects as they are recorded, replay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.node.engine.effect import apply
from isthmus.node.values.hashes import HashValue
from tests.support.store import Store

HASHTABLE, LISTPACK = b"hashtable", b"listpack"


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.check_replay()
    made.check_snapshot()


def value_at(store: Store, key: bytes) -> HashValue:
    value: HashValue = store.node.keyspace.databases[0].peek(key)
    return value


def test_encoding_goes_by_the_number_of_fields_and_never_back(store: Store) -> None:
    for n in range(512):
        store("HSET", "h", n, n)
    assert value_at(store, b"h").encoding() == LISTPACK
    store("HSET", "h", 0, "changed")
    assert value_at(store, b"h").encoding() == LISTPACK
    store("HSET", "h", "one more", 1)
    assert value_at(store, b"h").encoding() == HASHTABLE
    store("HDEL", "h", *range(100))
    assert value_at(store, b"h").encoding() == HASHTABLE


@pytest.mark.parametrize("args", [("f" * 65, "v"), ("f", "v" * 65)])
def test_encoding_goes_by_the_longest_text(store: Store, args: tuple[str, str]) -> None:
    store("HSET", "h", "f" * 64, "v" * 64)
    assert value_at(store, b"h").encoding() == LISTPACK
    store("HSET", "h", *args)
    assert value_at(store, b"h").encoding() == HASHTABLE


def test_encoding_follows_the_configuration() -> None:
    store = Store(hash_max_listpack_entries="1", hash_max_listpack_value="3")
    store("HSET", "h", "a", "abc")
    assert value_at(store, b"h").encoding() == LISTPACK
    store("HINCRBY", "h", "a1", 1)
    assert value_at(store, b"h").encoding() == HASHTABLE
    store("HINCRBYFLOAT", "g", "a", "0.125")
    assert value_at(store, b"g").encoding() == HASHTABLE


def test_a_copy_shares_nothing() -> None:
    value = HashValue()
    value.write(b"f", b"v" * 2000)
    value.fit(128, 64)
    twin = value.copy()
    assert twin.plain() == value.plain() == {b"f": b"v" * 2000}
    assert twin.encoding() == value.encoding() == HASHTABLE
    twin.write(b"f", b"w")
    assert value.plain() == {b"f": b"v" * 2000}
    assert value.kind == b"hash" and len(value) == 1
    assert value.clear_slice(10) == 0


def test_effects_are_canonical(store: Store) -> None:
    db = store.node.keyspace.databases[0]
    store("hset", "h", "a", 1, "b", 2)
    store("HSETNX", "h", "a", 9)
    store("HINCRBY", "h", "a", -3)
    store("HINCRBYFLOAT", "h", "b", "1.50")
    store("HDEL", "h", "a", "nothing", "a")
    store("HDEL", "h", "nothing")
    store("HDEL", "h", "b")
    expected = [
        ([b"HSET", b"h", b"a", b"1", b"b", b"2"], b"hset"),
        ([b"HINCRBY", b"h", b"a", b"-3"], b"hincrby"),
        ([b"HSET", b"h", b"b", b"3.5"], b"hincrbyfloat"),
        ([b"HDEL", b"h", b"a"], b"hdel"),
        ([b"HDEL", b"h", b"b"], b"hdel"),
    ]
    assert [(e.argv, e.event) for e in store.recorder.effects_seen] == expected
    assert db.size == 0


def test_replay_passes_over_what_has_expired() -> None:
    store = Store()
    apply(store.node.keyspace, 0, [b"HDEL", b"gone", b"f"])
    apply(store.node.keyspace, 0, [b"HINCRBY", b"h", b"n", b"5"])
    apply(store.node.keyspace, 0, [b"HSET", b"h", b"long", b"v" * 65])
    assert value_at(store, b"h").plain() == {b"n": b"5", b"long": b"v" * 65}
    assert value_at(store, b"h").encoding() == HASHTABLE
