"""What a command says it replies, held against what it does reply.

`reply=` of a declaration names the shapes that a client may see, in RESP3's words; RESP2 has fewer,
so there an array may be a map or a set, and a bulk a double. Errors, QUEUED, pushes and attributes
are of no command in particular. `Store` checks every reply of every test.
"""

from __future__ import annotations

from isthmus.node.engine.registry import (
    ANY,
    ARRAY,
    BULK,
    DOUBLE,
    INTEGER,
    MAP,
    NULL,
    OK,
    SET,
    SIMPLE,
    find,
)  # fmt: skip

NAMES = {
    OK: "OK", INTEGER: "INTEGER", BULK: "BULK", NULL: "NULL", ARRAY: "ARRAY", MAP: "MAP",
    SET: "SET", DOUBLE: "DOUBLE", SIMPLE: "SIMPLE",
}  # fmt: skip
TAGS = {
    b"+": SIMPLE, b":": INTEGER, b"$": BULK, b"=": BULK, b"*": ARRAY, b"%": MAP, b"~": SET,
    b",": DOUBLE, b"_": NULL, b"#": INTEGER, b"(": BULK,
}  # fmt: skip
OF_NOBODY = (b"-", b">", b"|", b"+QUEUED\r\n")


def shapes_of(reply: bytes, protocol: int) -> int:
    """The shapes, one of which a declaration must name; 0 if the reply says nothing about it."""
    if not reply or reply.startswith(OF_NOBODY):
        return 0
    if reply.startswith((b"$-1", b"*-1")):
        return NULL
    if reply.startswith(b"+OK\r\n"):
        return OK | SIMPLE
    shape = TAGS[reply[:1]]
    if protocol < 3:
        shape |= {ARRAY: MAP | SET, BULK: DOUBLE}.get(shape, 0)
    return shape


def complaint(argv: list[bytes], reply: bytes, protocol: int) -> str:
    """Why this reply contradicts the declaration of its command; empty if it does not."""
    spec = find(argv)
    shapes = shapes_of(reply, protocol)
    if spec is None or not shapes or spec.reply & (shapes | ANY):
        return ""
    declared = " | ".join(name for bit, name in NAMES.items() if spec.reply & bit)
    return f"{spec.syntax} declares reply={declared} and replied {reply[:60]!r} to {argv}"
