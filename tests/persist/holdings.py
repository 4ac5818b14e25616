"""What a server holds, key by key, in a form in which two servers can be compared.

`fill` makes one key at least of every type and encoding; `holdings` asks any server, real or ours,
for everything a client can see of every key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]

LONG = b"a long text of more than sixty-four bytes, which no small encoding takes by default" * 2
# Observations of one server, which differ by the time of asking.
VAGUE = {
    b"idle",
    b"inactive",
    b"seen-time",
    b"active-time",
    b"radix-tree-keys",
    b"radix-tree-nodes",
}


def fill(call: Call, field_expiries: bool) -> None:
    """Keys of every type; a server is left with them."""
    call("SET", "string", "value")
    call("SET", "empty", "")
    call("SET", b"binary\0\xff", bytes(range(256)))
    call("SET", "long", b"ab" * 5000)
    call("SET", "random", bytes((i * i * 7 + i) % 251 for i in range(700)))
    for number in (
        0,
        -1,
        127,
        -128,
        128,
        32767,
        -32768,
        32768,
        2**31 - 1,
        -(2**31),
        2**31,
        2**63 - 1,
    ):
        call("SET", f"number {number}", number)
    call("SET", "volatile", "v", "PXAT", 4_000_000_000_123)
    call("APPEND", "appended", "text")
    for name, elements in (("small", 5), ("middle", 200), ("large", 2000)):
        call("RPUSH", f"list {name}", *(f"element {i}" for i in range(elements)))
        call("SADD", f"set {name}", *(f"member {i}" for i in range(elements)))
        call("SADD", f"numbers {name}", *(i * i * i - 70000 for i in range(elements)))
        call("ZADD", f"zset {name}", *(x for i in range(elements) for x in (i / 4 - 7, f"m{i}")))
        call("HSET", f"hash {name}", *(x for i in range(elements) for x in (f"f{i}", i * 3)))
    call("RPUSH", "list long", "short", LONG, b"x" * 9000, "", "12", b"x" * 70000)
    call("RPUSH", "list numbers", *(sign * 2**n for n in range(63) for sign in (1, -1)))
    call("SADD", "set long", LONG, "short")
    call("SADD", "set mixed", 1, 2, "three")
    call("SADD", "numbers wide", 1, 2**40)
    call("HSET", "hash long", "field", LONG, LONG, "value", "", "empty")
    call("ZADD", "zset long", 1, LONG, "inf", "top", "-inf", "bottom", "0.1", "tenth", "-0", "zero")
    call("PFADD", "counter", *range(3000))
    call("SETBIT", "bits", 9999, 1)
    fill_streams(call)
    if field_expiries:
        for name in ("small", "middle", "large"):
            call("HSET", f"timed {name}", *(x for i in range(300) for x in (f"f{i}", i)))
            if name != "small":
                call("HPEXPIREAT", f"timed {name}", 4_000_000_000_000, "FIELDS", 2, "f1", "f7")
        call("HSET", "timed few", "a", 1, "b", 2, "c", 3, "d", LONG[:60])
        call("HPEXPIREAT", "timed few", 4_000_000_000_002, "FIELDS", 1, "c")
        call("HPEXPIREAT", "timed few", 4_000_000_000_001, "FIELDS", 2, "d", "a")
        call("HSET", "timed long", "a", 1, LONG, LONG)
        call("HPEXPIREAT", "timed long", 4_000_000_000_001, "FIELDS", 1, LONG)
    call("SELECT", 3)
    call("SET", "elsewhere", "value")
    call("SELECT", 0)


def fill_streams(call: Call) -> None:
    for i in range(1, 350):
        call("XADD", "stream", f"{i * 10}-{i % 3}", "field", i, "other", f"text {i}")
    call("XADD", "stream", "9000-1", "another", "field set")
    call("XADD", "stream", "9000-2", "field", LONG)
    call("XDEL", "stream", "20-2", "30-0", "9000-1")
    call("XTRIM", "stream", "MAXLEN", "=", 300)
    call("XGROUP", "CREATE", "stream", "readers", "0")
    call("XGROUP", "CREATE", "stream", "idle", "$")
    call("XGROUP", "CREATECONSUMER", "stream", "idle", "nobody")
    call("XREADGROUP", "GROUP", "readers", "one", "COUNT", 70, "STREAMS", "stream", ">")
    call("XREADGROUP", "GROUP", "readers", "two", "COUNT", 7, "STREAMS", "stream", ">")
    call("XACK", "stream", "readers", "600-0", "610-1")
    call("XADD", "stream emptied", "5-5", "a", "b")
    call("XGROUP", "CREATE", "stream emptied", "g", "0")
    call("XDEL", "stream emptied", "5-5")
    call("XADD", "stream wide", "1-18446744073709551615", "a", "b")
    call("XADD", "stream wide", "18446744073709551615-3", "a", -5, "c", 2**40)


def paired(reply: Any) -> Any:
    """A reply of names and values as a dictionary, without what only the asking changes."""
    if isinstance(reply, list) and reply and len(reply) % 2 == 0 and isinstance(reply[0], bytes):
        if reply[0] in (b"length", b"name"):
            return {n: paired(v) for n, v in zip(reply[::2], reply[1::2], strict=True)
                    if n not in VAGUE}  # fmt: skip
    return [paired(item) for item in reply] if isinstance(reply, list) else reply


READERS = {
    b"string": lambda call, key: call("GET", key),
    b"list": lambda call, key: call("LRANGE", key, 0, -1),
    b"set": lambda call, key: sorted(call("SMEMBERS", key)),
    b"zset": lambda call, key: call("ZRANGE", key, 0, -1, "WITHSCORES"),
    b"stream": lambda call, key: (
        paired(call("XINFO", "STREAM", key, "FULL", "COUNT", 0)), call("XRANGE", key, "-", "+"),
        paired(call("XINFO", "GROUPS", key)),
    ),
}  # fmt: skip


def read(call: Call, key: bytes, kind: bytes, field_expiries: bool) -> Any:
    if kind != b"hash":
        return READERS[kind](call, key)
    flat = call("HGETALL", key)
    fields = sorted(zip(flat[::2], flat[1::2], strict=True))
    if not field_expiries:
        return fields
    names = [field for field, _ in fields]
    return fields, call("HPEXPIRETIME", key, "FIELDS", len(names), *names)


def holdings(call: Call, field_expiries: bool, encodings: bool = True) -> dict[Any, Any]:
    """(database, key) -> type, encoding, expiry and contents."""
    found: dict[Any, Any] = {}
    for db in (0, 3):
        call("SELECT", db)
        for key in call("KEYS", "*"):
            kind = call("TYPE", key)
            kind = kind.encode() if isinstance(kind, str) else kind
            found[db, key] = (
                kind, call("OBJECT", "ENCODING", key) if encodings else None,
                call("PEXPIRETIME", key), read(call, key, kind, field_expiries),
            )  # fmt: skip
    call("SELECT", 0)
    return found
