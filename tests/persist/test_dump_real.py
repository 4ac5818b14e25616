"""DUMP beside a real redis 8.0: the same bytes for small values, and all of ours restored there."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.support.servers import Server
from tests.support.store import Store

pytestmark = pytest.mark.oracle

Line = list[Any]
FIELDS = [word for i in range(60) for word in (f"field{i}", f"value {i * 7919}")]
# What makes a value, and whether the payload is Redis' to the byte (large values come in the order
# of each one's own table).
VALUES: list[tuple[str, bool, list[Line]]] = [
    ("number", True, [["SET", "k", "12345"]]),
    ("negative", True, [["SET", "k", "-2147483648"]]),
    ("short", True, [["SET", "k", "hello world"]]),
    ("twenty", True, [["SET", "k", "abcdefghijklmnopqrst"]]),
    ("empty", True, [["SET", "k", ""]]),
    ("long", True, [["SET", "k", "a long text of no repeats 0123456789" * 40]]),
    ("list", True, [["RPUSH", "k", "a", "1", "-1", "4096", "70000", "x" * 63]]),
    ("quicklist", True, [["RPUSH", "k", *[f"element {i}" for i in range(3000)], "z" * 9000]]),
    ("intset", True, [["SADD", "k", "3", "-1", "2"]]),
    ("intset 4", True, [["SADD", "k", "3", "70000"]]),
    ("intset 8", True, [["SADD", "k", "3", "70000000000"]]),
    ("set", True, [["SADD", "k", "a", "bc", "1"]]),
    ("large set", False, [["SADD", "k", *[f"member {i}" for i in range(500)]]]),
    ("zset", True, [["ZADD", "k", "1", "a", "2.5", "b", "-inf", "c", "1e20", "d", "-3", "e"]]),
    ("large zset", True, [["ZADD", "k", *[w for i in range(400) for w in (i / 7, f"m{i}")]]]),
    ("hash", True, [["HSET", "k", "f", "v", "n", "12", "e", ""]]),
    ("large hash", False, [["HSET", "k", *FIELDS, "big", "x" * 100]]),
    ("timed", True, [["HSET", "k", "a", "1", "b", "2", "c", "3"],
                     ["HPEXPIREAT", "k", "4000000000000", "FIELDS", "1", "b"],
                     ["HPEXPIREAT", "k", "3900000000000", "FIELDS", "1", "c"]]),
    ("large timed", False, [["HSET", "k", *FIELDS, "big", "x" * 100],
                            ["HPEXPIREAT", "k", "4000000000000", "FIELDS", "2", "field3", "big"],
                            ["HPEXPIREAT", "k", "3900000000000", "FIELDS", "1", "field4"]]),
    ("stream", False, [*[["XADD", "k", f"{i + 1}-1", "f", f"v{i}"] for i in range(250)],
                       ["XDEL", "k", "7-1"], ["XTRIM", "k", "MAXLEN", "240"],
                       ["XGROUP", "CREATE", "k", "g", "0"], ["XGROUP", "CREATE", "k", "h", "$"],
                       ["XREADGROUP", "GROUP", "g", "alice", "COUNT", "9", "STREAMS", "k", ">"],
                       ["XREADGROUP", "GROUP", "g", "bob", "COUNT", "3", "STREAMS", "k", ">"],
                       ["XACK", "k", "g", "12-1"], ["XGROUP", "CREATECONSUMER", "k", "g", "eve"]]),
    ("compressed set", True, [["SADD", "k", *[f"member {i}" for i in range(99)]]]),
    ("compressed zset", True, [["ZADD", "k", *[w for i in range(99) for w in (i / 8, f"m{i}")]]]),
    ("compressed hash", True, [["HSET", "k", *FIELDS]]),
    ("not timed any more", False, [["HSET", "k", "a", "1", "b", "2"],
                                   ["HPEXPIREAT", "k", "4000000000000", "FIELDS", "1", "b"],
                                   ["HPERSIST", "k", "FIELDS", "1", "b"]]),
    ("large scores", True, [["ZADD", "k", "4503599627370497", "a", "9007199254740993", "b",
                             "4611686018427387904", "c", "-5e18", "d", "1e-7", "e", "1e300", "f"]]),
    ("plain nodes", True, [["RPUSH", "k", "x" * 8192, "a", "x" * 8193, "b", "x" * 8182, "c"]]),
    ("grown list", False, [["RPUSH", "k", f"element {i} of many"] for i in range(900)]),
    ("empty stream", True, [["XADD", "k", "5-5", "f", "v"], ["XDEL", "k", "5-5"]]),
]  # fmt: skip
READS: list[Line] = [
    ["GET", "k"], ["LRANGE", "k", "0", "-1"], ["SMEMBERS", "k"], ["HGETALL", "k"],
    ["ZRANGE", "k", "0", "-1", "WITHSCORES"], ["XRANGE", "k", "-", "+"],
    ["XPENDING", "k", "g"], ["XPENDING", "k", "g", "-", "+", "100"],
    ["HPEXPIRETIME", "k", "FIELDS", "4", "field3", "field4", "b", "big"],
    ["OBJECT", "ENCODING", "k"], ["TYPE", "k"],
]  # fmt: skip


@pytest.fixture
def real(redis8: Server) -> Any:
    with redis.Redis(redis8.host, redis8.port, protocol=2) as client:
        client.flushall()
        yield client


def seen(ask: Any) -> list[Any]:
    """What a server answers about the key; errors by their text, sets sorted."""
    found: list[Any] = []
    for line in READS:
        reply = ask(line)
        if line[0] in ("SMEMBERS",) and isinstance(reply, list):
            reply = sorted(reply)
        if line[0] == "HGETALL" and isinstance(reply, list):
            reply = sorted(zip(reply[::2], reply[1::2], strict=True))
        if line[0] == "XPENDING" and isinstance(reply, list) and len(line) > 3:
            # Entries with the time since their delivery.
            reply = [[entry[0], entry[1], entry[3]] for entry in reply]
        found.append(str(reply) if isinstance(reply, Exception) else reply)
    return found


def asked_of(client: redis.Redis) -> Any:
    def ask(line: Line) -> Any:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command(*line)
            return connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return Exception(f"{error.args[0]}")
        finally:
            client.connection_pool.release(connection)

    return ask


@pytest.mark.parametrize(("name", "same", "lines"), VALUES, ids=[row[0] for row in VALUES])
def test_payloads(real: Any, name: str, same: bool, lines: list[Line]) -> None:
    store = Store()
    ask = asked_of(real)
    for line in lines:
        store(*line)
        ask(line)
    theirs = seen(ask)
    ours = store("DUMP", "k")
    if same:
        assert ours == ask(["DUMP", "k"])
    ask(["DEL", "k"])
    assert ask(["RESTORE", "k", "0", ours]) == b"OK"
    assert seen(ask) == theirs
    # And theirs here.
    payload = ask(["DUMP", "k"])
    store("DEL", "k")
    assert store("RESTORE", "k", "0", payload) == b"OK"
    mine = seen(lambda line: store(*line))
    assert [m for m, t in zip(mine, theirs, strict=True) if not isinstance(t, str)] == [
        t for t in theirs if not isinstance(t, str)
    ]
