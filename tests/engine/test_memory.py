"""Memory: what is counted, that a limit holds, who is evicted, and what is refused."""

from __future__ import annotations

import gc

import pytest

from isthmus.node.engine import access, heap
from isthmus.node.engine.effect import apply
from isthmus.node.engine.keyspace import SLOTS_BYTES, Keyspace
from isthmus.node.engine.memory import LATE_EVICTIONS
from isthmus.node.engine.rng import Rng
from tests.support.store import Store

OOM = "OOM command not allowed when used memory > 'maxmemory'."


def limit(store: Store, extra: int, policy: str) -> int:
    """Set maxmemory to what is used and `extra` more."""
    gc.collect()
    most = store.node.memory.used() + extra
    assert store("CONFIG", "SET", "maxmemory-policy", policy, "maxmemory", most) == b"OK"
    return most


@pytest.fixture
def store():
    made = Store()
    yield made
    access.use_counter(False, 10, 1, 0)
    access.set_clock(0)
    made.check_replay()
    made.check_snapshot()


def test_data_is_counted_and_given_back(store: Store) -> None:
    gc.collect()
    before = heap.used()
    for n in range(500):
        store("SET", f"key:{n}", "v" * 200)
        store("HSET", "hash", f"f{n}", "v" * 20)
        store("ZADD", "zset", n, f"member{n}")
        store("SADD", "set", f"member{n}")
        store("APPEND", "text", "x" * 100)
    assert heap.used() - before > 500 * (200 + 20 + 30) + 50_000
    store("FLUSHALL")
    while store.node.keyspace.free_slice(1000):
        pass
    gc.collect()
    assert store.node.keyspace.garbage_bytes == 0
    # The recorder of effects holds commands, not tables: only empty structures may be left.
    assert heap.used() - before < 20_000


def used_memory(store: Store) -> int:
    """What INFO says, once all that waits to be freed is."""
    while store.node.keyspace.free_slice(1000):
        pass
    (line,) = [x for x in store("INFO", "memory").split() if x.startswith(b"used_memory:")]
    return int(line.partition(b":")[2])


@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB"])
def test_a_first_key_costs_no_more_than_another(store: Store, flush: str) -> None:
    """What a database takes with it counts from the start, and again once it is flushed."""
    gc.collect()
    empty = used_memory(store)
    assert empty >= 16 * SLOTS_BYTES
    for db in (9, 0):
        store("SELECT", db)
        before = used_memory(store)
        store("SET", "k", "v")
        assert 0 < used_memory(store) - before < 1000
        if flush == "FLUSHDB":
            store(flush)
            assert abs(used_memory(store) - empty) < 1000
    store(flush)
    assert abs(used_memory(store) - empty) < 1000
    assert store.node.keyspace.ahead_bytes == 16 * SLOTS_BYTES


def test_what_is_taken_over_counts_once(store: Store) -> None:
    """Of a database with keys or none, in place of keys or none."""
    gc.collect()
    empty = used_memory(store)
    for db in (0, 1):
        store("SELECT", db)
        store("SET", "k", "v")
    keyspace = store.node.keyspace
    other = Keyspace(store.clock, Rng(2))
    for db in (1, 2):
        apply(other, db, [b"SET", b"k", b"v"])
    for mine, theirs in zip(keyspace.databases, other.databases, strict=True):
        mine.adopt(theirs)
    assert [db.index for db in keyspace.databases if db.size] == [1, 2]
    assert keyspace.ahead_bytes == 14 * SLOTS_BYTES
    assert other.ahead_bytes == 16 * SLOTS_BYTES
    assert 0 < used_memory(store) - empty < 2000
    store("FLUSHALL")
    assert abs(used_memory(store) - empty) < 1000


def test_without_eviction_writes_are_refused_and_reads_go_on(store: Store) -> None:
    store("SET", "a", "1")
    limit(store, 100, "noeviction")
    for n in range(50):
        store("SET", f"k{n}", "x" * 100)
    assert store.error("SET", "b", "2") == OOM
    assert store("GET", "a") == b"1"
    assert store("MULTI") == b"OK"
    assert store.error("SET", "b", "2") == OOM
    assert store.error("EXEC").startswith("EXECABORT")
    assert store("DEL", "a") == 1
    assert store("CONFIG", "SET", "maxmemory", 0) == b"OK"
    assert store("SET", "b", "2") == b"OK"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_room_is_made_for_writes(store: Store, policy: str) -> None:
    # The first key of a database costs the list of its slots.
    store("SET", "first", "x")
    most = limit(store, 60_000, policy)
    for n in range(1500):
        assert store("SET", f"k{n}", "x" * 100) == b"OK"
    assert store.node.memory.used() < most + 2000
    assert 100 < store("DBSIZE") < 800
    assert store.node.keyspace.evicted_keys > 700


@pytest.mark.parametrize(
    "policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"]
)
def test_only_volatile_keys_go(store: Store, policy: str) -> None:
    for n in range(200):
        store("SET", f"keep{n}", "x" * 100)
        store("SET", f"go{n}", "x" * 100, "EX", 1000 + n)
    limit(store, 0, policy)
    for n in range(150):
        assert store("SET", f"more{n}", "x" * 100) == b"OK"
    assert sum(store("EXISTS", f"keep{n}") for n in range(200)) == 200
    assert sum(store("EXISTS", f"go{n}") for n in range(200)) < 100
    # When there is none left, it is as without eviction.
    for n in range(400):
        store("SET", f"last{n}", "x" * 100)
    assert store.error("SET", "b", "2") == OOM


def test_the_soonest_to_expire_goes_first(store: Store) -> None:
    for n in range(300):
        store("SET", f"k{n}", "x" * 50, "EX", 10_000 - n * 10)
    limit(store, 0, "volatile-ttl")
    for n in range(100):
        store("SET", f"more{n}", "x" * 50)
    early = sum(store("EXISTS", f"k{n}") for n in range(150))
    late = sum(store("EXISTS", f"k{n}") for n in range(150, 300))
    assert early > late + 50


def test_keys_in_use_stay_under_lru(store: Store) -> None:
    limit(store, 1 << 30, "allkeys-lru")
    access.set_clock(1000)
    for n in range(600):
        store("SET", f"k{n}", "x" * 100)
    access.set_clock(1060)
    for n in range(0, 600, 2):
        store("GET", f"k{n}")
    access.set_clock(1100)
    store.clock.advance(1000)
    limit(store, 0, "allkeys-lru")
    for n in range(200):
        store("SET", f"more{n}", "x" * 100)
    used = sum(store("EXISTS", f"k{n}") for n in range(0, 600, 2))
    idle = sum(store("EXISTS", f"k{n}") for n in range(1, 600, 2))
    assert used > 280 and idle < 150


def test_keys_used_often_stay_under_lfu(store: Store) -> None:
    limit(store, 1 << 30, "allkeys-lfu")
    for n in range(400):
        store("SET", f"k{n}", "x" * 100)
    for _ in range(20):
        for n in range(0, 400, 2):
            store("GET", f"k{n}")
    assert store("OBJECT", "FREQ", "k0") > 5 >= store("OBJECT", "FREQ", "k1")
    assert store.error("OBJECT", "IDLETIME", "k0").startswith("ERR An LFU maxmemory policy")
    limit(store, 0, "allkeys-lfu")
    for n in range(100):
        store("SET", f"more{n}", "x" * 100)
    used = sum(store("EXISTS", f"k{n}") for n in range(0, 400, 2))
    idle = sum(store("EXISTS", f"k{n}") for n in range(1, 400, 2))
    assert used > 180 > 170 > idle


def test_a_counter_grows_slowly_and_decays() -> None:
    access.use_counter(True, 10, 1, 600)
    word = access.fresh()
    assert access.decayed(word) == 5
    for _ in range(1000):
        word = access.marked(word)
    assert 10 < access.decayed(word) < 40
    access.set_clock(600 + 60 * 8)
    assert access.decayed(word) == (word & 255) - 8
    access.use_counter(False, 10, 1, 0)


def test_no_touch_leaves_no_mark(store: Store) -> None:
    access.set_clock(100)
    store("SET", "k", "v")
    assert store("CLIENT", "NO-TOUCH", "ON") == b"OK"
    access.set_clock(200)
    store("GET", "k")
    db = store.node.keyspace.databases[0]
    assert db.table_of(b"k").access(b"k") == 100
    assert store("CLIENT", "NO-TOUCH", "OFF") == b"OK"
    store("GET", "k")
    assert db.table_of(b"k").access(b"k") == 200


def test_every_key_can_be_drawn(store: Store) -> None:
    for n in range(20):
        store("SET", f"{{tag}}{n}", "v")
        store("SET", f"other{n}", "v")
    drawn = {store("RANDOMKEY") for _ in range(600)}
    assert len(drawn) == 40
    store("FLUSHALL")
    assert store("RANDOMKEY") is None


def test_who_comes_late_in_a_turn_evicts_few_keys(store: Store) -> None:
    for n in range(400):
        store("SET", f"k{n}", "x" * 100)
    limit(store, -10_000, "allkeys-lru")
    memory = store.node.memory
    size = store.node.keyspace.databases[0].size
    memory.turn_ns, memory.turn_excess = 1 << 40, memory.excess()
    store("PING")
    assert size - store.node.keyspace.databases[0].size == LATE_EVICTIONS
    assert memory.running and memory.excess() > 0
    # What is written outgrows what goes: nobody comes too late.
    memory.turn_excess = 0
    store("PING")
    assert not memory.running and memory.excess() <= 0


def test_a_flushed_list_of_hashes_is_freed_in_slices(store: Store) -> None:
    for n in range(300):
        store("HSET", f"h{n}", "f", "v")
        store("HEXPIRE", f"h{n}", 100, "FIELDS", 1, "f")
    keyspace = store.node.keyspace
    store("FLUSHALL", "ASYNC")
    assert len(keyspace.garbage[0]) == 600
    assert keyspace.free_slice(100) and 400 < len(keyspace.garbage[0]) < 600
    while keyspace.free_slice(100):
        pass
    assert not keyspace.garbage


def test_a_lower_limit_is_kept_also_if_no_command_comes(store: Store) -> None:
    store("SET", "k", "v" * 1000)
    memory = store.node.memory
    limit(store, -100, "noeviction")
    assert not memory.running
    limit(store, -100, "allkeys-lru")
    assert memory.running
    memory.make_room(store.node.ctx)
    assert not memory.running
    assert store.node.keyspace.databases[0].size == 0


def test_what_a_client_held_is_free_when_it_is_gone(store: Store) -> None:
    other = store.node.new_client()
    store("MULTI", client=other)
    store("SET", "k", "v" * 10_000, client=other)
    memory, held = store.node.memory, store.node.client_memory
    while other.id not in held.sizes:
        held.step()
    memory.buffers_bytes = held.buffers()
    assert memory.buffers_bytes > 10_000
    store.node.forget_client(other)
    assert memory.buffers_bytes < 1000


def test_a_flushed_database_counts_as_all_its_values(store: Store) -> None:
    store("MSET", *[word for n in range(200) for word in (f"k{n}", "v")])
    store("SADD", "set", *range(5000))
    store("UNLINK", "set")
    keyspace = store.node.keyspace
    while keyspace.free_slice(100):
        pass
    assert keyspace.freed_values == 1
    store("FLUSHALL", "ASYNC")
    while keyspace.free_slice(100):
        pass
    assert keyspace.freed_values == 201
