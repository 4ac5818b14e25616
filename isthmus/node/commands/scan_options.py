"""What HSCAN and SSCAN have in common: cursor, options, one page of a table.

A small collection (one that Redis would keep as a listpack or an intset) is returned whole whatever
COUNT says; others bucket by bucket until COUNT elements are found or ten times as many buckets have
been looked at. MATCH only filters what is returned.
"""

from __future__ import annotations

import re
from typing import Any

from isthmus.node.engine.args import integer, syntax
from isthmus.node.engine.context import Context
from isthmus.node.engine.errors import RedisError
from isthmus.node.engine.patterns import glob_match
from isthmus.node.engine.table import Table
from isthmus.wire.scalars import parse_int

INVALID_CURSOR = b"ERR invalid cursor"
NOVALUES_ELSEWHERE = b"ERR NOVALUES option can only be used in HSCAN"
# What strtoull takes, without its leading zeros.
UNSIGNED = re.compile(rb"[ \t\n\v\f\r]*([+-]?)0*(\d{1,20})")
CURSOR_MAX = 2**64 - 1
BUCKETS_PER_ELEMENT = 10


def parse_cursor(text: bytes) -> int:
    """The cursor, an unsigned 64-bit number; RedisError if it is none.

    As in Redis a plain negative number is none, but what only strtoull takes may have a sign.
    """
    try:
        cursor = parse_int(text)
    except ValueError:
        match = UNSIGNED.fullmatch(text)
        cursor = -1 if match is None else int(match[2])
        if match is not None and match[1] == b"-" and cursor <= CURSOR_MAX:
            cursor = -cursor & CURSOR_MAX
    if not 0 <= cursor <= CURSOR_MAX:
        raise RedisError(INVALID_CURSOR)
    return cursor


class ScanOptions:
    """[MATCH pattern] [COUNT count] [NOVALUES]."""

    __slots__ = ("count", "pattern", "values")

    def __init__(self, argv: list[bytes], hash_values: bool) -> None:
        """Read argv from the fourth word on; `hash_values`: there are values, NOVALUES may be."""
        self.count = 10
        self.pattern: bytes | None = None
        self.values = hash_values
        at = 3
        while at < len(argv):
            word = argv[at].upper()
            if word == b"COUNT" and at + 1 < len(argv):
                self.count = integer(argv[at + 1])
                if self.count < 1:
                    raise syntax()
                at += 2
            elif word == b"MATCH" and at + 1 < len(argv):
                self.pattern = None if argv[at + 1] == b"*" else argv[at + 1]
                at += 2
            elif word == b"NOVALUES":
                if not hash_values:
                    raise RedisError(NOVALUES_ELSEWHERE)
                self.values = False
                at += 1
            else:
                raise syntax()


def write_page(ctx: Context, table: Table, cursor: int, options: ScanOptions) -> None:
    """Write the next cursor and the entries of one page of a large collection."""
    found: list[Any] = []
    buckets = options.count * BUCKETS_PER_ELEMENT
    wanted = options.count * (2 if options.values else 1)
    while True:
        cursor = table.scan(cursor, found, options.values, ctx.now_ms)
        buckets -= 1
        if cursor == 0 or buckets == 0 or len(found) >= wanted:
            break
    write_found(ctx, cursor, found, options)


def write_found(ctx: Context, cursor: int, found: list[Any], options: ScanOptions) -> None:
    """Write a cursor and those of the entries found that match."""
    if options.pattern is not None:
        width = 2 if options.values else 1
        kept: list[Any] = []
        for at in range(0, len(found), width):
            if glob_match(options.pattern, found[at]):
                kept += found[at : at + width]
        found = kept
    ctx.reply.array(2)
    ctx.reply.bulk(b"%d" % cursor)
    ctx.reply.array(len(found))
    for item in found:
        ctx.reply.bulk(item)


def write_nothing(ctx: Context) -> None:
    """The page of a key that does not exist."""
    ctx.reply.array(2)
    ctx.reply.bulk(b"0")
    ctx.reply.empty_array()
