"""StreamApplier: what is applied, up to which offset, and who hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.node.engine.config_rewrite import rewritten
from isthmus.node.replicate.apply import StreamApplier, StreamError
from isthmus.node.replicate.follow import Follower
from isthmus.node.replicate.replication import Replication
from isthmus.wire.resp import pack
from tests.support.store import Store
from tests.support.waiting import Clients

FOREVER = 1 << 62


def words(*argv: Any) -> bytes:
    return pack([arg if isinstance(arg, bytes) else str(arg).encode() for arg in argv])


class Replica(Store):
    """A store that follows nobody in particular; bytes of a stream are given to it by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.replication = self.node.replication = Replication(self.node)
        self.follower = Follower(self.node)
        self.follower.follow("127.0.0.1", 1)
        self.replication.restart_stream("ab" * 20, 100)
        self.applier = StreamApplier(self.node)
        self.told: list[int] = []
        self.applier.asked = lambda: self.told.append(self.replication.offset)

    def stream(self, data: bytes) -> None:
        self.applier.feed(data)
        while self.applier.step(FOREVER):
            pass


@pytest.fixture
def replica() -> Replica:
    return Replica()


STREAM = (
    words("SELECT", 2) + words("SET", "k", "v") + words("PING") + words("MULTI")
    + words("INCR", "n") + words("SELECT", 0) + words("LPUSH", "l", 1) + words("EXEC")
    + words("SET", "last", 1)
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pieces_of_any_size_make_the_same(replica: Replica, size: int) -> None:
    for at in range(0, len(STREAM), size):
        replica.stream(STREAM[at : at + size])
        # Only whole commands and whole transactions count.
        backlog = replica.replication.backlog
        assert STREAM.startswith(backlog.read(101, 10000))
    assert replica.replication.offset == 100 + len(STREAM)
    assert replica.replication.backlog.read(101, 10000) == STREAM
    assert replica.replication.stream.db == 0
    assert replica("GET", "last") == b"1"
    replica("SELECT", 2)
    assert replica("MGET", "k", "n") == [b"v", b"1"]


def test_half_a_transaction_is_nothing_and_comes_again(replica: Replica) -> None:
    half = words("MULTI") + words("SET", "a", 1)
    replica.stream(words("SET", "b", 1) + half)
    assert replica.replication.offset == 100 + len(words("SET", "b", 1))
    assert replica("GET", "a") is None
    replica.applier.restart()
    replica.stream(half + words("EXEC"))
    assert replica("GET", "a") == b"1"


def test_the_primary_is_told_what_was_applied_before_it_asked(replica: Replica) -> None:
    first, question = words("SET", "a", 1), words("REPLCONF", "GETACK", "*")
    replica.stream(first + question + question)
    assert replica.told == [100 + len(first), 100 + len(first + question)]
    assert replica.replication.offset == 100 + len(first + question + question)


@pytest.mark.parametrize(
    "bad",
    [
        words("NOSUCH", 1), words("SET", "k"), words("EXEC"), words("SELECT", 99),
        words("LPUSH", "s", 1), words("MULTI") + words("MULTI"), b"*1\r\n!x\r\n",
        words("SHUTDOWN"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied_is_an_error_and_does_not_count(
    replica: Replica, bad: bytes
) -> None:
    good = words("SET", "s", 1)
    replica.stream(good)
    with pytest.raises(StreamError):
        replica.stream(bad)
    assert replica.replication.offset == 100 + len(good)
    assert not replica.clock.loading


def test_a_client_cannot_write_and_its_queue_is_refused(replica: Replica) -> None:
    assert str(replica("SET", "k", 1)).startswith("READONLY You can't write")
    assert str(replica("EVAL", "return redis.call('SET', 'k', 1)", 0)).startswith("READONLY")
    shebang = "#!lua\nreturn 1"
    assert str(replica("EVAL", shebang, 0)).startswith("READONLY You can't write")
    assert replica("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1
    replica("CONFIG", "SET", "replica-read-only", "no")
    assert replica("SET", "k", 1) == b"OK"


def test_time_passes_for_readers_and_not_for_the_stream(replica: Replica) -> None:
    soon = replica.clock.now_ms + 10
    replica.stream(
        words("SET", "k", "a", "PXAT", soon) + words("SET", "other", "a", "PXAT", soon)
        + words("HSET", "h", "f", 1, "g", 2) + words("HPEXPIREAT", "h", soon, "FIELDS", 1, "f")
        + words("HPEXPIREAT", "h", soon + 1000, "FIELDS", 1, "g")
    )  # fmt: skip
    replica.advance(20)
    assert replica("GET", "k") is None
    assert replica("EXISTS", "k", "other") == 0
    assert replica("TTL", "k") == -2
    assert replica("KEYS", "*") == [b"h"]
    assert replica("SCAN", 0, "COUNT", 1000)[1] == [b"h"]
    assert replica("DBSIZE") == 3
    assert replica("HGETALL", "h") == [b"g", b"2"]
    assert replica("HMGET", "h", "f", "g") == [None, b"2"]
    assert replica("HPTTL", "h", "FIELDS", 2, "f", "g") == [-2, 990]
    # The primary's clock is behind ours: for it they are all there.
    replica.stream(words("APPEND", "k", "b") + words("PERSIST", "k") + words("HPERSIST", "h",
                   "FIELDS", 1, "f"))  # fmt: skip
    assert replica("GET", "k") == b"ab"
    assert replica("HGET", "h", "f") == b"1"
    replica.stream(words("DEL", "other"))
    assert replica("DBSIZE") == 2


def test_a_key_at_random_where_all_have_expired(replica: Replica) -> None:
    replica.stream(words("SET", "k", 1, "PXAT", replica.clock.now_ms + 1))
    replica.advance(5)
    assert replica("RANDOMKEY") == b"k"
    replica("REPLICAOF", "NO", "ONE")
    assert replica("RANDOMKEY") is None
    assert replica("DBSIZE") == 0


def test_a_replica_that_leads_goes_on_under_another_id(replica: Replica) -> None:
    replica.follower.in_step = True
    data = words("SET", "k", 1)
    replica.stream(data)
    assert replica("REPLICAOF", "NO", "ONE") == b"OK"
    replication = replica.replication
    assert replication.replid2 == "ab" * 20
    assert replication.second_offset == 100 + len(data) + 1
    assert replica("ROLE")[0] == b"master"
    assert replica("SET", "k", 2) == b"OK"
    assert replication.offset > 100 + len(data)
    # What was written as a primary was recorded, so another may know it.
    replica.follower.follow("127.0.0.1", 2)
    assert replica.follower.in_step
    assert replica("ROLE")[:4] == [b"slave", b"127.0.0.1", 2, b"connect"]


def test_data_of_no_stream_is_nobodys(replica: Replica) -> None:
    replica.follower.in_step = False
    replica("REPLICAOF", "NO", "ONE")
    assert replica.replication.replid2 != "ab" * 20


def test_waiting_for_replicas_is_for_primaries(replica: Replica) -> None:
    assert "cannot be used with replica" in str(replica("WAIT", 1, 10))
    assert "cannot be used with replica" in str(replica("WAITAOF", 0, 1, 10))
    assert "not valid when server is a replica" in str(replica("FAILOVER"))


def test_whom_it_follows_is_kept_in_the_configuration(replica: Replica) -> None:
    assert replica("REPLICAOF", "127.0.0.1", 7000) == b"OK"
    assert replica("REPLICAOF", "127.0.0.1", 7000) == b"OK Already connected to specified master"
    assert b"replicaof 127.0.0.1 7000\n" in rewritten(b"", replica.node.config, "/", [])
    replica("SLAVEOF", "NO", "ONE")
    old = b"replicaof 127.0.0.1 7000\n"
    assert b"replicaof" not in rewritten(old, replica.node.config, "/", [])
    assert str(replica("REPLICAOF", "host", "x")).startswith("ERR Invalid master port")


def test_nothing_is_evicted_by_a_replica(replica: Replica) -> None:
    replica("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", 1)
    replica.stream(words("SET", "k", "x" * 1000))
    assert replica("GET", "k") == b"x" * 1000
    replica("CONFIG", "SET", "replica-ignore-maxmemory", "no")
    assert replica("DBSIZE") == 0


def test_who_waits_is_cut_off_when_its_node_begins_to_follow(replica: Replica) -> None:
    replica("REPLICAOF", "NO", "ONE")
    clients = Clients(replica)
    requests = [("BLPOP", "list", 0), ("WAIT", 1, 0), ("WAITAOF", 0, 1, 0)]
    for number, request in enumerate(requests):
        assert clients.waits(str(number), *request)
    replica("REPLICAOF", "127.0.0.1", 7000)
    served = clients.served()
    for number in range(len(requests)):
        assert str(served[str(number)]).startswith("UNBLOCKED force unblock")
        assert clients.of(str(number)).closing
