"""CONFIG GET, SET, RESETSTAT: shapes and texts as redis-server's."""

from __future__ import annotations

import pytest

from tests.support.store import Store


def test_get(either: Store) -> None:
    reply = either("CONFIG", "GET", "MAXCLIENTS", "hash-max-*-entries", "nothing", "maxclients")
    pairs = [b"maxclients", b"10000", b"hash-max-listpack-entries", b"512",
             b"hash-max-ziplist-entries", b"512"]  # fmt: skip
    expected = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert reply == (expected if either.client.protocol == 3 else pairs)


def test_set_several(store: Store) -> None:
    assert store.run("CONFIG SET maxmemory 1mb slave-priority 5 replica-priority 6") == b"OK"
    assert store.run("CONFIG GET *-priority maxmemory") == [
        b"replica-priority", b"6", b"slave-priority", b"6", b"maxmemory", b"1048576",
    ]  # fmt: skip


FAILED = "ERR CONFIG SET failed (possibly related to argument '"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("nope 1", "ERR Unknown option or number of arguments for CONFIG SET - 'nope'"),
        ("timeout 2 Nope 1", "ERR Unknown option or number of arguments for CONFIG SET - 'Nope'"),
        ("a b c", "ERR syntax error"),
        ("maxclients x", FAILED + "maxclients') - argument couldn't be parsed into an integer"),
        ("maxclients 0",
         FAILED + "maxclients') - argument must be between 1 and 4294967295 inclusive"),
        ("maxclients 5 maxclients 6", FAILED + "maxclients') - duplicate parameter"),
        ("databases 3", FAILED + "databases') - can't set immutable config"),
        ("dir /tmp", FAILED + "dir') - can't set protected config"),
        ("maxmemory 10x", FAILED + "maxmemory') - argument must be a memory value"),
        ("maxmemory-clients 101%",
         FAILED + "maxmemory-clients') - percentage argument must be less or equal to 100"),
        ("appendonly maybe", FAILED + "appendonly') - argument must be 'yes' or 'no'"),
        ("appendfsync x", FAILED + "appendfsync') - argument(s) must be one of the following: "
         "everysec, always, no"),
        ("notify-keyspace-events Kq", FAILED + "notify-keyspace-events') - "
         "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("save foo", FAILED + "save') - Invalid save parameters"),
        ("oom-score-adj-values 1", FAILED + "oom-score-adj-values') - wrong number of arguments"),
    ],
)  # fmt: skip
def test_set_errors_change_nothing(store: Store, line: str, text: str) -> None:
    before = dict(store.node.config.values)
    assert store.error("CONFIG", "SET", *line.split()) == text
    assert store.node.config.values == before


def test_password_acts_at_once(store: Store) -> None:
    store("CONFIG", "SET", "requirepass", b"\xff secret")
    assert store("PING") == b"PONG", "who is logged in stays so"
    fresh = store.node.new_client()
    assert str(store("PING", client=fresh)) == "NOAUTH Authentication required."
    assert store("AUTH", b"\xff secret", client=fresh) == b"OK"
    assert store("CONFIG", "GET", "requirepass") == [b"requirepass", b"\xff secret"]


def test_resetstat(store: Store) -> None:
    store.run("GET k")
    store.error("NOPE")
    assert store.run("CONFIG RESETSTAT") == b"OK"
    ctx = store.node.ctx
    assert (ctx.misses, ctx.error_replies, ctx.error_counts) == (0, 0, {})
    assert store.node.commands[b"get"].calls == 0


def test_help_and_unknown(store: Store) -> None:
    assert store.run("CONFIG HELP")[0].startswith(b"CONFIG <subcommand>")
    assert store.error("CONFIG", "NOPE") == "ERR unknown subcommand 'NOPE'. Try CONFIG HELP."
    assert store.error("CONFIG", "SET", "x") == (
        "ERR wrong number of arguments for 'config|set' command"
    )
