"""Commands of the connection: handshake, password, database, reset."""

from __future__ import annotations

import pytest

from isthmus.node.engine.acl_check import DENIED_AUTH
from tests.support.store import Store


def test_ping_and_echo(either: Store) -> None:
    assert either.raw("PING") == b"+PONG\r\n"
    assert either.raw("PING", "a\r\nb") == b"$4\r\na\r\nb\r\n"
    assert either("ECHO", "x") == b"x"
    assert either.error("PING", "a", "b") == "ERR wrong number of arguments for 'ping' command"


def test_hello_switches_the_protocol_and_answers_in_it(store: Store) -> None:
    assert store.raw("HELLO", "3").startswith(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
    assert store.client.protocol == 3
    reply = store("HELLO")
    assert reply == {
        b"server": b"redis", b"version": b"7.4.0", b"proto": 3, b"id": 1,
        b"mode": b"standalone", b"role": b"master", b"modules": [],
    }  # fmt: skip
    assert store.raw("HELLO", "2").startswith(b"*14\r\n")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 AUTH", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 AUTH a", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 3 nonsense", "ERR Syntax error in HELLO option 'nonsense'"),
        ("SELECT 16", "ERR DB index is out of range"),
        ("SELECT -1", "ERR DB index is out of range"),
        ("SELECT x", "ERR value is not an integer or out of range"),
        ("AUTH a b c", "ERR syntax error"),
        ("AUTH nobody b", "WRONGPASS invalid username-password pair or user is disabled."),
    ],
)
def test_errors(store: Store, line: str, text: str) -> None:
    assert store.error(*line.split()) == text
    assert store.client.protocol == 2


def test_hello_with_password_and_name() -> None:
    store = Store(requirepass="secret")
    assert store.error("GET", "k") == "NOAUTH Authentication required."
    assert store.error("HELLO", "3").startswith("NOAUTH HELLO must be called")
    assert store.error("HELLO", "3", "AUTH", "default", "wrong").startswith("WRONGPASS")
    assert store.client.protocol == 2
    store("HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me")
    assert store.client.protocol == 3
    assert store("CLIENT", "GETNAME") == b"me"
    assert store("GET", "k") is None


def test_auth() -> None:
    store = Store(requirepass="pä\udcff")
    password = b"p\xc3\xa4\xff"
    assert store.error("AUTH", "x").startswith("WRONGPASS")
    assert store.error("AUTH", "other", password).startswith("WRONGPASS")
    assert store.node.acl.refused[DENIED_AUTH] == 2
    assert store("AUTH", password) == b"OK"
    assert store("AUTH", "default", password) == b"OK"
    assert store.error("AUTH", "x").startswith("WRONGPASS")
    assert store("PING") == b"PONG", "a failed AUTH does not log out"


def test_auth_without_a_password_set(store: Store) -> None:
    assert store.error("AUTH", "x").startswith("ERR AUTH <password> called without any password")
    assert store("AUTH", "default", "anything") == b"OK"


def test_select_and_reset(store: Store) -> None:
    store.run("SELECT 3")
    store.run("SET k v")
    store.run("CLIENT SETNAME me")
    store.run("CLIENT NO-EVICT on")
    store.run("HELLO 3")
    assert store("RESET") == b"RESET"
    assert store.client.db.index == 0
    assert store.client.protocol == 2
    assert store.client.name == b""
    assert not store.client.no_evict
    assert store("GET", "k") is None


def test_reset_logs_out() -> None:
    store = Store(requirepass="s")
    store("AUTH", "s")
    store("RESET")
    assert store.error("GET", "k") == "NOAUTH Authentication required."


def test_quit_replies_and_closes(store: Store) -> None:
    assert store("QUIT", "whatever") == b"OK"
    assert store.client.closing
