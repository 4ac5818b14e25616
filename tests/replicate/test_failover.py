"""FAILOVER without sockets: when the roles are swapped, and what clients meet meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from isthmus.node.engine.client import ClientState
from isthmus.node.replicate import backoff
from isthmus.node.replicate.backoff import Backoff
from isthmus.node.replicate.failover import IN_PROGRESS, NONE, WAITING
from tests.replicate.test_primary import World


class Swap(World):
    """A primary with one replica that has everything up to now; the follower notes orders."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[str] = []
        self.stream.follower = SimpleNamespace(
            follow=lambda host, port, node_id, epoch: self.orders.append(f"{host}:{port}"),
            unfollow=lambda: self.orders.append("nobody"),
        )
        self.replica = self.online()

    def run(self, line: str) -> str:
        reply = self.store.run(line)
        return str(reply) if isinstance(reply, Exception) else reply.decode()

    @property
    def state(self) -> str:
        return self.stream.failover.state

    def acknowledge(self, offset: int) -> None:
        self.primary.acknowledge(self.replica, offset, None)

    def writer(self) -> ClientState:
        """A client that has tried to write."""
        client = self.node.new_client()
        here, self.store.client = self.store.client, client
        assert self.store.raw("SET", "late", "1") == b""
        self.store.client = here
        return client


@pytest.fixture
def swap() -> Swap:
    return Swap()


def test_roles_are_swapped_when_the_replica_has_everything(swap: Swap) -> None:
    swap.run("SET k v")
    assert swap.run("FAILOVER TO 10.0.0.7 7000") == "OK"
    assert swap.state == WAITING and "waiting-for-sync" in swap.run("INFO replication")
    end = swap.stream.offset
    assert swap.run("FAILOVER") == "ERR FAILOVER already in progress."
    assert swap.run("REPLICAOF no one") == "ERR REPLICAOF not allowed while failing over."
    assert swap.run("CLIENT UNPAUSE") == "OK"
    swap.acknowledge(end - 1)
    assert swap.state == WAITING and not swap.orders
    swap.acknowledge(end)
    assert swap.state == IN_PROGRESS and swap.orders == ["10.0.0.7:7000"]
    assert swap.stream.offset == end
    swap.stream.failover.answered()
    assert swap.state == NONE and not swap.stream.frozen
    assert swap.node.blocking.pause_until_ms == 0


def test_who_writes_meanwhile_waits(swap: Swap) -> None:
    swap.run("SET k v")
    swap.run("FAILOVER")
    assert swap.run("GET k") == "v"
    end = swap.stream.offset
    client = swap.writer()
    assert client.blocked is not None and swap.stream.offset == end
    assert swap.run("FAILOVER ABORT") == "OK"
    assert client.blocked is None and swap.state == NONE
    assert swap.run("FAILOVER ABORT") == "ERR No failover in progress."


def test_a_pause_of_a_client_outlives_it(swap: Swap) -> None:
    swap.run("CLIENT PAUSE 5000 WRITE")
    until = swap.node.blocking.pause_until_ms
    swap.run("FAILOVER")
    swap.run("FAILOVER ABORT")
    assert swap.node.blocking.pause_until_ms == until


@pytest.mark.parametrize(("force", "orders"), [("", []), (" FORCE", ["10.0.0.7:7000"])])
def test_time_is_up(swap: Swap, force: str, orders: list[str]) -> None:
    swap.run("SET k v")
    swap.run(f"FAILOVER TO 10.0.0.7 7000{force} TIMEOUT 100")
    swap.store.advance(99)
    swap.primary.cron()
    assert swap.state == WAITING
    swap.store.advance(1)
    swap.primary.cron()
    assert swap.state == (IN_PROGRESS if force else NONE) and swap.orders == orders


def test_a_refusal_makes_this_node_lead_again(swap: Swap) -> None:
    swap.run("FAILOVER")
    swap.acknowledge(swap.stream.offset)
    assert swap.state == IN_PROGRESS
    swap.stream.failover.abort("the replica refused")
    assert swap.orders == ["10.0.0.7:7000", "nobody"] and swap.state == NONE


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("TO 10.0.0.8 7000", "FAILOVER target HOST and PORT is not a replica."),
        ("FORCE", "FAILOVER with force option requires both a timeout and target HOST and IP."),
        ("TIMEOUT 0", "FAILOVER timeout must be greater than 0"),
        ("TO 10.0.0.7", "syntax error"),
        ("TIMEOUT 1 TIMEOUT 2", "syntax error"),
        ("ABORT TIMEOUT 5", "syntax error"),
    ],
)
def test_what_is_refused(swap: Swap, line: str, error: str) -> None:
    assert swap.run(f"FAILOVER {line}") == f"ERR {error}"
    assert swap.state == NONE


def test_psync_failover_is_for_a_replica_with_that_stream(swap: Swap) -> None:
    store, stream = swap.store, swap.stream
    swap.node.persistence = SimpleNamespace(snapshots=None)
    here = stream.replid
    error = store.error("PSYNC", here, str(stream.offset + 1), "FAILOVER")
    assert error == "ERR PSYNC FAILOVER can't be sent to a master."
    stream.role = "replica"
    error = store.error("PSYNC", "f" * 40, "1", "FAILOVER")
    assert error == "ERR PSYNC FAILOVER replid must match my replid."
    assert swap.orders == []
    swap.stream.failover.admit(here)
    assert swap.orders == ["nobody"]


def test_waits_grow_where_the_same_would_come_again() -> None:
    lost = Backoff()
    assert [lost.after(backoff.LOST, -1) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    assert lost.after(backoff.LOST, 0.5) == 0.05
    refused = Backoff()
    assert max(refused.after(backoff.REFUSED, -1) for _ in range(12)) == 8
    shard = Backoff(in_shard=True)
    assert max(shard.after(backoff.REFUSED, -1) for _ in range(12)) == 1
    spoilt = Backoff()
    assert [spoilt.after(backoff.SPOILT, 0.1) for _ in range(6)] == [0.5, 1, 2, 4, 8, 8]
    # A lost link in between is a lost link; what was not understood is not forgotten.
    assert spoilt.after(backoff.LOST, 1) == 0.05
    assert spoilt.after(backoff.SPOILT, 1) == 8
    assert spoilt.after(backoff.SPOILT, backoff.SOUND_SECONDS) == 0.5
