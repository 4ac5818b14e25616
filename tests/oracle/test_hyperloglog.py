"""HyperLogLogs against a real server: the same bytes after the same requests, corrupt ones too."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.node.values import hll
from tests.oracle.peers import Peer, line, sequences
from tests.support.servers import Server
from tests.support.store import Store

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

NAMES = ["a", "b", "c"]
key = st.sampled_from([*NAMES, *NAMES, "none", "set", "text"])
one = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"x" * 7, b"x" * 8, b"x" * 9, b"\xff" * 17, "ü"]),
    # Elements that raise a register beyond what the sparse code can hold cannot be guessed.
    st.integers(0, 10**9).map(str),
)
few = st.lists(one, max_size=5)
many = st.tuples(st.integers(0, 10**6), st.integers(1, 200)).map(
    lambda t: [str(n) for n in range(t[0], t[0] + t[1])]
)
debug = st.sampled_from(["ENCODING", "DECODE", "TODENSE", "encoding", "what"])
COMMANDS = st.one_of(
    line("PFADD", key, few), line("PFADD", key, few), line("PFADD", key, many),
    line("PFCOUNT", key), line("PFCOUNT", st.lists(key, min_size=1, max_size=4)),
    line("PFMERGE", key, st.lists(key, max_size=3)), line("PFDEBUG", debug, key),
    line("DEL", key), line("EXPIREAT", key, "33177117420"), line("PEXPIRETIME", key),
    line("APPEND", key, st.sampled_from([b"\x00", b"\x80"])), line("GET", key),
    line("SETRANGE", key, st.sampled_from(["4", "8", "15", "16"]), st.binary(max_size=2)),
)  # fmt: skip


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def peer(request: pytest.FixtureRequest, redis8: Server) -> Iterator[Peer]:
    made = Peer(redis8, request.param)
    yield made
    made("CONFIG", "SET", "hll-sparse-max-bytes", "3000")
    made.close()


def compare(peer: Peer, commands: list[list[Any]], limit: int = 3000) -> None:
    store = Store(protocol=peer.protocol)
    start = [
        ["FLUSHALL"], ["CONFIG", "SET", "hll-sparse-max-bytes", str(limit)], ["SADD", "set", "x"],
        ["SET", "text", "HYLL"],
    ]  # fmt: skip
    commands = [*start, *commands, *(["GET", name] for name in NAMES)]
    for args, theirs in zip(commands, peer.pipeline(commands), strict=True):
        ours = store(*args)
        assert (str(ours), type(ours)) == (str(theirs), type(theirs)), args
    store.check_replay()


def sound(commands: list[list[Any]]) -> list[list[Any]]:
    return [args for args in commands if args[0] not in ("APPEND", "SETRANGE")]


@sequences(200)
@given(commands=st.lists(COMMANDS, min_size=4, max_size=12), limit=st.sampled_from([3000, 40, 0]))
def test_bytes_agree(peer: Peer, commands: list[list[Any]], limit: int) -> None:
    compare(peer, sound(commands), limit)


@sequences(60)
@given(commands=st.lists(COMMANDS, min_size=4, max_size=12))
def test_damaged_strings(peer: Peer, commands: list[list[Any]]) -> None:
    """Whatever the bytes have become, nothing falls over, and a replay gives the same."""
    store = Store(protocol=peer.protocol)
    for args in commands:
        store(*args)
    store.check_replay()


def test_a_growing_set(peer: Peer) -> None:
    commands: list[list[Any]] = []
    for start in range(0, 3000, 100):
        commands.append(["PFADD", "a", *map(str, range(start, start + 100))])
        commands += [["PFCOUNT", "a"], ["PFDEBUG", "ENCODING", "a"]]
    compare(peer, commands)


def test_registers_beyond_the_sparse_code(peer: Peer) -> None:
    rng = random.Random(5)
    data = hll.empty()
    hll.to_dense(data)
    for _ in range(3000):
        hll.raise_register(data, rng.randrange(hll.REGISTERS), rng.randrange(64), hll.NO_LIMIT)
    hll.raise_register(data, hll.REGISTERS - 1, 51, hll.NO_LIMIT)
    hll.set_cached(data, -1)
    commands = [["SET", "a", bytes(data)], ["PFCOUNT", "a"], ["PFADD", "b", "x"]]
    compare(peer, [*commands, ["PFMERGE", "b", "a"], ["PFCOUNT", "b", "a"], ["PFMERGE", "c", "b"]])
