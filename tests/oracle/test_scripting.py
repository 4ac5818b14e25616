"""Scripts beside real servers: the same texts, the same replies, errors included.

The texts are in tests/data; cjson, cmsgpack, struct and bit of the real server are the judges of
ours.
"""

from __future__ import annotations

import socket
from pathlib import Path

import hiredis
import pytest

from tests.support.servers import Server
from tests.support.store import Store, encode

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

DATA = Path(__file__).parent.parent / "data"
SETUP = ("FLUSHALL", "SET foo bar", "HSET h a 1 b 2", "SADD s a", "ZADD z 1.5 a")
LIBRARY = """#!lua name=lib
local n = 0
redis.register_function('keys', function(keys, args) return {keys, args} end)
redis.register_function{function_name = 'ro', callback = function(keys)
  return redis.call('get', keys[1]) end, flags = {'no-writes'}}
redis.register_function('count', function() n = n + 1 return n end)
redis.register_function('fail', function()
  error('boom') end)
redis.register_function('fail2', function() return redis.call('incr', 'foo') end)
redis.register_function('fail3', function() local x = nil return x.y end)
redis.register_function('fail4', function() error({err = 'MINE own'}) end)
redis.register_function('fail5', function() return nosuch end)
redis.register_function('fail6', function() global = 1 end)
"""
FUNCTIONS: list[tuple[object, ...]] = [
    ("FUNCTION", "LOAD", LIBRARY), ("FUNCTION", "LOAD", LIBRARY),
    *(("FCALL", name, "1", "foo", "x") for name in
      "keys KEYS ro count count fail fail2 fail3 fail4 fail5 fail6 nosuch".split()),
    ("FCALL_RO", "ro", "1", "foo"), ("FCALL_RO", "keys", "0"), ("FCALL", "keys", "x"),
    ("FCALL", "keys", "-1"), ("FCALL", "keys", "5"), ("FUNCTION", "STATS"), ("FUNCTION", "KILL"),
    ("FUNCTION", "LIST", "LIBRARYNAME", "no*"), ("FUNCTION", "LIST", "bad"),
    ("FUNCTION", "LOAD", "REPLACE", "#!lua name=lib\nretrn"), ("FCALL", "count", "0"),
    ("FUNCTION", "LOAD", "#!lua name=two\nredis.register_function('KEYS', function() end)"),
    ("FUNCTION", "DELETE", "two"), ("FUNCTION", "DELETE", "lib"), ("FUNCTION", "LIST"),
    ("FUNCTION", "DUMP"), ("FUNCTION", "RESTORE", "x"), ("FUNCTION", "FLUSH", "x"),
    ("SCRIPT", "LOAD", "return 1"), ("SCRIPT", "EXISTS", "x"), ("SCRIPT", "FLUSH", "x"),
    ("SCRIPT", "KILL"), ("SCRIPT", "DEBUG", "x"),
    ("EVALSHA", "x", "0"), ("EVAL_RO", "return redis.call('del','foo')", "0"),
    ("EVAL", "#!lua flags=x\nreturn 1", "0"), ("EVAL", "return 1", "-1"),
]  # fmt: skip


def scripts(name: str) -> list[bytes]:
    """The scripts of a file of tests/data."""
    _, *texts = (DATA / name).read_bytes().rstrip(b"\n").split(b"\n@@\n")
    return texts


class Peer:
    """One connection to the real server."""

    def __init__(self, server: Server, protocol: int) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=10)
        self.raw("HELLO", protocol)

    def raw(self, *args: object) -> bytes:
        self.socket.sendall(hiredis.pack_command(tuple(encode(arg) for arg in args)))
        reader, seen = hiredis.Reader(), b""
        while True:
            piece = self.socket.recv(65536)
            assert piece, "the real server has gone"
            seen += piece
            reader.feed(piece)
            if reader.gets() is not False:
                return seen


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", ["lua_api.txt", "lua_libraries.txt"])
def test_scripts(redis8: Server, name: str, protocol: int) -> None:
    real, ours = Peer(redis8, protocol), Store(protocol)
    different = []
    for script in scripts(name):
        for line in SETUP:
            real.raw(*line.split())
            ours.raw(*line.split())
        # The real libraries keep settings from script to script; this makes them new.
        real.raw("SCRIPT", "FLUSH")
        wanted, got = real.raw("EVAL", script, 0), ours.raw("EVAL", script, 0)
        if wanted != got:
            different.append((script, wanted, got))
    real.socket.close()
    assert not different


@pytest.mark.parametrize("protocol", [2, 3])
def test_functions(redis8: Server, protocol: int) -> None:
    real, ours = Peer(redis8, protocol), Store(protocol)
    for line in (*SETUP, "FUNCTION FLUSH", "SCRIPT FLUSH"):
        real.raw(*line.split())
        ours.raw(*line.split())
    for request in FUNCTIONS:
        assert ours.raw(*request) == real.raw(*request), request
    real.socket.close()


def test_dumps_travel_both_ways(redis8: Server) -> None:
    real, ours = Peer(redis8, 2), Store()
    reader = hiredis.Reader()
    for first, second in ((real, ours), (ours, real)):
        for each in (first, second):
            each.raw("FUNCTION", "FLUSH")
        first.raw("FUNCTION", "LOAD", LIBRARY)
        reader.feed(first.raw("FUNCTION", "DUMP"))
        assert second.raw("FUNCTION", "RESTORE", reader.gets()) == b"+OK\r\n"
        assert second.raw("FCALL", "count", 0) == b":1\r\n"
        first.raw("FUNCTION", "FLUSH")
        second.raw("FUNCTION", "FLUSH")
    real.socket.close()
