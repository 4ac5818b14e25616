"""Several waiting clients against redis-server 8.0: the same requests, the same clients served.

A scenario is drawn from a number: clients that wait for lists and sorted sets, and one that pushes,
moves, renames and deletes, alone and in transactions. After every step both sides must have served
the same clients with the same replies. (Redis 7.0 differs: it serves the key that was ready first,
7.2 and later run the whole command again. Left out are
SWAPDB, behind which Redis wakes in the order of a hash table, and commands that store a result at a
key of another type that somebody waits for: Redis forgets to wake, we do not.)
"""

from __future__ import annotations

import random
import select
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.peer import Peer
from tests.support.servers import Server
from tests.support.store import Store
from tests.support.waiting import Clients

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

SCENARIOS = 120
NAMES = ("a", "b", "c", "d", "e")
WAITING = """
BLPOP x 0|BRPOP x 0|BLPOP x y 0|BRPOP y x 0|BLPOP x y x 0|BLPOP p x 0|BLMOVE x y LEFT RIGHT 0
BLMOVE y x RIGHT RIGHT 0|BLMOVE x x LEFT RIGHT 0|BRPOPLPUSH x y 0|BRPOPLPUSH y z 0|BLPOP z 0
BLMPOP 0 1 x LEFT|BLMPOP 0 2 y x RIGHT COUNT 2|BLMPOP 0 1 z LEFT COUNT 10|BLMOVE x p LEFT LEFT 0
BZPOPMIN p 0|BZPOPMAX p q 0|BZPOPMIN q p 0|BZMPOP 0 2 q p MIN|BZMPOP 0 1 p MAX COUNT 3
BZPOPMIN x 0|BLPOP q 0|BZPOPMAX r p 0|BZMPOP 0 1 r MIN COUNT 2
"""
ACTING = """
LPUSH x 1|RPUSH x 1 2|RPUSH x 1 2 3 4|LPUSH y 5|RPUSH y 6 7|RPUSH z 8|LPUSHX x 9|DEL x|DEL y
RENAME x y|RENAME y x|RENAME other x|RENAMENX z x|COPY other y REPLACE|LMOVE other x LEFT RIGHT
RPOPLPUSH x y|LPOP x|RPOP y|LTRIM x 1 0|LSET x 0 0|LREM x 0 1|SET x s|SET p s|DEL p|DEL q|SADD x m
ZADD p 1 m|ZADD p 1 m 2 n 3 o|ZADD q 5 m|ZINCRBY q 1 n|ZUNIONSTORE r 1 scores|ZRANGESTORE r p 0 0
ZREM p m|RENAME p q|RENAME q p|COPY scores q|RPUSH other 1 2|ZADD scores 4 k|LPUSH p 1|ZADD x 1 m
SELECT 1|SELECT 0|MOVE x 0|MOVE x 1|MOVE p 1|FLUSHDB
"""


def words(text: str) -> list[list[bytes]]:
    lines = text.strip().replace("\n", "|").split("|")
    return [line.encode().split() for line in lines]


class Real:
    """Our clients of the real server, and one more to ask it who waits."""

    def __init__(self, server: Server, protocol: int) -> None:
        self.server, self.protocol = server, protocol
        self.main, self.control = Peer(server.port, protocol), Peer(server.port)
        self.waiting: dict[str, Peer] = {}
        self.idle: dict[str, Peer] = {}

    def blocked(self) -> set[int]:
        """The ids of clients that wait."""
        rows = self.control(b"CLIENT", b"LIST").decode().splitlines()
        fields = [dict(field.split("=", 1) for field in row.split()) for row in rows]
        return {int(row["id"]) for row in fields if "b" in row["flags"]}

    def wait(self, name: str, argv: list[bytes]) -> Any:
        """Run a command that may wait: its reply, or None."""
        if name not in self.idle:
            self.idle[name] = Peer(self.server.port, self.protocol)
        peer = self.idle[name]
        peer.send(*argv)
        while not select.select([peer.socket], [], [], 0)[0]:
            if peer.id in self.blocked():
                self.waiting[name] = self.idle.pop(name)
                return None
        return peer.receive()

    def run(self, *argv: bytes) -> tuple[Any, dict[str, Any]]:
        """A command of the main client; its reply, and what others were served by it."""
        reply = self.main(*argv)
        still = self.blocked()
        served = {}
        for name, peer in list(self.waiting.items()):
            if peer.id not in still:
                served[name] = peer.receive()
                self.idle[name] = self.waiting.pop(name)
        return reply, served

    def leave(self, name: str) -> None:
        """Close a connection; return once the server knows."""
        peer = self.waiting.pop(name)
        peer.close()
        while peer.id in self.blocked():
            continue

    def close(self) -> None:
        for name in list(self.waiting):
            self.leave(name)
        for peer in (*self.idle.values(), self.main, self.control):
            peer.close()


def contents(call: Callable[..., Any]) -> Any:
    """What the selected database holds."""
    found = {}
    for key in call(b"KEYS", b"*"):
        kind = call(b"TYPE", key)
        if kind == b"list":
            found[key] = call(b"LRANGE", key, b"0", b"-1")
        elif kind == b"zset":
            found[key] = call(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES")
        else:
            found[key] = kind
    return found


def play(server: Server, protocol: int, number: int) -> None:
    """One scenario on both sides."""
    rng = random.Random(number)
    waiting, acting = words(WAITING), words(ACTING)
    store = Store(protocol=protocol)
    real, ours = Real(server, protocol), Clients(store)
    story: list[str] = []

    def both(argv: list[bytes]) -> None:
        story.append(b" ".join(argv).decode())
        mine, theirs = ours.run(*argv), real.run(*argv)
        assert mine == theirs, "\n".join([*story, f"ours: {mine}", f"theirs: {theirs}"])

    try:
        both([b"FLUSHALL"])
        for _ in range(rng.randint(5, 40)):
            free = [name for name in NAMES if name not in real.waiting]
            draw = rng.random()
            if free and draw < 0.45:
                name, argv = rng.choice(free), rng.choice(waiting)
                story.append(f"{name}: {b' '.join(argv).decode()}")
                assert ours.may_wait(name, *argv) == real.wait(name, argv), story
                both([b"PING"])
            elif draw < 0.5 and real.waiting:
                name = rng.choice(sorted(real.waiting))
                story.append(f"{name} leaves")
                real.leave(name)
                ours.leave(name)
            else:
                count = rng.choice((1, 1, 1, 2, 4))
                lines = [rng.choice(acting) for _ in range(count)]
                for argv in lines if count == 1 else [[b"MULTI"], *lines, [b"EXEC"]]:
                    both(argv)
        for index in (b"0", b"1"):
            both([b"SELECT", index])
            assert contents(store) == contents(real.main), story
        store.check_replay()
    finally:
        real.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_same_clients_are_served(redis8: Server, protocol: int) -> None:
    for number in range(SCENARIOS):
        play(redis8, protocol, number)
