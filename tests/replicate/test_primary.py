"""What a replica is sent, without a socket: the decision of PSYNC, states, acknowledgements."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isthmus.node.engine.client import ClientState
from isthmus.node.replicate import primary as module
from isthmus.node.replicate.full_sync import FullSyncs
from isthmus.node.replicate.primary import ONLINE, READING, READY, SENDING, WAITING, missing_from
from isthmus.node.replicate.replication import Replication
from isthmus.wire.resp import pack
from tests.support.store import Store


class Connection:
    """What a replica has been sent and has taken."""

    def __init__(self) -> None:
        self.open = True
        self.sent = b""
        self.taken = 0
        self.bytes_out = 0
        self.fed = False
        self.exempt = False
        self.output_bytes_max = 0

    def send(self, data: bytes) -> None:
        self.sent += data

    def pending_output(self) -> int:
        return len(self.sent) - self.taken


class World:
    """A node with a replication, and replicas that are lists of bytes."""

    def __init__(self) -> None:
        self.store = Store()
        self.node = self.store.node
        self.stream = self.node.replication = Replication(self.node)
        self.primary = self.stream.primary
        self.store("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        self.asked = 0
        self.primary.ask_cut = self.ask

    def ask(self) -> None:
        self.asked += 1

    def client(self, *wishes: bytes, **facts: bytes) -> ClientState:
        client = self.node.new_client()
        client.address = b"10.0.0.7:50000"
        client.peer = Connection()
        client.sync_wishes = frozenset(wishes)
        client.sync_facts = {b"listening-port": b"7000"}
        return client

    def sent(self, client: ClientState) -> bytes:
        data: bytes = client.peer.sent
        client.peer.sent = b""
        return data

    def online(self) -> ClientState:
        """A replica that has had a full sync."""
        client = self.client(b"eof", b"psync2")
        self.primary.psync(client, "?", -1)
        self.primary.turn()
        for replica in self.primary.take_waiting():
            self.primary.turn()
            self.primary.sent(replica)
        self.primary.acknowledge(client, self.stream.offset, None)
        self.primary.turn()
        self.sent(client)
        return client


@pytest.fixture
def world() -> World:
    return World()


ID, OLD = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("replid", "offset", "continues"),
    [
        (ID, 100, True), (ID, 201, True), (ID, 99, False), (ID, 202, False), ("?", -1, False),
        (OLD, 150, True), (OLD, 151, False), ("c" * 40, 150, False), (ID, 0, False),
    ],
)  # fmt: skip
def test_when_a_rest_is_enough(replid: str, offset: int, continues: bool) -> None:
    backlog = SimpleNamespace(holds=lambda offset: 100 <= offset <= 201)
    stream = SimpleNamespace(
        replid=ID, replid2=OLD, second_offset=150, backlog=backlog, has_stream=lambda: True
    )
    assert missing_from(stream, replid, offset) is continues
    stream.has_stream = lambda: False
    assert not missing_from(stream, replid, offset)


def test_a_full_sync_and_the_stream(world: World) -> None:
    assert not world.stream.recording
    before = world.stream.replid
    client = world.client(b"eof", b"psync2")
    world.primary.psync(client, "?", -1)
    assert world.stream.replid != before, "what was before the stream has no place in it"
    replica = client.replica
    assert client.peer.exempt, "replies may wait for what it acknowledges"
    assert (replica.state, replica.host, replica.port) == (WAITING, b"10.0.0.7", 7000)
    world.store("SET", "before", "the cut")
    world.primary.turn()
    world.primary.turn()
    assert world.asked == 1
    start = world.stream.offset
    assert world.primary.take_waiting() == [replica] and replica.state == SENDING
    world.store("SET", "k", "v")
    world.primary.turn()
    head = b"+FULLRESYNC %s %d\r\n" % (world.stream.replid.encode(), start)
    assert world.sent(client) == head
    world.primary.sent(replica)
    world.primary.turn()
    assert (replica.state, world.sent(client)) == (READY, b"")
    world.primary.acknowledge(client, start, None)
    world.primary.turn()
    stream = pack([b"SELECT", b"0"]) + pack([b"SET", b"k", b"v"])
    assert (replica.state, world.sent(client)) == (ONLINE, stream)
    assert world.stream.offset == start + len(stream)


def test_a_file_for_who_does_not_know_the_mark(world: World) -> None:
    new, old = world.client(b"eof", b"psync2"), world.client()
    world.primary.psync(new, "?", -1)
    world.primary.sync(old)
    assert world.primary.take_waiting() == [new.replica]
    [replica] = world.primary.take_waiting()
    assert replica is old.replica
    pieces = [b"the ", b"file"]

    class File:
        def read(self, size: int) -> bytes:
            return pieces.pop(0) if pieces else b""

        def close(self) -> None:
            pieces.append(b"closed")

    world.store("SET", "k", "v")
    world.primary.saved(replica, File(), 8)
    assert replica.state == READING
    world.primary.turn()
    assert replica.state == ONLINE and pieces == [b"closed"]
    # SYNC has no answer of its own.
    stream = pack([b"SELECT", b"0"]) + pack([b"SET", b"k", b"v"])
    assert world.sent(old) == b"$8\r\nthe file" + stream


def test_the_rest_only(world: World) -> None:
    gone = world.online()
    offset = world.stream.offset
    world.primary.forget(gone)
    world.store("SET", "k", "v")
    for wish, named in ((b"psync2", b" " + world.stream.replid.encode()), (b"", b"")):
        again = world.client(wish)
        world.primary.psync(again, world.stream.replid, offset + 1)
        world.primary.turn()
        assert world.sent(again).startswith(b"+CONTINUE" + named + b"\r\n*2\r\n$6\r\nSELECT")
    assert (world.primary.full_syncs, world.primary.partial_syncs) == (1, 2)
    world.primary.psync(world.client(), "d" * 40, 5)
    assert (world.primary.full_syncs, world.primary.partial_refusals) == (2, 1)


def test_a_slow_replica_costs_a_window(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_BYTES", 1000)
    client = world.online()
    for at in range(100):
        world.store("SET", f"key:{at}", "x" * 100)
    world.primary.turn()
    peer = client.peer
    assert peer.fed and peer.pending_output() == 1000
    while peer.fed:
        peer.taken = len(peer.sent)
        world.primary.turn()
        assert peer.pending_output() <= 1000
    first = world.stream.backlog.end - len(peer.sent) + 1
    assert world.stream.backlog.read(first, 1 << 20) == peer.sent


def test_messages_in_their_place(world: World) -> None:
    client = world.online()
    for line in ("MULTI", "SET a 1", "PUBLISH c m", "SET b 2", "EXEC", "publish c n"):
        world.store.raw(*line.split())
    world.primary.turn()
    sent = world.sent(client)
    words = [b"MULTI", b"SET", b"PUBLISH", b"SET", b"EXEC", b"PUBLISH"]
    found = [word for word in sent.split(b"\r\n") if word in words]
    assert found == words


def test_flushall_is_one_command(world: World) -> None:
    client = world.online()
    for db in (5, 0):
        world.store("SELECT", db)
        world.store("SET", "k", "v")
    world.primary.turn()
    world.sent(client)
    world.store("FLUSHALL", "ASYNC")
    world.primary.turn()
    assert world.sent(client) == pack([b"FLUSHALL"])


def test_waiting_for_acknowledgements(world: World) -> None:
    client = world.online()
    assert world.store("WAIT", "1", "0") == 1, "nothing was written by this client"
    world.store("SET", "k", "v")
    assert world.store.raw("WAIT", "1", "0") == b""
    world.primary.turn()
    assert world.sent(client).endswith(pack([b"REPLCONF", b"GETACK", b"*"]))
    written = world.store.client.write_offset
    world.primary.acknowledge(client, written - 1, None)
    assert bytes(world.store.client.outbox) == b""
    world.primary.acknowledge(client, written, written)
    assert bytes(world.store.client.outbox) == b":1\r\n"
    assert world.store("WAITAOF", "0", "1", "0") == [0, 1]


def test_writes_need_good_replicas(world: World) -> None:
    client = world.online()
    world.store("CONFIG", "SET", "min-replicas-to-write", "1")
    world.store("SET", "k", "v")
    world.store.advance(11_000)
    world.primary.regate()
    assert world.store.error("SET", "k", "w").startswith("NOREPLICAS")
    assert world.store("GET", "k") == b"v"
    assert world.store.error("EVAL", "#!lua\nreturn 1", "0").startswith("NOREPLICAS")
    assert world.store("EVAL", "#!lua flags=no-writes\nreturn 1", "0") == 1
    assert world.store("EVAL", "return 1", "0") == 1
    world.primary.acknowledge(client, world.stream.offset, None)
    world.store("SET", "k", "w")
    world.primary.forget(client)
    assert world.store.error("SET", "k", "w").startswith("NOREPLICAS")
    world.store("CONFIG", "SET", "min-replicas-to-write", "0")
    world.store("SET", "k", "w")


def test_scripts_that_may_write_need_good_replicas(world: World) -> None:
    code = """#!lua name=lib
    redis.register_function('f', function() return 1 end)
    redis.register_function{function_name='r', callback=function() return 1 end,
        flags={'no-writes'}}"""
    world.store("FUNCTION", "LOAD", code)
    world.store("CONFIG", "SET", "min-replicas-to-write", "1")
    text = "NOREPLICAS Not enough good replicas to write."
    assert world.store.error("FCALL", "f", 0) == text
    assert world.store.error("EVAL", "#!lua\nreturn 1", 0) == text
    assert world.store("FCALL", "r", 0) == 1
    assert world.store("FCALL_RO", "r", 0) == 1
    assert world.store("EVAL", "return 1", 0) == 1, "it has no flags: each of its commands counts"


def test_beats(world: World) -> None:
    """Who waits gets newlines; the stream gets PING; who is silent is cut off."""
    client = world.online()
    waiting = world.client(b"eof")
    world.store("CONFIG", "SET", "repl-diskless-sync-delay", "100")
    world.primary.psync(waiting, "?", -1)
    world.store.advance(10_000)
    world.primary.cron()
    world.primary.turn()
    assert (world.sent(waiting), world.sent(client)) == (b"\n", pack([b"PING"]))
    world.store.advance(61_000)
    world.primary.cron()
    assert client.closing and client.replica is None and waiting.replica is not None


def test_the_first_replica_is_not_greeted_with_a_ping(world: World) -> None:
    """It comes a period later, however long the node had been alone."""
    world.store.advance(60_000)
    world.primary.cron()
    client = world.online()
    offset = world.stream.offset
    for passed_ms, sent in ((0, b""), (9_900, b""), (100, pack([b"PING"]))):
        world.store.advance(passed_ms)
        world.primary.cron()
        world.primary.turn()
        assert world.sent(client) == sent
    assert world.stream.offset == offset + len(pack([b"PING"]))


def test_the_stream_ends_when_nobody_follows(world: World) -> None:
    client = world.online()
    replid = world.stream.replid
    world.primary.forget(client)
    world.store.advance(3_599_000)
    world.primary.cron()
    assert world.stream.recording
    world.store.advance(2_000)
    world.primary.cron()
    assert not world.stream.recording and world.stream.replid != replid


def test_role_and_info(world: World) -> None:
    world.online()
    role: Any = world.store("ROLE")
    offset = world.stream.offset
    assert role == [b"master", offset, [[b"10.0.0.7", b"7000", b"%d" % offset]]]
    info = world.store("INFO", "replication").decode()
    assert f"slave0:ip=10.0.0.7,port=7000,state=online,offset={offset},lag=0\r\n" in info
    assert "connected_slaves:1\r\n" in info and "repl_backlog_active:1\r\n" in info


def test_a_file_that_cannot_be_opened_costs_the_replica_its_link_only(
    world: World, tmp_path: Path
) -> None:
    world.store("CONFIG", "SET", "repl-diskless-sync", "no")
    client = world.client(b"psync2")
    world.primary.psync(client, "?", -1)
    replicas = world.primary.take_waiting()
    syncs = SimpleNamespace(primary=world.primary)
    FullSyncs.open_for(syncs, replicas, str(tmp_path / "gone"), 10)  # type: ignore[arg-type]
    assert client.closing
    assert len(world.primary.replicas) == 0
