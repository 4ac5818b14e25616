"""CLIENT: names, lists, kills, muted replies."""

from __future__ import annotations

import pytest

from isthmus.node.engine import access
from isthmus.node.engine.client import ClientState
from isthmus.node.engine.expiry import ExpiryCycle
from tests.support.store import Store


@pytest.fixture
def other(store: Store) -> ClientState:
    """A second client of the store, with an address."""
    client = store.node.new_client()
    client.address = b"10.0.0.2:5000"
    client.local_address = b"10.0.0.1:6379"
    store.client.address = b"10.0.0.9:1"
    return client


def fields(line: bytes) -> dict[bytes, bytes]:
    return dict(field.split(b"=", 1) for field in line.split())  # type: ignore[misc]


def test_names(store: Store) -> None:
    assert store.run("CLIENT GETNAME") is None
    assert store.run("CLIENT SETNAME me") == b"OK"
    assert store.run("CLIENT GETNAME") == b"me"
    for bad in ("a b", "a\n", "ä", "\x7f"):
        assert store.error("CLIENT", "SETNAME", bad) == (
            "ERR Client names cannot contain spaces, newlines or special characters."
        )
    assert store("CLIENT", "SETNAME", "") == b"OK"
    assert store.run("CLIENT GETNAME") is None


def test_setinfo_shows_in_info(store: Store) -> None:
    store.run("CLIENT SETINFO LIB-NAME redis-py")
    store.run("CLIENT SETINFO lib-ver 5.0")
    shown = fields(store.run("CLIENT INFO"))
    assert shown[b"lib-name"] == b"redis-py"
    assert shown[b"lib-ver"] == b"5.0"
    assert shown[b"cmd"] == b"client|info"
    assert shown[b"resp"] == b"2"
    assert store.error("CLIENT", "SETINFO", "x", "y") == "ERR Unrecognized option 'x'"
    assert store.error("CLIENT", "SETINFO", "lib-ver", "a b") == (
        "ERR lib-ver cannot contain spaces, newlines or special characters."
    )


def test_list(store: Store, other: ClientState) -> None:
    store.advance(5000)
    lines = store.run("CLIENT LIST").splitlines()
    assert [fields(line)[b"id"] for line in lines] == [b"1", b"2"]
    shown = fields(lines[1])
    assert shown[b"addr"] == b"10.0.0.2:5000"
    assert (shown[b"age"], shown[b"idle"], shown[b"flags"]) == (b"5", b"5", b"N")
    assert store.run("CLIENT LIST ID 2 99").startswith(b"id=2 ")
    assert store.run("CLIENT LIST TYPE normal").count(b"\n") == 2
    assert store.run("CLIENT LIST TYPE pubsub") == b""
    assert store.error("CLIENT", "LIST", "TYPE", "x") == "ERR Unknown client type 'x'"
    assert store.error("CLIENT", "LIST", "ID", "x") == "ERR Invalid client ID"
    assert store.error("CLIENT", "LIST", "ID") == "ERR syntax error"
    assert store.error("CLIENT", "LIST", "x") == "ERR syntax error"


def test_list_is_verbatim_in_resp3(either: Store) -> None:
    first = either.raw("CLIENT", "LIST")[:1]
    assert first == (b"=" if either.client.protocol == 3 else b"$")


class Killed:
    def __init__(self) -> None:
        self.clients: list[ClientState] = []

    def kill(self, client: ClientState) -> None:
        self.clients.append(client)


def test_kill_by_address_old_style(store: Store, other: ClientState) -> None:
    store.node.server = server = Killed()
    assert store.run("CLIENT KILL 10.0.0.2:5000") == b"OK"
    assert server.clients == [other]
    assert other.closing and other.close_now
    assert store.error("CLIENT", "KILL", "1.2.3.4:5") == "ERR No such client"
    assert store.run("CLIENT KILL 10.0.0.9:1") == b"OK", "itself, after the reply"
    assert store.client.closing and not store.client.close_now


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("ID 2", 1), ("ID 3", 0), ("ID 1", 0), ("ID 1 SKIPME no", 1), ("ADDR 10.0.0.2:5000", 1),
        ("LADDR 10.0.0.1:6379", 1), ("LADDR x", 0), ("TYPE normal", 1), ("TYPE pubsub", 0),
        ("USER default", 1), ("SKIPME no", 2), ("SKIPME yes", 1), ("MAXAGE 10", 1),
        ("MAXAGE 11", 0), ("ID 3 ID 2", 1), ("ID 2 TYPE master", 0),
    ],
)  # fmt: skip
def test_kill_with_filters(store: Store, other: ClientState, options: str, count: int) -> None:
    store.advance(10_000)
    assert store.run(f"CLIENT KILL {options}") == count


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("ID 0", "ERR client-id should be greater than 0"),
        ("ID x", "ERR client-id should be greater than 0"),
        ("ID 1 ID", "ERR syntax error"),
        ("ID x ID", "ERR client-id should be greater than 0"),
        ("TYPE x", "ERR Unknown client type 'x'"),
        ("USER x", "ERR No such user 'x'"),
        ("SKIPME x", "ERR syntax error"),
        ("MAXAGE x", "ERR maxage is not an integer or out of range"),
        ("MAXAGE 0", "ERR maxage should be greater than 0"),
        ("NOPE 1", "ERR syntax error"),
    ],
)
def test_kill_errors(store: Store, other: ClientState, options: str, text: str) -> None:
    assert store.error("CLIENT", "KILL", *options.split()) == text
    assert not other.closing


def test_reply_off_and_skip(store: Store) -> None:
    assert store.raw("CLIENT", "REPLY", "OFF") == b""
    assert store.raw("PING") == b""
    assert store.raw("NOPE") == b""
    assert store.raw("CLIENT", "REPLY", "SKIP") == b""
    assert store.raw("CLIENT", "REPLY", "ON") == b"+OK\r\n"
    assert store.raw("CLIENT", "REPLY", "SKIP") == b""
    assert store.raw("PING") == b""
    assert store.raw("PING") == b"+PONG\r\n"
    assert store.error("CLIENT", "REPLY", "x") == "ERR syntax error"


def test_reply_skip_counts_the_same_behind_a_gate(store: Store) -> None:
    store.node.ctx.gates = 1 << 20
    assert store.raw("CLIENT", "REPLY", "SKIP") == b""
    assert store.raw("PING") == b""
    assert store.raw("PING") == b"+PONG\r\n"


def test_switches(store: Store) -> None:
    store.run("CLIENT NO-EVICT ON")
    store.run("CLIENT NO-TOUCH on")
    assert fields(store.run("CLIENT INFO"))[b"flags"] == b"eT"
    store.run("CLIENT NO-EVICT off")
    assert fields(store.run("CLIENT INFO"))[b"flags"] == b"T"
    assert store.error("CLIENT", "NO-EVICT", "x") == "ERR syntax error"


def test_unknown_subcommands(store: Store) -> None:
    assert store.error("CLIENT", "MAINT_NOTIFICATIONS", "ON") == (
        "ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."
    )
    assert store.run("CLIENT HELP")[0].startswith(b"CLIENT <subcommand>")


def test_pause_of_writes(store: Store, other: ClientState) -> None:
    assert store.run("CLIENT PAUSE 100 WRITE") == b"OK"
    assert store("GET", "k", client=other) is None
    assert store.raw("SET", "k", "v", client=other) == b""
    shown = fields(store.run("CLIENT LIST ID 2"))
    assert (shown[b"flags"], shown[b"argv-mem"]) == (b"b", b"5")
    assert b"blocked_clients:1" in store.run("INFO clients")
    resumed: list[ClientState] = []
    store.node.blocking.resume = resumed.append
    assert store.run("CLIENT UNPAUSE") == b"OK"
    assert resumed == [other]
    assert other.postponed == [b"SET", b"k", b"v"]


def test_pause_of_writes_looks_into_transactions_and_scripts(
    store: Store, other: ClientState
) -> None:
    for line in ("MULTI", "SET k v"):
        store(*line.split(), client=other)
    store.run("CLIENT PAUSE 100 WRITE")
    assert store.raw("EXEC", client=other) == b""
    assert other.postponed == [b"EXEC"]
    third = store.node.new_client()
    reads = "#!lua flags=no-writes\nreturn 1"
    assert store("EVAL", reads, "0", client=third) == 1
    store("MULTI", client=third)
    assert store("EVAL", reads, "0", client=third) == b"QUEUED"
    assert store("EXEC", client=third) == [1]
    for text in ("#!lua\nreturn 1", "return 1"):
        assert store.raw("EVAL", text, "0", client=third) == b""
        store.node.blocking.release(third)


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
def test_nothing_expires_while_clients_are_paused(store: Store, mode: str) -> None:
    keyspace = store.node.keyspace
    for key in ("a", "b", "n"):
        store("SET", key, "5", "PX", "10")
    store("CLIENT", "PAUSE", "1000", mode)
    store.advance(10)
    cycle = ExpiryCycle(keyspace)
    cycle.step(1 << 40)
    ctx = store.node.ctx
    assert not ctx.db.exists(b"a") and ctx.db.lookup(b"b") is None
    assert (ctx.db.size, keyspace.expired_keys) == (3, 0)
    assert keyspace.random_key(ctx.db) in (b"a", b"b", b"n")
    # A transaction that began the pause goes on.
    ctx.gates = 0
    assert store("INCR", "n") == 1
    assert (ctx.db.size, keyspace.expired_keys) == (3, 1)
    store("CLIENT", "UNPAUSE")
    assert store("EXISTS", "a") == 0
    cycle.step(1 << 40)
    assert (ctx.db.size, keyspace.expired_keys) == (1, 3)


def test_pause_ends_by_itself(store: Store, other: ClientState) -> None:
    store.run("CLIENT PAUSE 100")
    assert store.raw("PING", client=other) == b""
    store.advance(100)
    store.node.blocking.expire(store.clock.now_ms)
    assert other.blocked is None


def test_unblock(store: Store, other: ClientState) -> None:
    assert store.run("CLIENT UNBLOCK 2") == 0
    for reason, reply in (("", b"*-1\r\n"), (" ERROR", b"-UNBLOCKED client unblocked via CLI")):
        other.outbox.clear()
        assert store.raw("BLPOP", "list", "0", client=other) == b""
        assert store.run(f"CLIENT UNBLOCK 2{reason}") == 1
        assert other.outbox.startswith(reply)
    assert b"errorstat_UNBLOCKED:count=1\r\n" in store.run("INFO errorstats")
    assert b"cmdstat_blpop:calls=2," in store.run("INFO commandstats")
    assert b"rejected_calls=0,failed_calls=1" in store.run("INFO commandstats")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("PAUSE x", "ERR timeout is not an integer or out of range"),
        ("PAUSE -1", "ERR timeout is negative"),
        ("PAUSE 1 some", "ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("UNBLOCK x", "ERR value is not an integer or out of range"),
        ("UNBLOCK 2 why", "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    ],
)
def test_pause_and_unblock_errors(store: Store, line: str, text: str) -> None:
    assert store.error("CLIENT", *line.split()) == text


def test_list_shows_what_clients_hold(store: Store, other: ClientState) -> None:
    store("WATCH", "key", client=other)
    store("MULTI", client=other)
    store("SET", "k", "v" * 1000, client=other)
    shown = fields(store.run("CLIENT LIST ID 2"))
    assert (shown[b"multi"], shown[b"watch"], shown[b"flags"]) == (b"1", b"1", b"x")
    assert int(shown[b"multi-mem"]) > 1000
    assert int(shown[b"tot-mem"]) > int(shown[b"multi-mem"])


def test_no_touch_leaves_the_access_time_alone(store: Store) -> None:
    store.run("SET k v")
    store.advance(50_000)
    access.set_clock(store.clock.now_ms // 1000)
    store.run("CLIENT NO-TOUCH ON")
    store.run("GET k")
    assert store.run("OBJECT IDLETIME k") == 50
    assert store.run("TOUCH k none") == 1
    assert store.run("OBJECT IDLETIME k") == 0
    store.advance(10_000)
    access.set_clock(store.clock.now_ms // 1000)
    store.run("GET k")
    assert store.run("OBJECT IDLETIME k") == 10
    store.run("CLIENT NO-TOUCH OFF")
    store.run("GET k")
    assert store.run("OBJECT IDLETIME k") == 0
