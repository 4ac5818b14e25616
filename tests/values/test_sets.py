"""Set values: encoding, algebra, draws, copies, effects as they are recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.engine.effect import apply
from isthmus.node.engine.rng import Rng
from isthmus.node.values import sets
from isthmus.node.values.draws import distinct_keys
from isthmus.node.values.sets import SetValue, difference, intersection, is_integer, union
from tests.support.store import Store

INTSET, LISTPACK, HASHTABLE = b"intset", b"listpack", b"hashtable"


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.check_replay()
    made.check_snapshot()


def made_of(members: set[bytes]) -> SetValue:
    value = SetValue()
    for member in members:
        value.insert_member(member)
    return value


def encoding_at(store: Store, key: bytes) -> bytes:
    found: bytes = store.node.keyspace.databases[0].peek(key).encoding()
    return found


@pytest.mark.parametrize("text", [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808"])
def test_numbers(text: bytes) -> None:
    assert is_integer(text)


@pytest.mark.parametrize(
    "text", [b"", b"-", b"-0", b"01", b"+1", b" 1", b"1.0", b"9223372036854775808", b"1" * 30, b"a"]
)
def test_no_numbers(text: bytes) -> None:
    assert not is_integer(text)


def test_an_intset_grows_into_a_hashtable(store: Store) -> None:
    store("SADD", "s", *range(512))
    assert encoding_at(store, b"s") == INTSET
    store("SADD", "s", 5)
    assert encoding_at(store, b"s") == INTSET
    store("SADD", "s", 512)
    assert encoding_at(store, b"s") == HASHTABLE
    store("SREM", "s", *range(500))
    assert encoding_at(store, b"s") == HASHTABLE


def test_a_text_makes_a_small_intset_a_listpack_and_a_large_one_a_hashtable(store: Store) -> None:
    store("SADD", "s", *range(127), "x")
    assert encoding_at(store, b"s") == LISTPACK
    store("SREM", "s", "x")
    assert encoding_at(store, b"s") == LISTPACK
    store("SADD", "t", *range(128))
    assert encoding_at(store, b"t") == INTSET
    store("SADD", "t", "x")
    assert encoding_at(store, b"t") == HASHTABLE


def test_a_long_member_makes_a_hashtable(store: Store) -> None:
    store("SADD", "s", "m" * 64)
    assert encoding_at(store, b"s") == LISTPACK
    store("SADD", "s", "m" * 65)
    assert encoding_at(store, b"s") == HASHTABLE


def test_a_stored_result_has_the_encoding_of_its_members(store: Store) -> None:
    store("SADD", "a", *range(600))
    store("SADD", "b", *range(10))
    store("SINTERSTORE", "to", "a", "b")
    assert encoding_at(store, b"to") == INTSET
    store("SADD", "c", "text")
    store("SUNIONSTORE", "to", "b", "c")
    assert encoding_at(store, b"to") == LISTPACK


def test_encoding_follows_the_configuration() -> None:
    store = Store(set_max_intset_entries="1", set_max_listpack_entries="1")
    store("SADD", "s", "1", "2")
    assert encoding_at(store, b"s") == HASHTABLE
    store("SADD", "t", "x")
    assert encoding_at(store, b"t") == LISTPACK
    store("SADD", "t", "y")
    assert encoding_at(store, b"t") == HASHTABLE


members = st.sets(st.integers(0, 12).map(lambda n: b"%d" % n), max_size=12)


@settings(max_examples=40, deadline=None)
@given(operands=st.lists(st.none() | members, min_size=1, max_size=4), limit=st.integers(0, 5))
def test_algebra(operands: list[set[bytes] | None], limit: int) -> None:
    values = [None if one is None else made_of(one) for one in operands]
    first, *rest = (one or set() for one in operands)
    for found, expected in (
        (union(values), first.union(*rest)),
        (difference(values), first.difference(*rest)),
        (intersection(values, 0), first.intersection(*rest)),
    ):
        assert len(found) == len(set(found))
        assert set(found) == expected
    some = intersection(values, limit)
    common = first.intersection(*rest)
    assert set(some) <= common
    assert len(some) == (min(limit, len(common)) if limit else len(common))


@pytest.mark.parametrize(("size", "count"), [(4, 2), (8, 2)])
def test_every_subset_has_the_same_chance(size: int, count: int) -> None:
    value, rng = made_of({b"%d" % n for n in range(size)}), Rng(3)
    subsets = list(combinations(sorted(value.plain()), count))
    seen = Counter(tuple(sorted(distinct_keys(value, count, rng))) for _ in range(4000))
    expected = 4000 / len(subsets)
    assert set(seen) == set(subsets)
    chi_square = sum((seen[subset] - expected) ** 2 / expected for subset in subsets)
    # The order of the members differs from run to run, hence a wide margin.
    assert chi_square < len(subsets) + 7 * (2 * len(subsets)) ** 0.5


def test_draws_of_more_than_there_is() -> None:
    value = made_of({b"a", b"b", b"c"})
    assert sorted(distinct_keys(value, 10, Rng(1))) == [b"a", b"b", b"c"]
    assert distinct_keys(value, 0, Rng(1)) == []
    assert distinct_keys(SetValue(), 1, Rng(1)) == []


def test_a_copy_shares_nothing() -> None:
    value = made_of({b"1", b"x"})
    value.fit_default()
    twin = value.copy()
    assert twin.plain() == {b"1", b"x"} and twin.encoding() == LISTPACK
    twin.discard(b"x")
    assert value.plain() == {b"1", b"x"}
    assert value.kind == b"set" and len(value) == 2


def test_effects_are_canonical(store: Store) -> None:
    store("sadd", "s", "a", "b")
    store("SADD", "s", "a")
    store("SREM", "s", "a", "nothing", "a")
    store("SMOVE", "s", "t", "b")
    store("SPOP", "t")
    store("SADD", "u", "a", "b")
    store("SPOP", "u", 5)
    store("SUNIONSTORE", "u", "s", "t")
    store("SADD", "u", "x")
    store("SUNIONSTORE", "u", "u")
    store("SINTERSTORE", "u", "nothing")
    assert [(e.argv, e.event) for e in store.recorder.effects_seen] == [
        ([b"SADD", b"s", b"a", b"b"], b"sadd"),
        ([b"SREM", b"s", b"a"], b"srem"),
        ([b"SREM", b"s", b"b"], b"srem"),
        ([b"SADD", b"t", b"b"], b"sadd"),
        ([b"SREM", b"t", b"b"], b"spop"),
        ([b"SADD", b"u", b"a", b"b"], b"sadd"),
        ([b"DEL", b"u"], b"spop"),
        ([b"SADD", b"u", b"x"], b"sadd"),
        ([b"DEL", b"u"], b""),
        ([b"SADD", b"u", b"x"], b"sunionstore"),
        ([b"DEL", b"u"], b"del"),
    ]


def test_effects_of_many_members_are_cut(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "EFFECT_MEMBERS_MAX", 3)
    store("SADD", "s", *range(7))
    store.recorder.effects_seen.clear()
    store("SUNIONSTORE", "s", "s")
    seen = [(e.argv[0], len(e.argv) - 2, e.event) for e in store.recorder.effects_seen]
    assert seen == [
        (b"DEL", 0, b""), (b"SADD", 3, b""), (b"SADD", 3, b""), (b"SADD", 1, b"sunionstore"),
    ]  # fmt: skip


def test_replay_passes_over_what_has_expired() -> None:
    store = Store()
    apply(store.node.keyspace, 0, [b"SREM", b"gone", b"m"])
    assert store("SCARD", "gone") == 0
