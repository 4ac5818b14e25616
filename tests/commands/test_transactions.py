"""MULTI, EXEC, DISCARD, WATCH: texts and effects as Redis has them.

Where the answer of 7.0 differs from 7.4 nothing here depends on it; the same sequences run beside
a real server in tests/oracle/test_transactions.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.store import RedisReplyError, Store

ABORTED = "EXECABORT Transaction discarded because of previous errors."


def run(store: Store, *lines: str, client: Any = None) -> list[Any]:
    replies = [store(*line.split(), client=client) for line in lines]
    return [str(each) if isinstance(each, Exception) else each for each in replies]


def test_queued_commands_run_together(either: Store) -> None:
    assert run(either, "MULTI", "SET k 1", "INCR k", "GET k") == [
        b"OK", b"QUEUED", b"QUEUED", b"QUEUED",
    ]  # fmt: skip
    assert either("GET", "k", client=either.node.new_client()) is None
    assert either("EXEC") == [b"OK", 2, b"2"]
    assert either("EXEC") == RedisReplyError("ERR EXEC without MULTI")


def test_an_empty_transaction(either: Store) -> None:
    assert run(either, "MULTI", "EXEC") == [b"OK", []]


def test_an_error_while_running_stops_nothing(store: Store) -> None:
    run(store, "SET s text", "MULTI", "INCR s", "LPUSH s x", "SET after 1")
    replies = store("EXEC")
    assert [str(each) for each in replies[:2]] == [
        "ERR value is not an integer or out of range",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
    ]
    assert replies[2] == b"OK"
    assert store("GET", "after") == b"1"


@pytest.mark.parametrize("spoiler", [
    "NOSUCH", "GET", "GET a b", "CLIENT NOPE", "CLIENT", "DISCARD x", "MULTI x", "WATCH",
])  # fmt: skip
def test_an_error_while_queueing_aborts(store: Store, spoiler: str) -> None:
    run(store, "MULTI", "SET k 1")
    assert isinstance(store(*spoiler.split()), RedisReplyError)
    assert run(store, "SET k 2", "EXEC") == [b"QUEUED", ABORTED]
    assert run(store, "GET k", "MULTI", "SET k 3", "EXEC") == [None, b"OK", b"QUEUED", [b"OK"]]


def test_exec_with_arguments_ends_the_transaction(store: Store) -> None:
    why = "wrong number of arguments for 'exec' command"
    text = f"EXECABORT Transaction discarded because of: {why}"
    assert run(store, "WATCH k", "MULTI", "SET k 1", "EXEC x") == [b"OK", b"OK", b"QUEUED", text]
    assert run(store, "EXISTS k", "EXEC") == [0, "ERR EXEC without MULTI"]
    assert store.node.keyspace.databases[0].watched == {}
    assert run(store, "EXEC x") == [text]


def test_nested_multi_and_watch_inside_are_refused_but_do_no_harm(store: Store) -> None:
    assert run(store, "MULTI", "MULTI", "WATCH k", "SET k 1", "EXEC") == [
        b"OK", "ERR MULTI calls can not be nested", "ERR WATCH inside MULTI is not allowed",
        b"QUEUED", [b"OK"],
    ]  # fmt: skip


def test_discard(store: Store) -> None:
    assert run(store, "DISCARD") == ["ERR DISCARD without MULTI"]
    run(store, "SET k 0", "WATCH k", "MULTI", "SET k 1")
    assert run(store, "DISCARD", "GET k", "EXEC") == [b"OK", b"0", "ERR EXEC without MULTI"]
    # It has forgotten the watched key too.
    run(store, "SET k 2")
    assert run(store, "MULTI", "GET k", "EXEC")[-1] == [b"2"]


CHANGES = [
    "SET k new", "SET k v", "DEL k", "APPEND k x", "EXPIRE k 100", "GETDEL k", "FLUSHALL",
    "FLUSHDB", "RENAME k other", "RENAME other k", "MSET a 1 k 2", "SETRANGE k 0 v",
    "GETEX k EX 10",
    "COPY other k REPLACE", "MOVE k 1",
]  # fmt: skip
NO_CHANGES = [
    "GET k", "SET other x", "DEL missing", "SETNX k x", "SET k x NX", "SETRANGE k 0", "PERSIST k",
    "TTL k", "LPUSHX missing x", "EXISTS k", "GETEX k", "SELECT 1", "STRLEN k", "RENAMENX other k",
    "EXPIRE missing 5", "APPEND", "LPUSH k x",
]  # fmt: skip


@pytest.mark.parametrize("own", [True, False], ids=["own", "other"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_watched_key_that_changed(either: Store, change: str, own: bool) -> None:
    other = None if own else either.node.new_client()
    run(either, "SET k v", "SET other o", "WATCH a k k missing")
    assert not isinstance(either(*change.split(), client=other), Exception), change
    run(either, "SELECT 0", "MULTI", "SET ran 1")
    assert either("EXEC") is None
    assert either("EXISTS", "ran") == 0
    assert run(either, "MULTI", "SET ran 1", "EXEC")[-1] == [b"OK"], "only the next EXEC"
    assert either.node.keyspace.databases[0].watched == {}


@pytest.mark.parametrize("change", NO_CHANGES)
def test_a_watched_key_that_did_not(store: Store, change: str) -> None:
    run(store, "SET k v", "SET other o", "WATCH k missing")
    store(*change.split())
    run(store, "SELECT 0", "MULTI", "SET ran 1")
    assert store("EXEC") == [b"OK"]


def test_a_change_between_multi_and_exec_counts(store: Store) -> None:
    run(store, "WATCH k", "MULTI", "SET k mine")
    run(store, "SET k theirs", client=store.node.new_client())
    assert run(store, "EXEC", "GET k") == [None, b"theirs"]


def test_errors_come_before_changes(store: Store) -> None:
    """Both a watched key moved and a command was refused: EXECABORT, not null."""
    run(store, "WATCH k", "SET k 1", "MULTI", "NOSUCH")
    assert run(store, "EXEC") == [ABORTED]


def test_unwatch(store: Store) -> None:
    assert run(store, "UNWATCH", "WATCH k", "SET k 1", "UNWATCH", "MULTI", "GET k", "EXEC")[-1] == [
        b"1"
    ]


def test_unwatch_inside_a_transaction_is_too_late(store: Store) -> None:
    run(store, "WATCH k", "SET k 1", "MULTI", "UNWATCH")
    assert store("EXEC") is None


def test_a_watched_key_that_expires(store: Store) -> None:
    run(store, "SET k v PX 100", "WATCH k", "MULTI", "SET ran 1")
    store.advance(100)
    assert store("EXEC") is None


def test_a_key_that_had_expired_before_watch(store: Store) -> None:
    run(store, "SET k v PX 100")
    store.advance(200)
    run(store, "WATCH k", "GET k", "MULTI", "SET ran 1")
    assert store("EXEC") == [b"OK"]


def test_flushing_does_not_touch_missing_keys(store: Store) -> None:
    run(store, "SET other 1", "WATCH missing", "FLUSHALL", "MULTI", "PING")
    assert store("EXEC") == [b"PONG"]


def test_watch_knows_its_database(store: Store) -> None:
    run(store, "WATCH k", "SELECT 1", "SET k 1", "SELECT 0", "MULTI", "PING")
    assert store("EXEC") == [b"PONG"]
    run(store, "SELECT 1", "WATCH k", "SELECT 0", "MULTI", "SELECT 1", "SET k 2", "PING")
    assert store("EXEC") == [b"OK", b"OK", b"PONG"]


def test_select_inside_a_transaction(store: Store) -> None:
    run(store, "MULTI", "SELECT 99", "SELECT 3", "SET k three", "SELECT 0", "GET k")
    replies = store("EXEC")
    assert str(replies[0]) == "ERR DB index is out of range"
    assert replies[1:] == [b"OK", b"OK", b"OK", None]
    assert run(store, "SELECT 3", "GET k") == [b"OK", b"three"]


def test_the_protocol_changes_within_a_transaction(store: Store) -> None:
    run(store, "MULTI", "GET k", "HELLO 3", "GET k")
    data = store.raw("EXEC")
    assert data.startswith(b"*3\r\n$-1\r\n%7\r\n")
    assert data.endswith(b"*0\r\n_\r\n")


def test_reset_and_quit_do_not_wait_for_exec(store: Store) -> None:
    run(store, "SET k 0", "WATCH k", "MULTI", "SET k 1")
    assert run(store, "RESET", "GET k", "EXEC") == [b"RESET", b"0", "ERR EXEC without MULTI"]
    assert run(store, "MULTI", "QUIT") == [b"OK", b"OK"]
    assert store.client.closing


def test_a_client_that_leaves_forgets_its_keys(store: Store) -> None:
    leaver = store.node.new_client()
    run(store, "WATCH k a", client=leaver)
    run(store, "WATCH k")
    store.node.forget_client(leaver)
    assert set(store.node.keyspace.databases[0].watched) == {b"k"}
    run(store, "UNWATCH")
    assert store.node.keyspace.databases[0].watched == {}


def test_watching_many_keys_takes_linear_time(store: Store) -> None:
    """Quadratic time would be minutes here."""
    keys = [b"key:%d" % number for number in range(50_000)]
    assert store("WATCH", *keys) == b"OK"
    assert store("WATCH", *keys) == b"OK"
    assert len(store.client.watched) == 50_000
    assert run(store, "MULTI", "PING", "EXEC")[-1] == [b"PONG"]


def test_a_transaction_may_not_grow_without_limit() -> None:
    store = Store(client_query_buffer_limit="1048576")
    store("MULTI")
    for _ in range(10):
        assert store("SET", "k", "v" * 100_000) == b"QUEUED"
    assert "exceeds client-query-buffer-limit" in store.error("SET", "k", "v" * 100_000)
    assert store.client.queue == []
    assert store.error("EXEC").startswith("EXECABORT")
    assert store("GET", "k") is None
    assert store("MULTI") == b"OK" and store.client.queued_bytes == 0
