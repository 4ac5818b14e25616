"""Expiry: setting it in four units, its conditions, reading it, overflow, active expiry."""

from __future__ import annotations

import pytest

from isthmus.node.engine.effect_log import LOCAL, REMOTE
from isthmus.node.engine.expiry import ExpiryCycle
from tests.support.store import START_MS, Store

SECONDS = START_MS // 1000


@pytest.mark.parametrize(
    "line",
    [
        "EXPIRE k 10",
        "PEXPIRE k 10000",
        f"EXPIREAT k {SECONDS + 10}",
        f"PEXPIREAT k {START_MS + 10000}",
    ],
)
def test_set_and_read(store: Store, line: str) -> None:
    assert store.run(line) == 0, "no such key"
    store.run("SET k v")
    assert store.run("TTL k") == store.run("PTTL k") == store.run("EXPIRETIME k") == -1
    assert store.run(line) == 1
    assert (store.run("TTL k"), store.run("PTTL k")) == (10, 10_000)
    assert (store.run("EXPIRETIME k"), store.run("PEXPIRETIME k")) == (
        SECONDS + 10,
        START_MS + 10_000,
    )
    store.advance(9_400)
    assert store.run("TTL k") == 1, "rounded to the nearest"
    store.advance(600)
    assert store.run("TTL k") == store.run("EXPIRETIME k") == -2
    assert store.run("DBSIZE") == 0


@pytest.mark.parametrize(
    "line",
    ["EXPIRE k 0", "EXPIRE k -1", "PEXPIRE k -9223372036854775808", "EXPIREAT k 1",
     "PEXPIREAT k -5", f"PEXPIREAT k {START_MS}", "EXPIRE k -9223372036854775"],
)  # fmt: skip
def test_a_time_that_has_passed_deletes_at_once(store: Store, line: str) -> None:
    store.run("SET k v")
    assert store.run(line) == 1
    assert store.run("DBSIZE") == 0
    assert store.recorder.effects_seen[-1].argv == [b"DEL", b"k"]


@pytest.mark.parametrize(
    "line",
    ["EXPIRE k 9223372036854775807", "EXPIRE k 9223372036854775", "EXPIRE k 9223372036854776",
     "EXPIRE k -9223372036854776", "PEXPIRE k 9223372036854775807",
     "EXPIREAT k 9223372036854775807"],
)  # fmt: skip
def test_overflow(store: Store, line: str) -> None:
    name = line.split()[0].lower()
    assert store.error(*line.split()) == f"ERR invalid expire time in '{name}' command"


def test_the_farthest_time(store: Store) -> None:
    store.run("SET k v")
    assert store.run("PEXPIREAT k 9223372036854775807") == 1
    assert store.run("PEXPIRETIME k") == 2**63 - 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("x", "ERR value is not an integer or out of range"),
        ("x foo", "ERR Unsupported option foo"),
        ("1 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("1 lt nx", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("1 GT LT", "ERR GT and LT options at the same time are not compatible"),
    ],
)
def test_errors(store: Store, words: str, text: str) -> None:
    assert store.error("EXPIRE", "k", *words.split()) == text


@pytest.mark.parametrize(
    ("current", "seconds", "condition", "answer"),
    [
        (None, 10, "NX", 1), (5, 10, "NX", 0), (None, 10, "XX", 0), (5, 10, "XX", 1),
        (None, 10, "GT", 0), (5, 10, "GT", 1), (10, 10, "GT", 0), (10, 5, "GT", 0),
        (None, 10, "LT", 1), (5, 10, "LT", 0), (10, 10, "LT", 0), (10, 5, "LT", 1),
        (None, 10, "XX LT", 0), (10, 5, "xx lt", 1), (5, 10, "XX GT", 1), (5, -1, "GT", 0),
        (5, -1, "LT", 1), (5, 10, "GT GT", 1),
    ],
)  # fmt: skip
def test_conditions(
    store: Store, current: int | None, seconds: int, condition: str, answer: int
) -> None:
    store.run("SET k v" if current is None else f"SET k v EX {current}")
    assert store.run(f"EXPIRE k {seconds} {condition}") == answer


def test_persist(store: Store) -> None:
    store.run("SET k v EX 10")
    assert store.run("PERSIST k") == 1
    assert store.run("PERSIST k") == 0
    assert store.run("PERSIST nope") == 0
    assert store.run("TTL k") == -1


# -- active expiry --------------------------------------------------------------------------------

HOUR_NS = 3600 * 10**9
HOUR_MS = 3600 * 10**3


def test_active_expiry_begins_when_something_is_due(store: Store) -> None:
    db = store.node.keyspace.databases[0]
    cycle = ExpiryCycle(store.node.keyspace)
    for n in range(10):
        store("SET", f"k{n}", "v", "PX", 1000 + n)
    assert not cycle.step(HOUR_NS)
    assert db.due_hint == store.clock.now_ms + 1000
    store("PEXPIRE", "k9", 10)
    assert db.due_hint == store.clock.now_ms + 10
    store.advance(10)
    assert not cycle.step(HOUR_NS)
    assert (db.size, db.due_hint) == (9, store.clock.now_ms + 990)
    store("PERSIST", "k0")
    store.advance(990 + 4)
    assert not cycle.step(HOUR_NS)
    assert db.size == 5
    store.advance(10)
    assert not cycle.step(HOUR_NS)
    assert (db.size, db.volatile_slots) == (1, set())
    store.advance(HOUR_MS)
    assert not cycle.step(HOUR_NS)
    assert store("GET", "k0") == b"v"


def test_active_expiry_goes_on_where_its_time_ran_out(store: Store) -> None:
    db = store.node.keyspace.databases[0]
    cycle = ExpiryCycle(store.node.keyspace)
    for n in range(300):
        store("SET", f"k{n}", "v", "PX", 50 if n % 3 == 0 else 1000)
    store.advance(50)
    steps = 0
    while cycle.step(-1):
        steps += 1
        if steps == 20:
            # In a slot that was looked at already, or not: it is found.
            for n in range(300):
                store("PEXPIRE", f"k{n}", 60)
    assert steps > 20
    assert db.size == 200
    store.advance(60)
    while cycle.step(-1):
        pass
    assert (db.size, db.volatile_slots) == (0, set())


def test_active_expiry_finds_keys_that_changed_places(store: Store) -> None:
    cycle = ExpiryCycle(store.node.keyspace)
    store("SET", "soon", "v", "PX", 50)
    assert not cycle.step(HOUR_NS)
    store("SELECT", 1)
    store("SET", "late", "v", "PX", 500)
    assert not cycle.step(HOUR_NS)
    store("SWAPDB", 0, 1)
    store.advance(50)
    assert not cycle.step(HOUR_NS)
    assert [db.size for db in store.node.keyspace.databases][:2] == [1, 0]
    store("FLUSHALL")
    store("SET", "after", "v", "PX", 5)
    store.advance(5)
    assert not cycle.step(HOUR_NS)
    assert store.node.keyspace.databases[1].size == 0


def test_a_replica_removes_what_its_own_clients_let_expire(store: Store) -> None:
    keyspace = store.node.keyspace
    db = keyspace.databases[0]
    cycle = ExpiryCycle(keyspace)
    keyspace.follows = True
    keyspace.log.origin = REMOTE
    store("SET", "theirs", "v", "PX", 10)
    keyspace.log.origin = LOCAL
    store("SET", "mine", "v", "PX", 10)
    store("SET", "later", "v")
    store("PEXPIRE", "later", 20)
    store("SET", "kept", "v", "PX", 10)
    store("PERSIST", "kept")
    cycle.step(HOUR_NS)
    assert (db.size, len(keyspace.own_volatile)) == (4, 2)
    store.advance(10)
    cycle.step(HOUR_NS)
    assert keyspace.expired_keys == 1
    assert db.holds(b"theirs", True) and not db.holds(b"mine", False)
    store.advance(10)
    cycle.step(HOUR_NS)
    assert keyspace.expired_keys == 2
    assert not keyspace.own_volatile
    store("SET", "mine", "v", "PX", 10)
    store("FLUSHALL")
    assert not keyspace.own_volatile
    keyspace.follows = False
