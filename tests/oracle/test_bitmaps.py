"""Bitmap commands against a real server: the same requests, the same replies and strings."""

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

NAMES = ["a", "b", "c", "none"]
key = st.sampled_from([*NAMES, "set"])
number = st.one_of(*[st.integers(-20, 90).map(str)] * 3, st.sampled_from(INTEGERS))
offset = st.one_of(
    st.integers(0, 90).map(str), st.sampled_from([n for n in INTEGERS if len(n) != 10])
)
bit = st.sampled_from(["0", "1"] * 4 + ["2", "-1", "x", ""])
unit = st.sampled_from([[], ["BIT"], ["byte"], ["Bit"], ["x"]])
text = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"\xff" * 9, b"\0" * 17, b"\xff\xff\xf0", b"12"])
)
field = st.one_of(
    st.tuples(st.sampled_from("ui"), st.integers(1, 64)).map(lambda t: f"{t[0]}{t[1]}"),
    st.sampled_from(["u8", "i8", "u64", "i65", "u0", "8", "", "i", "x8", "U8", "u08", "i-1"]),
)
place = st.one_of(
    st.integers(0, 100).map(str),
    st.integers(0, 9).map("#{}".format),
    st.sampled_from(["#", "-1", "#-1", "#x", "x", "", "4294967296", "#9223372036854775807"]),
)
amount = st.one_of(
    st.integers(-300, 300).map(str),
    st.sampled_from(INTEGERS),
    st.sampled_from(["127", "128", "-128", "-129", "255", "256", "9223372036854775806"]),
)
operation = st.one_of(
    line("GET", field, place), line("SET", field, place, amount),
    line("INCRBY", field, place, amount), line("set", field, place, amount),
    line("OVERFLOW", st.sampled_from(["WRAP", "SAT", "FAIL", "sat", "fail", "x"])),
)  # fmt: skip
operations = st.lists(operation, max_size=5).map(lambda some: sum(some, []))
gets = st.lists(line("GET", field, place), max_size=3).map(lambda some: sum(some, []))
COMMANDS = st.one_of(
    line("SET", key, text), line("SETBIT", key, offset, bit), line("GETBIT", key, offset),
    line("BITCOUNT", key), line("BITCOUNT", key, number, number, unit),
    line("BITCOUNT", key, number), line("BITPOS", key, bit),
    line("BITPOS", key, bit, number), line("BITPOS", key, bit, number, number, unit),
    line("BITPOS", key, bit, number, number, "BIT", unit),
    line("BITOP", st.sampled_from(["AND", "OR", "XOR", "not", "x"]), key,
         st.lists(key, min_size=1, max_size=4)),
    line("BITOP", "NOT", key, key), line("BITFIELD", key, operations),
    line("BITFIELD", key, operations), line("BITFIELD_RO", key, gets),
    line("BITFIELD_RO", key, operations), line("SETRANGE", key, st.just("3"), text),
    line("APPEND", key, text), line("EXPIREAT", key, "33177117420"), line("PEXPIRETIME", key),
    line("DEL", key),
)  # fmt: skip


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def peer(request: pytest.FixtureRequest, redis8: Server) -> Iterator[Peer]:
    made = Peer(redis8, request.param)
    yield made
    made.close()


def compare(peer: Peer, commands: list[list[Any]]) -> None:
    store = Store(protocol=peer.protocol)
    commands = [["FLUSHALL"], ["SADD", "set", "x"], *commands, *(["GET", name] for name in NAMES)]
    for args, theirs in zip(commands, peer.pipeline(commands), strict=True):
        ours = store(*args)
        assert (str(ours), type(ours)) == (str(theirs), type(theirs)), args
    store.check_replay()


@sequences(200)
@given(commands=st.lists(COMMANDS, min_size=10, max_size=40))
def test_replies_agree(peer: Peer, commands: list[list[Any]]) -> None:
    compare(peer, commands)


def test_every_width_and_overflow(peer: Peer) -> None:
    commands = [["SET", "a", bytes(range(7, 255, 11))]]
    for sign, most in (("u", 63), ("i", 64)):
        for bits in range(1, most + 1):
            name = f"{sign}{bits}"
            for way in ("WRAP", "SAT", "FAIL"):
                for value in ("1", "-1", "9223372036854775807", "-9223372036854775808"):
                    commands.append(
                        ["BITFIELD", "a", "GET", name, "5", "OVERFLOW", way,
                         "INCRBY", name, "#1", value, "SET", name, "11", value]
                    )  # fmt: skip
    compare(peer, commands)
