"""Ten thousand spoilt pipelines on a real node: it answers well-formed replies and lives.

A pipeline of valid requests is cut, spliced, doubled, bit-flipped, or its lengths and numbers are
changed; the mutators know the protocol, since random bytes alone never get past its first line. A
batch of connections is opened, each sends its pipeline and ends its side, and everything the node
says is read to the end as RESP. After each batch a new client must be served. All is drawn from a
seed that a failure shows.
"""

from __future__ import annotations

import random
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import hiredis
import pytest

from tests.hostile.process import Process, node

BATCHES = 100
PER_BATCH = 100
ADDRESS_SPACE_BYTES = 2 << 30

LINES = """
SET a 1|SET b x EX 100|GET a|GETRANGE a 0 -1|SETRANGE a 5 xyz|APPEND a tail|INCR n|INCRBY n 7
INCRBYFLOAT f 1.5|MSET a 1 b 2 c 3|MGET a b c|STRLEN a|GETEX a PX 5000|GETDEL b|LCS a b IDX
LPUSH l 1 2 3|RPUSH l x y|LPOP l 2|LRANGE l 0 -1|LPOS l x RANK 1|LINSERT l BEFORE x y|LSET l 0 z
LTRIM l 0 50|LMOVE l m LEFT RIGHT|LMPOP 2 l m LEFT COUNT 2|HSET h f v g w|HGETALL h|HINCRBY h n 3
HRANDFIELD h 3 WITHVALUES|HSCAN h 0 COUNT 10|SADD s 1 2 3 x|SPOP s 1|SRANDMEMBER s -5|SINTER s t
SUNIONSTORE t s u|SINTERCARD 2 s t LIMIT 1|SSCAN s 0 MATCH x*|ZADD z 1 a 2 b|ZRANGE z 0 9 WITHSCORES
ZINCRBY z 1.5 a|ZPOPMIN z 1|ZRANGEBYSCORE z -inf +inf LIMIT 0 5|DEL a b|EXPIRE a 100 NX|TTL a
TYPE l|RENAME a b|COPY a c REPLACE|SCAN 0 COUNT 10|EXISTS a b|OBJECT ENCODING a|RANDOMKEY|DBSIZE
MULTI|EXEC|DISCARD|WATCH a|UNWATCH|HELLO 3|HELLO 2|SELECT 1|PING|ECHO hello|CLIENT ID|CLIENT INFO
CLIENT REPLY SKIP|CLIENT SETNAME me|CLIENT LIST|RESET|QUIT|COMMAND COUNT|COMMAND INFO get set
"""
REQUESTS = [line.split() for row in LINES.strip().splitlines() for line in row.split("|")]
NUMBERS = [
    b"-1", b"0", b"1", b"10", b"65536", b"2147483648", b"-9223372036854775808", b"",
    b"9223372036854775807", b"99999999999999999999", b"x", b"1e400", b"nan",
]  # fmt: skip


def encode(argv: list[str]) -> bytes:
    words = [word.encode() for word in argv]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def flip(rng: random.Random, data: bytearray) -> None:
    """Change a few bits anywhere."""
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(rng: random.Random, data: bytearray) -> None:
    """Lose a piece."""
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 40)]


def double(rng: random.Random, data: bytearray) -> None:
    """Say a piece twice."""
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randint(1, 200)]


def splice(rng: random.Random, data: bytearray) -> None:
    """Begin another request in the middle of one."""
    at = rng.randrange(len(data))
    data[at:at] = encode(rng.choice(REQUESTS))[rng.randrange(6) :]


def change_length(rng: random.Random, data: bytearray) -> None:
    """Announce another count or size."""
    found = rng.choice(list(re.finditer(rb"[*$](\d+)", data)))
    data[found.start(1) : found.end(1)] = rng.choice(NUMBERS)


def change_argument(rng: random.Random, data: bytearray) -> None:
    """Another value, with its right length: the protocol stays whole, the command gets odd."""
    found = rng.choice(list(re.finditer(rb"\$\d+\r\n([^\r]*)\r\n", data)))
    word = rng.choice(NUMBERS)
    data[found.start() : found.end()] = b"$%d\r\n%b\r\n" % (len(word), word)


def line_ends(rng: random.Random, data: bytearray) -> None:
    """One line end becomes something else."""
    found = rng.choice(list(re.finditer(rb"\r\n", data)))
    data[found.start() : found.end()] = rng.choice([b"\n", b"\r", b"\0", b"\r\r\n", b"", b"\n\r"])


MUTATORS: list[Callable[[random.Random, bytearray], None]] = [
    flip, cut, double, splice, change_length, change_argument, change_argument, line_ends,
]  # fmt: skip


def pipeline(rng: random.Random) -> bytes:
    data = bytearray(b"".join(encode(rng.choice(REQUESTS)) for _ in range(rng.randint(1, 8))))
    for _ in range(rng.randint(1, 3)):
        try:
            rng.choice(MUTATORS)(rng, data)
        except (IndexError, ValueError):  # nothing of the kind is left in what earlier ones spoilt
            continue
    return bytes(data)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    # Numbers are changed blindly: SETRANGE may not be made to write half a GiB.
    folder: Path = tmp_path_factory.mktemp("mutations")
    with node(folder, "--proto-max-bulk-len", "1mb") as made:
        limits = (ADDRESS_SPACE_BYTES, resource.RLIM_INFINITY)
        resource.prlimit(made.pid, resource.RLIMIT_AS, limits)
        yield made


def exchange(process: Process, batch: list[bytes]) -> None:
    streams = [process.connect() for _ in batch]
    for stream, data in zip(streams, batch, strict=True):
        try:
            stream.sendall(data)
            stream.shutdown(1)
        except OSError:
            pass  # already closed by the node: what it said is read below
    for stream, data in zip(streams, batch, strict=True):
        # RESP3's maps may have keys that are no keys for Python: pairs are as good here.
        reader = hiredis.Reader()
        with stream:
            try:
                while received := stream.recv(1 << 20):
                    reader.feed(received)
                    while reader.gets() is not False:
                        pass
            except ConnectionResetError:
                continue  # closed with input unread, so what it said may be lost on the way
            except (hiredis.ProtocolError, TypeError) as error:
                raise AssertionError(f"{data!r} was answered with nonsense: {error}") from error
            assert not reader.has_data(), f"{data!r} was answered with half a reply"


@pytest.mark.slow
def test_spoilt_pipelines(process: Process) -> None:
    before = process.resident_bytes()
    for seed in range(BATCHES):
        rng = random.Random(seed)
        exchange(process, [pipeline(rng) for _ in range(PER_BATCH)])
        process.alive()
    process.check()
    assert process.resident_bytes() - before < 100 << 20
