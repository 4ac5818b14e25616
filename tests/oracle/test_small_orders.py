"""Small hashes and sets in the order of Redis: every reply byte by byte, nothing sorted.

Redis keeps them as listpacks and intsets, and shows their order. Large ones have an order of their
own on either side.
"""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from tests.support.peer import Peer
from tests.support.servers import Server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

SCENARIOS = 100
NAMES = ("a", "b", "cc", "1", "2", "10", "-3", "007", "", "9223372036854775807", "x" * 30)
LINES = """
HSET h N V|HSET h N V N V|HSET h N V N V N V|HDEL h N|HDEL h N N|HINCRBY h N 1|HSETNX h N V
HINCRBYFLOAT h N 0.5|HGETALL h|HKEYS h|HVALS h|HSCAN h 0|HSCAN h 0 MATCH ?|HRANDFIELD h 50
HRANDFIELD h 50 WITHVALUES|HPEXPIREAT h T FIELDS 1 N|HPEXPIREAT h T FIELDS 2 N N|COPY h g REPLACE
HPERSIST h FIELDS 1 N|HGETALL g|HPEXPIRETIME g FIELDS 1 N|RENAME g h
SADD s N|SADD s N N|SADD s N N N|SADD t N N|SADD u 5 3|SADD u N|SREM s N|SREM t N N|SMEMBERS s
SMEMBERS t|SSCAN s 0|SSCAN u 0|SRANDMEMBER s 50|SINTER s t
SUNION i j|SADD i M M|SADD j M|SUNION j i|SDIFF i j|SDIFF j i|SADD i M
SINTERSTORE v s t|SUNIONSTORE v s t|SUNIONSTORE v u t s|SDIFFSTORE v s t|SMEMBERS v
SMOVE s t N|SMOVE t u N|SPOP i 50|COPY s w REPLACE|SMEMBERS w|SINTER s
ZADD z 1 N|ZADD z 2 N|ZRANDMEMBER z 50|ZRANDMEMBER z 50 WITHSCORES|OBJECT ENCODING s
"""


@pytest.mark.parametrize("protocol", [2, 3])
def test_orders_agree(redis8: Server, protocol: int) -> None:
    with closing(Peer(redis8.port, protocol)) as peer:
        for number in range(SCENARIOS):
            play(peer, protocol, number)


def play(peer: Peer, protocol: int, number: int) -> None:
    lines = [line.split() for line in LINES.strip().replace("\n", "|").split("|")]
    rng = random.Random(number)
    store = Store(protocol=protocol)
    store.clock.now_ms = int(peer("TIME")[0]) * 1000
    peer("FLUSHALL")
    story = []
    for _ in range(80):
        argv = [
            rng.choice(NAMES) if word == "N"
            else str(rng.randrange(-5, 20)) if word == "M"
            else str(rng.randrange(100)) if word == "V"
            else str(store.clock.now_ms + 10**9 + rng.randrange(5)) if word == "T"
            else word
            for word in rng.choice(lines)
        ]  # fmt: skip
        story.append(" ".join(word or "''" for word in argv))
        ours, theirs = store(*argv), peer(*argv)
        assert ours == theirs, "\n".join([f"scenario {number}", *story])
