"""SORT against a real server: every option, patterns into strings and hashes, stored results.

Where Redis leaves the order open the two are not compared: sets that are not sorted, and BY ...
ALPHA whose patterns find the same text twice (the weights of `w_` are all different).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.peers import INTEGERS, Peer, line, sequences
from tests.support.servers import Server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

ELEMENTS = ["1", "2", "3", "10", "-1", "2.5", "1e1", " 7", "0x1f", "inf", "a", "b", "", "ab", "nan"]
START: list[list[Any]] = [
    ["FLUSHALL"], ["RPUSH", "numbers", "3", "1", "2", "10", "-1", "2.5", "1", "3"],
    ["RPUSH", "words", "b", "a", "ab", "", "B", "b"], ["SADD", "set", "1", "2", "3", "10", "-1"],
    ["ZADD", "zset", "3", "1", "1", "2", "2", "3", "0", "10"], ["RPUSH", "odd", *ELEMENTS],
    ["MSET", "w_1", "9", "w_2", "5.5", "w_3", "-4", "w_10", "0", "w_b", "z", "w_-1", "70"],
    ["HSET", "h_1", "f", "one", "n", "4"], ["HSET", "h_2", "f", "two", "n", "x"],
    ["HSET", "h_3", "n", "3", "f", ""], ["SET", "string", "x"], ["HSET", "hash", "f", "v"],
]  # fmt: skip
key = st.sampled_from(["numbers", "numbers", "zset", "set", "words", "odd", "none", "d", "string",
                       "hash"])  # fmt: skip
target = st.sampled_from(["d", "e", "string"])
number = st.one_of(*[st.sampled_from(["0", "1", "2", "3", "-1", "100"])] * 3,
                   st.sampled_from(INTEGERS))  # fmt: skip
get = st.sampled_from(["#", "w_*", "h_*->f", "h_*->n", "h_*->", "w_1", "*", "->*", "h_*->f->n",
                       "string*", "#*", "", "*->f", "##"])  # fmt: skip
by = st.sampled_from(["w_*", "h_*->n", "h_*->f", "w_*->f", "*", "#"])
option = st.one_of(
    st.sampled_from([["ASC"], ["DESC"], ["desc"], ["what"], ["LIMIT", "1"], ["GET"], ["BY"]]),
    st.tuples(number, number).map(lambda two: ["LIMIT", *two]),
    get.map(lambda text: ["GET", text]), get.map(lambda text: ["get", text]),
)  # fmt: skip
options = st.lists(option, max_size=4).map(lambda some: sum(some, []))
ordering = st.one_of(
    st.just([]), st.just(["ALPHA"]), by.map(lambda text: ["BY", text]), st.just(["BY", "w_*"])
)
lists = st.sampled_from(["numbers", "zset", "words", "odd", "none", "d"])
COMMANDS = st.one_of(
    line("SORT", key, ordering, options), line("SORT", key, options, ordering),
    line("SORT_RO", key, ordering, options), line("SORT", "numbers", options),
    line("SORT", key, ordering, options, "STORE", target),
    line("SORT", key, "STORE", target, ordering, options),
    line("SORT", lists, "BY", "nosort", options), line("SORT_RO", lists, options, "BY", ""),
    line("SORT", "set", "BY", "nosort", options, "STORE", target),
    line("SORT", lists, "BY", "nosort", options, "STORE", target),
    line("SORT_RO", key, options, "STORE", target),
    line("SORT", "numbers", "BY", "w_*", "ALPHA", "LIMIT", "0", "100"),
    line("OBJECT", "ENCODING", "d"), line("RPUSH", "d", st.sampled_from(ELEMENTS)),
    line("DEL", "d"),
)  # fmt: skip


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def peer(request: pytest.FixtureRequest, redis8: Server) -> Iterator[Peer]:
    made = Peer(redis8, request.param)
    yield made
    made.close()


def settled(args: list[Any]) -> bool:
    """True if the order of the reply follows from the request."""
    words = [str(arg).upper() for arg in args]
    finds = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "BY"]
    if any("*" not in text for text in finds) and "SET" in words and "STORE" not in words:
        return False
    return "ALPHA" not in words or not finds


def compare(peer: Peer, commands: list[list[Any]]) -> None:
    store = Store(protocol=peer.protocol)
    commands = [*START, *(args for args in commands if settled(args))]
    commands += [["LRANGE", name, "0", "-1"] for name in ("d", "e")]
    for args, theirs in zip(commands, peer.pipeline(commands), strict=True):
        ours = store(*args)
        assert (str(ours), type(ours)) == (str(theirs), type(theirs)), args
    store.check_replay()


@sequences(200)
@given(commands=st.lists(COMMANDS, min_size=5, max_size=14))
def test_replies_agree(peer: Peer, commands: list[list[Any]]) -> None:
    compare(peer, commands)


def test_weights_that_are_texts(peer: Peer) -> None:
    every = [["MSET", "t_1", "b", "t_2", "a", "t_3", "C"], ["RPUSH", "l", "1", "3", "2", "x"]]
    for order in ("ASC", "DESC"):
        every.append(["SORT", "l", "BY", "t_*", "ALPHA", order, "GET", "#", "GET", "t_*"])
    compare(peer, [["DEL", "d"]])
    store = Store(protocol=peer.protocol)
    for args in every:
        assert str(store(*args)) == str(peer(*args)), args


def test_weights_as_strtod_reads_them(redis_server: Server) -> None:
    """8.0 reads numbers in another way, so this is asked of 7.0.

    That one never forgets a number out of range, so only the last text is one.
    """
    peer = Peer(redis_server, 2)
    texts = [" 1", "\t2", "1 ", "", " ", "0x10", "0x", "inf", "-INF", "nan", "1_0", "+5", "1\x002",
             "infinity", "1e5", ".5", "5.", "--1", "1e", "1e-400"]  # fmt: skip
    compare(peer, [
        command for text in texts
        for command in (["DEL", "d"], ["RPUSH", "d", "3", text, "-2"], ["SORT", "d"])
    ])  # fmt: skip
    peer.close()
