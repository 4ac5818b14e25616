"""Hash fields that expire: every command, the list of due hashes, active expiry, replay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.node.engine.expiry import ExpiryCycle
from isthmus.node.engine.field_expiry import SHARDS
from isthmus.node.values.hashes import HashValue
from tests.support.store import START_MS, Store

FAR = 10**12


def check_lists(store: Store) -> None:
    """Each database lists exactly its hashes with volatile fields, none with too late a time."""
    for db in store.node.keyspace.databases:
        listed = {key for shard in db.field_expiries.shards for key in shard.keys()}
        assert len(listed) == db.field_expiries.count
        held = {}
        for table in db.slots:
            for key, value in table.items() if table is not None else ():
                if isinstance(value, HashValue) and value.volatile_count:
                    held[key] = min(value.expiries().values())
        assert listed == set(held)
        for key, soonest in held.items():
            assert db.field_expiries.shard_of(key).expiry(key) <= soonest


@pytest.fixture
def checked(either: Store) -> Iterator[Store]:
    """A store whose lists of due hashes are checked at the end as well."""
    yield either
    check_lists(either)


def events(store: Store) -> list[tuple[bytes, bytes]]:
    """The keyspace events since the last call, with the first word of their effects."""
    seen = [(e.argv[0], e.event) for e in store.recorder.effects_seen[store.seen :]]
    store.seen = len(store.recorder.effects_seen)
    return seen


def test_times_are_set_and_read(checked: Store) -> None:
    store = checked
    store("HSET", "h", "a", "1", "b", "2", "c", "3")
    assert store("HEXPIRE", "h", 100, "FIELDS", 3, "a", "b", "missing") == [1, 1, -2]
    assert store("HTTL", "h", "FIELDS", 4, "a", "b", "c", "missing") == [100, 100, -1, -2]
    assert store("HPTTL", "h", "FIELDS", 1, "a") == [100_000]
    assert store("HPEXPIRETIME", "h", "FIELDS", 2, "a", "c") == [START_MS + 100_000, -1]
    assert store("HPEXPIREAT", "h", START_MS + 1, "fields", 1, "c") == [1]
    assert store("HEXPIRETIME", "h", "FIELDS", 1, "c") == [START_MS // 1000 + 1]
    assert store("HEXPIREAT", "h", START_MS // 1000 + 9, "FIELDS", 1, "c") == [1]
    assert store("HTTL", "h", "FIELDS", 1, "c") == [9]
    assert store("HPEXPIRE", "h", 1, "FIELDS", 1, "c") == [1]
    assert store("HTTL", "h", "FIELDS", 1, "c") == [1]
    for word in ("HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"):
        assert store(word, "none", "FIELDS", 2, "a", "b") == [-2, -2]
    assert store("HEXPIRE", "none", 1, "FIELDS", 1, "a") == [-2]


def test_conditions(checked: Store) -> None:
    store = checked
    store("HSET", "h", "new", "1", "old", "2")
    store("HEXPIRE", "h", 100, "FIELDS", 1, "old")
    both = ("FIELDS", 2, "new", "old")
    assert store("HEXPIRE", "h", 50, "XX", "FIELDS", 1, "new") == [0]
    assert store("HEXPIRE", "h", 50, "GT", *both) == [0, 0]
    assert store("HEXPIRE", "h", 100, "LT", "FIELDS", 1, "old") == [0]
    assert store("HEXPIRE", "h", 100, "GT", "FIELDS", 1, "old") == [0]
    assert store("HEXPIRE", "h", 101, "gt", "FIELDS", 1, "old") == [1]
    assert store("HEXPIRE", "h", 60, "LT", *both) == [1, 1]
    assert store("HEXPIRE", "h", 70, "NX", *both) == [0, 0]
    assert store("HEXPIRE", "h", 70, "XX", *both) == [1, 1]
    assert store("HPERSIST", "h", "FIELDS", 2, "new", "old") == [1, 1]
    assert store("HPERSIST", "h", "FIELDS", 2, "new", "none") == [-1, -2]
    assert store("HEXPIRE", "h", 70, "NX", "FIELDS", 2, "new", "new") == [1, 0]


def test_errors(checked: Store) -> None:
    store = checked
    store("SET", "s", "1")
    store("HSET", "h", "f", "1")
    wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    integer = "ERR value is not an integer or out of range"
    negative = "ERR invalid expire time, must be >= 0"
    missing = "ERR Mandatory argument FIELDS is missing or not at the right position"
    mismatch = "ERR The `numfields` parameter must match the number of arguments"
    few = "ERR Parameter `numFields` should be greater than 0"
    positive = "ERR Number of fields must be a positive integer"
    for line, text in (
        ("HEXPIRE s x y z t", wrong),
        ("HEXPIRE h x FIELDS 1 f", integer),
        ("HEXPIRE none x FIELDS 1 f", integer),
        ("HEXPIRE h -1 FIELDS 1 f", negative),
        (f"HEXPIRE h {2**46} FIELDS 1 f", "ERR invalid expire time in 'hexpire' command"),
        (f"HPEXPIREAT h {2**46} FIELDS 1 f", "ERR invalid expire time in 'hpexpireat' command"),
        ("HEXPIRE h 1 FIELD 1 f", missing),
        ("HEXPIRE h 1 NX GT FIELDS 1 f", missing),
        ("HEXPIRE h 1 FIELDS 0 f", few),
        ("HEXPIRE h 1 FIELDS x f", few),
        ("HEXPIRE h 1 FIELDS 2 f", mismatch),
        ("HEXPIRE h 1 FIELDS 1 f g", mismatch),
        ("HEXPIRE h 1 NX FIELDS 1", mismatch),
        ("HEXPIRE h 1 FIELDS 1", "ERR wrong number of arguments for 'hexpire' command"),
        ("HTTL s FIELDS 1 f", wrong),
        ("HTTL h FIELD 1 f", missing),
        ("HTTL none FIELDS 0 f", positive),
        ("HPERSIST h FIELDS -1 f", positive),
        ("HPERSIST h FIELDS 3 f", mismatch),
    ):
        assert store.error(*line.split()) == text, line
    assert store("HPEXPIREAT", "h", 2**46 - 1, "FIELDS", 1, "f") == [1]


def due(store: Store) -> None:
    """A hash with two fields whose time has come and one that stays."""
    store("DEL", "h")
    store("HSET", "h", "x", "1", "y", "2", "stays", "3")
    store("HPEXPIRE", "h", 5, "FIELDS", 2, "x", "y")
    store.advance(5)


def test_expired_fields_are_deleted_by_who_asks_for_them(checked: Store) -> None:
    store = checked
    for line, reply in (
        ("HGET h x", None),
        ("HMGET h x stays y", [None, b"3", None]),
        ("HEXISTS h x", 0),
        ("HSTRLEN h x", 0),
        ("HSETNX h x 9", 1),
        ("HINCRBY h x 7", 7),
        ("HINCRBYFLOAT h x 1.5", b"1.5"),
    ):
        due(store)
        before = store.node.keyspace.expired_fields
        assert store("HLEN", "h") == 3
        assert store.run(line) == reply, line
        assert store.node.keyspace.expired_fields > before, line
    assert store("HTTL", "h", "FIELDS", 1, "x") == [-1]


def test_expired_fields_are_passed_by_in_walks(checked: Store) -> None:
    store = checked
    due(store)
    assert store("HGETALL", "h") in ([b"stays", b"3"], {b"stays": b"3"})
    assert store("HKEYS", "h") == [b"stays"]
    assert store("HVALS", "h") == [b"3"]
    assert store("HSCAN", "h", 0) == [b"0", [b"stays", b"3"]]
    assert store("HSCAN", "h", 0, "NOVALUES") == [b"0", [b"stays"]]
    assert store("HTTL", "h", "FIELDS", 3, "x", "y", "stays") == [-2, -2, -1]
    assert store("HPERSIST", "h", "FIELDS", 1, "x") == [-2]
    assert store("HLEN", "h") == 3


def test_what_revives_and_what_counts_expired_fields(checked: Store) -> None:
    store = checked
    due(store)
    assert store("HSET", "h", "x", "new") == 0
    assert store("HEXPIRE", "h", 10, "FIELDS", 1, "y") == [1]
    assert store("HGET", "h", "y") == b"2"
    due(store)
    assert store("HDEL", "h", "x", "y") == 2


def test_writing_takes_the_expiry_away_and_counting_keeps_it(checked: Store) -> None:
    store = checked
    store("HSET", "h", "a", "1", "b", "2", "c", "3")
    store("HEXPIRE", "h", 100, "FIELDS", 3, "a", "b", "c")
    assert store("HSET", "h", "a", "1") == 0
    assert store("HINCRBY", "h", "b", 1) == 3
    assert store("HINCRBYFLOAT", "h", "c", "0.5") == b"3.5"
    assert store("HTTL", "h", "FIELDS", 3, "a", "b", "c") == [-1, 100, 100]


def test_a_time_that_has_passed_deletes(checked: Store) -> None:
    store = checked
    store("HSET", "h", "a", "1", "b", "2")
    assert store("HPEXPIRE", "h", 0, "FIELDS", 2, "a", "a") == [2, -2]
    assert store("HEXPIREAT", "h", 1, "GT", "FIELDS", 1, "b") == [0]
    assert store("HEXPIREAT", "h", 1, "LT", "FIELDS", 1, "b") == [2]
    assert store("EXISTS", "h") == 0
    assert store.node.keyspace.expired_fields == 2


def test_events(checked: Store) -> None:
    store = checked
    store.seen = 0
    store("HSET", "h", "a", "1", "b", "2")
    store("HPEXPIRE", "h", 5, "FIELDS", 1, "a")
    store("HPERSIST", "h", "FIELDS", 1, "a")
    assert events(store) == [
        (b"HSET", b"hset"), (b"HPEXPIREAT", b"hexpire"), (b"HPERSIST", b"hpersist")
    ]  # fmt: skip
    store("HPEXPIRE", "h", 5, "NX", "FIELDS", 2, "a", "b")
    store.advance(5)
    store("HMGET", "h", "a", "b", "b")
    # The hash goes with its last field, which takes no effect of its own.
    assert events(store) == [(b"HPEXPIREAT", b"hexpire"), (b"HDEL", b"hexpired")]
    assert store("EXISTS", "h") == 0
    store("HSET", "h", "a", "1")
    store("HPEXPIRE", "h", 0, "FIELDS", 1, "a")
    assert events(store) == [(b"HSET", b"hset"), (b"HDEL", b"hdel")]
    assert store("EXISTS", "h") == 0


@pytest.mark.parametrize("fields", [3, 2000])
def test_draws_delete_what_has_expired(checked: Store, fields: int) -> None:
    store = checked
    store("HSET", "h", *(word for n in range(fields) for word in (n, "v")))
    store("HPEXPIRE", "h", 5, "FIELDS", fields - 1, *range(fields - 1))
    store.advance(5)
    assert store("HLEN", "h") == fields
    assert store("HRANDFIELD", "h", 5) == [b"%d" % (fields - 1)]
    assert store("HRANDFIELD", "h", -3) == [b"%d" % (fields - 1)] * 3
    assert store("HLEN", "h") == 1
    store("HPEXPIRE", "h", 5, "FIELDS", 1, fields - 1)
    store.advance(5)
    assert store("HRANDFIELD", "h", 2) == []
    assert store("HRANDFIELD", "h") is None
    assert store("EXISTS", "h") == 0


def test_encoding(checked: Store) -> None:
    store = checked
    store("HSET", "h", "a", "1")
    assert store("OBJECT", "ENCODING", "h") == b"listpack"
    store("HEXPIRE", "h", 100, "FIELDS", 1, "a")
    assert store("OBJECT", "ENCODING", "h") == b"listpackex"
    store("HPERSIST", "h", "FIELDS", 1, "a")
    assert store("OBJECT", "ENCODING", "h") == b"listpackex"
    store("HSET", "h", "a", "v" * 65)
    assert store("OBJECT", "ENCODING", "h") == b"hashtable"


def test_hashes_are_found_wherever_they_go(checked: Store) -> None:
    store = checked
    cycle = ExpiryCycle(store.node.keyspace)
    for name in ("stays", "renamed", "copied", "moved", "swapped", "replaced", "set", "deleted"):
        store("HSET", name, "a", "1", "b", "2")
        store("HPEXPIRE", name, 5, "FIELDS", 1, "a")
        check_lists(store)
    for line in (
        "RENAME renamed other", "COPY copied copy", "COPY copied copy DB 3", "MOVE moved 1",
        "RENAME replaced stays", "SET set 1", "DEL deleted", "HSET plain a 1", "SWAPDB 0 2",
        "SELECT 2", "SETRANGE x 0 1", "RENAME plain swapped", "COPY stays again", "SELECT 0",
    ):  # fmt: skip
        store.run(line)
        check_lists(store)
    counts = [db.field_expiries.count for db in store.node.keyspace.databases]
    assert counts[:4] == [0, 1, 5, 1]
    store.advance(5)
    assert not cycle.step(10**9)
    assert not any(db.field_expiries.count for db in store.node.keyspace.databases)
    store("SELECT", 2)
    assert store("HGETALL", "other") in ([b"b", b"2"], {b"b": b"2"})
    assert store.node.keyspace.expired_fields == 7
    store("HPEXPIRE", "other", 5, "FIELDS", 1, "b")
    store("FLUSHDB")


def test_active_expiry_works_in_slices(checked: Store) -> None:
    store = checked
    cycle = ExpiryCycle(store.node.keyspace)
    for i in range(300):
        store("HSET", "big", i, i)
        store("HPEXPIRE", "big", 10 + i // 100, "FIELDS", 1, i)
        store("HSET", f"h{i}", "f", 1)
        store("HPEXPIRE", f"h{i}", 10 + i // 100, "FIELDS", 1, "f")
    assert not cycle.step(10**9)
    assert store("DBSIZE") == 301
    store.advance(10)
    steps = 0
    # With no time at all a cycle still does something, and what it leaves is found again.
    while cycle.step(-2):
        steps += 1
        check_lists(store)
        assert steps < 2 * SHARDS
    assert steps > 1
    assert store("DBSIZE") == 201
    assert store("HLEN", "big") == 200
    store.node.keyspace.active_expiry = False
    store.advance(10)
    cycle.step(10**9)
    assert store("DBSIZE") == 201
    store.node.keyspace.active_expiry = True
    cycle.step(10**9)
    assert store("DBSIZE") == 0
    assert store.node.keyspace.expired_fields == 600


def test_the_key_itself_may_expire_first(checked: Store) -> None:
    store = checked
    store("HSET", "h", "a", "1")
    store("HPEXPIRE", "h", 20, "FIELDS", 1, "a")
    store("PEXPIRE", "h", 10)
    store.advance(30)
    cycle = ExpiryCycle(store.node.keyspace)
    cycle.step(10**9)
    assert store("DBSIZE") == 0
    assert store.node.keyspace.expired_fields == 0
    assert store.node.keyspace.expired_keys == 1


def test_transactions_see_fields_expire(checked: Store) -> None:
    store = checked
    store("HSET", "h", "a", "1", "b", "1")
    store("HPEXPIRE", "h", 5, "FIELDS", 1, "a")
    store("WATCH", "h")
    store.advance(5)
    ExpiryCycle(store.node.keyspace).step(10**9)
    store("MULTI")
    store("HGET", "h", "b")
    assert store("EXEC") is None
