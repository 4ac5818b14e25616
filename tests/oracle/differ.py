"""One stream of requests to two servers: every reply compared, and in the end all they hold.

A stream is a list of requests. `Real` is a server behind a socket, `InProcess` our node without
one; both take a request and return the bytes of its reply. Their clocks are set equal when a stream
begins. `@lapse key` is a request of ours: the key gets one millisecond to live and both clocks go
past it, so what follows meets an expired key on both sides. Members that a command draws at random
differ: after it the key is made the same again on both sides.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import hiredis

from isthmus.node.engine.registry import COMMANDS
from tests.oracle.grammar import Grammar
from tests.oracle.replies import Incomplete, agree, decode, parse
from tests.support.servers import Server
from tests.support.store import Store

Request = list[bytes]

# Small, so that a dozen elements are enough to change every encoding.
THRESHOLDS = {
    "hash-max-listpack-entries": "6", "hash-max-listpack-value": "32",
    "set-max-intset-entries": "6", "set-max-listpack-entries": "6", "set-max-listpack-value": "32",
    "list-max-listpack-size": "6",
    "zset-max-listpack-entries": "6", "zset-max-listpack-value": "32",
}  # fmt: skip
CONTENTS = {
    b"string": (b"GET",),
    b"list": (b"LRANGE", b"0", b"-1"),
    b"set": (b"SMEMBERS",),
    b"zset": (b"ZRANGE", b"0", b"-1", b"WITHSCORES"),
    b"hash": (b"HGETALL",),
    b"stream": (b"XRANGE", b"-", b"+"),
}
DRAWN = (b"SPOP",)


class Disagreement(AssertionError):
    """Two servers answered differently; `stream` is what was asked up to then."""

    def __init__(self, stream: list[Request], argv: Request, ours: bytes, theirs: bytes) -> None:
        self.stream, self.argv, self.ours, self.theirs = stream, argv, ours, theirs
        shown = "\n".join(map(show, stream))
        super().__init__(f"{show(argv)}\n  ours:   {ours!r}\n  theirs: {theirs!r}\nafter\n{shown}")


class Side(Protocol):
    """One of the two servers."""

    def __call__(self, argv: Request) -> bytes:
        """Run one request; the bytes of its reply."""

    def now_ms(self) -> int:
        """Its clock."""

    def reach(self, moment_ms: int) -> None:
        """Return once its clock is past this moment."""


class Real:
    """A server behind a socket."""

    def __init__(self, server: Server, protocol: int) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self([b"HELLO", b"%d" % protocol])

    def configure(self) -> Real:
        """The low thresholds, and no expiry behind the streams' back if it can be told so."""
        for name, value in THRESHOLDS.items():
            assert self([b"CONFIG", b"SET", name.encode(), value.encode()]) == b"+OK\r\n", name
        self([b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"])
        return self

    def __call__(self, argv: Request) -> bytes:
        self.socket.sendall(hiredis.pack_command(tuple(argv)))
        while True:
            try:
                _, end = parse(self.buffer)
            except Incomplete:
                try:
                    received = self.socket.recv(1 << 16)
                except TimeoutError as error:
                    raise AssertionError(f"{show(argv)} was not answered") from error
                assert received, f"{show(argv)} closed the connection"
                self.buffer += received
                continue
            reply, self.buffer = self.buffer[:end], self.buffer[end:]
            return reply

    def now_ms(self) -> int:
        _, (seconds, micros) = decode(self([b"TIME"]))
        return int(seconds[1]) * 1000 + int(micros[1]) // 1000

    def reach(self, moment_ms: int) -> None:
        while self.now_ms() <= moment_ms:
            continue

    def close(self) -> None:
        self.socket.close()


class InProcess:
    """Our node without sockets, on a clock that is set."""

    def __init__(self, protocol: int, now_ms: int) -> None:
        self.store = Store(protocol=protocol, **THRESHOLDS)
        self.store.clock.now_ms = now_ms

    def __call__(self, argv: Request) -> bytes:
        return self.store.raw(*argv)

    def now_ms(self) -> int:
        return self.store.clock.now_ms

    def reach(self, moment_ms: int) -> None:
        self.store.clock.now_ms = max(self.store.clock.now_ms, moment_ms + 1)


def show(argv: Request) -> str:
    """A request as one line that read() takes back."""
    return " ".join(quoted(word) for word in argv)


def quoted(word: bytes) -> str:
    text = word.decode("latin-1")
    if text and all("!" <= char <= "~" and char not in "\"'\\#" for char in text):
        return text
    special = {'"': '\\"', "\\": "\\\\"}
    body = (special.get(c) or (c if " " <= c <= "~" else f"\\x{ord(c):02x}") for c in text)
    return '"' + "".join(body) + '"'


def read(line: str) -> Request:
    """The request that show() wrote."""
    out, at = [], 0
    while at < len(line):
        if line[at] == " ":
            at += 1
            continue
        if line[at] != '"':
            end = (line + " ").index(" ", at)
            out.append(line[at:end].encode("latin-1"))
            at = end
            continue
        word, at = "", at + 1
        while line[at] != '"':
            step = 1
            if line[at] == "\\":
                step = 4 if line[at + 1] == "x" else 2
            piece = line[at : at + step]
            word += chr(int(piece[2:], 16)) if step == 4 else piece[-1]
            at += step
        out.append(word.encode("latin-1"))
        at += 1
    return out


def compare(ours: Side, theirs: Side, stream: list[Request]) -> None:
    """Run the stream on both; Disagreement at the first difference, or in what is left."""
    queued: list[Request] = []
    for at, argv in enumerate(stream):
        if argv[0] == b"@lapse":
            lapse(ours, theirs, argv[1])
            continue
        mine, real = ours(argv), theirs(argv)
        if not agree(argv, queued, mine, real):
            raise Disagreement(stream[: at + 1], argv, mine, real)
        if real == b"+QUEUED\r\n":
            queued.append(argv)
        else:
            queued = []
        if argv[0].upper() in DRAWN and real[:1] in b"$*~":
            level(ours, theirs, argv[1])
    for side in (ours, theirs):
        side([b"DISCARD"])
        side([b"SELECT", b"0"])
    compare_contents(ours, theirs, stream)


def lapse(ours: Side, theirs: Side, key: bytes) -> None:
    for side in (ours, theirs):
        side([b"PEXPIRE", key, b"1"])
    moment = theirs.now_ms() + 1
    theirs.reach(moment)
    ours.reach(max(moment, theirs.now_ms()))


def level(ours: Side, theirs: Side, key: bytes) -> None:
    """Make a set the same on both sides after a random draw."""
    _, members = decode(ours([b"SMEMBERS", key]))
    for side in (ours, theirs):
        side([b"DEL", key])
        if members:
            side([b"SADD", key, *(member for _, member in members)])


def compare_contents(ours: Side, theirs: Side, stream: list[Request]) -> None:
    """Every key of database 0: type, encoding, expiry and value."""

    def both(*argv: bytes) -> bytes:
        mine, real = ours(list(argv)), theirs(list(argv))
        if not agree(list(argv), [], mine, real):
            raise Disagreement(stream, list(argv), mine, real)
        return real

    _, keys = decode(both(b"KEYS", b"*"))
    for _, key in keys:
        kind = both(b"TYPE", key).strip()[1:]
        both(b"OBJECT", b"ENCODING", key)
        both(b"PEXPIRETIME", key)
        word, *rest = CONTENTS[kind]
        both(word, key, *rest)
        if kind == b"hash" and b"HPEXPIRETIME" in COMMANDS:
            fields = [field for _, field in decode(ours([b"HKEYS", key]))[1]]
            both(b"HPEXPIRETIME", key, b"FIELDS", b"%d" % len(fields), *fields)


def run_served(ours: Real, theirs: Real, stream: list[Request]) -> None:
    """A stream on two servers, emptied first."""
    theirs([b"INCRBYFLOAT", b"errno", b"1"])
    for side in (ours, theirs):
        side([b"SCRIPT", b"FLUSH"])
        flushed = side([b"FLUSHALL"])
        assert flushed == b"+OK\r\n", flushed
    compare(ours, theirs, stream)


def run(theirs: Real, protocol: int, stream: list[Request]) -> None:
    """A stream on an empty server and on a new node; the node's effects are replayed as well."""
    # Redis' SORT believes an `errno` that an earlier command left behind; this one resets it.
    theirs([b"INCRBYFLOAT", b"errno", b"1"])
    theirs([b"SCRIPT", b"FLUSH"])
    theirs([b"FLUSHALL"])
    ours = InProcess(protocol, theirs.now_ms())
    compare(ours, theirs, stream)
    ours.store.check_replay()


def shrunk(stream: list[Request], fails: Callable[[list[Request]], bool]) -> list[Request]:
    """A shorter stream that fails as well: halves are left out, then single requests and words."""
    size = max(len(stream) // 2, 1)
    while True:
        at = 0
        while at < len(stream):
            shorter = stream[:at] + stream[at + size :]
            if shorter and fails(shorter):
                stream = shorter
            else:
                at += size
        if size == 1:
            return stream
        size //= 2


def stream_of(grammar: Grammar, seeds: list[int]) -> list[Request]:
    return [grammar.request(seed) for seed in seeds]
