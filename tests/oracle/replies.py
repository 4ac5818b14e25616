"""Replies for comparison: a decoder that forgets nothing, and what counts as equally good.

A decoded reply is (tag, value), the tag being the byte RESP writes first, so that an integer is not
a bulk and a map not an array: `(b":", b"1")`, `(b"$", None)`, `(b"*", [...])`. A map's value is a
flat list. Two replies agree if their bytes are equal, or if the command's rule below makes them so:
what has no order is sorted, what is drawn at random is reduced to its shape, and times that count
from now may differ by what the two clocks do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

DECIMAL = re.compile(rb"-?\d+(\.\d+)?(e-\d+)?")
Node = tuple[bytes, Any]

NEAR_MS = 4000
# No count is as large as this, and every Unix time in milliseconds is larger.
MOMENT_MIN = 10**12
AGGREGATES = b"*~>%|"


class Incomplete(Exception):
    """The bytes end before the reply does."""


def parse(data: bytes, at: int = 0) -> tuple[Node, int]:
    """Decode the reply that begins at `at`; returns it and where the next one begins."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    tag, head, after = data[at : at + 1], data[at + 1 : end], end + 2
    if tag in b"+-:,#(_" and tag:
        return (tag, head), after
    size = int(head)
    if size < 0:
        return (tag, None), after
    if tag in (b"$", b"=", b"!"):
        if len(data) < after + size + 2:
            raise Incomplete
        assert data[after + size : after + size + 2] == b"\r\n", data[at:]
        return (tag, data[after : after + size]), after + size + 2
    assert tag and tag in AGGREGATES, f"no reply begins with {data[at : at + 20]!r}"
    items = []
    for _ in range(size * 2 if tag in b"%|" else size):
        item, after = parse(data, after)
        items.append(item)
    return (tag, items), after


def end_of(data: bytes, at: int = 0) -> int:
    """Where the reply that begins at `at` ends, however deep it is."""
    pending = 1
    while pending:
        pending -= 1
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete
        tag, head, at = data[at : at + 1], data[at + 1 : end], end + 2
        if tag in (b"$", b"=", b"!"):
            at += int(head) + 2 if int(head) >= 0 else 0
        elif tag in AGGREGATES:
            pending += int(head) * (2 if tag in b"%|" else 1) if int(head) > 0 else 0
    if at > len(data):
        raise Incomplete
    return at


def decode(data: bytes) -> Node:
    """The one reply that `data` is."""
    node, end = parse(data)
    assert end == len(data), f"more than one reply: {data!r}"
    return node


def pairs(items: list[Any]) -> list[Any]:
    return [tuple(items[at : at + 2]) for at in range(0, len(items), 2)]


def unordered(argv: list[bytes], node: Node) -> Any:
    """The same elements in any order."""
    tag, value = node
    if not isinstance(value, list):
        return node
    flat_pairs = tag == b"%" or argv[0].upper() == b"HGETALL"
    return tag, sorted(pairs(value) if flat_pairs else value, key=repr)


def shape(argv: list[bytes], node: Node) -> Any:
    """The same kind of reply: as many elements, of the same kinds."""
    tag, value = node
    if tag == b"-":
        return node
    if isinstance(value, list):
        return tag, len(value), sorted({repr(shape(argv, item)) for item in value})
    return tag, value is None


def kind(argv: list[bytes], node: Node) -> Any:
    """A reply of the same type, whatever it says."""
    return node if node[0] == b"-" else (node[0], node[1] is None)


def page(argv: list[bytes], node: Node) -> Any:
    """A page of a scan: of a COUNT of 1000 all it found, of less only that it is a page."""
    tag, value = node
    if tag == b"-" or not isinstance(value, list) or len(value) != 2:
        return node
    cursor, (inner, items) = value
    if b"1000" not in argv:
        return tag, "page"
    assert cursor[1] == b"0", argv
    double = argv[0].upper() in (b"HSCAN", b"ZSCAN") and b"NOVALUES" not in map(bytes.upper, argv)
    return tag, "page", inner, sorted(pairs(items) if double else items, key=repr)


def moment(argv: list[bytes], node: Node) -> Any:
    """A time counted from now, in units that the two clocks agree on; -1 and -2 are themselves."""
    tag, value = node
    if isinstance(value, list):
        return tag, [moment(argv, item) for item in value]
    if tag != b":" or int(value) < 1000:
        return node if tag != b":" or int(value) <= 0 else (tag, "soon")
    return tag, Near(int(value))


def encoding(argv: list[bytes], node: Node) -> Any:
    """What INCRBYFLOAT made stays a text in Redis; our texts do not know what made them."""
    return (b"$", b"embstr") if node == (b"$", b"int") else node


def clocked(argv: list[bytes], node: Node) -> Any:
    """A reply of XINFO or XPENDING: how long ago is not compared, moments only nearly."""
    tag, value = node
    if tag == b":" and int(value) > MOMENT_MIN:
        return tag, Near(int(value))
    if not isinstance(value, list):
        return node
    items = [clocked(argv, item) for item in value]
    tags = [item[0] for item in items]
    if tags == [b"$", b"$", b":", b":"]:
        items[2] = b"idle"  # id, consumer, idle, deliveries
    for at, item in enumerate(items[:-1]):
        if item in ((b"$", b"idle"), (b"$", b"inactive")):
            items[at + 1] = item
    return tag, items


def coordinates(argv: list[bytes], node: Node) -> Any:
    """Positions: 7.4 prints 17 decimals, 8.0 the fewest digits that read back."""
    tag, value = node
    if isinstance(value, list):
        return tag, [coordinates(argv, item) for item in value]
    if tag in (b"$", b",") and value is not None and DECIMAL.fullmatch(value):
        return tag, round(float(value), 12)
    return node


class Near:
    """A number that equals those within the tolerance of the clocks."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and abs(self.value - other.value) <= NEAR_MS

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"about {self.value}"


# What 8.0 words otherwise than 7.4.
NEWER_TEXTS = ((b"an ID or '$' must", b"an ID, '+', or '$' must"),)
# A short list that Redis still has in several quicklist nodes; we do not know of nodes.
MORE_NODES = (b"$8\r\nlistpack\r\n", b"$9\r\nquicklist\r\n")

Rule = Callable[[list[bytes], Node], Any]
RULES: dict[bytes, Rule] = {
    **dict.fromkeys(b"SMEMBERS SINTER SUNION SDIFF HKEYS HVALS HGETALL KEYS".split(), unordered),
    **dict.fromkeys(b"SPOP SRANDMEMBER HRANDFIELD ZRANDMEMBER RANDOMKEY".split(), shape),
    **dict.fromkeys(b"SCAN HSCAN SSCAN ZSCAN".split(), page),
    **dict.fromkeys(b"TTL PTTL EXPIRETIME PEXPIRETIME".split(), moment),
    **dict.fromkeys(b"HTTL HPTTL HEXPIRETIME HPEXPIRETIME".split(), moment),
    **dict.fromkeys(b"TIME LASTSAVE DBSIZE DUMP MEMORY INFO HELLO CLIENT ROLE".split(), kind),
    **dict.fromkeys(b"OBJECT|IDLETIME OBJECT|FREQ OBJECT|REFCOUNT CONFIG|GET".split(), kind),
    **dict.fromkeys(b"GEOPOS GEOSEARCH GEORADIUS GEORADIUS_RO".split(), coordinates),
    **dict.fromkeys(b"GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO".split(), coordinates),
    b"OBJECT|ENCODING": encoding,
    b"PUBSUB|CHANNELS": unordered,
    b"PUBSUB|SHARDCHANNELS": unordered,
    # In a transaction: which channel comes first is chance.
    b"PUNSUBSCRIBE": kind,
    b"UNSUBSCRIBE": kind,
    b"SUNSUBSCRIBE": kind,
    **dict.fromkeys(b"XINFO|CONSUMERS XINFO|STREAM XPENDING".split(), clocked),
}


def name_of(argv: list[bytes]) -> bytes:
    word = argv[0].upper()
    if len(argv) > 1 and word + b"|" + argv[1].upper() in RULES:
        return word + b"|" + argv[1].upper()
    return word


def comparable(argv: list[bytes], node: Node) -> Any:
    """What must be equal in two replies to argv."""
    if argv[1:] and argv[1].upper() == b"HELP":
        return kind(argv, node)
    rule = RULES.get(name_of(argv))
    return rule(argv, node) if rule is not None else node


def agree(argv: list[bytes], queued: list[list[bytes]], ours: bytes, theirs: bytes) -> bool:
    """True if both answered argv as well; `queued` are the commands that an EXEC runs."""
    for ours_74, theirs_80 in NEWER_TEXTS:
        theirs = theirs.replace(theirs_80, ours_74)
    if ours == theirs or (ours, theirs) == MORE_NODES:
        return True
    mine, real = decode(ours), decode(theirs)
    if argv[0].upper() != b"EXEC" or mine[0] != b"*" or real[0] != b"*":
        return bool(comparable(argv, mine) == comparable(argv, real))
    if mine[1] is None or real[1] is None or len(mine[1]) != len(real[1]):
        return False
    return all(
        comparable(each, one) == comparable(each, other)
        for each, one, other in zip(queued, mine[1], real[1], strict=True)
    )
