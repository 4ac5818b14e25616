"""DEBUG and MEMORY: who may, what they show, and that a digest is one of the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from isthmus.node.commands import memory
from isthmus.node.commands.figures import Memory
from isthmus.node.replicate.replication import Replication
from tests.support.store import Store


class FakeServer:
    """What DEBUG and MEMORY ask of the process."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def hold(self, seconds: float) -> None:
        self.calls.append(seconds)

    def crash(self, kind: str) -> None:
        self.calls.append(kind)

    def longest_turn_us(self, on: bool) -> int:
        self.calls.append(on)
        return 1234

    def debug_log(self, text: str) -> None:
        self.calls.append(text)

    def process_memory(self) -> int:
        return 50 << 20

    def process_facts(self) -> dict[str, str]:
        return {"allocator_allocated": "1000", "allocator_active": "2000"}

    def allocator_report(self) -> str:
        return "report"

    def give_back_memory(self) -> None:
        self.calls.append("purge")


@pytest.fixture
def debug() -> Iterator[Store]:
    """A node on which DEBUG is allowed."""
    made = Store(enable_debug_command="yes")
    yield made
    made.check_replay()
    made.check_snapshot()


@pytest.mark.parametrize(
    ("setting", "address", "may"),
    [
        ("no", b"127.0.0.1:5", False), ("local", b"127.0.0.1:5", True), ("local", b"[::1]:5", True),
        ("local", b"/run/socket:0", True), ("local", b"10.0.0.1:5", False),
        ("yes", b"10.0.0.1:5", True),
    ],
)  # fmt: skip
def test_who_may(setting: str, address: bytes, may: bool) -> None:
    store = Store(enable_debug_command=setting)
    store.client.address = address
    if may:
        assert store("DEBUG", "DIGEST") == b"0" * 40
    else:
        assert store.error("DEBUG", "DIGEST").startswith("ERR DEBUG command not allowed. If the")


FILL = (
    "SET s 1", "SET text hello", "RPUSH l a b 1", "SADD i 1 2 3", "SADD m a b", "HSET h f v g w",
    "ZADD z 1 a 2.5 b -inf c", "XADD x 1-1 f v g w", "XADD x 2-7 f v", "PEXPIREAT s 9999999999999",
    "HPEXPIREAT h 9999999999999 FIELDS 1 f",
)  # fmt: skip


def test_digest_is_that_of_redis(debug: Store) -> None:
    """The figures were read from a redis-server 8.0 that got the same commands."""
    for line in FILL:
        debug.run(line)
    assert debug("DEBUG", "DIGEST-VALUE", "s", "l", "m", "z", "x", "none") == [
        b"5279988c5d1911f474bcbbf2f0a87012d40f8459",
        b"981fd62c1655c074205cff40b800bd5a5bfdcd41",
        b"dd99329063ca0f1f28df2ac68d94b82fd95501c6",
        b"f2ad7cda97b68291b8199d655f83d19f6e41e93c",
        b"d77fa9ade163fa54730b1df18649589e8639ead5",
        b"0" * 40,
    ]
    assert debug("DEBUG", "DIGEST-VALUE", "h") == [b"355879033a5e790f0e021f3025ccea7312d9d282"]
    assert debug("DEBUG", "DIGEST") == b"da33dc079efeb5378d0039e8ba55afd07c9f85fd"


def test_digest_does_not_depend_on_order_but_on_data(debug: Store) -> None:
    other = Store(enable_debug_command="yes")
    for line in ("SET a 1", "SADD s x y z", "SET b 2", "HSET h f 1 g 2"):
        debug.run(line)
    for line in ("HSET h g 2", "SADD s z", "SET b 2", "SADD s y x", "HSET h f 1", "SET a 1"):
        other.run(line)
    assert debug("DEBUG", "DIGEST") == other("DEBUG", "DIGEST")
    for line in ("SET a 2", "SREM s x", "EXPIRE b 100", "HSET h f 2", "RENAME a c", "MOVE b 3"):
        before = other("DEBUG", "DIGEST")
        other.run(line)
        assert other("DEBUG", "DIGEST") != before, line


def test_the_process(debug: Store) -> None:
    debug.node.server = server = FakeServer()
    assert debug("DEBUG", "SLEEP", "0.5") == b"OK"
    assert debug("DEBUG", "SLEEP", "1e9") == b"OK"
    assert debug("DEBUG", "SLEEP", "nonsense") == b"OK"
    assert debug("DEBUG", "LOG", "a line") == b"OK"
    assert debug("DEBUG", "LONGEST-TURN", "1") == 1234
    assert debug("DEBUG", "LONGEST-TURN", "0") == 1234
    assert debug.raw("DEBUG", "SEGFAULT") == b""
    assert server.calls == [0.5, 3600.0, "a line", True, False, "SEGFAULT"]


def test_switches(debug: Store) -> None:
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    assert not debug.node.keyspace.active_expiry
    debug("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    assert debug.node.keyspace.active_expiry
    debug("DEBUG", "PAUSE-CRON", "1")
    assert debug.node.cron_paused
    debug.node.replication = Replication(debug.node)
    before = debug.node.replication.replid
    debug("DEBUG", "CHANGE-REPL-ID")
    assert debug.node.replication.replid != before
    assert len(debug.node.replication.replid) == 40


def test_populate(debug: Store) -> None:
    debug("SET", "key:1", "mine")
    assert debug("DEBUG", "POPULATE", "3") == b"OK"
    assert debug("MGET", "key:0", "key:1", "key:2") == [b"value:0", b"mine", b"value:2"]
    debug("DEBUG", "POPULATE", "1", "p", "10")
    assert debug("GET", "p:0") == b"value:0\0\0\0"


def test_looks_leave_the_access_time_alone(debug: Store) -> None:
    debug("SET", "k", "v")
    found = debug("DEBUG", "OBJECT", "k")
    assert b"encoding:embstr" in found
    assert debug("MEMORY", "USAGE", "k") > 2
    assert debug.error("DEBUG", "OBJECT", "none") == "ERR no such key"


@pytest.mark.parametrize("words, told", [
    ("RESTART", "a node does not start itself anew"), ("REPLICATE x", "replicas are sent"),
    ("CRASH-AND-RECOVER 5", "a node does not start"), ("AOF-FLUSH-SLEEP 1", "cannot be made slow"),
])  # fmt: skip
def test_what_is_refused_says_why(debug: Store, words: str, told: str) -> None:
    assert told in debug.error("DEBUG", *words.split())


def test_examples_of_types() -> None:
    store = Store(protocol=3, enable_debug_command="yes")
    assert store("DEBUG", "PROTOCOL", "map") == {0: False, 1: True, 2: False}
    assert store.raw("DEBUG", "PROTOCOL", "double") == b",3.141\r\n"
    assert store.raw("DEBUG", "PROTOCOL", "push") == b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n"
    assert store.raw("DEBUG", "PROTOCOL", "attrib").startswith(b"|1\r\n$14\r\nkey-popularity\r\n")
    assert store.raw("DEBUG", "PROTOCOL", "null") == b"_\r\n"


def test_memory_usage_counts_keys_values_and_expiries(store: Store) -> None:
    store("SET", "k", "v" * 10)
    small = store("MEMORY", "USAGE", "k")
    store("SET", "k", "v" * 1010)
    assert store("MEMORY", "USAGE", "k") == small + 1000
    store("EXPIRE", "k", "100")
    assert store("MEMORY", "USAGE", "k", "SAMPLES", "0") == small + 1008
    for at, line in enumerate(FILL):
        store.run(line)
        assert store("MEMORY", "USAGE", line.split()[1]) > 0, at
    assert store("MEMORY", "USAGE", "none") is None


def test_memory_stats(either: Store) -> None:
    either.node.server = FakeServer()
    either("SET", "k", "v")
    found = either("MEMORY", "STATS")
    if either.client.protocol == 2:
        found = dict(zip(found[::2], found[1::2], strict=True))
    assert found[b"keys.count"] == 1
    assert found[b"allocator.resident"] == 50 << 20
    assert float(found[b"allocator-fragmentation.ratio"]) == 2.0
    assert b"db.0" in found


def test_memory_doctor_and_purge(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Memory(used=1 << 20, rss=1 << 20, peak=1 << 20, startup=0, clients=0, overhead=0,
                   allocated=0, active=0)  # fmt: skip
    for change, words in (
        ({}, b"nothing to examine"),
        ({"used": 100 << 20, "peak": 100 << 20, "rss": 100 << 20}, b"Nothing is wrong"),
        ({"peak": 1 << 30}, b"1. Memory use was 1073741824 bytes at its peak"),
        ({"rss": 1 << 30}, b"2. The process holds 1073741824 bytes"),
        ({"clients": 1 << 20}, b"3. Clients hold 1048576 bytes each"),
    ):
        found = replace(found, **change)
        monkeypatch.setattr(memory, "memory", lambda ctx, facts, found=found: found)
        assert words in store("MEMORY", "DOCTOR")
    store.node.server = server = FakeServer()
    assert store("MEMORY", "PURGE") == b"OK"
    assert store("MEMORY", "MALLOC-STATS") == b"report"
    assert server.calls == ["purge"]


def test_a_key_whose_time_has_come_is_looked_at_as_it_lies(debug: Store) -> None:
    debug("SET", "k", "v", "PX", 5)
    debug.advance(5)
    assert b"encoding:embstr" in debug("DEBUG", "OBJECT", "k")
    assert debug("DEBUG", "SDSLEN", "k").startswith(b"key_sds_len:1")
    assert debug("EXISTS", "k") == 0
    assert debug.error("DEBUG", "OBJECT", "k") == "ERR no such key"


def test_a_sleep_is_over_for_the_clock_when_all_of_the_request_is(
    debug: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    debug.node.server = FakeServer()
    assert debug("DEBUG", "SLEEP", "0.01") == b"OK"
    assert not debug.clock.late
    debug.run("MULTI")
    debug.run("DEBUG SLEEP 0.01")
    debug.run("EXEC")
    assert not debug.clock.late
    # In the middle nothing reads the clock: what comes behind the sleep sees it is still to be.
    seen: list[bool] = []
    monkeypatch.setattr(FakeServer, "debug_log", lambda self, text: seen.append(debug.clock.late))
    for line in ("MULTI", "DEBUG SLEEP 0.01", "DEBUG LOG x"):
        debug.run(line)
    debug.run("EXEC")
    assert seen == [True]
