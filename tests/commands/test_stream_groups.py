"""Consumer groups: delivery, acknowledgement, claiming, XINFO, waiting readers, effects.

Every text of an error and every reply here is what redis-server answers (see also
tests/oracle/test_streams.py, which asks one).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.store import START_MS, RedisReplyError, Store
from tests.support.waiting import Clients

INVALID = "ERR Invalid stream ID specified as stream command argument"
SYNTAX = "ERR syntax error"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER = "ERR value is not an integer or out of range"
NO_GROUP = "NOGROUP No such key '{}' or consumer group '{}'"
KEY_REQUIRED = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use "
    "the MKSTREAM option to create an empty stream automatically."
)
MEANINGLESS = (
    "ERR The {} ID is meaningless in the context of XREADGROUP: you want to read the history of "
    "this consumer by specifying a proper ID, or use the > ID to get new messages. The {} ID would "
    "just return an empty result set."
)
UNKNOWN = "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP."


@pytest.fixture
def clients(either: Store) -> Clients:
    return Clients(either)


def filled(store: Store, count: int, key: str = "s") -> None:
    """A stream of so many entries and a group that has delivered none."""
    for i in range(1, count + 1):
        store("XADD", key, i, "f", i)
    store("XGROUP", "CREATE", key, "g", 0)


def read(store: Store, consumer: str, count: int = 100, id: str = ">") -> list[bytes]:
    """The ids that XREADGROUP delivers."""
    reply = store("XREADGROUP", "GROUP", "g", consumer, "COUNT", count, "STREAMS", "s", id)
    return [] if reply is None else [entry[0] for entry in dict(reply)[b"s"]]


def pending(store: Store, *rest: Any) -> list[tuple[bytes, bytes, int, int]]:
    return [tuple(entry) for entry in store("XPENDING", "s", "g", "-", "+", 100, *rest)]


def fields(reply: Any) -> dict[bytes, Any]:
    """A map, as RESP2 and RESP3 spell it."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


def effects(store: Store) -> list[bytes]:
    return [b" ".join(effect.argv) for effect in store.recorder.effects_seen]


def group_info(store: Store, name: str = "g") -> dict[bytes, Any]:
    found = [fields(group) for group in store("XINFO", "GROUPS", "s")]
    return next(group for group in found if group[b"name"] == name.encode())


# --- groups --------------------------------------------------------------------------------------


def test_groups_come_and_go(store: Store) -> None:
    assert store.error(*"XGROUP CREATE s g $".split()) == KEY_REQUIRED
    assert store.run("XGROUP CREATE s g $ MKSTREAM") == b"OK"
    assert store.error(*"XGROUP CREATE s g 0 MKSTREAM".split()) == (
        "BUSYGROUP Consumer Group name already exists"
    )
    assert store.run("XGROUP CREATE s h 5-1 ENTRIESREAD 3") == b"OK"
    assert store.run("XLEN s") == 0
    assert store.run("XGROUP CREATECONSUMER s g c") == 1
    assert store.run("XGROUP CREATECONSUMER s g c") == 0
    assert store.run("XGROUP DELCONSUMER s g c") == 0
    assert store.run("XGROUP DELCONSUMER s g c") == 0
    assert store.run("XGROUP SETID s g 7") == b"OK"
    assert store.run("XGROUP DESTROY s h") == 1
    assert store.run("XGROUP DESTROY s h") == 0
    assert effects(store) == [
        b"XGROUP CREATE s g 0-0 MKSTREAM ENTRIESREAD -1", b"XGROUP CREATE s h 5-1 ENTRIESREAD 3",
        b"XGROUP CREATECONSUMER s g c", b"XGROUP DELCONSUMER s g c",
        b"XGROUP SETID s g 7-0 ENTRIESREAD -1", b"XGROUP DESTROY s h",
    ]  # fmt: skip
    assert [effect.event for effect in store.recorder.effects_seen] == [
        b"xgroup-create", b"xgroup-create", b"xgroup-createconsumer", b"xgroup-delconsumer",
        b"xgroup-setid", b"xgroup-destroy",
    ]  # fmt: skip


@pytest.mark.parametrize("line, text", [
    ("XGROUP CREATE s h x", INVALID), ("XGROUP CREATE s h -", INVALID),
    ("XGROUP CREATE str h 0", WRONGTYPE), ("XGROUP CREATE str h 0 MKSTREAM", WRONGTYPE),
    ("XGROUP CREATE s h 0 FOO", UNKNOWN.format("CREATE", "XGROUP")),
    ("XGROUP SETID s g 0 MKSTREAM", UNKNOWN.format("SETID", "XGROUP")),
    ("XGROUP CREATE s h 0 ENTRIESREAD", UNKNOWN.format("CREATE", "XGROUP")),
    ("XGROUP CREATE s h 0 ENTRIESREAD x", NOT_INTEGER),
    ("XGROUP CREATE s h 0 ENTRIESREAD -2", "ERR value for ENTRIESREAD must be positive or -1"),
    ("XGROUP CREATE s h 0 MKSTREAM MKSTREAM MKSTREAM MKSTREAM", UNKNOWN.format("CREATE", "XGROUP")),
    ("XGROUP CREATE s", "ERR wrong number of arguments for 'xgroup|create' command"),
    ("XGROUP FOO s g", "ERR unknown subcommand 'FOO'. Try XGROUP HELP."),
    ("XGROUP SETID s none 0", "NOGROUP No such consumer group 'none' for key name 's'"),
    ("XGROUP SETID none g 0", KEY_REQUIRED), ("XGROUP DESTROY none g", KEY_REQUIRED),
    ("XGROUP DELCONSUMER s none c", "NOGROUP No such consumer group 'none' for key name 's'"),
    ("XGROUP CREATECONSUMER s none c", "NOGROUP No such consumer group 'none' for key name 's'"),
    ("XREADGROUP GROUP g c STREAMS s t 0", "ERR Unbalanced 'xreadgroup' list of streams: for each "
     "stream key an ID or '>' must be specified."),
    ("XREADGROUP COUNT 1 BLOCK 1 STREAMS s >", "ERR Missing GROUP option for XREADGROUP"),
    ("XREADGROUP GROUP g c COUNT x STREAMS s >", NOT_INTEGER),
    ("XREADGROUP GROUP g c STREAMS s x", INVALID),
    ("XREADGROUP GROUP none c STREAMS s x", NO_GROUP.format("s", "none") + " in XREADGROUP with "
     "GROUP option"),
    ("XREADGROUP GROUP g c STREAMS str >", WRONGTYPE),
    ("XREADGROUP GROUP g c STREAMS s $", MEANINGLESS.format("$", "$")),
    ("XREADGROUP GROUP g c STREAMS s +", MEANINGLESS.format("+", "+")),
    ("XACK s g x", INVALID), ("XACK str g 1", WRONGTYPE),
    ("XPENDING none g", NO_GROUP.format("none", "g")),
    ("XPENDING s none", NO_GROUP.format("s", "none")), ("XPENDING str g", WRONGTYPE),
    ("XPENDING s g -", SYNTAX), ("XPENDING s g - +", SYNTAX), ("XPENDING s g - + x", NOT_INTEGER),
    ("XPENDING s g x + 1", INVALID), ("XPENDING s g IDLE x - + 1", NOT_INTEGER),
    ("XPENDING s g IDLE 1 - +", SYNTAX), ("XPENDING none g x + x", NOT_INTEGER),
    ("XCLAIM none g c 0 1", NO_GROUP.format("none", "g")), ("XCLAIM str g c 0 1", WRONGTYPE),
    ("XCLAIM s g c x 1", "ERR Invalid min-idle-time argument for XCLAIM"),
    ("XCLAIM s g c 0 x", "ERR Unrecognized XCLAIM option 'x'"),
    ("XCLAIM s g c 0 1 IDLE x", "ERR Invalid IDLE option argument for XCLAIM"),
    ("XCLAIM s g c 0 1 TIME x", "ERR Invalid TIME option argument for XCLAIM"),
    ("XCLAIM s g c 0 1 RETRYCOUNT x", "ERR Invalid RETRYCOUNT option argument for XCLAIM"),
    ("XCLAIM s g c 0 1 LASTID x", INVALID),
    ("XCLAIM s g c 0 1 TIME", "ERR Unrecognized XCLAIM option 'TIME'"),
    ("XAUTOCLAIM s g c x 0", "ERR Invalid min-idle-time argument for XAUTOCLAIM"),
    ("XAUTOCLAIM s g c 0 x", INVALID), ("XAUTOCLAIM s g c 0 0 COUNT 0", "ERR COUNT must be > 0"),
    ("XAUTOCLAIM s g c 0 0 COUNT 9223372036854775807", "ERR COUNT must be > 0"),
    ("XAUTOCLAIM s g c 0 0 COUNT 576460752303423487", "ERR Insufficient memory, failed allocating "
     "transient memory, COUNT too high."),
    ("XAUTOCLAIM s g c 0 0 FOO", SYNTAX), ("XAUTOCLAIM none g c 0 0", NO_GROUP.format("none", "g")),
    ("XINFO STREAM none", "ERR no such key"), ("XINFO STREAM str", WRONGTYPE),
    ("XINFO STREAM s FOO", UNKNOWN.format("STREAM", "XINFO")),
    ("XINFO STREAM s FULL COUNT", UNKNOWN.format("STREAM", "XINFO")),
    ("XINFO STREAM s FULL COUNT x", NOT_INTEGER),
    ("XINFO CONSUMERS s none", "NOGROUP No such consumer group 'none' for key name 's'"),
    ("XINFO GROUPS none", "ERR no such key"),
])  # fmt: skip
def test_errors(store: Store, line: str, text: str) -> None:
    filled(store, 2)
    store.run("SET str v")
    assert store.error(*line.split()) == text


def test_names_in_errors_end_at_a_zero_byte(store: Store) -> None:
    assert store.error("XPENDING", b"k\0ey", b"g\0roup") == NO_GROUP.format("k", "g")


def test_help(either: Store) -> None:
    assert either.run("XGROUP HELP")[0].startswith(b"XGROUP <subcommand> [<arg> [value]")
    assert either.run("XINFO HELP")[-1] == b"    Prints this help."


# --- delivery ------------------------------------------------------------------------------------


def test_each_entry_goes_to_one_consumer(either: Store) -> None:
    filled(either, 5)
    assert read(either, "a", 2) == [b"1-0", b"2-0"]
    assert read(either, "b", 2) == [b"3-0", b"4-0"]
    assert read(either, "a") == [b"5-0"]
    assert read(either, "b") == []
    assert read(either, "a", id="0") == [b"1-0", b"2-0", b"5-0"]
    assert read(either, "a", id="1") == [b"2-0", b"5-0"]
    assert read(either, "c", id="0") == []
    assert either.run("XPENDING s g") == [5, b"1-0", b"5-0", [[b"a", b"3"], [b"b", b"2"]]]
    assert either.run("XACK s g 2 4-0 4-0 9") == 2
    assert either.run("XACK none g 1") == either.run("XACK s none 1") == 0
    assert either.run("XPENDING s g (1 + 10") == [[b"3-0", b"b", 0, 1], [b"5-0", b"a", 0, 3]]
    assert either.run("XPENDING s g - + 10 none") == []
    assert either.run("XACK s g 1 3 5") == 3
    assert either.run("XPENDING s g") == [0, None, None, None]


def test_a_history_counts_and_shows_what_is_gone(store: Store) -> None:
    filled(store, 3)
    read(store, "a")
    store.run("XDEL s 2")
    store.advance(100)
    assert store.run("XREADGROUP GROUP g a STREAMS s 0") == [
        [b"s", [[b"1-0", [b"f", b"1"]], [b"2-0", None], [b"3-0", [b"f", b"3"]]]]
    ]
    assert pending(store) == [(b"1-0", b"a", 0, 2), (b"2-0", b"a", 100, 1), (b"3-0", b"a", 0, 2)]


def test_without_acknowledgement_nothing_is_pending(store: Store) -> None:
    filled(store, 3)
    store.run("XREADGROUP GROUP g a COUNT 2 NOACK STREAMS s >")
    assert pending(store) == []
    assert read(store, "b") == [b"3-0"]
    assert effects(store)[4:] == [
        b"XGROUP CREATECONSUMER s g a", b"XGROUP SETID s g 2-0 ENTRIESREAD 2",
        b"XGROUP CREATECONSUMER s g b",
        b"XGROUP SETID s g 3-0 ENTRIESREAD 3",
        b"XCLAIM s g b 0 3-0 TIME %d RETRYCOUNT 1 FORCE JUSTID LASTID 3-0" % START_MS,
    ]  # fmt: skip


def test_a_read_of_new_entries_is_one_change_to_save(store: Store) -> None:
    """Of each stream; a read of a consumer's history is none."""
    filled(store, 9)
    filled(store, 1, "t")
    store.run("XGROUP CREATECONSUMER s g a")
    store.run("XGROUP CREATECONSUMER t g a")
    log = store.node.keyspace.log
    for line, changes in [
        ("COUNT 3 STREAMS s >", 1), ("COUNT 2 NOACK STREAMS s >", 1), ("STREAMS s 0", 0),
        ("STREAMS s t > >", 2), ("STREAMS s t > >", 0), ("NOACK STREAMS s t 0 0", 0),
    ]:  # fmt: skip
        before = log.dirty
        store.run(f"XREADGROUP GROUP g a {line}")
        assert log.dirty == before + changes, line


def test_entries_delivered_again_change_hands(store: Store) -> None:
    filled(store, 2)
    read(store, "a")
    store.run("XGROUP SETID s g 0")
    assert read(store, "b", 1) == [b"1-0"]
    assert [entry[:2] for entry in pending(store)] == [(b"1-0", b"b"), (b"2-0", b"a")]
    assert store.run("XGROUP DELCONSUMER s g b") == 1
    assert [entry[:2] for entry in pending(store)] == [(b"2-0", b"a")]


def test_one_stream_twice_and_several(either: Store) -> None:
    filled(either, 2)
    filled(either, 1, "t")
    reply = either.run("XREADGROUP GROUP g c STREAMS t s s > > 0")
    found = reply if isinstance(reply, dict) else dict(reply[:2])
    assert list(found) == [b"t", b"s"]
    assert either.run("XREADGROUP GROUP g c STREAMS s t > >") is None


# --- claiming ------------------------------------------------------------------------------------


def test_claiming(store: Store) -> None:
    filled(store, 4)
    read(store, "a", 3)
    store.advance(50)
    assert store.run("XCLAIM s g b 51 1 2") == []
    assert store.run("XCLAIM s g b 50 1 9 4") == [[b"1-0", [b"f", b"1"]]]
    assert store.run("XCLAIM s g b 0 2 JUSTID") == [b"2-0"]
    assert pending(store, "b") == [(b"1-0", b"b", 0, 2), (b"2-0", b"b", 0, 1)]
    assert store.run("XCLAIM s g c 1000 4 FORCE") == [[b"4-0", [b"f", b"4"]]]
    assert store.run("XCLAIM s g c 0 3 IDLE 10 RETRYCOUNT 7 LASTID 4-0 JUSTID") == [b"3-0"]
    assert pending(store, "c") == [(b"3-0", b"c", 10, 7), (b"4-0", b"c", 0, 2)]
    assert group_info(store)[b"last-delivered-id"] == b"4-0"
    assert store.run(f"XCLAIM s g c 0 3 TIME {START_MS + 10**6} JUSTID") == [b"3-0"]
    assert pending(store, "c")[0] == (b"3-0", b"c", 0, 7)


def test_what_was_deleted_cannot_be_claimed(store: Store) -> None:
    filled(store, 3)
    read(store, "a")
    store.run("XDEL s 1 2")
    assert store.run("XCLAIM s g b 1000 1 JUSTID") == []
    assert store.run("XAUTOCLAIM s g b 0 0") == [b"0-0", [[b"3-0", [b"f", b"3"]]], [b"2-0"]]
    assert pending(store) == [(b"3-0", b"b", 0, 2)]


def test_claiming_by_age(store: Store) -> None:
    filled(store, 6)
    read(store, "a", 4)
    store.advance(100)
    read(store, "a")
    assert store.run("XAUTOCLAIM s g b 100 - COUNT 3 JUSTID") == [
        b"4-0", [b"1-0", b"2-0", b"3-0"], [],
    ]  # fmt: skip
    assert store.run("XAUTOCLAIM s g b 100 4-0 JUSTID") == [b"0-0", [b"4-0"], []]
    assert store.run("XAUTOCLAIM s g b 100 (6 JUSTID") == [b"0-0", [], []]
    # Ten entries are looked at for each that may be claimed.
    filled(store, 40, "t")
    store.run("XREADGROUP GROUP g a STREAMS t >")
    assert store.run("XAUTOCLAIM t g b 1 0 COUNT 2") == [b"21-0", [], []]


def test_the_count_of_deliveries_wraps_as_in_redis(store: Store) -> None:
    filled(store, 1)
    store.run("XCLAIM s g c 0 1 FORCE RETRYCOUNT 9223372036854775807")
    assert len(store.run("XCLAIM s g c 0 1")) == 1
    assert pending(store)[0][3] == -(1 << 63)
    store.run("XREADGROUP GROUP g c STREAMS s 0")
    assert pending(store)[0][3] == 1 - (1 << 63)
    # XCLAIM takes a negative count for none at all.
    store.aof = False


# --- counters and XINFO --------------------------------------------------------------------------


def test_lag(store: Store) -> None:
    filled(store, 5)

    def lag() -> tuple[Any, Any]:
        info = group_info(store)
        return info[b"entries-read"], info[b"lag"]

    assert lag() == (None, 5)
    read(store, "a", 1)
    assert lag() == (1, 4)
    read(store, "a", 1)
    assert lag() == (2, 3)
    store.run("XDEL s 4")
    assert lag() == (2, None)
    read(store, "a")
    assert lag() == (5, 0)
    store.run("XADD s 6 f 6")
    assert lag() == (5, 1)
    store.run("XGROUP SETID s g 3")
    assert lag() == (None, None)
    store.run("XTRIM s MAXLEN 1")
    assert lag() == (None, 1)
    store.run("XTRIM s MAXLEN 0")
    assert lag() == (None, 0)
    store.run("XGROUP SETID s g 6 ENTRIESREAD 100")
    store.run("XADD s 7 f 7")
    assert lag() == (100, 1)


def test_consumers_are_seen_and_active(either: Store) -> None:
    filled(either, 1)
    either.run("XGROUP CREATECONSUMER s g idle")
    read(either, "a")
    either.advance(70)
    read(either, "a")
    either.advance(5)
    found = [fields(consumer) for consumer in either.run("XINFO CONSUMERS s g")]
    assert found == [
        {b"name": b"a", b"pending": 1, b"idle": 5, b"inactive": 75},
        {b"name": b"idle", b"pending": 0, b"idle": 75, b"inactive": -1},
    ]


def test_all_of_a_stream(either: Store) -> None:
    filled(either, 12)
    read(either, "b", 11)
    info = fields(either.run("XINFO STREAM s FULL COUNT 2"))
    assert list(info) == [
        b"length", b"radix-tree-keys", b"radix-tree-nodes", b"last-generated-id",
        b"max-deleted-entry-id", b"entries-added", b"recorded-first-entry-id",
        b"entries", b"groups",
    ]  # fmt: skip
    assert [entry[0] for entry in info[b"entries"]] == [b"1-0", b"2-0"]
    group = fields(info[b"groups"][0])
    assert group[b"pending"] == [[b"1-0", b"b", START_MS, 1], [b"2-0", b"b", START_MS, 1]]
    assert (group[b"pel-count"], group[b"lag"]) == (11, 1)
    assert fields(group[b"consumers"][0]) == {
        b"name": b"b", b"seen-time": START_MS, b"active-time": START_MS, b"pel-count": 11,
        b"pending": [[b"1-0", START_MS, 1], [b"2-0", START_MS, 1]],
    }  # fmt: skip
    for count, length in ((0, 12), (-5, 10), (9223372036854775807, 12)):
        info = fields(either("XINFO", "STREAM", "s", "full", "count", count))
        assert len(info[b"entries"]) == length
    assert len(fields(either.run("XINFO STREAM s FULL"))[b"entries"]) == 10
    short = fields(either.run("XINFO STREAM s"))
    assert short[b"groups"] == 1
    assert short[b"last-entry"] == [b"12-0", [b"f", b"12"]]
    either.run("XTRIM s MAXLEN 0")
    assert fields(either.run("XINFO STREAM s"))[b"first-entry"] is None


def test_copies_share_nothing(store: Store) -> None:
    filled(store, 3)
    read(store, "a")
    store.run("COPY s t")
    store.run("XACK s g 1 2 3")
    store.run("XADD s 4 f v")
    store.run("XREADGROUP GROUP g b STREAMS s >")
    assert store.run("XPENDING t g") == [3, b"1-0", b"3-0", [[b"a", b"3"]]]
    assert store.run("XREADGROUP GROUP g b STREAMS t >") is None
    assert store.run("XCLAIM t g b 0 1 JUSTID") == [b"1-0"]


def test_big_ones_are_freed_in_slices(store: Store) -> None:
    filled(store, 300)
    read(store, "a", 300)
    keyspace = store.node.keyspace
    store.run("DEL s")
    assert len(keyspace.garbage) == 1
    for _ in range(1000):
        if not keyspace.free_slice(1):
            break
    assert keyspace.garbage == []


# --- waiting -------------------------------------------------------------------------------------


def test_consumers_wait_in_turn(clients: Clients) -> None:
    run, store = clients.run, clients.store
    run("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    for name in ("a", "b"):
        assert clients.waits(name, *f"XREADGROUP GROUP g {name} BLOCK 0 STREAMS s >".split())
    _, served = run("XADD", "s", 1, "f", "v")
    assert {name: dict(reply) for name, reply in served.items()} == {
        "a": {b"s": [[b"1-0", [b"f", b"v"]]]}
    }
    assert list(run("XADD", "s", 2, "f", "v")[1]) == ["b"]
    assert [entry[1] for entry in store.run("XPENDING s g - + 9")] == [b"a", b"b"]
    # Own history never waits.
    assert dict(store.run("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0")) == {b"s": []}


@pytest.mark.parametrize("line, text", [
    ("XGROUP DESTROY s g", NO_GROUP.format("s", "g") + " in XREADGROUP with GROUP option"),
    ("DEL s", NO_GROUP.format("s", "g") + " in XREADGROUP with GROUP option"),
    ("FLUSHALL", NO_GROUP.format("s", "g") + " in XREADGROUP with GROUP option"),
    ("RENAME s t", NO_GROUP.format("s", "g") + " in XREADGROUP with GROUP option"),
    ("SET s v", WRONGTYPE),
])  # fmt: skip
def test_what_they_wait_for_vanishes(clients: Clients, line: str, text: str) -> None:
    clients.run("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    clients.waits("a", *"XREADGROUP GROUP g a BLOCK 0 STREAMS s >".split())
    clients.waits("b", *"XREAD BLOCK 0 STREAMS s $".split())
    _, served = clients.run(*line.split())
    assert served == {"a": RedisReplyError(text)}
