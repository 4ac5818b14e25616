"""List commands: replies, errors and encodings; side by side with a real redis-server."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import hiredis
import pytest

from tests.support import servers
from tests.support.store import Store

# Every command with every kind of argument that its checks tell apart. `s` holds a string, `l` the
# list "a b c a b 10", `none` nothing; each line begins from that state.
LINES = """
LPUSH new 1 2 3|LPUSH s 1|LPUSH l x y|RPUSH new 1 2 3|RPUSH s 1|RPUSH l x y|LPUSH l|RPUSH l
LPUSHX none 1|LPUSHX l 1 2|LPUSHX s 1|RPUSHX none 1|RPUSHX l 1 2|RPUSHX s 1
LPOP none|LPOP l|LPOP s|LPOP l 0|LPOP l 2|LPOP l 100|LPOP none 0|LPOP none 2|LPOP s 1|LPOP l -1
LPOP l x|LPOP l 1 2|LPOP none -1|LPOP l 9223372036854775807|LPOP l 9223372036854775808
RPOP none|RPOP l|RPOP s|RPOP l 0|RPOP l 2|RPOP l 6|RPOP none 0|RPOP none 2|RPOP s 1|RPOP l -1
RPOP l 1 2|RPOP
LLEN none|LLEN l|LLEN s|LLEN
LINDEX l 0|LINDEX l -1|LINDEX l 6|LINDEX l -7|LINDEX l 5|LINDEX l x|LINDEX none x|LINDEX s x
LINDEX l -9223372036854775808|LINDEX l 9223372036854775807|LINDEX s 0
LSET l 0 z|LSET l -1 z|LSET l 6 z|LSET l -7 z|LSET l x z|LSET none 0 z|LSET s 0 z|LSET none x z
LRANGE l 0 -1|LRANGE l 1 2|LRANGE l -2 -1|LRANGE l -100 100|LRANGE l 3 1|LRANGE l 6 7
LRANGE none 0 1
LRANGE l x 1|LRANGE l 0 x|LRANGE s 0 1|LRANGE none x 1|LRANGE l -9223372036854775808 -7
LRANGE l 0 9223372036854775807
LTRIM l 1 2|LTRIM l 0 -1|LTRIM l 3 1|LTRIM l 6 9|LTRIM l -2 -1|LTRIM l x 1|LTRIM none 0 1
LTRIM s 0 1
LTRIM l -100 -7|LTRIM l 0 0|LTRIM l -9223372036854775808 9223372036854775807|LTRIM none x 1
LINSERT l BEFORE b x|LINSERT l after b x|LINSERT l BEFORE zz x|LINSERT l between b x
LINSERT none BEFORE b x|LINSERT s BEFORE b x|LINSERT none between b x|LINSERT l BEFORE a x
LINSERT l AFTER 10 x|LINSERT l AFTER 10
LREM l 0 a|LREM l 1 a|LREM l -1 a|LREM l 5 b|LREM l -5 b|LREM l 0 zz|LREM none 0 a|LREM s 0 a
LREM l x a|LREM none x a|LREM l -9223372036854775807 a|LREM l 9223372036854775807 a|LREM l 0 10
LPOS l a|LPOS l zz|LPOS none a|LPOS s a|LPOS l b RANK 2|LPOS l b RANK -1|LPOS l b RANK 3
LPOS l b COUNT 0|LPOS l b COUNT 1|LPOS l zz COUNT 0|LPOS none b COUNT 0|LPOS l b RANK -1 COUNT 0
LPOS l b RANK -2 COUNT 2|LPOS l b MAXLEN 1|LPOS l b MAXLEN 2|LPOS l b MAXLEN 0|LPOS l b MAXLEN -1
LPOS l b RANK 0|LPOS l b RANK x|LPOS l b COUNT -1|LPOS l b COUNT x|LPOS l b MAXLEN x|LPOS l b RANK
LPOS l b FOO 1|LPOS l b RANK 1 RANK 2|LPOS s b RANK 0
LPOS l b RANK -1 MAXLEN 2|LPOS l b rank 2 count 5 maxlen 100|LPOS l b RANK -9223372036854775807
LMOVE l new LEFT RIGHT|LMOVE l l LEFT RIGHT|LMOVE l l LEFT LEFT|LMOVE l l RIGHT LEFT
LMOVE l l right right
LMOVE none l LEFT LEFT|LMOVE l s LEFT LEFT|LMOVE s l LEFT LEFT|LMOVE none s LEFT LEFT
LMOVE l l UP LEFT
LMOVE l l LEFT DOWN|LMOVE s s UP LEFT|LMOVE l new LEFT
RPOPLPUSH l new|RPOPLPUSH l l|RPOPLPUSH none l|RPOPLPUSH s l|RPOPLPUSH l s|RPOPLPUSH none s
LMPOP 1 l LEFT|LMPOP 1 l RIGHT|LMPOP 2 none l LEFT COUNT 2|LMPOP 1 l RIGHT COUNT 100
LMPOP 1 none LEFT
LMPOP 0 l LEFT|LMPOP -1 l LEFT|LMPOP x l LEFT|LMPOP 2 l LEFT|LMPOP 1 l UP|LMPOP 1 l LEFT COUNT
LMPOP 1 l LEFT COUNT 0|LMPOP 1 l LEFT COUNT -1|LMPOP 1 l LEFT COUNT x|LMPOP 1 l LEFT FOO 1
LMPOP 1 l LEFT COUNT 1 COUNT 2|LMPOP 2 s l LEFT|LMPOP 2 none s LEFT|LMPOP 1 l l LEFT
LMPOP 1 l LEFT LEFT
LMPOP 3 none none2 l right count 3|LMPOP 9223372036854775807 l LEFT|LMPOP 1 l
"""
CASES = [line.split() for block in LINES.strip().splitlines() for line in block.split("|")]
STATE = [["SET", "s", "text"], ["RPUSH", "l", "a", "b", "c", "a", "b", "10"]]
SHOW = [["LRANGE", "l", "0", "-1"], ["LRANGE", "new", "0", "-1"]]


class Oracle:
    """A connection to redis-server that returns the bytes of each reply."""

    def __init__(self, server: servers.Server, protocol: int) -> None:
        self.stream = socket.create_connection((server.host, server.port), timeout=5)
        self.raw("HELLO", protocol)

    def raw(self, *args: object) -> bytes:
        words = tuple(arg if isinstance(arg, bytes) else str(arg) for arg in args)
        self.stream.sendall(hiredis.pack_command(words))
        reader, data = hiredis.Reader(), b""
        while True:
            piece = self.stream.recv(1 << 16)
            assert piece, "redis-server closed the connection"
            data += piece
            reader.feed(piece)
            if reader.gets() is not False:
                return data


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def oracle(request: pytest.FixtureRequest, redis_server: servers.Server) -> Iterator[Oracle]:
    made = Oracle(redis_server, request.param)
    made.raw("FLUSHALL")
    yield made
    made.raw("FLUSHALL")
    made.stream.close()


@pytest.mark.oracle
@pytest.mark.slow
def test_every_reply_is_that_of_redis(oracle: Oracle, request: pytest.FixtureRequest) -> None:
    protocol = 3 if "resp3" in request.node.name else 2
    for case in CASES:
        store = Store(protocol=protocol)
        oracle.raw("FLUSHALL")
        for line in STATE:
            store.raw(*line)
            oracle.raw(*line)
        for line in [case, *SHOW]:
            assert store.raw(*line) == oracle.raw(*line), (case, line)
        store.check_replay()


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_histories_are_those_of_redis(oracle: Oracle, store: Store, seed: int) -> None:
    random_ = random.Random(seed)
    words = ["a", "b", "0", "-7", "70000", "w" * 60, "w" * 300, "W" * 5000]
    oracle.raw("HELLO", 2)

    def element() -> str:
        return random_.choices(words, [9, 9, 9, 9, 9, 5, 2, 1])[0]

    def number() -> str:
        return str(random_.randint(-12, 12))

    for step in range(400):
        key, other = random_.choice("xy"), random_.choice("xy")
        end, other_end = random_.choice(["LEFT", "RIGHT"]), random_.choice(["LEFT", "RIGHT"])
        line = random_.choice([
            ["LPUSH", key, element(), element()], ["RPUSH", key, element(), element(), element()],
            ["LPUSHX", key, element()], ["LPOP", key], ["RPOP", key, random_.choice("1234")],
            ["LSET", key, number(), element()], ["LRANGE", key, number(), number()],
            ["LINSERT", key, random_.choice(["BEFORE", "AFTER"]), element(), element()],
            ["LREM", key, random_.choice(["-2", "1", "2"]), element()],
            ["LMOVE", key, other, end, other_end], ["LINDEX", key, number()],
            ["LPOS", key, element(), "RANK", random_.choice(["1", "-1", "2", "-2"]), "COUNT", "3"],
            ["LMPOP", "2", key, other, end, "COUNT", random_.choice("123")],
            ["LTRIM", key, random_.choice("01"), "-2"],
        ])  # fmt: skip
        assert store.raw(*line) == oracle.raw(*line), (step, line)
    for key in "xy":
        assert store.raw("LRANGE", key, 0, -1) == oracle.raw("LRANGE", key, 0, -1)


def test_the_least_rank_is_refused(store: Store) -> None:
    # Redis 7.2 and later; before, its negation overflowed.
    assert store.error("LPOS", "k", "a", "RANK", -(2**63)) == (
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
    )


def encoding(store: Store, key: str = "k") -> str:
    value = store.client.db.lookup(key.encode())
    return str(value.encoding().decode())


def test_the_encoding_grows_past_8_kib_and_shrinks_at_half(store: Store) -> None:
    # An element of 62 bytes takes 64 of a listpack; 7 are its frame.
    store("RPUSH", "k", *["e" * 62] * 127)
    assert encoding(store) == "listpack"
    store("RPUSH", "k", "e" * 57)
    assert encoding(store) == "listpack"
    store("RPUSH", "k", "e")
    assert encoding(store) == "quicklist"
    store("LTRIM", "k", 0, 63)
    assert encoding(store) == "quicklist"
    store("LPOP", "k")
    assert encoding(store) == "listpack"
    store("LSET", "k", 0, "e" * 8000)
    assert encoding(store) == "quicklist"
    store("LREM", "k", 1, "e" * 8000)
    assert encoding(store) == "listpack"
    store("LINSERT", "k", "BEFORE", "e" * 62, "e" * 8000)
    assert encoding(store) == "quicklist"


def test_an_emptied_list_is_deleted(store: Store) -> None:
    """With the change that emptied it, and by no effect of its own."""
    for line in [
        "LPOP k",
        "RPOP k 5",
        "LREM k 0 a",
        "LTRIM k 1 0",
        "LMPOP 1 k LEFT COUNT 2",
        "LMOVE k other LEFT LEFT",
    ]:
        store.run("RPUSH k a")
        store.run(line)
        assert store.client.db.lookup(b"k") is None, line
    assert all(effect.argv[0] != b"DEL" for effect in store.recorder.effects_seen)


def test_rotating_a_list_of_one_keeps_its_expiry(store: Store) -> None:
    store.run("RPUSH k a")
    db = store.client.db
    db.set_expire(b"k", store.clock.now_ms + 1000)
    db.changed(b"k")
    db.record([b"PEXPIREAT", b"k", b"%d" % db.expiry(b"k")], b"expire", b"g")
    for ends in ["LEFT RIGHT", "RIGHT LEFT", "LEFT LEFT", "RIGHT RIGHT"]:
        assert store.run(f"LMOVE k k {ends}") == b"a"
    assert store.run("RPOPLPUSH k k") == b"a"
    assert db.expiry(b"k") == store.clock.now_ms + 1000


def test_effects_and_their_events(store: Store) -> None:
    for line in [
        "RPUSH k a b c d e f",
        "LPUSHX k z",
        "LPOP k",
        "RPOP k 2",
        "LSET k -1 D",
        "LINSERT k after b x",
        "LREM k -1 x",
        "LTRIM k -3 -1",
        "LMOVE k to LEFT RIGHT",
        "LMPOP 1 k RIGHT",
    ]:
        store.run(line)
    seen = [(b" ".join(e.argv).decode(), e.event.decode()) for e in store.recorder.effects_seen]
    assert seen == [
        ("RPUSH k a b c d e f", "rpush"), ("LPUSH k z", "lpush"), ("LPOP k", "lpop"),
        ("RPOP k 2", "rpop"), ("LSET k 3 D", "lset"), ("LINSERT k AFTER b x", "linsert"),
        ("LREM k -1 x", "lrem"), ("LTRIM k 1 3", "ltrim"), ("RPUSH to b", "rpush"),
        ("LPOP k", "lpop"), ("RPOP k 1", "rpop"),
    ]  # fmt: skip
    assert {e.event_class for e in store.recorder.effects_seen} == {b"l"}


def test_a_big_list_is_freed_in_slices(store: Store) -> None:
    store("RPUSH", "k", *[b"%064d" % i for i in range(1000)])
    store("LPOP", "k", 1000)
    keyspace = store.node.keyspace
    assert len(keyspace.garbage) == 1
    for _ in range(1000):
        if not keyspace.free_slice(1):
            break
    assert keyspace.garbage == []


def test_a_move_is_one_change_to_save(store: Store) -> None:
    store.run("RPUSH k a b")
    log = store.node.keyspace.log
    for line in ("LMOVE k other LEFT RIGHT", "RPOPLPUSH k k"):
        before = log.dirty
        store.run(line)
        assert log.dirty == before + 1
