"""Stream commands: replies, options, errors, trimming, effects, waiting readers.

Every text of an error and every reply here is what redis-server answers (see also
tests/oracle/test_streams.py, which asks one).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.store import START_MS, Store
from tests.support.waiting import Clients

INVALID = "ERR Invalid stream ID specified as stream command argument"
TOO_SMALL = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
EXHAUSTED = "ERR The stream has exhausted the last possible ID, unable to add more items"
SYNTAX = "ERR syntax error"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER = "ERR value is not an integer or out of range"
MAX = "18446744073709551615"


@pytest.fixture
def clients(either: Store) -> Clients:
    return Clients(either)


def filled(store: Store, count: int, key: str = "s") -> None:
    for i in range(1, count + 1):
        store("XADD", key, i, "f", i)


def ids(reply: list[Any]) -> list[bytes]:
    return [entry[0] for entry in reply]


def effects(store: Store) -> list[bytes]:
    return [b" ".join(effect.argv) for effect in store.recorder.effects_seen]


def events(store: Store) -> list[bytes]:
    return [effect.event for effect in store.recorder.effects_seen if effect.event]


# --- adding --------------------------------------------------------------------------------------


def test_ids_come_from_the_clock_and_never_go_back(store: Store) -> None:
    assert store.run("XADD s * a 1") == b"%d-0" % START_MS
    assert store.run("XADD s * a 2") == b"%d-1" % START_MS
    store.advance(5)
    assert store.run("XADD s * a 3") == b"%d-0" % (START_MS + 5)
    assert store.run(f"XADD s {START_MS + 10}-7 a 4") == b"%d-7" % (START_MS + 10)
    assert store.run("XADD s * a 5") == b"%d-8" % (START_MS + 10)
    assert store.run("XLEN s") == 5
    assert store.run("TYPE s") == b"stream"
    assert store.run("OBJECT ENCODING s") == b"stream"


def test_ids_given_in_part(store: Store) -> None:
    assert store.run("XADD s 0-* a 1") == b"0-1"
    assert store.run("XADD s 5 a 1") == b"5-0"
    assert store.run("XADD s 5-* a 1") == b"5-1"
    assert store.run("XADD s 6-* a 1") == b"6-0"
    assert store.error(*"XADD s 5-* a 1".split()) == TOO_SMALL
    store.run(f"XADD s 7-{MAX} a 1")
    assert store.error(*"XADD s 7-* a 1".split()) == TOO_SMALL
    store.run(f"XADD s {MAX}-{MAX} a 1")
    for id in ("*", "1", "1-*", f"{MAX}-*"):
        assert store.error("XADD", "s", id, "a", "1") == EXHAUSTED


@pytest.mark.parametrize("line, text", [
    ("XADD s 0-0 a 1", "ERR The ID specified in XADD must be greater than 0-0"),
    ("XADD s 0 a 1", "ERR The ID specified in XADD must be greater than 0-0"),
    ("XADD s * a", "ERR wrong number of arguments for 'xadd' command"),
    ("XADD s * a b c", "ERR wrong number of arguments for 'xadd' command"),
    ("XADD s MAXLEN 1 * a", "ERR wrong number of arguments for 'xadd' command"),
    ("XADD s - a b", INVALID), ("XADD s + a b", INVALID), ("XADD s 1-1-* a b", INVALID),
    ("XADD s MAXLEN x * a b", NOT_INTEGER), ("XADD s MINID x * a b", INVALID),
    ("XADD s MAXLEN -1 * a b", "ERR The MAXLEN argument must be >= 0."),
    ("XADD s MAXLEN ~ 1 LIMIT -1 * a b", "ERR The LIMIT argument must be >= 0."),
    ("XADD s MAXLEN 1 MINID 1 * a b", "ERR syntax error, MAXLEN and MINID options at the same time "
     "are not compatible"),
    ("XADD s LIMIT 1 * a b", "ERR syntax error, LIMIT cannot be used without specifying a trimming "
     "strategy"),
    ("XADD s LIMIT 0 * a b", "ERR syntax error, LIMIT cannot be used without the special ~ option"),
    ("XADD s MAXLEN = 1 LIMIT 1 * a b", "ERR syntax error, LIMIT cannot be used without the "
     "special ~ option"),
    ("XTRIM s MAXLEN", "ERR wrong number of arguments for 'xtrim' command"),
    ("XTRIM s LIMIT 0 LIMIT 0", "ERR syntax error, XTRIM must be called with a trimming strategy"),
    ("XTRIM s FOO 1", SYNTAX), ("XTRIM s MAXLEN ~", NOT_INTEGER), ("XTRIM s MAXLEN 1 *", SYNTAX),
    ("XTRIM s MINID -", INVALID), ("XADD str * a b", WRONGTYPE), ("XTRIM str MAXLEN 1", WRONGTYPE),
    ("XDEL s x", INVALID), ("XDEL s 1 -", INVALID), ("XDEL str 1", WRONGTYPE),
    ("XLEN str", WRONGTYPE), ("XRANGE str - +", WRONGTYPE), ("XRANGE s x +", INVALID),
    ("XRANGE s - + COUNT", SYNTAX), ("XRANGE s - + FOO 1", SYNTAX), ("XRANGE s (- +", INVALID),
    ("XRANGE s - + COUNT x", NOT_INTEGER),
    (f"XRANGE s ({MAX}-{MAX} +", "ERR invalid start ID for the interval"),
    ("XRANGE s - (0-0", "ERR invalid end ID for the interval"),
    (f"XREVRANGE s + ({MAX}", "OK"),
    ("XREAD STREAMS s", "ERR wrong number of arguments for 'xread' command"),
    ("XREAD STREAMS s t 0", "ERR Unbalanced 'xread' list of streams: for each stream key an ID or "
     "'$' must be specified."),
    ("XREAD COUNT 1 s 0", SYNTAX), ("XREAD COUNT 1 STREAMS", SYNTAX),
    ("XREAD FOO STREAMS s 0", SYNTAX),
    ("XREAD COUNT x STREAMS s 0", NOT_INTEGER), ("XREAD STREAMS s x", INVALID),
    ("XREAD STREAMS str x", WRONGTYPE), ("XREAD STREAMS s -", INVALID),
    ("XREAD STREAMS s >", "ERR The > ID can be specified only when calling XREADGROUP using the "
     "GROUP <group> <consumer> option."),
    ("XREAD GROUP g c STREAMS s 0", "ERR The GROUP option is only supported by XREADGROUP. You "
     "called XREAD instead."),
    ("XREAD NOACK STREAMS s 0", "ERR The NOACK option is only supported by XREADGROUP. You called "
     "XREAD instead."),
    ("XREAD BLOCK x STREAMS s 0", "ERR timeout is not an integer or out of range"),
    ("XREAD BLOCK -1 STREAMS s 0", "ERR timeout is negative"),
    ("XREAD BLOCK 9223372036854775807 STREAMS s 0", "ERR timeout is out of range"),
    ("XSETID none 1", "ERR no such key"), ("XSETID str 1", WRONGTYPE), ("XSETID s x", INVALID),
    ("XSETID s 1", "ERR The ID specified in XSETID is smaller than the target stream top item"),
    ("XSETID s 9 ENTRIESADDED -1", "ERR entries_added must be positive"),
    ("XSETID s 9 ENTRIESADDED 1", "ERR The entries_added specified in XSETID is smaller than the "
     "target stream length"),
    ("XSETID s 9 MAXDELETEDID 10", "ERR The ID specified in XSETID is smaller than the provided "
     "max_deleted_entry_id"),
    ("XSETID s 9 ENTRIESADDED", SYNTAX), ("XSETID s 9 FOO 1", SYNTAX),
])  # fmt: skip
def test_errors(store: Store, line: str, text: str) -> None:
    filled(store, 3)
    store.run("SET str v")
    if text == "OK":
        assert store.run(line) == []
    else:
        assert store.error(*line.split()) == text


def test_no_stream_is_made_in_vain(store: Store) -> None:
    assert store.run("XADD s NOMKSTREAM * a 1") is None
    for line in ("XADD s 0-0 a 1", "XADD s x a 1", "XADD s * a", "XADD s NOMKSTREAM 5 a"):
        store.error(*line.split())
    assert store.run("EXISTS s") == 0
    assert store.run("XADD s NOMKSTREAM MAXLEN 5 1 a 1") is None
    store.run("XADD s 1 a 1")
    assert store.run("XADD s nomkstream 2 a 1") == b"2-0"


def test_fields_are_kept_as_they_are(either: Store) -> None:
    texts = ["f", "1", "f", "01", "", "\r\n", "-5", "x" * 5000, "9223372036854775808", "-0"]
    either("XADD", "s", "1-1", *texts)
    either("XADD", "s", "1-2", "f", "2", "f", "3")
    encoded = [text.encode() for text in texts]
    assert either("XRANGE", "s", "-", "+") == [
        [b"1-1", encoded], [b"1-2", [b"f", b"2", b"f", b"3"]],
    ]  # fmt: skip


# --- trimming and deleting -----------------------------------------------------------------------


def test_trimming_about_takes_whole_blocks(store: Store) -> None:
    filled(store, 250)
    assert store.run("XTRIM s MAXLEN ~ 200") == 0
    assert store.run("XTRIM s MAXLEN ~ 149") == 100
    assert store.run("XADD s MAXLEN ~ 10 1000 f v") == b"1000-0"
    assert store.run("XLEN s") == 51
    assert store.run("XTRIM s MAXLEN = 20") == 31
    assert store.run("XTRIM s MINID ~ 999") == 0
    assert store.run("XTRIM s MINID 240") == 8
    assert ids(store.run("XRANGE s - + COUNT 1")) == [b"240-0"]
    assert store.run("XTRIM s MINID ~ 1001") == 12
    assert store.run("XTRIM none MAXLEN 0") == 0
    assert store.run("EXISTS s") == 1
    assert effects(store)[250:] == [
        b"XTRIM s MAXLEN = 150", b"XADD s 1000-0 f v", b"XTRIM s MAXLEN = 51",
        b"XTRIM s MAXLEN = 20", b"XTRIM s MINID = 240-0",
        b"XTRIM s MINID = 18446744073709551615-18446744073709551615",
    ]  # fmt: skip
    assert events(store)[249:] == [b"xadd", b"xtrim", b"xadd", *[b"xtrim"] * 4]


def test_trimming_about_is_limited(store: Store) -> None:
    store.run("CONFIG SET stream-node-max-entries 10")
    filled(store, 100)
    assert store.run("XTRIM s MAXLEN ~ 0 LIMIT 25") == 20
    assert store.run("XTRIM s MAXLEN ~ 0 LIMIT 9") == 0
    assert store.run("XTRIM s MINID ~ 61 LIMIT 0") == 40
    assert store.run("XTRIM s MAXLEN ~ 5") == 30


def test_the_size_of_blocks_is_configured(store: Store) -> None:
    store.run("CONFIG SET stream-node-max-bytes 100")
    filled(store, 50)
    assert store.run("XINFO STREAM s")[3] > 5
    store.run("CONFIG SET stream-node-max-bytes 0 stream-node-max-entries 0")
    filled(store, 700, "t")
    assert store.run("XINFO STREAM t")[3] == 1
    assert store.run("XTRIM t MAXLEN ~ 10") == 0


def test_deleted_entries_are_gone(store: Store) -> None:
    filled(store, 5)
    assert store.run("XDEL s 2 2-0 4 9") == 2
    assert ids(store.run("XRANGE s - +")) == [b"1-0", b"3-0", b"5-0"]
    assert ids(store.run("XREVRANGE s + - COUNT 2")) == [b"5-0", b"3-0"]
    assert store.run("XDEL s 1 3 5") == 3
    assert store.run("XLEN s") == 0
    assert store.run("XRANGE s - +") == []
    assert store.error(*"XADD s 5 f v".split()) == TOO_SMALL
    assert store.run("XDEL none 1") == 0
    assert effects(store)[5:] == [b"XDEL s 2-0 4-0", b"XDEL s 1-0 3-0 5-0"]


def test_what_is_known_of_the_past_can_be_set(store: Store) -> None:
    filled(store, 2)
    assert store.run("XSETID s 9-5 ENTRIESADDED 20 MAXDELETEDID 7") == b"OK"
    info = dict(zip(*[iter(store.run("XINFO STREAM s"))] * 2, strict=True))
    assert info[b"last-generated-id"] == b"9-5"
    assert info[b"max-deleted-entry-id"] == b"7-0"
    assert info[b"entries-added"] == 20
    assert store.error(*"XSETID s 6".split()) == (
        "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
    )
    assert store.run("XSETID s 10 MAXDELETEDID 0-0") == b"OK"
    assert effects(store)[2:] == [
        b"XSETID s 9-5 ENTRIESADDED 20 MAXDELETEDID 7-0",
        b"XSETID s 10-0 ENTRIESADDED 20 MAXDELETEDID 7-0",
    ]
    assert events(store)[2:] == [b"xsetid", b"xsetid"]


# --- reading -------------------------------------------------------------------------------------


def test_ranges(either: Store) -> None:
    for id in ("1-1", "1-2", "2-0", "3-5"):
        either("XADD", "s", id, "f", "v")
    for line, expected in (
        ("- +", "1-1 1-2 2-0 3-5"), ("1 1", "1-1 1-2"), ("(1-1 2", "1-2 2-0"), ("2 (3-5", "2-0"),
        ("(1 (2", "1-1 1-2 2-0"), ("4 +", ""), ("+ -", ""), ("0 9 COUNT 2", "1-1 1-2"),
        ("0 9 COUNT 1 COUNT 3", "1-1 1-2 2-0"),
        ("0 9 COUNT 9223372036854775807", "1-1 1-2 2-0 3-5"),
    ):  # fmt: skip
        found = either(*f"XRANGE s {line}".split())
        assert b" ".join(ids(found)) == expected.encode(), line
    assert ids(either.run("XREVRANGE s (3-5 1-2")) == [b"2-0", b"1-2"]
    assert either.run("XRANGE s - + COUNT 0") is None
    assert either.run("XREVRANGE s + - COUNT -5") is None
    assert either.run("XRANGE none - +") == []


def test_reading_behind_ids(either: Store) -> None:
    filled(either, 3)
    filled(either, 1, "t")
    first = [[b"2-0", [b"f", b"2"]], [b"3-0", [b"f", b"3"]]]
    assert dict(either.run("XREAD STREAMS s 1")) == {b"s": first}
    both = either.run("XREAD COUNT 1 STREAMS s none t 1 0 0")
    assert dict(both) == {b"s": first[:1], b"t": [[b"1-0", [b"f", b"1"]]]}
    assert dict(either.run("XREAD STREAMS s t + 5")) == {b"s": first[1:]}
    either.run("XDEL s 3")
    assert dict(either.run("XREAD STREAMS s +")) == {b"s": first[:1]}
    for line in ("s 2", "s $", "none 0", "none +", "s 9", f"s {MAX}-{MAX}"):
        assert either(*f"XREAD STREAMS {line}".split()) is None


def test_resp3_reads_as_a_map() -> None:
    store = Store(protocol=3)
    filled(store, 1)
    assert store.raw("XREAD", "STREAMS", "s", "0") == (
        b"%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n"
    )
    assert store.raw("XREAD", "STREAMS", "s", "$") == b"_\r\n"
    assert store.raw("XRANGE", "s", "-", "+", "COUNT", "0") == b"_\r\n"


def test_the_head_of_a_long_range_is_right(store: Store) -> None:
    filled(store, 120)
    for count, start in ((5, 100), (50, 100), (100, 3), (9, 115), (1000, 12), (1000, 119)):
        reply = store("XRANGE", "s", start, "+", "COUNT", count)
        assert len(reply) == min(count, 121 - start)


# --- waiting -------------------------------------------------------------------------------------


def test_readers_wait_for_entries(clients: Clients) -> None:
    run = clients.run
    run("XADD", "s", 1, "f", "v")
    assert clients.waits("a", "XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    assert clients.waits("b", "XREAD", "COUNT", 1, "BLOCK", 0, "STREAMS", "none", "s", "$", 1)
    assert clients.waits("c", "XREAD", "BLOCK", 0, "STREAMS", "none", "+")
    reply, served = run("XADD", "s", 2, "f", "w")
    assert reply == b"2-0"
    assert {name: dict(found) for name, found in served.items()} == {
        "a": {b"s": [[b"2-0", [b"f", b"w"]]]}, "b": {b"s": [[b"2-0", [b"f", b"w"]]]},
    }  # fmt: skip
    assert run("LPUSH", "none", "x") == (1, {})
    assert run("DEL", "none") == (1, {})
    _, served = run("XADD", "none", 5, "f", "v")
    assert dict(served["c"]) == {b"none": [[b"5-0", [b"f", b"v"]]]}


def test_nobody_waits_in_a_transaction(either: Store) -> None:
    either("XADD", "s", 1, "f", "v")
    either("MULTI")
    either("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    assert either("EXEC") == [None]


def test_watch_sees_changes_of_entries(store: Store) -> None:
    filled(store, 3)
    other = store.node.new_client()
    for line, seen in (
        ("XADD s * f v", True), ("XTRIM s MAXLEN 2", True), ("XDEL s 3", True),
        ("XTRIM s MAXLEN 2", False), ("XDEL s 77", False), ("XGROUP CREATE s g 0", False),
        ("XREADGROUP GROUP g c STREAMS s >", False), ("XGROUP SETID s g 0", False),
        ("XGROUP CREATE t g 0 MKSTREAM", False), ("XGROUP DESTROY s g", False),
    ):  # fmt: skip
        store.run("WATCH s")
        store(*line.split(), client=other)
        store.run("MULTI")
        store.run("PING")
        assert (store.run("EXEC") is None) == seen, line
