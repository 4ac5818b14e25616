"""What a primary without replicas and files answers."""

from __future__ import annotations

import pytest

from tests.support.store import START_MS, Store


def test_role_and_last_save(store: Store) -> None:
    assert store.run("ROLE") == [b"master", 0, []]
    store.advance(5000)
    assert store.run("LASTSAVE") == START_MS // 1000
    assert store.run("REPLICAOF no one") == store.run("SLAVEOF NO ONE") == b"OK"


def test_wait_for_nobody(store: Store) -> None:
    assert store.run("WAIT 0 0") == store.run("WAIT -1 0") == 0
    assert store.run("WAITAOF 0 0 0") == [0, 0]


@pytest.mark.parametrize(
    ("line", "reply"), [("WAIT 1 100", b":0\r\n"), ("WAITAOF 0 1 100", b"*2\r\n:0\r\n:0\r\n")]
)
def test_wait_until_time_is_up(store: Store, line: str, reply: bytes) -> None:
    assert store.raw(*line.split()) == b""
    store.advance(100)
    store.node.blocking.expire(store.clock.now_ms)
    assert bytes(store.client.outbox) == reply


def test_no_waiting_in_transactions(store: Store) -> None:
    for line in ("MULTI", "WAIT 1 0", "WAITAOF 0 1 0"):
        store.run(line)
    assert store.run("EXEC") == [0, [0, 0]]


def test_a_replica_it_cannot_be(store: Store) -> None:
    assert store.error("REPLICAOF", "host", "6379").startswith("ERR this node has no replication")


@pytest.mark.parametrize(
    "line",
    ["ADDSLOTS 1", "DELSLOTSRANGE 1 2", "MEET 127.0.0.1 7000", "RESET", "FAILOVER FORCE",
     "SETSLOT 1 STABLE", "BUMPEPOCH", "SAVECONFIG"],
)  # fmt: skip
def test_a_node_alone_has_no_cluster_to_change(store: Store, line: str) -> None:
    error = "ERR This instance has cluster support disabled"
    assert store.error("CLUSTER", *line.split()) == error
    assert store.error("CLUSTER", "MEET").startswith("ERR wrong number of arguments")
