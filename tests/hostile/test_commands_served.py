"""Every command with absurd arguments on a real node that has little memory to spare.

The requests follow the syntax of the command, so they get past the first check, and their values
are the limits of integers, no numbers at all, huge counts, empty and binary strings. Each is
followed by an ECHO: between two echoes there is exactly one reply. The node may not grow, which its
address space enforces, nor may its log tell of a fault, and afterwards it serves.
"""

from __future__ import annotations

import random
import resource
import socket
import zlib
from collections.abc import Iterator

import hiredis
import pytest

from isthmus.node.commands.syntax_tree import Argument
from isthmus.node.engine.registry import specs
from isthmus.node.engine.spec import BLOCKING, CommandSpec
from tests.hostile.process import Process, node
from tests.hostile.test_arguments import KEYS, NUMBERS, WORDS
from tests.oracle.grammar import Grammar
from tests.oracle.replies import Incomplete, Node, end_of, parse

pytestmark = [pytest.mark.slow]

ROOM_BYTES = 512 << 20
GROWTH_MAX = 64 << 20
VECTORS = 25
# They end or change the process or the connection: tests/hostile/test_arguments.py has them too,
# and their own tests.
LEFT_OUT = frozenset(
    "shutdown quit reset auth hello multi exec discard monitor sync psync replicaof slaveof "
    "failover subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe pfselftest "
    "client|reply client|kill client|pause client|no-evict client|tracking config|set "
    "config|rewrite acl|setuser acl|deluser acl|load acl|save asking wait waitaof".split()
)
COMMANDS = [
    spec for spec in specs()
    if spec.handler is not None
    and spec.name.decode() not in LEFT_OUT
    and not spec.name.startswith((b"debug", b"cluster"))
]  # fmt: skip
FURNITURE = (
    b"SET str hello\r\nSET num 10\r\nAPPEND raw text\r\n"
    b"RPUSH list a b c 1 2 3\r\nHSET hash a 1 b 2\r\n"
    b"SADD set a b x\r\nSADD ints 1 2 3\r\nZADD zset 1 a 2 b 3 x\r\nXADD xst1 1-1 f v\r\n"
)


class Hostile(Grammar):
    """Requests of one command whose values are no good."""

    def vector(self, spec: CommandSpec, rng: random.Random) -> list[bytes]:
        self.spec = spec
        out = [word.encode() for word in spec.syntax.split()[: spec.name.count(b"|") + 1]]
        self.row(rng, self.arranged(rng, spec), out)
        return out

    def value(self, rng: random.Random, arg: Argument) -> bytes:
        if arg.kind == "key" and rng.random() < 0.9:
            return rng.choice(KEYS)
        if arg.name in ("numkeys", "numfields") and rng.random() < 0.5:
            return b"1"
        return rng.choice(NUMBERS if rng.random() < 0.75 else WORDS)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("absurd")
    with node(folder, "--proto-max-bulk-len", "1mb", "--lua-time-limit", "100") as made:
        made.alive()
        limit = made.address_space_bytes() + ROOM_BYTES
        resource.prlimit(made.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        yield made
        made.check()


def read(stream: socket.socket, count: int) -> list[Node]:
    """Exactly this many replies."""
    data, at = b"", 0
    found: list[Node] = []
    while len(found) < count:
        try:
            reply, at = parse(data, at)
            found.append(reply)
        except Incomplete:
            received = stream.recv(1 << 20)
            assert received, f"closed after {data[-300:]!r}"
            data, at = data[at:] + received, 0
    return found


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name.decode())
def test_one_reply_each(process: Process, spec: CommandSpec, protocol: int) -> None:
    before = process.resident_bytes()
    rng = random.Random(zlib.crc32(spec.name) + protocol)
    grammar = Hostile(spec.group)
    vectors = [grammar.vector(spec, rng) for _ in range(VECTORS)]
    with process.connect() as stream:
        stream.sendall(b"FLUSHALL\r\n" + FURNITURE + b"HELLO %d\r\n" % protocol)
        read(stream, FURNITURE.count(b"\n") + 2)
        if spec.flags & BLOCKING:
            for argv in vectors:
                wait_and_leave(process, argv)
        else:
            answered(stream, vectors)
    process.alive()
    process.check()
    assert process.resident_bytes() - before < GROWTH_MAX


def answered(stream: socket.socket, vectors: list[list[bytes]]) -> None:
    """Send all with an echo behind each, and find one reply before each echo."""
    echoes = [b"echo-%d" % number for number in range(len(vectors))]
    for argv, echo in zip(vectors, echoes, strict=True):
        stream.sendall(hiredis.pack_command(tuple(argv)) + hiredis.pack_command((b"ECHO", echo)))
        first, second = read(stream, 2)
        assert second == (b"$", echo), f"{argv} was answered {first} and {second}"


def wait_and_leave(process: Process, argv: list[bytes]) -> None:
    """A command that may wait: its client leaves while it does."""
    with process.connect() as stream:
        stream.sendall(hiredis.pack_command(tuple(argv)))


SCRIPTS = [
    "while true do end", "return string.rep('x', 2^30)", "return string.rep('x', -1)",
    "local t = {} while true do t[#t + 1] = t end", "local s = 'x' while true do s = s .. s end",
    "local function f() return f() + 1 end return f()", "return string.format('%999999999d', 1)",
    "return string.format('%s', nil)", "return load('return 1')", "return loadstring('\\27Lua')",
    "getmetatable('').__index = nil return 1", "_G.x = 1 return 1", "x = 1", "return os.exit()",
    "return io", "return require('os')", "return dofile('/etc/passwd')", "return python",
    "return coroutine.create(function() end)", "return cjson.decode(string.rep('[', 100000))",
    "local t = {} for i = 1, 5000 do t = {t} end return cjson.encode(t)",
    "local t = {} for i = 1, 50000 do t = {t} end return cmsgpack.pack(t)",
    "return cmsgpack.unpack(string.rep('\\145', 100000))", "return {err = 'a\\r\\nb\\0c'}",
    "error({})", "error('a\\r\\nb')", "return redis.call('BLPOP', 'missing', 0)",
    "return redis.call('MULTI')", "return redis.call('EVAL', 'return 1', 0)", "return redis.call()",
    "return redis.call('GET')", "return redis.call({})", "return redis.call('SHUTDOWN')",
    "local t = {} t[1] = t return t", "local t = {} for i = 1, 200000 do t = {t} end return t",
    "return struct.pack('c2147483647', 'x')", "return bit.lshift(1, 99999)", "return 0/0",
    "return 2^63", "return setmetatable({}, {__index = function() error('x') end})",
    "return string.find(string.rep('a', 50000), string.rep('a?', 50000) .. 'b')",
    "return table.concat({1, {}, 3})", "return unpack({}, 1, 1e8)",
    "return #redis.call('KEYS', '*')",
    "return string.gsub(string.rep('a', 100000), '.', function() return string.rep('b', 1e6) end)",
    "redis.setresp(4)", "return redis.sha1hex()", "return redis.log(9, 'x')", "return debug",
    "\xff\0",
]  # fmt: skip


def skip_one(stream: socket.socket) -> None:
    """Exactly one reply, which may be deeper than a parser that recurses can read."""
    data = b""
    while True:
        received = stream.recv(1 << 20)
        assert received, f"closed after {data[-300:]!r}"
        data += received
        try:
            assert end_of(data) == len(data)
        except Incomplete:
            continue
        return


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(process: Process, script: str) -> None:
    """One reply, or an error, out of the memory that Lua may have; others are served meanwhile."""
    with process.connect() as stream, process.connect() as killer:
        stream.sendall(hiredis.pack_command(("EVAL", script.encode("latin-1"), "0")))
        if script.startswith("while true"):
            reply = (b"-", b"")
            while not reply[1].startswith(b"BUSY"):
                killer.sendall(b"GET str\r\n")
                (reply,) = read(killer, 1)
            killer.sendall(b"SCRIPT KILL\r\n")
            assert read(killer, 1) == [(b"+", b"OK")]
        skip_one(stream)
        stream.sendall(b"ECHO after\r\n")
        assert read(stream, 1) == [(b"$", b"after")]
    process.alive()
    process.check()
