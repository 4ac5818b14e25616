"""The records of a Table written as RDB: keys of the keyspace, and entries of large collections.

Functions beside Table, because they are about a format of files. A key's entry is

    [FC expiry (Unix ms)] [F8 idle seconds | F9 uses] type key value

with idle time or uses as `marks` asks (0: neither, 1: idle, 2: uses; engine/access.py has what a
record's mark means). Only strings that lie in their record are written here. What is an object is
appended to `objects` as (key, value, expiry, mark) instead.

Collections are written as Redis keeps them: large ones entry by entry, from bucket to bucket, small
ones as one string: a listpack (wire/listpack.py), or an intset, which is width (2, 4 or 8) and
count in 4 bytes each, and the numbers, sorted. All is little-endian.

`position` is where a key lies in the order in which `save_bucket` walks: 32 bits, from the key
alone, so that a walk over a table that grows and shrinks knows what it has passed: a walk at
`cursor` has passed the keys before it.

Twin of table_rdb.pyx.
"""

from __future__ import annotations

import struct
from typing import Any

from isthmus.node.engine.access import decayed
from isthmus.node.engine.ordered_table import OrderedTable
from isthmus.node.engine.table import _HASH_MASK, Table, _Rec, _reverse32
from isthmus.wire.rdb_writer import RdbWriter

MARKS_NONE, MARKS_IDLE, MARKS_USES = 0, 1, 2
_PACKED_BYTES_MAX = 1024
_EXPIRY, _IDLE, _USES = 0xFC, 0xF8, 0xF9
_MARK = 0xFFFFFF
_NEVER = 0x7FFFFFFFFFFFFFFF


def position(table: Table, key: bytes) -> int:
    """Where key lies, or would lie, in the order of save_bucket."""
    return _reverse32(hash(key) & _HASH_MASK)


def _save(
    key: bytes, rec: _Rec, out: RdbWriter, marks: int, now_s: int, objects: list[Any]
) -> None:
    value = rec.value
    if type(value) is not bytes or len(value) > _PACKED_BYTES_MAX:
        objects.append((key, value, rec.expire, rec.clock))
        return
    if rec.expire >= 0:
        out.byte(_EXPIRY)
        out.number(rec.expire)
    save_mark(out, marks, rec.clock, now_s)
    out.byte(0)
    out.string(key)
    out.string(value)


def save_mark(out: RdbWriter, marks: int, mark: int, now_s: int) -> None:
    """How a key is used, if that is asked for."""
    if marks == MARKS_IDLE:
        out.byte(_IDLE)
        out.length((now_s - mark) & _MARK)
    elif marks == MARKS_USES:
        out.byte(_USES)
        out.byte(decayed(mark))


def save_all(table: Table, out: RdbWriter, marks: int, now_s: int, objects: list[Any]) -> int:
    """Write every record."""
    for bucket in table._buckets:
        for key, rec in bucket.items():
            _save(key, rec, out, marks, now_s, objects)
    return 0


def save_bucket(
    table: Table, cursor: int, out: RdbWriter, marks: int, now_s: int, skip: set[bytes] | None,
    objects: list[Any],
) -> int:  # fmt: skip
    """Write the records of the bucket at cursor that are not before it, nor in skip; returns the
    next cursor, 0 at the end."""
    low = table._mask >> 1
    bucket = table._index(_reverse32(cursor & _HASH_MASK))
    split = bucket > low or bucket + low + 1 < len(table._buckets)
    width = (1 << 32) // (table._mask + 1 if split else low + 1)
    for key, rec in table._buckets[bucket].items():
        if position(table, key) >= cursor and (skip is None or key not in skip):
            _save(key, rec, out, marks, now_s, objects)
    cursor = (cursor & ~(width - 1)) + width
    return 0 if cursor >> 32 else cursor


def save_key(
    table: Table, key: bytes, out: RdbWriter, marks: int, now_s: int, objects: list[Any]
) -> bool:
    """Write one record. False if there is none."""
    rec = table._find(key)
    if rec is None:
        return False
    _save(key, rec, out, marks, now_s, objects)
    return True


def save_entries(
    table: Table, out: RdbWriter, first: int, buckets_max: int, with_values: bool
) -> int:
    """Write the entries of a collection from bucket `first` on: keys, and values if asked for, as
    strings. Returns the bucket to go on with, -1 at the end; nothing may change in between."""
    stop = _stop(table, first, buckets_max)
    for bucket in table._buckets[first:stop]:
        for key, rec in bucket.items():
            out.string(key)
            if with_values:
                out.string(rec.value)
    return stop if stop < len(table._buckets) else -1


def save_timed(table: Table, out: RdbWriter, first: int, buckets_max: int, soonest: int) -> int:
    """As save_entries() with values, each entry behind its expiry: 0 without one, else what it
    is more than `soonest`, plus 1."""
    stop = _stop(table, first, buckets_max)
    for bucket in table._buckets[first:stop]:
        for key, rec in bucket.items():
            out.length(rec.expire - soonest + 1 if rec.expire >= 0 else 0)
            out.string(key)
            out.string(rec.value)
    return stop if stop < len(table._buckets) else -1


def _stop(table: Table, first: int, buckets_max: int) -> int:
    """Behind how many buckets to stop: here they are few, and large."""
    entries = 0
    for index in range(first, min(first + buckets_max, len(table._buckets))):
        entries += len(table._buckets[index])
        if entries >= buckets_max:
            return index + 1
    return min(first + buckets_max, len(table._buckets))


def soonest_expiry(table: Table) -> int:
    """The soonest expiry there is, by looking at every entry; the largest int64 without any."""
    expiries = [rec.expire for bucket in table._buckets for rec in bucket.values()]
    return min((when for when in expiries if when >= 0), default=_NEVER)


def save_listpack(
    table: OrderedTable, out: RdbWriter, with_values: bool, with_expiries: bool
) -> int:
    """Write the keys in their order as one listpack, each with its value and its expiry (0: none)
    behind it if asked for."""
    out.begin_listpack()
    for key, rec in table._arranged(False):
        out.lp_text(key)
        if with_values:
            out.lp_text(rec.value)
        if with_expiries:
            out.lp_number(max(rec.expire, 0))
    out.end_listpack()
    return 0


def save_intset(table: OrderedTable, out: RdbWriter) -> int:
    """Write keys that all are int64s as one intset."""
    numbers = sorted(int(key) for key in table.keys())
    widest = max(numbers[-1], -1 - numbers[0]) if numbers else 0
    width, letter = (2, "h") if widest < 1 << 15 else (4, "i") if widest < 1 << 31 else (8, "q")
    out.string(struct.pack(f"<II{len(numbers)}{letter}", width, len(numbers), *numbers))
    return 0
