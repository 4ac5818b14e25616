"""HyperLogLog commands: estimates, refusals, what is recorded, damage."""

from __future__ import annotations

import random

import pytest

from isthmus.node.values import hll
from tests.support.store import RedisReplyError, Store

NOT_HLL = "WRONGTYPE Key is not a valid HyperLogLog string value."
CORRUPT = "INVALIDOBJ Corrupted HLL object detected"
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


def effects(store: Store) -> list[tuple[bytes, bytes]]:
    seen = [(b" ".join(e.argv), e.event) for e in store.recorder.effects_seen]
    store.recorder.effects_seen.clear()
    return seen


def test_counting(either: Store) -> None:
    assert either("PFADD", "k", "a", "b", "c", "d", "e", "f", "g") == 1
    assert either("PFCOUNT", "k") == 7
    assert either("PFADD", "k", "a") == 0
    assert either("PFADD", "k") == 0
    assert either("PFADD", "l", "g", "h") == 1
    assert either("PFCOUNT", "k", "l", "none") == 8
    assert either("PFCOUNT", "none") == 0
    assert either("PFMERGE", "m", "k", "l") in (b"OK", "OK")
    assert either("PFCOUNT", "m") == 8
    assert either("TYPE", "m") in (b"string", "string")


def test_an_empty_one_is_made(store: Store) -> None:
    assert store("PFADD", "k") == 1
    assert store("GET", "k") == b"HYLL\x01" + bytes(10) + b"\x80\x7f\xff"
    assert store("PFCOUNT", "k") == 0
    store("PFMERGE", "m")
    assert store("PFCOUNT", "m") == 0


def test_what_is_recorded() -> None:
    store = Store(hll_sparse_max_bytes="40")
    store("PFADD", "k", "a")
    store("PFADD", "k", "a")
    store("PFCOUNT", "k")
    store("PFCOUNT", "k")
    assert effects(store) == [(b"PFADD k a", b"pfadd"), (b"PFCOUNT k", b"")]
    store("PFADD", "k", *range(20))
    assert [line for line, _ in effects(store)][1:] == [b"PFDEBUG TODENSE k"]
    store("PFMERGE", "m", "k")
    ((line, event),) = effects(store)
    assert line.startswith(b"SET m HYLL")
    assert line.endswith(b" KEEPTTL")
    assert event == b"pfadd"


def test_representation_does_not_depend_on_the_replayer(store: Store) -> None:
    store("CONFIG", "SET", "hll-sparse-max-bytes", "100")
    for start in range(0, 300, 30):
        store("PFADD", "k", *range(start, start + 30))
    assert store("PFDEBUG", "ENCODING", "k") == b"dense"
    store("CONFIG", "SET", "hll-sparse-max-bytes", "100000")
    for start in range(0, 300, 30):
        store("PFADD", "l", *range(start, start + 30))
    assert store("PFDEBUG", "ENCODING", "l") == b"sparse"


def test_debugging(store: Store) -> None:
    store("PFADD", "k", "a")
    assert store("PFDEBUG", "ENCODING", "k") == b"sparse"
    assert store("PFDEBUG", "DECODE", "k").startswith(b"Z:")
    assert store("PFDEBUG", "TODENSE", "k") == 1
    assert store("PFDEBUG", "todense", "k") == 0
    assert store.error("PFDEBUG", "DECODE", "k") == "ERR HLL encoding is not sparse"
    store("PFADD", "l", "a")
    registers = store("PFDEBUG", "GETREG", "l")
    assert len(registers) == 16384
    assert sum(1 for register in registers if register) == 1
    assert store.error("PFDEBUG", "GETREG", "none") == "ERR The specified key does not exist"
    assert store.error("PFDEBUG", "x", "k") == "ERR Unknown PFDEBUG subcommand 'x'"
    assert store("PFSELFTEST") == b"OK"


@pytest.mark.parametrize("line", [
    "PFADD t x", "PFCOUNT t", "PFCOUNT k t", "PFMERGE k t", "PFMERGE t k", "PFDEBUG GETREG t",
])  # fmt: skip
@pytest.mark.parametrize("held", [
    b"", b"x", b"HYLL", b"HYLL\x02" + bytes(20), b"HYLL\x00" + bytes(20), b"hyll\x01" + bytes(20),
    b"12", b"HYLL" + bytes(12300) + b"\0",
])  # fmt: skip
def test_other_strings(store: Store, line: str, held: bytes) -> None:
    store("SET", "t", held)
    store("PFADD", "k", "a")
    assert store.run(line) == RedisReplyError(NOT_HLL)
    assert store("GET", "t") == held


def test_other_types(store: Store) -> None:
    store("SADD", "s", "x")
    for line in ("PFADD s x", "PFCOUNT s", "PFMERGE d s", "PFMERGE s", "PFDEBUG GETREG s"):
        assert str(store.run(line)) == WRONGTYPE
    assert store("EXISTS", "d") == 0


def test_damage_is_told_and_nothing_changes(store: Store) -> None:
    # Only half of the registers are there, so the first elements may well find theirs.
    held = b"HYLL\x01" + bytes(11) + b"\x80\x00\x5f\xfe"
    store("SET", "k", held)
    store("SETRANGE", "k", 15, b"\x80")
    held = store("GET", "k")
    for line in ("PFCOUNT k", "PFCOUNT k none", "PFMERGE m k", "PFMERGE k", "PFDEBUG GETREG k"):
        assert str(store.run(line)) == CORRUPT, line
    reply = store("PFADD", "k", *range(50, 400))
    assert reply == RedisReplyError(CORRUPT)
    assert store("GET", "k") == held


def test_damage_anywhere(store: Store) -> None:
    rng = random.Random(3)
    store("PFADD", "whole", *range(80))
    whole = store("GET", "whole")
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 3)):
            damaged[rng.randrange(4, len(damaged))] = rng.randrange(256)
        store("SET", "k", bytes(damaged[: rng.choice((len(damaged), rng.randrange(16, 90)))]))
        for args in (("PFADD", "k", "x"), ("PFCOUNT", "k"), ("PFMERGE", "m", "k"),
                     ("PFCOUNT", "k", "m"), ("PFDEBUG", "DECODE", "k"),
                     ("PFDEBUG", "TODENSE", "k")):  # fmt: skip
            reply = store(*args)
            text = str(reply) if isinstance(reply, RedisReplyError) else CORRUPT
            assert text in (CORRUPT, NOT_HLL, "ERR HLL encoding is not sparse"), args


def test_ends_of_the_estimate(store: Store) -> None:
    data = bytearray(b"HYLL" + bytes(11) + b"\x80" + b"\xff" * (hll.DENSE_BYTES - 16))
    store("SET", "k", bytes(data))
    assert store("PFCOUNT", "k") == 0


def test_memory_is_counted_as_it_grows(store: Store) -> None:
    store("PFADD", "k", "x")
    small = store("MEMORY", "USAGE", "k")
    table = store.node.keyspace.databases[0].table_of(b"k")
    held = table.nbytes
    store("PFADD", "k", *range(200))
    assert table.nbytes > held + 300
    grown = store("MEMORY", "USAGE", "k")
    assert grown > small + 300
    store("PFDEBUG", "TODENSE", "k")
    assert store("MEMORY", "USAGE", "k") >= grown + 10_000
    assert table.nbytes > held + 12_000
    store("DEL", "k")
    assert table.nbytes <= held
