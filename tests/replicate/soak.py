"""A million mixed writes, a link that is cut on the way, and the same data on both ends.

    python -m tests.replicate.soak [--writes 1000000] [--seed 1]

Twice: redis-server 8.0 follows a node, and a node follows redis-server 8.0. Ends with status 1 if
the digests differ or a cut link cost a full sync.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from isthmus.wire.resp import pack
from tests.failover.load import Lines
from tests.persist.crash import Node
from tests.support.peer import Peer
from tests.support.servers import redis8

BATCH = 200
CUTS = 5
WAIT_SECONDS_MAX = 60.0
DEBUG = ["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]


def mixed(rng: random.Random) -> list[bytes]:
    """One write of any kind on one of some ten thousand keys."""
    n = b"%d" % rng.randrange(10_000)
    v = b"%d" % rng.randrange(1_000_000)
    return rng.choice((
        [b"SET", b"s" + n, v], [b"SET", b"e" + n, v, b"PX", b"100000000"], [b"INCR", b"c" + n],
        [b"LPUSH", b"l" + n, v], [b"RPOP", b"l" + n], [b"SADD", b"m" + n, v, n],
        [b"SPOP", b"m" + n], [b"HSET", b"h" + n, v[-2:], v], [b"HDEL", b"h" + n, v[-2:]],
        [b"ZADD", b"z" + n, v, v[-3:]], [b"ZPOPMIN", b"z" + n], [b"XADD", b"x" + n, b"*", b"f", v],
        [b"DEL", b"s" + n], [b"PFADD", b"p" + n[-1:], v], [b"SETRANGE", b"r" + n, v[-3:], b"abc"],
        [b"EXPIRE", b"h" + n, b"100000"], [b"APPEND", b"s" + n, v],
    ))  # fmt: skip


def field(peer: Peer, name: str) -> str:
    text = peer("INFO", "everything").decode(errors="replace")
    return next(line.split(":", 1)[1] for line in text.splitlines() if line.startswith(name + ":"))


def level(primary: Peer, replica: Peer) -> None:
    """Wait until the replica has everything."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        up = field(replica, "master_link_status") == "up"
        if up and field(replica, "slave_repl_offset") == field(primary, "master_repl_offset"):
            return
        assert time.monotonic() < deadline, "the replica does not come level"
        time.sleep(0.05)


def stream(name: str, primary_port: int, replica_port: int, writes: int, seed: int) -> bool:
    """Write, cut, compare; True if all is as it should be."""
    rng = random.Random(seed)
    with closing(Peer(primary_port)) as primary, closing(Peer(replica_port)) as replica:
        assert replica("REPLICAOF", "127.0.0.1", primary_port) == b"OK"
        level(primary, replica)
        full = int(field(primary, "sync_full"))
        began = time.monotonic()
        with closing(Lines(primary_port)) as lines:
            for done in range(0, writes, BATCH):
                lines.send(b"".join(pack(mixed(rng)) for _ in range(BATCH)))
                for _ in range(BATCH):
                    assert not lines.reply().startswith(b"-ERR unknown")
                if done % (writes // (CUTS + 1)) < BATCH and done:
                    primary("CLIENT", "KILL", "TYPE", "replica")
        level(primary, replica)
        same = primary("DEBUG", "DIGEST") == replica("DEBUG", "DIGEST")
        fulls = int(field(primary, "sync_full")) - full
        partial = int(field(primary, "sync_partial_ok"))
        print(
            f"{name}: {writes} writes in {time.monotonic() - began:.0f} s, keys"
            f" {primary('DBSIZE')}, digests {'equal' if same else 'DIFFER'}, partial syncs"
            f" {partial}, full syncs after the first {fulls}"
        )
        return same and fulls == 0 and partial >= CUTS


def main() -> int:
    """Both directions."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--writes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in ("redis follows isthmus", "isthmus follows redis"):
            ours, theirs = Path(folder) / name.replace(" ", "-"), Path(folder) / (name[:3] + "-r")
            theirs.mkdir()
            ours.mkdir()
            node = Node(ours, "--save", "", *DEBUG).wait_ready()
            try:
                with redis8(theirs, [*DEBUG, "--save", ""]) as server:
                    ports = (node.port, server.port)
                    first, second = ports if name.startswith("redis") else ports[::-1]
                    good = stream(name, first, second, args.writes, args.seed) and good
            finally:
                node.kill()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
