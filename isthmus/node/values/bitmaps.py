"""Bitmaps: the effect functions of single bits and of bit fields in strings.

A bitmap is a string seen as bits, the most significant bit of byte 0 first; writing makes it a
`bytearray`, which grows by zeros up to the byte that is written. Effects: SETBIT key offset bit,
and SETRANGE key offset patch for bit fields, in whole bytes: the fields are worked out where the
command ran. The result of BITOP is a SET or DEL of its key.
"""

from __future__ import annotations

from typing import Any

from isthmus.node.engine.effect import replays
from isthmus.node.engine.keyspace import Database
from isthmus.node.values.strings import grown
from isthmus.wire.scalars import i64, parse_int

# What a string may have to be embstr; a longer one is raw anyway.
SHORT_BYTES_MAX = 44


def set_bit(db: Database, key: bytes, old: Any, offset: i64, bit: i64) -> i64:
    """SETBIT key offset bit; `old` is the string there now or None. Returns the bit before."""
    at = offset >> 3
    mask = 0x80 >> (offset & 7)
    have = -1 if old is None else len(old)
    before = 1 if have > at and old[at] & mask else 0
    # As in Redis the string is made raw even if the bit is as it should be.
    data: bytearray = grown(db, key, old, at + 1)
    if have > at and before == bit:
        return before
    if bit:
        data[at] |= mask
    else:
        data[at] &= 0xFF ^ mask
    if db.changed(key):
        db.record([b"SETBIT", key, b"%d" % offset, b"%d" % bit], b"setbit", b"$")
    return before


@replays(b"SETBIT")
def replay_setbit(db: Database, argv: list[bytes]) -> None:
    """SETBIT key offset bit."""
    set_bit(db, argv[1], db.lookup(argv[1]), parse_int(argv[2]), parse_int(argv[3]))


def put_result(db: Database, key: bytes, data: bytes) -> None:
    """SET key data; as in Redis the result is no number and no short string to OBJECT ENCODING."""
    db.store(key, bytearray(data) if len(data) <= SHORT_BYTES_MAX else data, -1)
    if db.changed(key):
        db.record([b"SET", key, data], b"set", b"$")


def record_fields(
    db: Database, key: bytes, data: bytearray, first: i64, last: i64, event: bytes
) -> None:
    """SETRANGE of bytes first..last of `data`, which the caller has changed or made."""
    if db.changed(key):
        patch = bytes(data[first : last + 1])
        db.record([b"SETRANGE", key, b"%d" % first, patch], event, b"$" if event else b"")
