"""BZPOPMIN, BZPOPMAX, BZMPOP: who waits, who is served, with what."""

from __future__ import annotations

import pytest

from tests.support.store import Store
from tests.support.waiting import Clients


@pytest.fixture
def clients(either: Store) -> Clients:
    return Clients(either)


def score(store: Store, value: float) -> object:
    """A score as the store's client gets it."""
    return value if store.client.protocol == 3 else b"%g" % value


def test_what_is_there_is_popped_at_once(either: Store) -> None:
    either("ZADD", "z", 1, "a", 2, "b", 3, "c", 4, "d")
    assert either("BZPOPMIN", "none", "z", 0) == [b"z", b"a", score(either, 1)]
    assert either("BZPOPMAX", "none", "z", "0.5") == [b"z", b"d", score(either, 4)]
    assert either("BZMPOP", 0, 2, "none", "z", "MAX", "COUNT", 9) == [
        b"z", [[b"c", score(either, 3)], [b"b", score(either, 2)]]
    ]  # fmt: skip
    assert either("EXISTS", "z") == 0


def test_errors(store: Store) -> None:
    store("SET", "s", "1")
    not_float = "ERR timeout is not a float or out of range"
    wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    for line, text in (
        ("BZPOPMIN s x", not_float),
        ("BZPOPMAX z -1", "ERR timeout is negative"),
        ("BZPOPMIN s 0", wrong),
        ("BZMPOP x 0 z MIN", "ERR numkeys should be greater than 0"),
        ("BZMPOP x 1 z LEFT", "ERR syntax error"),
        ("BZMPOP x 1 z MIN COUNT 0", "ERR count should be greater than 0"),
        ("BZMPOP x 1 z MIN", not_float),
        ("BZMPOP 0 1 s MIN", wrong),
    ):
        assert store.error(*line.split()) == text, line


def test_first_come_first_served(clients: Clients) -> None:
    store = clients.store
    clients.waits("low", "BZPOPMIN", "z", 0)
    clients.waits("high", "BZPOPMAX", "y", "z", 0)
    clients.waits("rest", "BZMPOP", 0, 1, "z", "MIN", "COUNT", 5)
    assert clients.run("ZADD", "z", 1, "a", 2, "b", 3, "c", 4, "d") == (
        4,
        {
            "low": [b"z", b"a", score(store, 1)],
            "high": [b"z", b"d", score(store, 4)],
            "rest": [b"z", [[b"b", score(store, 2)], [b"c", score(store, 3)]]],
        },
    )
    assert clients.run("DBSIZE") == (0, {})


def test_lists_do_not_wake_and_stores_do(clients: Clients) -> None:
    clients.waits("a", "BZPOPMIN", "z", 0)
    clients.waits("list", "BLPOP", "z", 0)
    clients.run("ZADD", "src", 1, "m")
    one = score(clients.store, 1)
    assert clients.run("ZUNIONSTORE", "z", 1, "src") == (1, {"a": [b"z", b"m", one]})
    assert clients.run("RPUSH", "z", "v") == (1, {"list": [b"z", b"v"]})
    clients.waits("a", "BZPOPMIN", "z", 0)
    assert clients.run("RENAME", "src", "z") == (b"OK", {"a": [b"z", b"m", one]})


def test_nothing_waits_in_a_transaction(either: Store) -> None:
    either("MULTI")
    for line in ("BZPOPMIN z 0", "BZPOPMAX z 0", "BZMPOP 0 1 z MIN"):
        either.run(line)
    null = b"_\r\n" if either.client.protocol == 3 else b"*-1\r\n"
    assert either.raw("EXEC") == b"*3\r\n" + null * 3


def test_time_runs_out(clients: Clients) -> None:
    clients.waits("a", "BZPOPMIN", "z", "0.01")
    clients.waits("b", "BZMPOP", "0.02", 1, "z", "MIN")
    assert clients.advance(10) == {"a": None}
    assert clients.advance(10) == {"b": None}
