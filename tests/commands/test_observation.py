"""SLOWLOG and LATENCY: what is kept of slow calls, in which shape, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.node.engine.registry import specs
from isthmus.node.engine.slowlog import redacted, shortened
from tests.support.store import START_MS, Store

START_S = START_MS // 1000


@pytest.fixture(autouse=True)
def no_histograms() -> Iterator[None]:
    """Commands are the process' own, so what earlier tests called is forgotten."""
    for spec in specs():
        spec.histogram.reset()
    yield


def lines(*texts: bytes) -> list[bytes]:
    return list(texts)


def test_slow_log_keeps_the_newest(store: Store) -> None:
    store("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "2")
    store("SLOWLOG", "RESET")
    store("CLIENT", "SETNAME", "me")
    store("PING")
    assert store("SLOWLOG", "LEN") == 2
    entries = store("SLOWLOG", "GET")
    assert [entry[3] for entry in entries] == [[b"SLOWLOG", b"LEN"], [b"PING"]]
    assert entries[0][0] == entries[1][0] + 1
    assert entries[1][1:3] == [START_S, 0]
    assert entries[1][5] == b"me"
    assert len(store("SLOWLOG", "GET", "1")) == 1
    assert len(store("SLOWLOG", "GET", "-1")) == 2
    assert len(store("SLOWLOG", "GET", "0")) == 0


def test_slow_log_can_be_off(store: Store) -> None:
    store("PING")
    assert store("SLOWLOG", "LEN") == 0
    store("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "0")
    store("PING")
    assert store("SLOWLOG", "LEN") == 0
    store("CONFIG", "SET", "slowlog-log-slower-than", "-1", "slowlog-max-len", "10")
    store("PING")
    assert store("SLOWLOG", "LEN") == 0


def test_transactions_show_their_commands_only(store: Store) -> None:
    store("CONFIG", "SET", "slowlog-log-slower-than", "0")
    store("SLOWLOG", "RESET")
    for line in ("MULTI", "SET k v", "EXEC"):
        store.run(line)
    found = [entry[3][0] for entry in store("SLOWLOG", "GET")]
    assert found == [b"SET", b"MULTI", b"SLOWLOG"]


def test_a_command_that_waits_is_told_of_when_it_is_served(store: Store) -> None:
    store("CONFIG", "SET", "slowlog-log-slower-than", "0")
    store("CONFIG", "RESETSTAT")
    store("SLOWLOG", "RESET")
    other = store.node.new_client()
    assert store.raw("BLPOP", "list", "0", client=other) == b""
    assert [entry[3][0] for entry in store("SLOWLOG", "GET")] == [b"SLOWLOG"]
    store("RPUSH", "list", "x")
    assert b"BLPOP" in [entry[3][0] for entry in store("SLOWLOG", "GET")]
    assert store("LATENCY", "HISTOGRAM", "blpop")[1][:2] == [b"calls", 1]
    assert b"cmdstat_blpop:calls=1," in store("INFO", "commandstats")


@pytest.mark.parametrize("count", ["-2", "x", "1.5"])
def test_slow_log_count(store: Store, count: str) -> None:
    error = "ERR count should be greater than or equal to -1"
    assert store.error("SLOWLOG", "GET", count) == error


@pytest.mark.parametrize(
    ("name", "line", "shown"),
    [
        ("auth", "auth pw", "auth *"),
        ("auth", "AUTH me pw", "AUTH * *"),
        ("hello", "hello 3 AUTH me pw SETNAME x", "hello 3 AUTH * * SETNAME x"),
        ("acl|setuser", "acl setuser me on >pw", "acl setuser * * *"),
        ("acl|getuser", "acl getuser me", "acl getuser *"),
        ("acl|deluser", "acl deluser me you", "acl deluser * *"),
        ("acl|list", "acl list", "acl list"),
        ("config|set", "config set maxmemory 1 Requirepass pw port 1",
         "config set maxmemory 1 Requirepass * port 1"),
        ("migrate", "migrate h 1 auth 0 1 copy auth pw keys auth k",
         "migrate h 1 auth 0 1 copy auth * keys auth k"),
        ("migrate", "migrate h 1 k 0 1 AUTH2 me pw", "migrate h 1 k 0 1 AUTH2 * *"),
        ("set", "set auth pw", "set auth pw"),
    ],
)  # fmt: skip
def test_secrets_are_not_shown(name: str, line: str, shown: str) -> None:
    found = redacted(name.encode(), line.encode().split())
    assert found == [word.replace(b"*", b"(redacted)") for word in shown.encode().split()]


def test_entries_are_short() -> None:
    assert shortened([b"x"] * 32) == [b"x"] * 32
    assert shortened([b"x"] * 33) == [b"x"] * 31 + [b"... (2 more arguments)"]
    assert shortened([b"y" * 128, b"y" * 130]) == [b"y" * 128, b"y" * 128 + b"... (2 more bytes)"]


def test_spikes_by_kind(store: Store) -> None:
    latency = store.node.latency
    latency.sample(b"eviction-cycle", 50)
    assert store("LATENCY", "LATEST") == [], "the monitor is off"
    store("CONFIG", "SET", "latency-monitor-threshold", "20")
    latency.sample(b"eviction-cycle", 19)
    for ms in (20, 60, 30):
        latency.sample(b"eviction-cycle", ms)
    store.advance(2000)
    latency.sample(b"eviction-cycle", 25)
    latency.sample(b"expire-cycle", 40)
    assert store("LATENCY", "LATEST") == [
        [b"eviction-cycle", START_S + 2, 25, 60], [b"expire-cycle", START_S + 2, 40, 40],
    ]  # fmt: skip
    assert store("LATENCY", "HISTORY", "eviction-cycle") == [[START_S, 60], [START_S + 2, 25]]
    assert store("LATENCY", "HISTORY", "nothing") == []
    assert b"eviction-cycle: 2 spikes, mean 42 ms" in store("LATENCY", "DOCTOR")
    assert store("LATENCY", "RESET", "eviction-cycle", "nothing") == 1
    assert store("LATENCY", "RESET") == 1
    assert store("LATENCY", "LATEST") == []


def test_series_are_bounded(store: Store) -> None:
    store("CONFIG", "SET", "latency-monitor-threshold", "1")
    for second in range(200):
        store.node.latency.sample(b"command", second + 1)
        store.advance(1000)
    history = store("LATENCY", "HISTORY", "command")
    assert (len(history), history[0]) == (160, [START_S + 40, 41])


def test_graph(store: Store) -> None:
    store("CONFIG", "SET", "latency-monitor-threshold", "1")
    for ms in (10, 20, 40, 11):
        store.node.latency.sample(b"command", ms)
        store.advance(45_000)
    drawn = store("LATENCY", "GRAPH", "command").split(b"\n")
    assert drawn == lines(
        b"command - high 40 ms, low 10 ms (all time high 40 ms)", b"-" * 80,
        b"  # ", b"  | ", b" o| ", b"_||_", b"    ", b"3214", b"mmm5", b"   s", b"",
    )  # fmt: skip
    error = "ERR No samples available for event 'nothing'"
    assert store.error("LATENCY", "GRAPH", "nothing") == error


def test_thresholds_are_one_number(store: Store) -> None:
    ctx = store.node.ctx
    assert ctx.slow_ns == 10_000_000 - 1
    store("CONFIG", "SET", "latency-monitor-threshold", "5")
    assert ctx.slow_ns == 5_000_000 - 1
    store("CONFIG", "SET", "latency-monitor-threshold", "0", "slowlog-log-slower-than", "-1")
    assert ctx.slow_ns > 1 << 60
    store("CONFIG", "SET", "latency-monitor-threshold", str(2**63 - 1))
    assert ctx.slow_ns > 1 << 60


def test_histogram_of_commands(store: Store) -> None:
    for _ in range(3):
        store("SET", "k", "v")
    store("CONFIG", "GET", "port")
    store("CONFIG", "RESETSTAT")
    store("SET", "k", "v")
    found = store("LATENCY", "HISTOGRAM", "set", "nosuch", "get")
    assert found[:1] == [b"set"]
    assert found[1][:2] == [b"calls", 1]
    assert found[1][2] == b"histogram_usec"
    store("CONFIG", "GET", "port")
    assert store("LATENCY", "HISTOGRAM", "config")[0] in (b"config|get", b"config|resetstat")
    assert store("LATENCY", "HISTOGRAM", "CONFIG|GET")[0] == b"config|get"
    assert len(store("LATENCY", "HISTOGRAM")) >= 6


def test_latency_tracking_off(store: Store) -> None:
    store("CONFIG", "SET", "latency-tracking", "no")
    store("GET", "k")
    assert store("LATENCY", "HISTOGRAM", "get") == []
    store("CONFIG", "SET", "latency-tracking", "yes")


@pytest.mark.parametrize("parent", ["SLOWLOG", "LATENCY"])
def test_help(store: Store, parent: str) -> None:
    assert store(parent, "HELP")[0].startswith(parent.encode())
    text = f"ERR unknown subcommand 'nope'. Try {parent} HELP."
    assert store.error(parent, "nope") == text
