"""Stream commands against real servers: one sequence of commands, replies compared.

Redis 8.0 answers as 7.4 does, but for the text about keys without ids; 7.0 is older than the `+` of
XREAD, a check of XSETID, consumers that are made by claiming nothing, and what XINFO says of times
and lag, so those are left out with it. Times are masked: idle times asked for are 0 or beyond what
a test lasts. Ids are given, because `*` is the clock's. Blocks are small, so that approximate
trimming, deleted entries and the radix tree come into play.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.peers import INTEGERS, Peer, sequences
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

MAX = "18446744073709551615"
KEYS = [*["s"] * 5, "t", "t", "u", "str", "none"]
STREAMS = [*["s"] * 5, "t", "u"]
IDS = [
    "0", "1", "1-1", "2", "2-1", "3-3", "5", "7", "9-1", "12", "20-5", "300", "70000-1", "0-0",
    "0-1", f"{MAX}-{MAX}", f"{MAX}", f"1-{MAX}", f"{MAX}-1",
]  # fmt: skip
ODD_IDS = [
    "", "-", "+", "a", "1-a", "1-", "-1", "1-1-1", "18446744073709551616", " 1", "+5", "007",
    "5- 1", "5--1", "5- -1", "5--01", "1-*", "**", "$", ">", "(1", "1-+1", "9" * 127, "9" * 128,
    "\t3-3", "3 ", "1e3", "0x1",
]  # fmt: skip
BOUNDS = ["(1-1", "(5", "(", "(-", "(+", f"({MAX}-{MAX}", "(0-0", "((1", "(a", "(2"]
TEXTS = ["", "a", "b", "field", "-1", "0", "127", "128", "-4097", "40000", "9" * 18, "01", "x" * 70]
USUAL = ["0", "1", "2", "3", "5", "10"]


class Draw(Random):
    """Chance, and the place in the sequence: the ids that are added rise with it."""

    place = 0


def an_id(rng: Draw) -> list[str]:
    """Mostly one that may be there."""
    pool = rng.choices([None, IDS, ODD_IDS], [12, 1, 1])[0]
    return [rng.choice(pool) if pool else f"{rng.randint(4, rng.place)}-{rng.choice('1112')}"]


def some_ids(rng: Draw) -> list[str]:
    return sum((an_id(rng) for _ in range(rng.randint(1, 4))), [])


def bound(rng: Draw) -> list[str]:
    return rng.choice([["-"], ["+"], an_id(rng), an_id(rng), [rng.choice(BOUNDS)]])


def number(rng: Draw) -> list[str]:
    return [rng.choice(INTEGERS if rng.random() < 0.12 else USUAL)]


def pairs(rng: Draw) -> list[str]:
    texts = [rng.choice(TEXTS) for _ in range(2 * rng.randint(1, 3))]
    return rng.choice([["a", "1"], ["a", str(rng.getrandbits(40))], ["b", "y"], texts])


def threshold(rng: Draw) -> list[str]:
    return [
        word
        for part in rng.choice([
            "MAXLEN ~ $number", "MAXLEN = $number", "MAXLEN $number", "MINID ~ $id", "minid = $id",
            "MINID $id", "MAXLEN ~ $number LIMIT $number", "MINID ~ $id LIMIT $number",
            "MAXLEN ~ 2", "MAXLEN ~ 0 LIMIT 0", "$odd_threshold",
        ]).split()
        for word in words(rng, part)
    ]  # fmt: skip


POOLS: dict[str, Any] = {
    "key": KEYS, "stream": STREAMS, "group": [*["g"] * 8, "h", "h", "none"], "id": an_id,
    "consumer": ["c", "c", "d", "e", ""], "ids": some_ids, "bound": bound, "number": number,
    "pairs": pairs, "threshold": threshold, "new": lambda rng: rng.choice([
        *[[f"{rng.place}-1"]] * 8, [f"{rng.place}-*"], [f"{rng.place - 1}-*"], an_id(rng),
    ]),
    "odd_threshold": [
        ["LIMIT", "3"], ["LIMIT", "0"], ["MAXLEN", "3", "MINID", "3"], ["MAXLEN"], ["MAXLEN", "~"],
        ["MAXLEN", "=", "3", "LIMIT", "1"], ["MAXLEN", "~", "3", "LIMIT", "-1"], ["FOO"],
    ],
    "count": lambda rng: rng.choice([[], [], [], ["COUNT", *number(rng)]]),
    "idle": [*["0"] * 6, "400000", "-1", "x"],
    "junk": [*[[]] * 16, ["FOO"], ["COUNT"], ["NOMKSTREAM"], ["JUSTID"]],
    "start": [*["0"] * 4, "$", "3", "-", "x"],
    "created": lambda rng: rng.choice([
        [], [], ["MKSTREAM"], ["ENTRIESREAD", *number(rng)], ["FOO"], ["ENTRIESREAD"],
        ["mkstream", "ENTRIESREAD", "2"],
    ]),
    "claim": lambda rng: rng.choice([
        [], [], ["JUSTID"], ["FORCE"], ["force", "justid"], ["RETRYCOUNT", *number(rng)],
        ["TIME", "1"], ["IDLE", "5000000"], ["IDLE", "-5"], ["TIME", "-1"], ["TIME", "x"],
        ["LASTID"], ["BAR"], ["LASTID", *an_id(rng)],
    ]),
    "block": [*[[]] * 8, ["BLOCK", "x"], ["BLOCK", "-1"], ["BLOCK", "9" * 19]],
}  # fmt: skip
SIMPLE = [
    *["XADD $stream $new $pairs"] * 40,
    *["XADD $stream $threshold $new $pairs"] * 6,
    "XADD $key $threshold $new $pairs", "XADD $key NOMKSTREAM $new $pairs",
    "XADD $key $junk $new $pairs", "XADD s $new odd a b", "XLEN $key", "XLEN $key $junk",
    *["XRANGE $stream $bound $bound $count", "XREVRANGE $stream $bound $bound $count"] * 3,
    "XRANGE $key - + $count $junk", "XREVRANGE $key + - $count $junk",
    *["XDEL $stream $ids"] * 4, "XDEL $key $ids", *["XTRIM $stream $threshold"] * 2,
    "XTRIM $key $threshold $junk", "XSETID $stream $id", "XSETID $key $id $junk",
    "XSETID $stream $id ENTRIESADDED $number", "XSETID $stream $id MAXDELETEDID $id",
    *["XREAD $count STREAMS $stream $id"] * 3, "XREAD $block $count STREAMS $key $id",
    "XREAD STREAMS $stream $stream $id $id", "XREAD $junk $count STREAMS $key $key $id $id",
    "XREAD STREAMS s", "XREAD GROUP g c STREAMS s 0", "XREAD s 0", "XREAD NOACK STREAMS s 0",
    "DEL u", "COPY s $stream REPLACE", "COPY $stream u REPLACE", "RENAME u t",
    "OBJECT ENCODING $stream", "TYPE $key",
]  # fmt: skip
GROUPED = [
    *["XGROUP CREATE $stream $group $start $created"] * 4, "XGROUP CREATE $key $group $id $created",
    "XGROUP SETID $key $group $id", *["XGROUP SETID $stream g $start $created"] * 2,
    "XGROUP DESTROY $key $group", "XGROUP CREATECONSUMER $key $group $consumer",
    "XGROUP DELCONSUMER $key $group $consumer",
    *["XREADGROUP GROUP $group $consumer $count STREAMS $stream >"] * 12,
    *["XREADGROUP GROUP $group $consumer $count STREAMS $stream $id"] * 3,
    "XREADGROUP GROUP $group $consumer NOACK $count STREAMS $key >",
    "XREADGROUP GROUP g $consumer $count STREAMS $stream $stream > $start",
    "XREADGROUP GROUP g $consumer STREAMS s s > >", "XREADGROUP GROUP g c $junk STREAMS s $start",
    "XREADGROUP $block GROUP $group $consumer STREAMS $key >", "XREADGROUP GROUP g c STREAMS s",
    "XREADGROUP COUNT 1 NOACK NOACK STREAMS s >", "XREADGROUP GROUP g c STREAMS s $",
    *["XACK $stream $group $ids"] * 5, "XACK $key $group $ids", "XPENDING $key $group",
    *["XPENDING $stream g - + $number", "XPENDING $stream $group $bound $bound 5 $consumer"] * 2,
    "XPENDING $key $group IDLE $idle $bound $bound $number", "XPENDING s g - $number",
    "XPENDING $stream $group IDLE $idle - + 10 $consumer", "XPENDING s g - + 3 c d e",
    *["XCLAIM $stream g $consumer $idle $ids $claim $claim"] * 6,
    "XCLAIM $key $group $consumer $idle $ids $claim",
    *["XAUTOCLAIM $stream $group $consumer $idle $bound $count"] * 3,
    "XAUTOCLAIM $key $group $consumer 0 0 $count $junk",
    "XAUTOCLAIM $stream g e 0 - JUSTID $count",
]  # fmt: skip
SEEN = [
    *["XINFO STREAM $stream", "XINFO STREAM $stream FULL $count", "XINFO GROUPS $stream"] * 4,
    "XINFO STREAM $key $junk", "XINFO STREAM s FULL $junk", "XINFO GROUPS $key",
    "XINFO CONSUMERS $key $group", "XINFO CONSUMERS $stream g",
    "XREAD $count STREAMS $stream +", "XREAD STREAMS s t + 0",
    "XREADGROUP GROUP g c STREAMS $stream +",
]  # fmt: skip


def words(rng: Draw, template: str) -> list[str]:
    """The words of a template; $names are drawn from the pools."""
    made: list[str] = []
    for word in template.split():
        if len(word) < 2 or word[0] != "$":
            made.append(word)
            continue
        pool = POOLS[word[1:]]
        drawn = rng.choice(pool) if isinstance(pool, list) else pool(rng)
        made += [drawn] if isinstance(drawn, str) else drawn
    return made


def requests(seed: int, length: int, templates: list[str]) -> list[list[str]]:
    """A sequence; a shorter one of the same seed is the beginning of it."""
    rng = Draw(seed)
    made = []
    for rng.place in range(len(START), len(START) + length):
        made.append(words(rng, rng.choice(templates)))
    return made


START = [
    ["SET", "str", "v"], ["XADD", "s", "1-1", "a", "1"], ["XADD", "s", "2-1", "a", "2"],
    ["XGROUP", "CREATE", "s", "g", "0"], ["XADD", "s", "3-3", "b", "x"],
    ["XADD", "t", "5", "f", "v"],
]  # fmt: skip
sizes = st.tuples(
    st.sampled_from(["5", "2", "0", "100"]), st.sampled_from(["4096", "0", "64", "200"])
)
seeds = st.integers(0, 1 << 40)
lengths = st.integers(60, 120)


def masked(args: list[str], reply: Any) -> Any:
    """A reply without what the clock and the age of the server decide."""
    if isinstance(reply, Exception):
        text = str(reply)
        return "ERR Unbalanced" if text.startswith("ERR Unbalanced") else text
    if args[0] == "XPENDING" and len(args) > 3 and isinstance(reply, list):
        return [[*entry[:2], "idle", *entry[3:]] for entry in reply]
    return timeless(reply) if args[0] == "XINFO" else reply


def timeless(reply: Any) -> Any:
    """XINFO without times: those of clocks, and idle times behind their names."""
    if isinstance(reply, dict):
        return {
            k: "idle" if k in (b"idle", b"inactive") and v != -1 else timeless(v)
            for k, v in reply.items()
        }
    if isinstance(reply, list):
        named = reply and reply[0] == b"name" and b"inactive" in reply
        if named:
            return timeless(dict(zip(reply[::2], reply[1::2], strict=True)))
        return [timeless(item) for item in reply]
    if isinstance(reply, int) and 1_500_000_000_000 < reply < 3_000_000_000_000:
        return "time"
    return reply


def disagreement(args: list[str], ours: Any, theirs: Any) -> str:
    return f"{args}\n  ours:   {ours!r}\n  theirs: {theirs!r}"


def compare(peer: Peer, protocol: int, sizes: tuple[str, str], commands: list[list[str]]) -> None:
    store = Store(protocol=protocol)
    setup = [
        ["FLUSHALL"], ["CONFIG", "SET", "stream-node-max-entries", sizes[0],
                       "stream-node-max-bytes", sizes[1]],
    ]  # fmt: skip
    asked = [*setup, *START, *commands]
    theirs = peer.pipeline(asked)
    for args, reply in zip(asked, theirs, strict=True):
        ours = store(*args)
        assert masked(args, ours) == masked(args, reply), disagreement(args, ours, reply)
    for value in ("s", "t", "u"):
        found = store.node.keyspace.databases[0].lookup(value.encode())
        if found is not None:
            found.check()
    store.check_replay()


def leave(peer: Peer) -> None:
    """Leave the server as it was found."""
    peer(*"CONFIG SET stream-node-max-entries 100 stream-node-max-bytes 4096".split())
    peer.close()


def test_blocks_are_the_listpacks_that_redis_saves(redis8: Any) -> None:
    peer, store = Peer(redis8, 2), Store()
    asked = [
        ["FLUSHALL"], ["CONFIG", "SET", "rdbcompression", "no"],
        ["CONFIG", "SET", "stream-node-max-entries", "7", "stream-node-max-bytes", "4096"],
    ]  # fmt: skip
    texts = [*TEXTS, "x" * 3000, "y" * 5000, "-40000", "9000000", "-3000000000", str(2**62)]
    for i, text in enumerate(texts * 3):
        fields = ["f", text] if i % 5 else [text, "v", "g", text]
        asked.append(["XADD", "s", f"{i + 1 << (i % 40)}-{i}", *fields])
    asked += [["XDEL", "s", "2-1", "12-2", "1000"], ["XTRIM", "s", "MAXLEN", str(len(texts) * 2)]]
    for args in asked:
        assert str(peer(*args)) == str(store(*args)), args
    saved = peer("DUMP", "s")
    value = store.node.keyspace.databases[0].lookup(b"s")
    for key, listpack in value.listpacks():
        assert key in saved
        assert listpack in saved
    peer("CONFIG", "SET", "rdbcompression", "yes")
    leave(peer)


@pytest.fixture(scope="module")
def redis7(redis_server: Any) -> Iterator[Peer]:
    made = Peer(redis_server, 2)
    yield made
    leave(made)


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def newest(request: pytest.FixtureRequest, redis8: Any) -> Iterator[tuple[Peer, int]]:
    made = Peer(redis8, request.param)
    yield made, request.param
    leave(made)


@sequences(70)
@given(sizes=sizes, seed=seeds, length=lengths)
def test_redis_7_0_agrees(redis7: Peer, sizes: tuple[str, str], seed: int, length: int) -> None:
    asked = requests(seed, length, SIMPLE + GROUPED)
    newer = ("XSETID", "CREATECONSUMER")
    known = [args for args in asked if "+" not in args[-2:] and not {*newer} & {*args[:2]}]
    compare(redis7, 2, sizes, known)


@sequences(70)
@given(sizes=sizes, seed=seeds, length=lengths)
def test_redis_8_0_agrees(
    newest: tuple[Peer, int], sizes: tuple[str, str], seed: int, length: int
) -> None:
    asked = requests(seed, length, SIMPLE + GROUPED + SEEN)
    compare(newest[0], newest[1], sizes, asked)
