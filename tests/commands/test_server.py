"""INFO, TIME, flushing, SWAPDB, LOLWUT, SHUTDOWN."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.node.commands.info import human
from tests.support.store import Store


class FakeServer:
    """What commands ask of the process."""

    def __init__(self) -> None:
        self.stopped = False
        self.facts = {"process_id": "7", "used_cpu_sys": "0.5", "peak_rss": str(10 * 1024 * 1024)}

    def process_memory(self) -> int:
        return 5 * 1024 * 1024

    def process_facts(self) -> dict[str, str]:
        return self.facts

    def reset_counters(self) -> None:
        pass

    def shutdown(self, save: bool | None, force: bool) -> bool:
        self.stopped = not save or force
        return self.stopped


def sections(text: bytes) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for part in text.decode().split("\r\n\r\n"):
        title, *lines = part.strip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        found[title.removeprefix("# ")] = {name: value for name, _, value in pairs}
    return found


def test_default_sections(store: Store) -> None:
    store.node.server = FakeServer()
    shown = sections(store.run("INFO"))
    assert list(shown) == [
        "Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Modules",
        "Errorstats", "Cluster", "Keyspace",
    ]  # fmt: skip
    assert shown["Server"]["redis_version"] == "7.4.0"
    assert shown["Server"]["process_id"] == "7"
    assert shown["Memory"]["used_memory_rss"] == "5242880"
    assert shown["Memory"]["used_memory_peak"] == shown["Memory"]["used_memory"]
    assert shown["CPU"] == {"used_cpu_sys": "0.5"}


def test_chosen_sections(either: Store) -> None:
    assert list(sections(either("INFO", "KEYSPACE", "server"))) == ["Server", "Keyspace"]
    assert either("INFO", "nope") == b""
    everything = list(sections(either.run("INFO everything")))
    assert "Commandstats" in everything and "Modules" in everything
    assert "Modules" not in sections(either.run("INFO all"))
    kind = either.raw("INFO", "cluster")[:1]
    assert kind == (b"=" if either.client.protocol == 3 else b"$")


def test_counters(store: Store) -> None:
    store.run("CONFIG RESETSTAT")
    store.run("SET a 1 PX 10")
    store.run("SET b 1")
    store.run("GET a")
    store.run("GET nope")
    store.run("LPOP b")
    store("GET")
    store.run("HELLO 9")
    shown = sections(store.run("INFO everything"))
    assert shown["Keyspace"] == {"db0": "keys=2,expires=1,avg_ttl=10,subexpiry=0"}
    assert shown["Stats"]["keyspace_hits"] == "1"
    assert shown["Stats"]["keyspace_misses"] == "1"
    assert shown["Errorstats"] == {
        "errorstat_ERR": "count=1",
        "errorstat_NOPROTO": "count=1",
        "errorstat_WRONGTYPE": "count=1",
    }  # fmt: skip
    get = dict(pair.split("=") for pair in shown["Commandstats"]["cmdstat_get"].split(","))
    assert (get["calls"], get["rejected_calls"], get["failed_calls"]) == ("2", "1", "0")
    store.advance(10)
    store.run("GET a")
    assert sections(store.run("INFO stats"))["Stats"]["expired_keys"] == "1"


def test_made_up_error_codes_end_the_counting(store: Store) -> None:
    for number in range(129):
        store.node.ctx.fail(b"CODE%d text" % number)
    store.node.ctx.reply.clear()
    store.error("GET")
    shown = sections(store.run("INFO errorstats"))["Errorstats"]
    assert shown == {"errorstat_ERRORSTATS_DISABLED": "count=1"}
    store.run("CONFIG RESETSTAT")
    store.error("GET")
    assert "errorstat_ERR" in sections(store.run("INFO errorstats"))["Errorstats"]


LISTED = Path(__file__).parent.parent / "data/redis-7.4-info-fields.txt"
# These fields are named by what happened.
BY_CONTENT = ("Commandstats", "Errorstats", "Latencystats", "Keyspace", "Debug")


def listed_fields() -> dict[str, list[str]]:
    """The fields of Redis 7.4, section by section, in its order."""
    found: dict[str, list[str]] = {}
    for part in LISTED.read_text(encoding="utf-8").split("# ")[1:]:
        title, *names = part.split("\n")
        found[title] = list(filter(None, names))
    return found


def test_fields_are_those_of_redis_and_two_of_ours(store: Store) -> None:
    store.node.server = server = FakeServer()
    server.facts = {name: "0" for names in listed_fields().values() for name in names}
    store.run("SET a 1")
    shown = sections(store.run("INFO everything"))
    ours = {"isthmus_version", "isthmus_compiled"}
    for title, names in listed_fields().items():
        if title not in BY_CONTENT:
            assert [name for name in shown[title] if name not in ours] == names, title


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536, "1.50K"), (1 << 20, "1.00M"),
     (3 << 40, "3.00T")],
)  # fmt: skip
def test_human(count: int, text: str) -> None:
    assert human(count) == text


def test_time(store: Store) -> None:
    store.advance(7)
    assert store.run("TIME") == [b"1700000000", b"7000"]


def test_flush(store: Store) -> None:
    store.run("SET a 1")
    store.run("SELECT 1")
    store.run("SET b 1")
    assert store.run("FLUSHDB") == b"OK"
    assert store.run("DBSIZE") == 0
    store.run("SELECT 0")
    assert store.run("DBSIZE") == 1
    assert store.run("FLUSHALL ASYNC") == b"OK"
    assert store.run("FLUSHDB sync") == b"OK"
    assert store.run("DBSIZE") == 0
    for line in ("FLUSHALL x", "FLUSHDB ASYNC SYNC"):
        assert store.error(*line.split()) == "ERR syntax error"


def test_flushall_is_one_effect(store: Store) -> None:
    """However many databases have keys, and also if none has."""
    for db in (0, 3, 9):
        store("SELECT", db)
        store("SET", "k", "v")
    seen = store.recorder.effects_seen
    for line in ("FLUSHALL", "FLUSHALL ASYNC"):
        count = len(seen)
        store.run(line)
        assert [(effect.db, effect.argv) for effect in seen[count:]] == [(9, [b"FLUSHALL"])]


@pytest.mark.parametrize("line", ["FLUSHALL", "FLUSHDB"])
def test_a_flush_counts_the_keys(store: Store, line: str) -> None:
    """As changes to save; so it was seen at redis-server 7.0 and 8.0."""
    log = store.node.keyspace.log
    store.run("MSET a 1 b 2 c 3")
    for changes in (3, 0):
        before = log.dirty
        store.run(line)
        assert log.dirty == before + changes


@pytest.mark.parametrize(
    ("line", "left"), [("FLUSHALL", 0), ("FLUSHDB SYNC", 0), ("FLUSHALL ASYNC", 1)]
)
def test_a_flush_gives_its_memory_back_at_once(store: Store, line: str, left: int) -> None:
    for number in range(500):
        store("SET", f"key{number}", "v" * 100)
    store.run(line)
    assert len(store.node.keyspace.garbage) == left
    assert b"lazyfreed_objects:0" in store.run("INFO memory")


def test_flush_tells_watchers_of_keys_that_were_there(store: Store) -> None:
    other = store.node.new_client()
    for key, reply in (("here", None), ("nowhere", [])):
        store.run("SET here 1")
        store("WATCH", key, client=other)
        store.run("FLUSHALL")
        store("MULTI", client=other)
        assert store("EXEC", client=other) == reply


def test_swapdb(store: Store) -> None:
    store.run("SET a zero PX 100")
    other = store.node.new_client()
    store("SELECT", 1, client=other)
    store("SET", "b", "one", client=other)
    store("WATCH", "b", client=other)
    assert store.run("SWAPDB 0 1") == b"OK"
    assert (store.run("GET b"), store.run("GET a")) == (b"one", None)
    assert store("GET", "a", client=other) == b"zero"
    store("MULTI", client=other)
    assert store("EXEC", client=other) is None, "its key went away under the watch"
    store.advance(100)
    assert store("GET", "a", client=other) is None
    assert store.run("SWAPDB 3 3") == b"OK"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("SWAPDB x 0", "ERR invalid first DB index"), ("SWAPDB 0 x", "ERR invalid second DB index"),
        ("SWAPDB 99 x", "ERR invalid second DB index"),
        ("SWAPDB 9999999999 0", "ERR invalid first DB index"),
        ("SWAPDB 0 16", "ERR DB index is out of range"),
        ("SWAPDB -1 0", "ERR DB index is out of range"),
        ("LOLWUT VERSION x", "ERR value is not an integer or out of range"),
        ("SHUTDOWN x", "ERR syntax error"), ("SHUTDOWN SAVE NOSAVE", "ERR syntax error"),
        ("SHUTDOWN ABORT NOW", "ERR syntax error"),
        ("SHUTDOWN ABORT", "ERR No shutdown in progress."),
        ("SHUTDOWN SAVE", "ERR Errors trying to SHUTDOWN. Check logs."),
    ],
)  # fmt: skip
def test_errors(store: Store, line: str, text: str) -> None:
    store.node.server = server = FakeServer()
    assert store.error(*line.split()) == text
    assert not server.stopped


@pytest.mark.parametrize("line", ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN now force"])
def test_shutdown_asks_the_server_and_sends_no_reply(store: Store, line: str) -> None:
    store.node.server = server = FakeServer()
    assert store.raw(*line.split()) == b""
    assert server.stopped


def test_lolwut(store: Store) -> None:
    assert store.run("LOLWUT").endswith(b"\nRedis ver. 7.4.0\n")
    assert store.run("LOLWUT VERSION 5").endswith(b"\nRedis ver. 7.4.0\n")
    assert all(len(line) <= 80 for line in store.run("LOLWUT").split(b"\n"))
