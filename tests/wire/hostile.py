"""Hostile and odd input, and what Redis makes of it: checked against redis-server 7.0.15.

`requests` are the argument lists that must come out before the error, if there is one; `error` is
the text behind `-ERR Protocol error: `, after which Redis closes. An input that Redis waits to see
the end of has neither, and `waits` is true.
"""

from __future__ import annotations

from dataclasses import dataclass

LINE_MAX = 65536
PING = b"*1\r\n$4\r\nPING\r\n"


@dataclass(frozen=True)
class Vector:
    name: str
    data: bytes
    requests: tuple[tuple[bytes, ...], ...] = ()
    error: bytes | None = None
    waits: bool = False
    authenticated: bool = True


def _bad(name: str, data: bytes, error: bytes, *before: tuple[bytes, ...]) -> Vector:
    return Vector(name, data, before, error)


def _good(name: str, data: bytes, *requests: tuple[bytes, ...]) -> Vector:
    return Vector(name, data, requests)


def _waits(name: str, data: bytes, *requests: tuple[bytes, ...]) -> Vector:
    return Vector(name, data, requests, waits=True)


def _before_auth(name: str, data: bytes, error: bytes | None, *got: tuple[bytes, ...]) -> Vector:
    return Vector(name, data, got, error, authenticated=False)


_COUNT = b"invalid multibulk length"
_SIZE = b"invalid bulk length"
_QUOTES = b"unbalanced quotes in request"
_P = (b"PING",)

VECTORS = [
    _good("empty line", b"\r\n"),
    _good("lone LF", b"\n"),
    _waits("lone CR", b"\r"),
    _waits("NUL hides the end of a line", b"\0\r\nPING\r\n"),
    _good("count 0", b"*0\r\n" + PING, _P),
    _good("count -1", b"*-1\r\n" + PING, _P),
    _good("count -2", b"*-2\r\n" + PING, _P),
    *(
        _bad(f"count {text!r}", b"*" + text + b"\r\n", _COUNT)
        for text in (b"1A", b"2147483648", b"9" * 20, b" 1", b"+1", b"01", b"", b"-", b"-0", b"--1")
    ),
    _waits("NUL hides the end of a count", b"*1\0\r\n"),
    *(
        _bad(f"size {text!r}", b"*1\r\n$" + text + b"\r\n", _SIZE)
        for text in (b"-1", b"-2", b"536870913", b"9" * 20, b"", b"1A", b" 4", b"+4", b"04", b"-0")
    ),
    _good("wrong bytes behind a bulk", b"*1\r\n$4\r\nPINGxx" + PING, _P, _P),
    _good("wrong byte behind a CR", b"*1\rx$4\ryPING\r\n", _P),
    _waits("LF alone ends no header", b"*1\n$4\nPING\n"),
    _waits("bulk that never ends", b"*1\r\n$5\r\nPING"),
    _waits("half a third request", b"PING\r\nPING\r\n*1\r\n$4\r\nPI", _P, _P),
    *(
        _bad(f"argument is {text!r}", b"*1\r\n" + text + b"\r\n", b"expected '$', got '%b'" % shown)
        for text, shown in (
            (b":5", b":"),
            (b"*1\r\n$4\r\nPING", b"*"),
            (b"", b"\r"),
            (b"\n", b"\n"),
            (b"PING", b"P"),
        )
    ),
    _waits("NUL hides the end of a size", b"*1\r\n\0\r\n"),
    _bad("count too long", b"*" + b"1" * (LINE_MAX + 1), b"too big mbulk count string"),
    _waits("count as long as may be", b"*" + b"1" * (LINE_MAX - 1)),
    _bad("size too long", b"*1\r\n$" + b"1" * (LINE_MAX + 1), b"too big bulk count string"),
    _bad("line too long", b"a" * (LINE_MAX + 1), b"too big inline request"),
    _waits("line as long as may be", b"a" * LINE_MAX),
    _bad("double quote open", b'SET "a\r\n', _QUOTES),
    _bad("single quote open", b"PING\r\nSET 'a\r\n", _QUOTES, _P),
    _bad("bare quote", b'"\r\n', _QUOTES),
    _bad("word goes on behind a quote", b'PING "a"b\r\n', _QUOTES),
    _good("escapes", b'ECHO "\\x41\\n\\t\\q\\xZ"\r\n', (b"ECHO", b"A\n\tqxZ")),
    _good("single quotes", b"ECHO 'it\\'s \\n'\r\n", (b"ECHO", b"it's \\n")),
    _good("quote inside a word", b'ECHO a"b c"\r\n', (b"ECHO", b"ab c")),
    _good("vertical tab ends no word", b"ECHO a\x0bb\r\n", (b"ECHO", b"a\x0bb")),
    _good("empty quotes", b'ECHO ""\r\n', (b"ECHO", b"")),
    *(
        _good(f"first byte {char:c}", b"%c1\r\n" % char, (b"%c1" % char,))
        for char in b":+-_#,(=%~>|$!"
    ),
    _waits("TLS hello", bytes.fromhex("16030100c8010000c40303") + bytes(40)),
    _good(
        "PROXY header",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nPING\r\n",
        (b"PROXY", b"TCP4", b"1.2.3.4", b"1.2.3.4", b"1", b"2"),
        _P,
    ),
    _good("memcached", b"get key\r\n", (b"get", b"key")),
    _good("SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n", (b"SSH-2.0-OpenSSH_9.2",)),
    _before_auth("10 arguments", b"*10\r\n" + b"$1\r\na\r\n" * 10, None, (b"a",) * 10),
    _before_auth("11 arguments", b"*11\r\n", b"unauthenticated multibulk length"),
    _before_auth("count 2^31 first", b"*2147483648\r\n", _COUNT),
    _before_auth(
        "bulk of 16384", b"*1\r\n$16384\r\n" + b"a" * 16384 + b"\r\n", None, (b"a" * 16384,)
    ),
    _before_auth("bulk of 16385", b"*1\r\n$16385\r\n", b"unauthenticated bulk length"),
    _before_auth("size 512 MiB + 1 first", b"*1\r\n$536870913\r\n", _SIZE),
]
