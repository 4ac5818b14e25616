"""Every registered command with hostile arguments, in process, in RESP2 and RESP3.

Whatever the arguments, a command answers exactly one well-formed reply, error or value, and raises
nothing else: an exception here would be logged as a fault and close a client's connection. The
keys hold one value of each type, so the commands get past the look-up. Every effect of what did
pass is replayed at the end and must give the same data.
"""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import hiredis
import pytest

from isthmus.node.engine.registry import specs
from isthmus.node.engine.spec import CommandSpec
from tests.support.store import RedisReplyError, Store

NUMBERS = [
    b"-9223372036854775809", b"-9223372036854775808", b"-2147483649", b"-1", b"0", b"1",
    b"2147483648", b"4294967296", b"4611686018427387904", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551615", b"1_0", b" 1", b"0x10", b"", b"+1", b"01",
    b"-0", b"9" * 5000, b"nan", b"-nan", b"inf", b"-inf", b"1e400", b"-0.0", b"1e-400",
    b"0.1234567890123456789", "\u0661".encode(), b"1\n", b"1\0",
]  # fmt: skip
WORDS = [
    b"EX", b"PX", b"EXAT", b"PXAT", b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR", b"GET", b"KEEPTTL",
    b"PERSIST", b"COUNT", b"MATCH", b"TYPE", b"LIMIT", b"WEIGHTS", b"AGGREGATE", b"WITHSCORES",
    b"WITHVALUES", b"BYSCORE", b"BYLEX", b"REV", b"LEFT", b"RIGHT", b"MIN", b"MAX", b"BEFORE",
    b"AFTER", b"RANK", b"MAXLEN", b"STORE", b"REPLACE", b"DB", b"IDX", b"LEN", b"ASYNC", b"ID",
    b"[a", b"(1", b"-", b"+", b"*", b"*[" * 50, b"\\", b"[^", b"\xff\xfe\x00", b"a\r\nb", b"x" * 70,
]  # fmt: skip
KEYS = [b"str", b"num", b"raw", b"list", b"hash", b"set", b"ints", b"zset", b"missing", b""]
# They end the process, stop it for long, or wait for the outside; their own tests run them.
LEFT_OUT = {
    b"shutdown", b"debug|sleep", b"debug|segfault", b"quit", b"client|pause", b"pfselftest",
}  # fmt: skip
COMMANDS = [
    spec for spec in specs() if spec.handler is not None and spec.name not in LEFT_OUT
]  # fmt: skip
TRIES = 80
ALLOCATION_MAX = 16 << 20


def furnished(protocol: int) -> Store:
    store = Store(protocol=protocol, proto_max_bulk_len="1048576")
    for line in (
        "SET str hello", "SET num 10", "APPEND raw text", "RPUSH list a b c 1 2 3",
        "HSET hash a 1 b 2 x y", "SADD set a b x", "SADD ints 1 2 3", "ZADD zset 1 a 2 b 3 x",
    ):  # fmt: skip
        assert not isinstance(store.run(line), Exception), line
    return store


def call(spec: CommandSpec, arguments: list[bytes]) -> list[bytes]:
    return [*spec.name.upper().split(b"|"), *arguments]


def check(store: Store, argv: list[bytes]) -> Any:
    """Run one request on a fresh client: one whole reply, or none if it waits or wants none."""
    client = store.node.new_client()
    client.protocol = store.client.protocol
    data = store.raw(*argv, client=client)
    muted, closing = client.reply_off or client.reply_skip, client.closing
    waits, listens = client.blocked is not None, argv[0].endswith(b"SUBSCRIBE")
    store.node.forget_client(client)
    reader = hiredis.Reader(replyError=RedisReplyError)
    reader.feed(data)
    try:
        reply = reader.gets()
    except TypeError:
        return None  # a map whose keys Python cannot hash: whole, but not for this reader
    assert reply is not False or muted or closing or waits, f"{argv}: no whole reply in {data!r}"
    while listens and reader.has_data():
        reader.gets()  # one for each channel
    assert reply is False or not reader.has_data(), f"{argv}: more than one reply in {data!r}"
    return reply


def arguments(rng: random.Random, count: int) -> list[bytes]:
    kinds = ([*KEYS], NUMBERS, WORDS)
    made = [rng.choice(rng.choices(kinds, (3, 4, 3))[0]) for _ in range(count)]
    if made and rng.random() < 0.8:
        made[0] = rng.choice(KEYS)
    return made


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name.decode())
def test_one_well_formed_reply(spec: CommandSpec, protocol: int) -> None:
    store = furnished(protocol)
    words = spec.name.count(b"|") + 1
    least = abs(spec.arity) - words
    rng = random.Random(spec.name)
    if least > 0:
        reply = check(store, call(spec, [b"a"] * (least - 1)))
        assert isinstance(reply, RedisReplyError), "too few arguments"
    if spec.arity > 0:
        reply = check(store, call(spec, [b"a"] * (least + 1)))
        assert isinstance(reply, RedisReplyError), "too many arguments"
    for _ in range(TRIES):
        check(store, call(spec, arguments(rng, least + rng.choice((0, 0, 1, 2, 3, 6)))))
    # A request as long as a client may care to make it.
    check(store, call(spec, [rng.choice(KEYS), *[b"1"] * 999]))
    store.check_replay()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("line", [
    "SETRANGE str 536870911 x", "SETRANGE missing 1048576 x", "SETRANGE str 9223372036854775807 x",
    "LPOP list 9223372036854775807", "RPOP missing 9223372036854775807",
    "SPOP set 9223372036854775807", "ZPOPMIN zset 9223372036854775807",
    "SRANDMEMBER set -9223372036854775807", "HRANDFIELD hash -9223372036854775807 WITHVALUES",
    "ZRANDMEMBER zset -9223372036854775807 WITHSCORES", "SRANDMEMBER set 9223372036854775807",
    "GETRANGE str -9223372036854775808 9223372036854775807",
    "LRANGE list -9223372036854775808 9223372036854775807",
    "LTRIM list -9223372036854775808 9223372036854775807",
    "SCAN 0 COUNT 4611686018427387904", "SSCAN set 0 COUNT 4611686018427387904",
    "LPOS list a RANK -9223372036854775808", "LPOS list a COUNT 0 RANK -1 MAXLEN 1",
    "LMPOP 2147483648 list LEFT", "SINTERCARD 9223372036854775807 set", "ZUNION 2147483648 zset",
    "INCRBYFLOAT num 1e308", "INCRBYFLOAT str nan", "SET str v PX 9223372036854775807",
    "SET str v EX 9223372036854775807", "SET str v EXAT 9223372036854775807",
    "GETEX str EX 9223372036854775807", "EXPIRE str 9223372036854775807",
    "PEXPIRE str 9223372036854775807", "EXPIRE str -9223372036854775808", "MSET a", "MSET a 1 b",
    "MSETNX a 1 b", "SELECT 2147483648", "DECRBY num -9223372036854775808",
    "LCS str raw MINMATCHLEN 9223372036854775807 IDX", "COMMAND GETKEYS ZUNION 99999 a b",
    "COMMAND GETKEYS EVAL", "OBJECT FREQ str", "OBJECT ENCODING missing",
])  # fmt: skip
def test_extremes_allocate_nothing_huge(line: str, protocol: int) -> None:
    store = furnished(protocol)
    store.run("PING")
    tracemalloc.start()
    try:
        check(store, [word.encode() for word in line.split()])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < ALLOCATION_MAX, f"{line} took {peak} bytes"
    store.check_replay()


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name.decode())
def test_command_getkeys_of_anything(spec: CommandSpec) -> None:
    store = Store()
    rng = random.Random(spec.name)
    for count in (0, 1, 2, 3, 5):
        check(store, [b"COMMAND", b"GETKEYS", *call(spec, arguments(rng, count))])
