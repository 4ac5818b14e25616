"""Records of a Table as RDB: walks over tables that change, marks, and entries of collections.

The twins come with their tables, so a run sees the pair that is in use. What is written is read
back with RdbReader, which has tests of its own.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from typing import Any

import pytest

from isthmus.node.engine import access
from isthmus.node.engine.ordered_table import OrderedTable
from isthmus.node.engine.table import Table
from isthmus.node.engine.table_rdb import (
    position,
    save_all,
    save_bucket,
    save_entries,
    save_intset,
    save_key,
    save_listpack,
    save_timed,
    soonest_expiry,
)
from isthmus.wire.rdb_reader import RdbReader
from isthmus.wire.rdb_writer import RdbWriter

NEVER = (1 << 63) - 1
LONG = b"z" * 2000


def keys_of(data: bytes) -> list[bytes]:
    """The keys of entries that are strings without expiry and mark."""
    reader, found = RdbReader(data), []
    while reader.left:
        assert reader.byte() == 0
        found.append(reader.string())
        reader.skip_string()
    return found


def filled(count: int) -> Table:
    table = Table()
    for i in range(count):
        table.put(b"key:%d" % i, b"value %d" % i)
    return table


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_a_walk_writes_every_key_once_in_the_order_of_positions(count: int) -> None:
    table, out = filled(count), RdbWriter()
    objects: list[Any] = []
    cursor = before = 0
    while True:
        cursor = save_bucket(table, cursor, out, 0, 0, None, objects)
        for key in keys_of(out.take()):
            assert before <= position(table, key) < (cursor or 1 << 32)
            count -= 1
        if cursor == 0:
            break
        assert cursor > before
        before = cursor
    assert count == 0 and objects == []


@pytest.mark.parametrize("seed", range(20))
def test_a_walk_over_a_table_that_changes(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.choice([20, 300, 3000])
    table, out = filled(size), RdbWriter()
    lasting = {b"key:%d" % i for i in range(0, size, 17)}
    gone = [b"key:%d" % i for i in range(size) if b"key:%d" % i not in lasting]
    rng.shuffle(gone)
    seen: Counter[bytes] = Counter()
    cursor, fresh = 0, 0
    while True:
        cursor = save_bucket(table, cursor, out, 0, 0, None, [])
        written = keys_of(out.take())
        seen.update(written)
        if cursor == 0:
            break
        # What has been passed can be told from the key alone.
        assert all(position(table, key) < cursor for key in written)
        for _ in range(rng.randrange(40)):
            if rng.random() < 0.5 and gone:
                table.discard(gone.pop())
            elif fresh < 2 * size:
                table.put(b"fresh:%d" % fresh, b"v")
                fresh += 1
    assert lasting <= set(seen) and max(seen.values()) == 1
    table.check()


def test_what_is_skipped_is_not_written() -> None:
    table, out = filled(100), RdbWriter()
    skip = {b"key:3", b"key:77", b"not there"}
    cursor = save_bucket(table, 0, out, 0, 0, skip, [])
    while cursor:
        cursor = save_bucket(table, cursor, out, 0, 0, skip, [])
    assert set(keys_of(out.take())) == {b"key:%d" % i for i in range(100)} - skip


def test_expiry_and_marks_stand_before_the_type() -> None:
    access.set_clock(1_000_000)
    try:
        table = Table()
        table.put(b"k", b"12", 4_000_000_000_123)
        expiry = b"\xfc" + struct.pack("<q", 4_000_000_000_123)
        entry = b"\0\1k\xc0\x0c"
        for marks, now_s, written in (
            (0, 0, expiry + entry),
            (1, 1_000_000, expiry + b"\xf8\0" + entry),
            (1, 1_000_100, expiry + b"\xf8\x40\x64" + entry),
        ):
            out = RdbWriter()
            assert save_key(table, b"k", out, marks, now_s, [])
            assert out.take() == written
        # The clock has 24 bits.
        table.mark(b"k", 0xFFFFFF)
        table.set_expiry(b"k", -1)
        save_key(table, b"k", out, 1, 0x5000004, [])
        assert out.take() == b"\xf8\5" + entry
        access.use_counter(True, 10, 1, 6000)
        table.mark(b"k", 100 << 8 | 77)
        save_key(table, b"k", out, 2, 0, [])
        assert out.take() == b"\xf9\x4d" + entry
        # Seven minutes later.
        access.set_clock(6420)
        save_key(table, b"k", out, 2, 0, [])
        assert out.take() == b"\xf9\x46" + entry
    finally:
        access.use_counter(False, 10, 1, 0)


def test_objects_are_handed_over() -> None:
    table, out = Table(), RdbWriter()
    value = bytearray(b"grows")
    table.put(b"long", LONG, 5)
    table.put(b"object", value)
    table.put(b"edge", b"e" * 1024)
    table.mark(b"long", 42)
    table.mark(b"object", 43)
    objects: list[Any] = []
    save_all(table, out, 0, 0, objects)
    assert keys_of(out.take()) == [b"edge"]
    assert sorted(objects, key=lambda found: found[0]) == [
        (b"long", LONG, 5, 42), (b"object", value, -1, 43)
    ]  # fmt: skip
    assert save_key(table, b"object", out, 1, 0, objects) and out.size == 0
    assert objects[-1][1] is value
    assert not save_key(table, b"none", out, 0, 0, objects)


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_entries_of_collections(step: int) -> None:
    table, out = Table(), RdbWriter()
    wanted = {b"field %d" % i: LONG if i % 50 == 0 else b"%d" % i for i in range(300)}
    for field, value in wanted.items():
        table.put(field, value)
    bucket = save_entries(table, out, 0, step, True)
    while bucket >= 0:
        bucket = save_entries(table, out, bucket, step, True)
    reader, found = RdbReader(out.take()), {}
    while reader.left:
        field = reader.string()
        assert field not in found
        found[field] = reader.string()
    assert found == wanted
    assert save_entries(table, out, 0, 1 << 20, False) == -1
    assert save_entries(Table(), out, 0, 5, True) == -1


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_entries_with_expiries(step: int) -> None:
    table, out = Table(), RdbWriter()
    for i in range(100):
        table.put(b"f%d" % i, b"v", 5000 + i if i % 3 else -1)
    assert soonest_expiry(table) == 5001
    assert soonest_expiry(Table()) == NEVER
    bucket = save_timed(table, out, 0, step, 5001)
    while bucket >= 0:
        bucket = save_timed(table, out, bucket, step, 5001)
    reader, found = RdbReader(out.take()), {}
    while reader.left:
        ttl = reader.length()
        field = reader.string()
        found[field] = ttl
        assert reader.string() == b"v"
    assert found == {b"f%d" % i: i if i % 3 else 0 for i in range(100)}


def test_listpacks_are_in_order() -> None:
    table, out = OrderedTable(), RdbWriter()
    for field, value in ((b"c", b"1"), (b"-7", b""), (b"a", LONG), (b"b", b"x")):
        table.put(field, value)
    table.set_expiry(b"b", 70)
    table.set_expiry(b"a", 90)
    for values, expiries, elements in (
        (False, False, [b"b", b"a", b"c", b"-7"]),
        (True, False, [b"b", b"x", b"a", LONG, b"c", b"1", b"-7", b""]),
        (True, True, [b"b", b"x", b"70", b"a", LONG, b"90", b"c", b"1", b"0", b"-7", b"", b"0"]),
    ):
        save_listpack(table, out, values, expiries)
        assert RdbReader(out.take()).listpack() == elements
    save_listpack(OrderedTable(), out, False, False)
    assert RdbReader(out.take()).string() == b"\7\0\0\0\0\0\xff"


@pytest.mark.parametrize(
    ("width", "numbers"),
    [
        (2, []),
        (2, [-32768, 0, 32767]),
        (4, [-32769, 5]),
        (4, [32768]),
        (4, [-(1 << 31), (1 << 31) - 1]),
        (8, [-(1 << 31) - 1, 0]),
        (8, [1 << 31]),
        (8, [-(1 << 63), 0, (1 << 63) - 1]),
    ],
)
def test_intsets(width: int, numbers: list[int]) -> None:
    table, out = OrderedTable(), RdbWriter()
    for number in random.Random(1).sample(numbers, len(numbers)):
        table.add(b"%d" % number)
    save_intset(table, out)
    letter = {2: "h", 4: "i", 8: "q"}[width]
    wanted = struct.pack(f"<II{len(numbers)}{letter}", width, len(numbers), *numbers)
    assert RdbReader(out.take()).string() == wanted
