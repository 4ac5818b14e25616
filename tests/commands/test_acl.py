"""ACL commands and the gate: what a restricted user meets, and what the log tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.engine.client import GATE_ACL, GATE_AUTH
from tests.support.store import RedisReplyError, Store

NO_GET = "NOPERM User u has no permissions to run the 'get' command"
NO_KEY = "NOPERM No permissions to access a key"
NO_CHANNEL = "NOPERM No permissions to access a channel"


def login(store: Store, *rules: str) -> Any:
    """Another client, logged in as the user `u` with these rules."""
    assert store("ACL", "SETUSER", "u", "on", "nopass", *rules) == b"OK"
    client = store.node.new_client()
    assert store("AUTH", "u", "x", client=client) == b"OK"
    return client


def told(store: Store, client: Any, line: str) -> Any:
    reply = store(*line.split(), client=client)
    return str(reply) if isinstance(reply, RedisReplyError) else reply


def entries(store: Store) -> list[dict[bytes, Any]]:
    return [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in store("ACL", "LOG", "100")]


def test_who_may_do_everything_is_not_checked(store: Store) -> None:
    client = login(store, "+@all", "~*", "&*")
    assert client.gates == 0
    store("ACL", "SETUSER", "u", "-get")
    assert client.gates == GATE_ACL
    assert told(store, client, "GET k") == NO_GET
    store("ACL", "SETUSER", "u", "+@all")
    assert client.gates == 0
    assert told(store, client, "GET k") is None


def test_the_gate(store: Store) -> None:
    client = login(store, "+@all", "-get", "~a*", "%R~b", "&news")
    assert told(store, client, "GET a") == NO_GET
    assert told(store, client, "SET a1 x") == b"OK"
    assert told(store, client, "SET b x") == NO_KEY
    assert told(store, client, "STRLEN b") == 0
    assert told(store, client, "PUBLISH news x") == 0
    assert told(store, client, "PUBLISH old x") == NO_CHANNEL
    assert told(store, client, "NOSUCH").startswith("ERR unknown command")
    assert told(store, client, "GET").startswith("ERR wrong number")
    assert told(store, client, "AUTH u x") == b"OK", "never refused"


def test_a_command_that_waited(store: Store) -> None:
    """What was taken from the user meanwhile is refused when the command runs again."""
    client = login(store, "+@all", "~*")
    store("CONFIG", "RESETSTAT")
    assert store.raw("BLPOP", "l", 0, client=client) == b""
    store("ACL", "SETUSER", "u", "resetkeys")
    assert store("RPUSH", "l", "x") == 1
    assert bytes(client.outbox) == b"-" + NO_KEY.encode() + b"\r\n"
    assert client.blocked is None and store("LRANGE", "l", 0, -1) == [b"x"]
    assert [entry[b"object"] for entry in entries(store)] == [b"l"]
    told_of = store("INFO", "commandstats").decode()
    assert "cmdstat_blpop:calls=0,usec=0," in told_of and "rejected_calls=1," in told_of


def test_transactions(store: Store) -> None:
    client = login(store, "+@all", "~*")
    told(store, client, "MULTI")
    told(store, client, "GET k")
    told(store, client, "SET k v")
    store("ACL", "SETUSER", "u", "-get")
    reply = store("EXEC", client=client)
    assert str(reply[0]).endswith("reason: no permission to execute the command or subcommand")
    assert reply[1] == b"OK"
    told(store, client, "MULTI")
    assert told(store, client, "GET k") == NO_GET
    assert told(store, client, "EXEC").startswith("EXECABORT")
    assert [entry[b"context"] for entry in entries(store)] == [b"multi"]


def test_the_log(store: Store) -> None:
    client = login(store, "+@all", "-get", "~a", "&c")
    for _ in range(3):
        told(store, client, "GET a")
    told(store, client, "DEL b")
    told(store, client, "PUBLISH d x")
    store.advance(1500)
    told(store, client, "GET a")
    store("AUTH", "nobody", "x")
    found = entries(store)
    assert [
        (e[b"reason"], e[b"context"], e[b"object"], e[b"username"], e[b"count"]) for e in found
    ] == [
        (b"auth", b"toplevel", b"AUTH", b"nobody", 1),
        (b"command", b"toplevel", b"get", b"u", 4),
        (b"channel", b"toplevel", b"d", b"u", 1),
        (b"key", b"toplevel", b"b", b"u", 1),
    ]
    assert found[1][b"timestamp-last-updated"] - found[1][b"timestamp-created"] == 1500
    assert found[3][b"age-seconds"] == b"1.5"
    assert found[0][b"client-info"].startswith(b"id=1 ")
    assert [e[b"entry-id"] for e in found] == [3, 0, 2, 1]
    store.advance(60_001)
    told(store, client, "GET a")
    assert entries(store)[0][b"count"] == 1, "a minute later it is a new entry"
    assert len(store("ACL", "LOG", "2")) == 2
    assert store("ACL", "LOG", "RESET") == b"OK"
    assert entries(store) == []


def test_the_log_is_bounded(store: Store) -> None:
    store("CONFIG", "SET", "acllog-max-len", "3")
    for n in range(10):
        store("AUTH", f"user{n}", "x")
    assert len(entries(store)) == 3
    store("CONFIG", "SET", "acllog-max-len", "0")
    store("AUTH", "another", "x")
    assert entries(store) == []


def test_passwords(store: Store) -> None:
    store("ACL", "SETUSER", "u", "on", "+@all", ">one", ">two")
    assert store("AUTH", "u", "two") == b"OK"
    assert store("ACL", "WHOAMI") == b"u"
    store("AUTH", "default", "")
    store("ACL", "SETUSER", "u", "<two")
    assert str(store("AUTH", "u", "two")).startswith("WRONGPASS")
    assert store("ACL", "WHOAMI") == b"default"
    store("ACL", "SETUSER", "u", "off")
    assert str(store("AUTH", "u", "one")).startswith("WRONGPASS")


def test_requirepass_is_the_default_users_password(store: Store) -> None:
    store("CONFIG", "SET", "requirepass", "s")
    late = store.node.new_client()
    assert late.gates == GATE_AUTH
    assert told(store, late, "PING") == "NOAUTH Authentication required."
    assert b"nopass" not in store("ACL", "LIST")[0]
    assert told(store, late, "AUTH s") == b"OK"
    early = store.node.new_client()
    store("CONFIG", "SET", "requirepass", "")
    assert told(store, early, "PING") == b"PONG", "nobody needs to log in any more"


def test_deleting_a_user_ends_its_connections(store: Store) -> None:
    client = login(store, "+@all")
    assert store("ACL", "DELUSER", "u", "nobody") == 1
    assert client.closing and client.close_now
    assert not store.client.closing


def test_losing_a_channel_ends_subscriptions(store: Store) -> None:
    client = login(store, "+@all", "&a*", "&b", "(&c +ping)")
    told(store, client, "SUBSCRIBE a1")
    client.outbox.clear()
    store("ACL", "SETUSER", "u", "&d")
    assert not client.closing
    store("ACL", "SETUSER", "u", "resetchannels", "&a1", "(&zz)")
    assert not client.closing
    store("ACL", "SETUSER", "u", "resetchannels", "&b")
    assert client.closing


def test_getuser_is_a_map_with_a_set() -> None:
    store = Store(protocol=3)
    store("ACL", "SETUSER", "u", "(+get ~a)")
    reply = store("ACL", "GETUSER", "u")
    assert reply[b"flags"] == {b"off", b"sanitize-payload"} or reply[b"flags"] == [
        b"off", b"sanitize-payload",
    ]  # fmt: skip
    assert reply[b"selectors"] == [{b"commands": b"-@all +get", b"keys": b"~a", b"channels": b""}]
    assert store("ACL", "GETUSER", "nobody") is None


def test_genpass(store: Store) -> None:
    assert len(store("ACL", "GENPASS")) == 64
    assert len(store("ACL", "GENPASS", "1")) == 1
    assert len(store("ACL", "GENPASS", "4096")) == 1024
    assert store("ACL", "GENPASS") != store("ACL", "GENPASS")


class Files:
    """A server that has one file, in memory."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def read_file(self, path: bytes) -> bytes:
        if path != b"/users.acl":
            raise FileNotFoundError(2, "No such file or directory")
        return self.text

    def replace_file(self, path: bytes, data: bytes) -> None:
        self.text = data

    def kill(self, client: Any) -> None:
        client.closing = True


@pytest.fixture
def filed(store: Store) -> Store:
    store.node.config.values["aclfile"] = "/users.acl"
    store.node.server = Files(b"")
    return store


def test_saving_and_loading(filed: Store) -> None:
    keeps, goes = login(filed, "+@all", "~*"), filed.node.new_client()
    filed("ACL", "SETUSER", "v", "on", "nopass", "+@all")
    filed("AUTH", "v", "", client=goes)
    filed("ACL", "SAVE")
    lines = filed.node.server.text.splitlines()
    assert [line.split()[1] for line in lines] == [b"default", b"u", b"v"]
    filed.node.server.text = b"\n".join(
        [b"", b"  user u on nopass +@all -get ~* (+get ~x) \r", b"user w ( +set", b"~y )"[:0]]
    ).replace(b"user w ( +set", b"user w ( +set ~y )")
    assert filed("ACL", "LOAD") == b"OK"
    assert filed("ACL", "USERS") == [b"default", b"u", b"w"]
    assert goes.closing and not keeps.closing
    assert told(filed, keeps, "GET y") == NO_KEY
    assert told(filed, keeps, "GET x") is None


def test_a_file_with_mistakes_changes_nothing(filed: Store) -> None:
    before = filed("ACL", "LIST")
    filed.node.server.text = b"user a +nosuch foo bar\nuser a\nnonsense\nuser b (+get\n"
    assert filed.error("ACL", "LOAD") == (
        "ERR /users.acl:1: Error in applying operation '+nosuch': Unknown command or category name "
        "in ACL. /users.acl:1: Syntax error. WARNING: Duplicate user 'a' found on line 2. "
        "/users.acl:3 should start with user keyword followed by the username. "
        "/users.acl:4: Unmatched parenthesis in selector definition.WARNING: ACL errors detected, "
        "no change to the previously active ACL rules was performed"
    )
    assert filed("ACL", "LIST") == before
    filed.node.config.values["aclfile"] = "/other.acl"
    assert filed.error("ACL", "LOAD") == (
        "ERR Error loading ACLs, opening file '/other.acl': No such file or directory"
    )


def test_without_a_file(store: Store) -> None:
    for word in ("LOAD", "SAVE"):
        assert store.error("ACL", word).startswith("ERR This Redis instance is not configured")


def test_counters_of_info(store: Store) -> None:
    client = login(store, "+@all", "-get", "~a")
    for line in ("GET a", "DEL b", "DEL c", "PUBLISH c x"):
        told(store, client, line)
    store("AUTH", "no", "x")
    info = store("INFO", "stats").decode()
    for name, count in (("cmd", 1), ("key", 2), ("channel", 1), ("auth", 1)):
        assert f"acl_access_denied_{name}:{count}\r\n" in info
