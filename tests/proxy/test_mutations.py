"""Random mutations of valid pipelines: they never crash, hang or confuse the proxy or its nodes."""

from __future__ import annotations

import random

import pytest

from tests.proxy.world import Make, World, resp

WORDS = [b"a", b"b", b"c", b"{t}x", b"{t}y", b"0", b"1", b"-1", b"9" * 20, b"*", b"", b"\r\n"]
NAMES = [
    b"GET", b"SET", b"MGET", b"MSET", b"DEL", b"EXISTS", b"TOUCH", b"UNLINK", b"INCR", b"LPUSH",
    b"LRANGE", b"PING", b"ECHO", b"SCAN", b"KEYS", b"DBSIZE", b"RANDOMKEY", b"HELLO", b"CLIENT",
    b"CONFIG", b"COMMAND", b"MULTI", b"EXEC", b"SELECT", b"FLUSHALL", b"TYPE", b"EXPIRE", b"RENAME",
]  # fmt: skip
SPICE = [b"\r\n", b"$", b"*", b"$-1\r\n", b"*99\r\n", b"\0", b"$99999999\r\n", b"'", b'"', b"\n"]


def pipeline(rng: random.Random) -> bytes:
    """Some valid requests."""
    requests = []
    for _ in range(rng.randint(1, 8)):
        argv = [rng.choice(NAMES), *rng.choices(WORDS, k=rng.randint(0, 5))]
        plain = all(argv) and b"\r\n" not in argv and rng.random() < 0.2
        requests.append(b" ".join(argv) + b"\r\n" if plain else resp(*argv))
    return b"".join(requests)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, lost, doubled, or something put between."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            out[at:at] = rng.choice(SPICE)
        elif kind == 1:
            del out[at : at + rng.randint(1, 6)]
        elif kind == 2 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 3:
            out[at:at] = out[at : at + rng.randint(1, 12)]
        else:
            out = out[:at] or bytearray(b"*")
    return bytes(out)


def attack(world: World, rng: random.Random, times: int) -> None:
    """Send mutants, each on a connection of its own; some are cut off in the middle."""
    witness = world.caller()
    for _ in range(times):
        caller = world.caller()
        data = mutated(rng, pipeline(rng))
        half = rng.randrange(len(data) + 1)
        caller.send(data[:half])
        caller.send(data[half:])
        caller.received()
        caller.socket.close()
        world.callers.remove(caller)
        world.turn()
        assert witness.ask(b"SET", b"a", b"1") == b"+OK\r\n"
        assert witness.ask(b"MGET", b"a", b"nothing") == b"*2\r\n$1\r\n1\r\n$-1\r\n"
    assert len(world.proxy.sessions) == 1
    assert all(backend.link is not None for backend in world.proxy.router.shards)


def test_mutants(make_world: Make, capfd: pytest.CaptureFixture[str]) -> None:
    world = make_world(2)
    world.reals()
    attack(world, random.Random(1), 60)
    assert "fault" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_ten_thousand_mutants(make_world: Make, capfd: pytest.CaptureFixture[str]) -> None:
    world = make_world(3)
    world.reals()
    attack(world, random.Random(2), 10_000)
    assert "fault" not in capfd.readouterr().err
