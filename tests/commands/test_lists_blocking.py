"""BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH: who waits, who is served in which order, with what."""

from __future__ import annotations

import pytest

from tests.support.store import Store
from tests.support.waiting import Clients

NOT_FLOAT = "ERR timeout is not a float or out of range"
NEGATIVE = "ERR timeout is negative"
TOO_FAR = "ERR timeout is out of range"


@pytest.fixture
def clients(either: Store) -> Clients:
    return Clients(either)


def test_what_is_there_is_popped_at_once(either: Store) -> None:
    either("RPUSH", "l", "a", "b", "c", "d", "e")
    assert either("BLPOP", "none", "l", 0) == [b"l", b"a"]
    assert either("BRPOP", "none", "l", "1.5") == [b"l", b"e"]
    assert either("BLMPOP", 0, 2, "none", "l", "LEFT", "COUNT", 2) == [b"l", [b"b", b"c"]]
    assert either("BLMOVE", "l", "m", "LEFT", "RIGHT", 0) == b"d"
    assert either("EXISTS", "l") == 0
    assert either("BRPOPLPUSH", "m", "m", 0) == b"d"


@pytest.mark.parametrize("timeout, text", [
    ("x", NOT_FLOAT), ("", NOT_FLOAT), ("nan", NOT_FLOAT), ("-1", NEGATIVE), ("-0.002", NEGATIVE),
    ("1e300", TOO_FAR), ("inf", TOO_FAR), ("9223372036854775808", TOO_FAR),
])  # fmt: skip
def test_timeouts_that_are_none(store: Store, timeout: str, text: str) -> None:
    for line in (
        ["BLPOP", "l", timeout], ["BRPOP", "l", timeout], ["BLMPOP", timeout, 1, "l", "LEFT"],
        ["BLMOVE", "l", "m", "LEFT", "LEFT", timeout], ["BRPOPLPUSH", "l", "m", timeout],
    ):  # fmt: skip
        assert store.error(*line) == text, line


def test_errors_come_in_the_order_of_redis(store: Store) -> None:
    store("SET", "s", "1")
    wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    syntax = "ERR syntax error"
    for line, text in (
        ("BLPOP s x", NOT_FLOAT),
        ("BLPOP s 0", wrong),
        ("BLPOP none s 0", wrong),
        ("BLMOVE l m UP LEFT x", syntax),
        ("BLMOVE s m LEFT LEFT x", NOT_FLOAT),
        ("BLMOVE s m LEFT LEFT 0", wrong),
        ("BRPOPLPUSH s m 0", wrong),
        ("BLMPOP x 0 l LEFT", "ERR numkeys should be greater than 0"),
        ("BLMPOP x 1 l UP", syntax),
        ("BLMPOP 0 2 l LEFT", syntax),
        ("BLMPOP x 1 l LEFT COUNT 0", "ERR count should be greater than 0"),
        ("BLMPOP 0 1 l LEFT COUNT", syntax),
        ("BLMPOP 0 1 l LEFT COUNT 1 COUNT 1", syntax),
        ("BLMPOP x 1 l LEFT", NOT_FLOAT),
        ("BLMPOP 0 1 s LEFT", wrong),
    ):
        assert store.error(*line.split()) == text, line


def test_first_come_first_served(clients: Clients) -> None:
    for name in ("first", "second", "third"):
        assert clients.waits(name, "BLPOP", "l", 0)
    assert clients.run("RPUSH", "l", "a", "b") == (
        2,
        {"first": [b"l", b"a"], "second": [b"l", b"b"]},
    )
    assert clients.run("RPUSH", "l", "c") == (1, {"third": [b"l", b"c"]})
    assert clients.run("EXISTS", "l") == (0, {})


def test_the_first_key_in_the_order_of_the_arguments(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "x", "y", 0)
    clients.run("MULTI")
    clients.run("RPUSH", "y", "1")
    clients.run("RPUSH", "x", "2")
    assert clients.run("EXEC") == ([1, 1], {"a": [b"x", b"2"]})
    assert clients.run("LRANGE", "y", 0, -1) == ([b"1"], {})


def test_a_transaction_is_served_behind_its_end(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "l", 0)
    clients.run("MULTI")
    clients.run("RPUSH", "l", "1")
    clients.run("DEL", "l")
    assert clients.run("EXEC") == ([1, 1], {})
    clients.run("MULTI")
    clients.run("RPUSH", "l", "1", "2", "3")
    clients.run("LPOP", "l")
    assert clients.run("EXEC") == ([3, b"1"], {"a": [b"l", b"2"]})


def test_nothing_waits_in_a_transaction(either: Store) -> None:
    either("MULTI")
    for line in ("BLPOP l 0", "BRPOP l 0", "BLMPOP 0 1 l LEFT", "BLMOVE l m LEFT LEFT 0",
                 "BRPOPLPUSH l m 0"):  # fmt: skip
        assert either.run(line) == b"QUEUED"
    null = b"_\r\n" if either.client.protocol == 3 else b"*-1\r\n"
    single = b"_\r\n" if either.client.protocol == 3 else b"$-1\r\n"
    assert either.raw("EXEC") == b"*5\r\n" + null * 3 + single * 2


def test_moves_wake_who_waits_for_the_destination(clients: Clients) -> None:
    clients.waits("end", "BLPOP", "c", 0)
    clients.waits("second", "BLMOVE", "b", "c", "RIGHT", "LEFT", 0)
    clients.waits("first", "BRPOPLPUSH", "a", "b", 0)
    assert clients.run("LPUSH", "a", "v") == (
        1, {"first": b"v", "second": b"v", "end": [b"c", b"v"]}
    )  # fmt: skip
    assert clients.run("DBSIZE") == (0, {})


def test_a_move_onto_itself(clients: Clients) -> None:
    clients.waits("a", "BRPOPLPUSH", "l", "l", 0)
    assert clients.run("RPUSH", "l", "1", "2") == (2, {"a": b"2"})
    assert clients.run("LRANGE", "l", 0, -1) == ([b"2", b"1"], {})


def test_a_destination_of_another_type_is_an_error_when_it_is_served(clients: Clients) -> None:
    clients.waits("a", "BLMOVE", "l", "m", "LEFT", "LEFT", 0)
    clients.run("SET", "m", "1")
    reply, served = clients.run("RPUSH", "l", "1")
    assert reply == 1
    assert str(served["a"]).startswith("WRONGTYPE")
    assert clients.run("LLEN", "l") == (1, {})


def test_other_types_do_not_wake(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "l", 0)
    for line in ("SADD l x", "DEL l", "SET l x", "DEL l", "ZADD l 1 x", "DEL l"):
        assert clients.run(*line.split())[1] == {}
    assert clients.run("LPUSH", "l", "x") == (1, {"a": [b"l", b"x"]})


@pytest.mark.parametrize("line", ["RENAME src l", "COPY src l", "LMOVE src l LEFT LEFT"])
def test_other_ways_to_get_a_list(clients: Clients, line: str) -> None:
    clients.run("RPUSH", "src", "v")
    clients.waits("a", "BLPOP", "l", 0)
    assert clients.run(*line.split())[1] == {"a": [b"l", b"v"]}


def test_databases(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "l", 0)
    clients.run("SELECT", 1)
    assert clients.run("RPUSH", "l", "v") == (1, {})
    assert clients.run("MOVE", "l", 0) == (1, {"a": [b"l", b"v"]})
    clients.waits("a", "BLPOP", "l", 0)
    clients.run("RPUSH", "l", "w")
    assert clients.run("SWAPDB", 0, 1) == (b"OK", {"a": [b"l", b"w"]})


def test_time_runs_out(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "l", "0.1")
    clients.waits("b", "BLMOVE", "l", "m", "LEFT", "LEFT", "0.2")
    clients.waits("c", "BLMPOP", "0.0001", 1, "l", "LEFT")
    assert clients.advance(99) == {"c": None}
    assert clients.advance(1) == {"a": None}
    assert clients.run("RPUSH", "l", "v") == (1, {"b": b"v"})
    assert clients.advance(1000) == {}


def test_a_client_that_goes_away_is_not_served(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "l", 0)
    clients.waits("b", "BLPOP", "l", 0)
    clients.leave("a")
    assert clients.run("RPUSH", "l", "v") == (1, {"b": [b"l", b"v"]})


def test_one_reply_though_two_keys_are_ready(clients: Clients) -> None:
    clients.waits("a", "BLPOP", "x", "y", "x", 0)
    clients.run("MULTI")
    clients.run("RPUSH", "x", "1")
    clients.run("RPUSH", "y", "2")
    assert clients.run("EXEC")[1] == {"a": [b"x", b"1"]}
    assert clients.run("RPUSH", "x", "3") == (1, {})


def test_who_finds_nothing_again_keeps_its_place(clients: Clients) -> None:
    clients.waits("one", "BLMPOP", 0, 1, "l", "LEFT", "COUNT", 10)
    clients.waits("two", "BLPOP", "l", 0)
    clients.waits("three", "BLPOP", "l", 0)
    assert clients.run("RPUSH", "l", "1", "2") == (2, {"one": [b"l", [b"1", b"2"]]})
    assert clients.run("RPUSH", "l", "3") == (1, {"two": [b"l", b"3"]})
    assert clients.run("RPUSH", "l", "4") == (1, {"three": [b"l", b"4"]})
