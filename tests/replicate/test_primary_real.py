"""A real redis-server follows a node of ours: it has what the node has, at the same offsets.

Redis 7.0 cannot follow Redis 7.4 nor us: it does not read RDB 12, in which the full sync comes.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from tests.e2e.test_persistence import node
from tests.oracle.grammar import Grammar
from tests.oracle.test_aof import DISTURBING, GROUPS, LINES
from tests.support.peer import Peer
from tests.support.servers import Server, redis8

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(120)]

Start = Callable[..., AbstractContextManager[Server]]
AT_ONCE = ("--repl-diskless-sync-delay", "0")
SECONDS_MAX = 20.0
# Keys whose time is up are still there at a replica until the primary says so.
MORE = """\
SET soon 1 PX 20|HSET hx f v g w|HPEXPIRE hx 20 FIELDS 1 f|HEXPIRE hx 1000 FIELDS 1 g
HPERSIST hx FIELDS 1 g|EVAL redis.call('SET',KEYS[1],1)redis.call('DEL',KEYS[2]) 2 e1 q
FUNCTION DELETE lib|FUNCTION FLUSH|PUBLISH channel message|MULTI|SET a 1|PUBLISH c m|INCR n|EXEC
LPUSH waiting 1|RPOPLPUSH waiting waiting2|UNLINK waiting2|GETEX a PX 20|FLUSHALL|SET after 1"""


class Watched:
    """A primary of ours and a real replica, and what is asked of both."""

    def __init__(self, primary: redis.Redis, replica: Server) -> None:
        self.primary = Peer(primary.connection_pool.connection_kwargs["port"])
        self.replica = Peer(replica.port)
        self.others: list[Peer] = []

    def another(self, port: int) -> Peer:
        """One more connection, closed with the others."""
        self.others.append(Peer(port))
        return self.others[-1]

    def close(self) -> None:
        for peer in (self.primary, self.replica, *self.others):
            peer.close()

    def facts(self, of: Peer, section: str = "replication") -> dict[str, str]:
        lines = of("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def await_link(self) -> None:
        self.until(lambda: self.facts(self.replica)["master_link_status"] == "up")

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not holds():
            assert time.monotonic() < deadline, (self.facts(self.primary), self.facts(self.replica))
            time.sleep(0.01)

    def same(self) -> None:
        """Both are at one offset, and hold the same."""
        self.await_link()
        # Whoever waits for an acknowledgement lets keys expire meanwhile; so they are told apart
        # by what they hold at one and the same offset.
        for _ in range(50):
            self.primary("SET", "last", "1")
            assert self.primary("WAIT", "1", "10000") == 1
            ours, theirs = self.facts(self.primary), self.facts(self.replica)
            digests = self.primary("DEBUG", "DIGEST"), self.replica("DEBUG", "DIGEST")
            if ours["master_repl_offset"] == theirs["master_repl_offset"] == theirs[
                "slave_repl_offset"
            ] and self.offset() == int(ours["master_repl_offset"]):
                assert ours["master_replid"] == theirs["master_replid"]
                assert digests[0] == digests[1]
                return
        raise AssertionError((ours, theirs))

    def offset(self) -> int:
        return int(self.facts(self.primary)["master_repl_offset"])

    def stat(self, name: str) -> int:
        return int(self.facts(self.primary, "stats")[name])


@contextmanager
def pair(
    start: Start, folder: Path, *options: str, before: Callable[[Peer], None] | None = None,
    replica: tuple[str, ...] = (), port: int = 0,
) -> Iterator[Watched]:  # fmt: skip
    (folder / "replica").mkdir(exist_ok=True)
    with node(folder / "node", *AT_ONCE, *options) as (client, _):
        of_ours = client.connection_pool.connection_kwargs["port"]
        if before is not None:
            peer = Peer(of_ours)
            before(peer)
            peer.close()
        with start(folder / "replica", ("--enable-debug-command", "yes", *replica)) as server:
            watched = Watched(client, server)
            watched.replica("REPLICAOF", "127.0.0.1", port or of_ours)
            try:
                yield watched
            finally:
                watched.close()


def requests(count: int, seed: int) -> Iterator[list[bytes]]:
    """Requests of all kinds, that do not wait."""
    draw = random.Random(seed)
    for line in LINES.replace("\n", "|").split("|"):
        yield line.encode().split(b" ")
    grammars = [Grammar(group) for group in GROUPS]
    for _ in range(count):
        argv = [*draw.choice(grammars).request(draw.getrandbits(32))]
        if argv[0].upper() not in DISTURBING:
            yield argv
    for line in MORE.replace("\n", "|").split("|"):
        yield line.encode().split(b" ")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_streams(seed: int, tmp_path: Path) -> None:
    with pair(redis8, tmp_path) as both:
        both.await_link()
        for at, argv in enumerate(requests(3000, seed)):
            both.primary(*argv)
            if at % 500 == 499:
                both.primary("EXEC")
                both.primary("SELECT", 0)
                both.same()
        both.primary("EXEC")
        both.primary("SELECT", 0)
        both.same()
        assert both.stat("sync_full") == 1
        errors = both.facts(both.replica, "stats")
        assert errors["unexpected_error_replies"] == "0"


def shut(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is over already


class Relay:
    """A TCP connection in between, that can be cut."""

    def __init__(self, port: int) -> None:
        self.port_behind = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        self.ends: list[socket.socket] = []
        self.refusing = False
        self.threads: list[threading.Thread] = []
        self.start(self.accept)

    def start(self, work: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.port_behind))
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                self.start(self.pass_on, one, other)

    def pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
        except OSError:
            pass  # it was cut
        finally:
            shut(one, other)

    def cut(self) -> None:
        shut(*self.open)
        self.ends += self.open
        self.open = []

    def close(self) -> None:
        self.refusing = True
        self.cut()
        shut(self.listener)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)
        for end in self.ends:
            end.close()


def test_after_a_cut_only_the_rest_is_sent(tmp_path: Path) -> None:
    """Also when it is more than there is memory for: the rest is on disk."""
    with pair(redis8, tmp_path, "--repl-backlog-size", "16384") as both:
        both.await_link()
        relay = Relay(both.primary.socket.getpeername()[1])
        try:
            both.replica("REPLICAOF", "127.0.0.1", relay.port)
            both.same()
            before = both.stat("sync_full")
            for megabytes in (0, 3):
                relay.refusing = True
                relay.cut()
                both.until(lambda: both.facts(both.primary)["connected_slaves"] == "0")
                for at in range(megabytes * 64 + 1):
                    both.primary("SET", f"while away {at}", "x" * 16384)
                relay.refusing = False
                both.same()
            both.primary("CLIENT", "KILL", "TYPE", "replica")
            both.same()
            assert both.stat("sync_full") == before
            assert both.stat("sync_partial_ok") >= 3
        finally:
            relay.close()


def test_what_is_published_reaches_listeners_of_a_replica(tmp_path: Path) -> None:
    with pair(redis8, tmp_path) as both:
        both.same()
        listener = both.another(both.replica.socket.getpeername()[1])
        assert listener("SUBSCRIBE", "channel") == [b"subscribe", b"channel", 1]
        for line in ("MULTI", "SET k v", "PUBLISH channel one", "SET k w", "EXEC"):
            both.primary(*line.split())
        both.primary("PUBLISH", "channel", "two")
        assert listener.receive() == [b"message", b"channel", b"one"]
        assert listener.receive() == [b"message", b"channel", b"two"]
        both.same()


def test_two_at_once_get_one_cut_and_writes_need_them(tmp_path: Path) -> None:
    with pair(redis8, tmp_path, "--repl-diskless-sync-delay", "1") as both:
        (tmp_path / "second").mkdir()
        with redis8(tmp_path / "second") as second:
            other = both.another(second.port)
            other("REPLICAOF", "127.0.0.1", both.primary.socket.getpeername()[1])
            both.until(lambda: both.facts(both.primary)["connected_slaves"] == "2")
            both.primary("SET", "k", "v")
            both.until(lambda: both.primary("WAIT", "2", "1000") == 2)
            saves = [line for line in both.facts(both.primary) if line.startswith("slave")]
            assert saves == ["slave0", "slave1"]
            assert both.primary("CONFIG", "SET", "min-replicas-to-write", "2") == b"OK"
            both.primary("SET", "k", "w")
            other("REPLICAOF", "NO", "ONE")
            both.until(lambda: both.facts(both.primary)["connected_slaves"] == "1")
            for line in ("SET k x", "EVAL return(redis.call('SET',KEYS[1],1)) 1 k"):
                assert "Not enough good replicas" in str(both.primary(*line.split()))
            assert both.primary("GET", "k") == b"w"


def test_waiting_for_files_of_replicas(tmp_path: Path) -> None:
    with pair(redis8, tmp_path, replica=("--appendonly", "yes")) as both:
        both.same()
        both.primary("SET", "k", "v")
        assert both.primary("WAITAOF", "0", "1", "10000") == [0, 1]
        assert both.primary("WAIT", "2", "50") == 1


def test_redis_cli_follows(tmp_path: Path) -> None:
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("redis-cli is not installed")
    with node(tmp_path, *AT_ONCE) as (client, _):
        port = client.connection_pool.connection_kwargs["port"]
        client.set("k", "v")
        following = subprocess.Popen(
            [program, "-p", str(port), "--replica"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            while client.info("replication").get("slave0", {}).get("state") != "online":
                pass
            assert following.stdout is not None
            client.set("seen", "by redis-cli")
            seen = b""
            while b'"by redis-cli"' not in seen:
                piece = following.stdout.readline()
                assert piece, seen
                seen += piece
        finally:
            following.kill()
            following.communicate()
        done = subprocess.run(
            [program, "-p", str(port), "--rdb", str(tmp_path / "got.rdb")],
            capture_output=True, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done
        assert (tmp_path / "got.rdb").read_bytes().startswith(b"REDIS")
