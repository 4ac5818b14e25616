"""The ids of stream entries (Tier C twin).

An id is a pair of 64 bits each, milliseconds and a sequence number. Clients write and read it as
`ms-seq`; here it is always 16 bytes, both numbers big-endian, so that ids compare as `bytes` do and
serve as keys. Reading is as lenient as Redis: what is no canonical integer goes through C's
strtoull, which takes blanks, signs and zeros in front.
"""

from __future__ import annotations

import re

from isthmus.wire.scalars import i64

ZERO_ID = bytes(16)
MAX_ID = b"\xff" * 16
ID_TEXT_BYTES_MAX = 127

_U64 = (1 << 64) - 1
_UNSIGNED = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)")


def wrap64(value: int) -> int:
    """What a counter of 64 bits, read as signed, says after an overflow."""
    return ((value + (1 << 63)) & _U64) - (1 << 63)


def make_id(ms: i64, seq: i64) -> bytes:
    """The id of two numbers below 2^64."""
    return ((ms << 64) | seq).to_bytes(16, "big")


def _unsigned(text: bytes) -> int | None:
    match = _UNSIGNED.fullmatch(text)
    if match is None:
        return None
    value = int(match[2])
    # A plain negative number is refused, others wrap: " -1" is 2^64 - 1.
    if value > _U64 or (text[:1] == b"-" and text[1:2] != b"0" and value <= 1 << 63):
        return None
    return -value & _U64 if match[1] == b"-" else value


def parse_id(text: bytes, end: bool) -> bytes | None:
    """Read `ms-seq` or `ms`, whose seq is 0, or the largest for the end of a range; None if bad."""
    if len(text) > ID_TEXT_BYTES_MAX:
        return None
    ms_text, dash, seq_text = text.partition(b"\0")[0].partition(b"-")
    ms = _unsigned(ms_text)
    seq = _unsigned(seq_text) if dash else _U64 if end else 0
    return None if ms is None or seq is None else make_id(ms, seq)


def format_id(id: bytes) -> bytes:
    """The text of an id."""
    return b"%d-%d" % (int.from_bytes(id[:8], "big"), int.from_bytes(id[8:], "big"))


def next_id(id: bytes) -> bytes | None:
    """The id after this one; None if it is the last."""
    return None if id == MAX_ID else (int.from_bytes(id, "big") + 1).to_bytes(16, "big")


def previous_id(id: bytes) -> bytes | None:
    """The id before this one; None if it is the first."""
    return None if id == ZERO_ID else (int.from_bytes(id, "big") - 1).to_bytes(16, "big")
