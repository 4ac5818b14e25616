"""Subscribing and what hangs on it: modes, RESET, CLIENT LIST, INFO, output limits, events."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.engine.output_limits import CEILING_BYTES
from tests.support.store import Store


class Wire:
    """Stands in for a connection: takes what is sent and counts it."""

    def __init__(self) -> None:
        self.output_bytes_max = 0
        self.waiting = 0
        self.bytes_in = self.bytes_out = 0

    def send(self, data: bytes) -> int:
        self.waiting += len(data)
        return 0

    def pending_output(self) -> int:
        return self.waiting


def info(store: Store, section: str) -> dict[str, str]:
    lines = store("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def test_a_subscriber_in_resp2_may_only_listen() -> None:
    store = Store()
    store("SUBSCRIBE", "a")
    assert store.error("GET", "k") == (
        "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
        "are allowed in this context"
    )
    assert store("PING") == [b"pong", b""]
    assert store("UNSUBSCRIBE") == [b"unsubscribe", b"a", 0]
    assert store("PING") == "PONG" or store("PING") == b"PONG"


def test_a_subscriber_in_resp3_may_do_everything() -> None:
    store = Store(protocol=3)
    store.raw("SUBSCRIBE", "a")
    assert store("GET", "k") is None
    assert store.raw("PUBLISH", "a", "x").startswith(b":1\r\n>3\r\n$7\r\nmessage")


def test_answers_are_written_while_replies_are_off() -> None:
    store = Store(protocol=3)
    store.raw("CLIENT", "REPLY", "OFF")
    assert store.raw("SUBSCRIBE", "a") == b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    assert store.raw("GET", "x") == b""


def test_reset_and_the_end_of_a_connection_leave_nothing() -> None:
    store = Store()
    store("SUBSCRIBE", "a")
    store("RESET")
    assert store("PUBSUB", "CHANNELS") == []
    other = store.node.new_client()
    store("PSUBSCRIBE", "a*", client=other)
    assert store("PUBSUB", "NUMPAT") == 1
    store.node.forget_client(other)
    assert store("PUBSUB", "NUMPAT") == 0


def test_client_list_shows_what_a_client_listens_to() -> None:
    store = Store()
    other = store.node.new_client()
    other.protocol = 3
    store.raw("SUBSCRIBE", "a", "b", client=other)
    store.raw("PSUBSCRIBE", "c*", client=other)
    store.raw("SSUBSCRIBE", "d", client=other)
    store.raw("CLIENT", "TRACKING", "ON", "BCAST", client=other)
    line = store("CLIENT", "LIST", "ID", str(other.id)).decode()
    assert " sub=2 psub=1 ssub=1 " in line
    assert " flags=PtB " in line
    assert " redir=0 " in line
    assert store("CLIENT", "LIST", "TYPE", "pubsub").decode() == line
    assert info(store, "clients")["pubsub_clients"] == "1"
    assert info(store, "clients")["tracking_clients"] == "1"
    assert info(store, "stats")["pubsub_channels"] == "2"
    assert info(store, "stats")["pubsub_patterns"] == "1"
    assert info(store, "stats")["pubsubshard_channels"] == "1"
    assert info(store, "stats")["tracking_total_prefixes"] == "1"


def test_events_are_sent_only_if_asked_for() -> None:
    store = Store()
    listener = store.node.new_client()
    store.raw("PSUBSCRIBE", "__key*", client=listener)
    listener.outbox.clear()
    log = store.node.keyspace.log
    sinks = len(log.sinks)
    store("SET", "a", "1")
    assert not listener.outbox
    store("CONFIG", "SET", "notify-keyspace-events", "Kg$")
    store("SET", "a", "1", "EX", "100")
    text = bytes(listener.outbox)
    assert text.count(b"pmessage") == 2 and b"__keyspace@0__:a\r\n$6\r\nexpire" in text
    store("CONFIG", "SET", "notify-keyspace-events", "")
    assert len(log.sinks) == sinks and log.noting == 0


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_the_hard_limit_is_that_of_the_class(kind: str) -> None:
    store = Store(client_output_buffer_limit="normal 0 0 0 pubsub 1000 0 0")
    wire: Any = Wire()
    store.client.peer = wire
    store.node.output_limits.apply(store.client)
    assert wire.output_bytes_max == CEILING_BYTES
    store("SUBSCRIBE", "a")
    assert wire.output_bytes_max == 1000
    store("CONFIG", "SET", "client-output-buffer-limit", f"{kind} 500 0 0",
          client=store.node.new_client())  # fmt: skip
    assert wire.output_bytes_max == (500 if kind == "pubsub" else 1000)
    store("UNSUBSCRIBE")
    assert wire.output_bytes_max == (500 if kind == "normal" else CEILING_BYTES)


def test_the_soft_limit_may_be_exceeded_for_a_while() -> None:
    store = Store(client_output_buffer_limit="pubsub 0 100 2")
    limits = store.node.output_limits
    wire: Any = Wire()
    store.client.peer = wire
    store("SUBSCRIBE", "a")
    wire.waiting = 101
    assert limits.overdue(1000) == []
    assert limits.overdue(3000) == []
    wire.waiting = 50
    assert limits.overdue(4000) == []
    wire.waiting = 101
    assert limits.overdue(5000) == []
    assert limits.overdue(7001) == [store.client]
    store.client.peer = None
    store.node.forget_client(store.client)
    assert limits.overdue(9000) == []


def test_monitors_see_commands_but_no_secrets() -> None:
    store = Store(requirepass="secret")
    watcher = store.node.new_client()
    store.raw("AUTH", "secret", client=watcher)
    assert store.raw("MONITOR", client=watcher) == b"+OK\r\n"
    store("AUTH", "secret")
    store("SET", "k", b'a"\x00\n')
    store("CONFIG", "GET", "port")
    text = bytes(watcher.outbox)
    assert b'"AUTH" "(redacted)"\r\n' in text
    assert b'+1700000000.000000 [0 ] "SET" "k" "a\\"\\x00\\n"\r\n' in text
    assert b"secret" not in text and b"port" not in text
    store.node.forget_client(watcher)
    assert store.node.ctx.gates == 0
