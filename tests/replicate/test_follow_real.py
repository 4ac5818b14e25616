"""Our node follows a real redis-server: full sync, stream, partial sync, what may go wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.grammar import Grammar
from tests.oracle.groups import GROUPS
from tests.persist.crash import Link, Node
from tests.persist.holdings import fill, holdings
from tests.replicate.relay import Relay
from tests.support.peer import Peer
from tests.support.servers import Server, redis8, redis_server

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

DEBUG = ["--enable-debug-command", "yes"]
QUICK = ["--repl-diskless-sync-delay", "0", *DEBUG]
WAIT_SECONDS_MAX = 20.0
AGAIN_SECONDS_MAX = 3.0
LIBRARY = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
# What makes the whole data set another one, or is not of this primary alone.
ESCAPES = frozenset(b"SELECT MOVE EVAL SCRIPT FCALL WAIT WAITAOF REPLICAOF SLAVEOF".split())


def held_by(call: Callable[..., Any], timed: bool) -> dict[Any, Any]:
    """What a server holds, with scores as numbers."""
    found = {}
    for place, (kind, *more, value) in holdings(call, timed, encodings=False).items():
        if kind == b"zset":
            value = list(zip(value[::2], map(float, value[1::2]), strict=True))
        found[place] = (kind, *more, value)
    return found


class Pair:
    """A primary, a relay in front of it, and our node, which may be told to follow."""

    def __init__(self, stack: ExitStack, folder: Path, server: Server) -> None:
        self.stack = stack
        self.folder = folder / "ours"
        self.folder.mkdir()
        self.server = server
        self.theirs = stack.enter_context(closing(Peer(server.port)))
        self.relay = stack.enter_context(Relay(server.port))
        self.node = self.start()
        self.ours = self.link()

    def start(self, *options: str) -> Node:
        node = Node(self.folder, "--save", "", *DEBUG, *options).wait_ready()
        self.stack.callback(lambda: node.process.poll() is None and node.stop())
        return node

    def link(self) -> Link:
        return self.stack.enter_context(closing(Link(self.node.port)))

    def follow(self) -> None:
        assert self.ours("REPLICAOF", "127.0.0.1", self.relay.port) == b"OK"

    def info(self, call: Callable[..., Any], name: str, section: str = "replication") -> str:
        for line in call("INFO", section).decode().splitlines():
            if line.startswith(f"{name}:"):
                return str(line.partition(":")[2])
        raise KeyError(name)

    def wait(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not holds():
            assert time.monotonic() < deadline, (self.ours("INFO", "replication"), self.theirs(
                "INFO", "replication"))  # fmt: skip

    def level(self) -> None:
        """Wait until we have all that the primary has, at its offset."""
        self.wait(lambda: self.info(self.ours, "master_link_status") == "up")

        def same() -> bool:
            theirs = self.info(self.theirs, "master_repl_offset")
            return self.info(self.ours, "slave_repl_offset") == theirs

        self.wait(same)
        assert self.info(self.ours, "master_replid") == self.info(self.theirs, "master_replid")

    def compare(self) -> None:
        """The same data at the same offset. Keys may expire between two questions, so they are
        asked again: what differs in truth differs for ever."""
        timed = knows_field_expiry(self.theirs)
        deadline = time.monotonic() + AGAIN_SECONDS_MAX
        while True:
            self.level()
            # Redis 7.0 spells scores with more digits, in its digest, too.
            if timed and self.ours("DEBUG", "DIGEST") == self.theirs("DEBUG", "DIGEST"):
                return
            ours, theirs = held_by(self.ours, timed), held_by(self.theirs, timed)
            if not timed and ours == theirs:
                return
            if time.monotonic() > deadline:
                assert ours == theirs
                raise AssertionError("the digests differ")

    def wait_down(self) -> None:
        self.wait_for_link("down")

    def wait_for_link(self, status: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.info(self.ours, "master_link_status") != status:
            assert time.monotonic() < deadline

    def full_syncs(self) -> int:
        return int(self.info(self.theirs, "sync_full", "stats"))


SERVERS = {"8.0": redis8, "distribution": redis_server}


@pytest.fixture(params=["8.0 marked", "8.0 sized", "distribution marked", "distribution sized"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    kind, way = request.param.split()
    diskless = ["--repl-diskless-sync", "yes" if way == "marked" else "no"]
    with ExitStack() as stack:
        server = stack.enter_context(SERVERS[kind](tmp_path, [*diskless, *QUICK]))
        yield Pair(stack, tmp_path, server)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Pair]:
    """For what does not depend on the way of a full sync."""
    with ExitStack() as stack:
        yield Pair(stack, tmp_path, stack.enter_context(redis8(tmp_path, QUICK)))


def knows_field_expiry(call: Callable[..., Any]) -> bool:
    return bool(call("COMMAND", "INFO", "HPEXPIREAT")[0])


def scatter(call: Callable[..., Any], seed: int, count: int) -> None:
    """Random commands; what they answer does not matter."""
    rng = random.Random(seed)
    grammars = [Grammar(group) for group in GROUPS if group != "scripting"]
    sent = 0
    while sent < count:
        argv = rng.choice(grammars).request(rng.getrandbits(32))
        if not argv[0].startswith(b"@") and argv[0].upper() not in ESCAPES:
            call(*argv)
            sent += 1


def test_everything_comes_over_and_the_stream_goes_on(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    timed = knows_field_expiry(theirs)
    fill(theirs, timed)
    theirs("FUNCTION", "LOAD", LIBRARY)
    ours("SET", "of before", "x")
    pair.follow()
    pair.compare()
    assert ours("EXISTS", "of before") == 0
    assert held_by(ours, timed) == held_by(theirs, timed)
    assert len(ours("FUNCTION", "LIST")) == 1
    assert ours("ROLE")[:4] == [b"slave", b"127.0.0.1", pair.relay.port, b"connected"]
    theirs("MULTI"), theirs("SET", "a", 1), theirs("SELECT", 5), theirs("INCR", "b")
    theirs("EXEC")
    assert theirs("WAIT", 1, 5000) == 1
    assert ours("GET", "a") == b"1"
    scatter(theirs, 11, 1500)
    pair.compare()
    assert pair.full_syncs() == 1


def test_a_link_that_was_cut_goes_on_where_it_was(pair: Pair) -> None:
    fill(pair.theirs, False)
    pair.follow()
    pair.level()
    rng = random.Random(3)
    for turn in range(6):
        scatter(pair.theirs, turn, 100)
        if turn % 2:
            pair.relay.cut()
        else:
            pair.relay.cut_at = pair.relay.said + rng.randrange(3000)
        scatter(pair.theirs, 100 + turn, 100)
    pair.theirs("SET", "x" * 100, "y" * 5000)
    pair.compare()
    assert pair.full_syncs() == 1
    assert pair.relay.connections > 3


def test_a_spoilt_or_torn_payload_changes_nothing(pair: Pair) -> None:
    fill(pair.theirs, False)
    pair.theirs("SET", "large", "ab" * 200_000)
    pair.theirs("RPUSH", "numbers", *range(5000))
    pair.ours("SET", "old", "data")
    pair.relay.flip_at = 5000
    pair.follow()
    pair.compare()
    assert pair.relay.connections == 2
    assert pair.ours("REPLICAOF", "NO", "ONE") == b"OK"
    pair.ours("SET", "mine", "now")
    pair.relay.cut_at = 9000
    before = pair.relay.connections
    pair.follow()
    pair.compare()
    assert pair.relay.connections == before + 2


def test_old_data_is_read_while_nothing_new_is_there(one: Pair) -> None:
    one.theirs("SET", "k", "theirs")
    one.ours("SET", "k", "ours")
    one.relay.closed = True
    one.follow()
    assert one.ours("GET", "k") == b"ours"
    assert isinstance(one.ours("SET", "k", "x"), Exception)
    assert str(one.ours("SET", "k", "x")).startswith("READONLY You can't write against")
    one.ours("CONFIG", "SET", "replica-serve-stale-data", "no")
    assert str(one.ours("GET", "k")).startswith("MASTERDOWN Link with MASTER is down")
    assert one.info(one.ours, "master_link_status") == "down"
    one.relay.closed = False
    one.compare()
    assert one.ours("GET", "k") == b"theirs"
    assert str(one.ours("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "k")).startswith(
        "READONLY"
    )
    one.ours("MULTI")
    assert str(one.ours("SET", "k", "x")).startswith("READONLY")
    assert str(one.ours("EXEC")).startswith("EXECABORT")


def test_role_says_how_far_a_link_is(one: Pair) -> None:
    assert one.theirs("CONFIG", "SET", "repl-diskless-sync", "yes") == b"OK"
    assert one.theirs("CONFIG", "SET", "repl-diskless-sync-delay", 1000) == b"OK"
    one.relay.closed = True
    one.follow()
    # Until it hears that nobody is there, it may take the link for open.
    one.wait(lambda: one.ours("ROLE")[3:] == [b"connect", -1])
    one.relay.closed = False
    one.wait(lambda: one.ours("ROLE")[3:] == [b"handshake", -1])
    assert one.theirs("CONFIG", "SET", "repl-diskless-sync-delay", 0) == b"OK"
    one.wait(lambda: one.ours("ROLE")[3] == b"connected")
    assert one.ours("ROLE")[4] >= 0


def test_scripts_on_a_stale_replica(one: Pair) -> None:
    one.relay.closed = True
    one.follow()
    one.ours("CONFIG", "SET", "replica-serve-stale-data", "no")

    def told(head: str, call: str = "'GET', KEYS[1]") -> str:
        return str(one.ours("EVAL", f"{head}\nreturn redis.call({call})", 1, "k"))

    assert told("").startswith("MASTERDOWN Link with MASTER is down")
    assert told("#!lua flags=no-writes").startswith("MASTERDOWN Link with MASTER is down")
    assert told("#!lua").startswith("READONLY You can't write against a read only replica.")
    allowed = "#!lua flags=no-writes,allow-stale"
    assert told(allowed).startswith("ERR Can not execute the command on a stale replica")
    assert told(allowed, "'ECHO', 'x'") == "b'x'"


def test_a_replica_that_is_told_to_lead_writes_and_may_follow_again(one: Pair) -> None:
    one.theirs("SET", "k", 1)
    one.follow()
    one.compare()
    replid = one.info(one.ours, "master_replid")
    assert one.ours("REPLICAOF", "NO", "ONE") == b"OK"
    assert one.ours("INCR", "k") == 2
    assert one.ours("ROLE")[0] == b"master"
    assert one.ours("INFO", "replication").startswith(b"# Replication\r\nrole:master")
    one.theirs("INCR", "k")
    one.theirs("INCR", "k")
    one.follow()
    one.compare()
    assert one.ours("GET", "k") == b"3"
    assert one.info(one.ours, "master_replid") == replid
    assert one.full_syncs() == 2


def test_leading_in_the_middle_of_a_full_sync_keeps_what_there_was(one: Pair) -> None:
    one.theirs("DEBUG", "POPULATE", 100_000)
    one.ours("SET", "old", "data")
    one.relay.cut_at = 1 << 40
    one.follow()
    one.wait(lambda: one.info(one.ours, "master_sync_in_progress") == "1" or one.ours("DBSIZE") > 1)
    one.ours("REPLICAOF", "NO", "ONE")
    assert one.ours("DBSIZE") in (1, 100_000)
    assert one.ours("SET", "new", 1) == b"OK"


def test_a_wrong_password_is_told_and_a_right_one_used(one: Pair) -> None:
    one.theirs("CONFIG", "SET", "requirepass", "secret")
    one.ours("CONFIG", "SET", "masterauth", "wrong")
    one.follow()
    one.wait(lambda: one.relay.connections > 2)
    assert one.info(one.ours, "master_link_status") == "down"
    one.ours("CONFIG", "SET", "masterauth", "secret")
    one.compare()


def test_keys_expire_when_the_primary_says_so(one: Pair) -> None:
    one.follow()
    one.level()
    one.theirs("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    one.theirs("SET", "short", "x", "PX", 1)
    one.theirs("HSET", "hash", "f", 1, "g", 2)
    one.theirs("HPEXPIRE", "hash", 1, "FIELDS", 1, "f")
    one.level()
    one.wait(lambda: one.ours("GET", "short") is None)
    assert one.ours("DBSIZE") == 2
    assert one.ours("EXISTS", "short") == 0
    assert one.ours("HGETALL", "hash") == [b"g", b"2"]
    assert one.ours("HLEN", "hash") == 2
    assert one.ours("HMGET", "hash", "f", "g") == [None, b"2"]
    assert one.ours("RANDOMKEY") == b"hash"
    assert one.theirs("GET", "short") is None
    one.compare()
    assert one.ours("DBSIZE") == 1


def test_who_listens_waits_or_watches_at_a_replica(one: Pair) -> None:
    one.ours("CONFIG", "SET", "notify-keyspace-events", "KEA")
    one.follow()
    one.level()
    waits, watches, hears, tracks = one.link(), one.link(), one.link(), one.link()
    tracks("CLIENT", "TRACKING", "ON", "REDIRECT", hears("CLIENT", "ID"))
    hears("SUBSCRIBE", "__redis__:invalidate")
    tracks("GET", "k")
    watches("WATCH", "k")
    waits.socket.sendall(b"XREAD BLOCK 0 STREAMS s $\r\n")
    one.theirs("SET", "k", "v")
    one.theirs("XADD", "s", "1-1", "f", "v")
    assert waits.reply() == [[b"s", [[b"1-1", [b"f", b"v"]]]]]
    assert hears.reply() == [b"message", b"__redis__:invalidate", [b"k"]]
    watches("MULTI")
    watches("PING")
    assert watches("EXEC") is None
    hears("UNSUBSCRIBE")
    hears("SUBSCRIBE", "news")
    one.theirs("PUBLISH", "news", "today")
    assert hears.reply() == [b"message", b"news", b"today"]


def test_the_append_only_file_of_a_replica_has_what_it_holds(one: Pair) -> None:
    fill(one.theirs, True)
    one.ours("SET", "old", "data")
    one.ours("CONFIG", "SET", "appendonly", "yes")
    one.follow()
    one.level()
    scatter(one.theirs, 21, 300)
    one.compare()
    digest = one.ours("DEBUG", "DIGEST")
    one.wait(lambda: one.info(one.ours, "aof_rewrite_in_progress", "persistence") == "0")
    one.theirs("SET", "last", "word")
    one.compare()
    digest = one.ours("DEBUG", "DIGEST")
    one.node.kill()
    one.node = one.start("--appendonly", "yes")
    one.ours = one.link()
    assert one.ours("DEBUG", "DIGEST") == digest


def test_a_primary_that_starts_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        inner = stack.enter_context(ExitStack())
        pair = Pair(stack, tmp_path, inner.enter_context(redis8(tmp_path, QUICK)))
        pair.theirs("SET", "k", 1)
        pair.follow()
        pair.compare()
        inner.close()
        pair.wait_down()
        assert pair.ours("GET", "k") == b"1"
        server = stack.enter_context(redis8(tmp_path, QUICK))
        pair.relay.target_port = server.port
        pair.theirs = stack.enter_context(closing(Peer(server.port)))
        pair.theirs("SET", "other", 1)
        pair.compare()
        assert pair.ours("EXISTS", "k") == 0


def restart(pair: Pair, *options: str) -> None:
    """Stop our node in order and start it again on its folder."""
    pair.node.stop()
    pair.node = pair.start(*options)
    pair.ours = pair.link()


def test_a_node_that_starts_again_goes_on_from_its_snapshot(one: Pair) -> None:
    fill(one.theirs, True)
    one.theirs("SELECT", 3)
    one.follow()
    one.compare()
    one.theirs("SET", "soon", 1, "PX", 1)
    one.compare()
    assert one.ours("SAVE") == b"OK"
    one.theirs("RPUSH", "list small", "more")
    restart(one, "--replicaof", f"127.0.0.1 {one.relay.port}")
    one.theirs("RPUSH", "list small", "and more")
    one.compare()
    assert one.ours("CONFIG", "GET", "replicaof")[1] == b"127.0.0.1 %d" % one.relay.port
    assert one.full_syncs() == 1


def test_clients_see_the_link_and_may_cut_it(one: Pair) -> None:
    one.follow()
    one.level()
    line = one.ours("CLIENT", "LIST", "TYPE", "master").decode()
    assert f"addr=127.0.0.1:{one.relay.port}" in line and " flags=M " in line
    before = one.relay.connections
    assert one.ours("CLIENT", "KILL", "TYPE", "master") == 1
    one.wait(lambda: one.relay.connections == before + 1)
    one.compare()
    one.ours("REPLICAOF", "NO", "ONE")
    assert one.ours("CLIENT", "LIST", "TYPE", "master") == b""


def test_the_primary_hears_what_is_on_our_disk(one: Pair) -> None:
    one.ours("CONFIG", "SET", "appendfsync", "always")
    one.ours("CONFIG", "SET", "appendonly", "yes")
    one.follow()
    one.level()
    one.theirs("SET", "k", 1)
    assert one.theirs("WAITAOF", 0, 1, 5000) == [0, 1]


def test_a_slow_start_of_many_keys_lets_others_be_served(one: Pair) -> None:
    one.theirs("DEBUG", "POPULATE", 200_000)
    one.ours("SET", "old", "data")
    one.follow()
    seen: set[int] = set()

    def done() -> bool:
        seen.add(one.ours("DBSIZE"))
        return 200_000 in seen

    one.wait(done)
    # Never a part of the new data.
    assert seen <= {1, 200_000}
    one.compare()


def test_a_chain_of_redis_ours_and_redis(one: Pair, tmp_path: Path) -> None:
    """The last one has the bytes of the first: offset and id, though our link was cut."""
    fill(one.theirs, True)
    one.follow()
    one.compare()
    folder = tmp_path / "last"
    folder.mkdir()
    server = one.stack.enter_context(
        redis8(folder, [*QUICK, "--replicaof", f"127.0.0.1 {one.node.port}"])
    )
    last = one.stack.enter_context(closing(Peer(server.port)))

    def level() -> bool:
        offset = one.info(one.theirs, "master_repl_offset")
        return one.info(last, "slave_repl_offset") == offset

    for seed in (31, 32):
        scatter(one.theirs, seed, 300)
        one.relay.cut()
        scatter(one.theirs, seed + 10, 100)
        one.compare()
        one.wait(level)
    one.theirs("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    one.compare()
    one.wait(level)
    assert last("DEBUG", "DIGEST") == one.theirs("DEBUG", "DIGEST")
    assert one.info(last, "master_replid") == one.info(one.theirs, "master_replid")
    assert one.full_syncs() == 1
    assert int(one.info(one.ours, "sync_full", "stats")) == 1


def test_ours_follows_ours_and_takes_its_place(one: Pair, tmp_path: Path) -> None:
    one.follow()
    fill(one.theirs, True)
    # A score of -0 stays one in Redis, or not, by the encoding; ours is 0 (a command's affair).
    one.theirs("DEL", "zset long")
    one.compare()
    folder = tmp_path / "second"
    folder.mkdir()
    node = Node(folder, "--save", "", *DEBUG).wait_ready()
    one.stack.callback(lambda: node.process.poll() is None and node.stop())
    second = one.stack.enter_context(closing(Link(node.port)))
    assert second("REPLICAOF", "127.0.0.1", one.node.port) == b"OK"
    one.wait(lambda: one.info(second, "master_link_status") == "up")
    scatter(one.theirs, 41, 200)
    # The first of ours leads; the second goes on with it under its new name.
    one.compare()
    assert one.ours("REPLICAOF", "NO", "ONE") == b"OK"
    scatter(one.ours, 42, 200)
    offset = one.info(one.ours, "master_repl_offset")
    assert one.ours("WAIT", 1, 5000) == 1
    one.wait(lambda: int(one.info(second, "slave_repl_offset")) >= int(offset))
    one.wait(lambda: second("DEBUG", "DIGEST") == one.ours("DEBUG", "DIGEST"))
    assert one.info(second, "master_replid") == one.info(one.ours, "master_replid")
    assert int(one.info(one.ours, "sync_full", "stats")) == 1
    # And back: the old primary follows the new one.
    one.theirs("REPLICAOF", "127.0.0.1", one.node.port)
    one.wait(lambda: one.info(one.theirs, "master_link_status") == "up")
    one.wait(lambda: one.theirs("DEBUG", "DIGEST") == one.ours("DEBUG", "DIGEST"))


def test_a_silent_link_is_given_up(one: Pair) -> None:
    one.ours("CONFIG", "SET", "repl-timeout", 1)
    one.follow()
    one.level()
    one.relay.stalled = True
    before = one.relay.connections
    one.wait(lambda: one.relay.connections > before)
    one.relay.stalled = False
    one.theirs("SET", "k", 1)
    one.compare()
    assert one.full_syncs() == 1


def test_a_command_that_is_unknown_here_ends_in_a_full_sync(one: Pair) -> None:
    one.follow()
    one.level()
    one.theirs("HSETEX", "hash", "EX", 1000, "FIELDS", 1, "f", "v")
    one.theirs("SET", "k", 1)
    one.wait(lambda: one.full_syncs() == 2)
    one.compare()
    assert one.ours("HGET", "hash", "f") == b"v"
