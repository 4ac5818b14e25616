"""OrderedTable: the order in which entries come, whatever happens to them.

The twins share their base class with Table, so a run sees the one that is in use.
"""

from __future__ import annotations

import random
from typing import Any

from isthmus.node.engine.ordered_table import OrderedTable
from isthmus.wire.reply import ReplyWriter


def filled(*keys: bytes) -> Any:
    table = OrderedTable()
    for key in keys:
        table.put(key, b"v")
    return table


def test_entries_come_in_the_order_of_their_arrival() -> None:
    table = filled(b"c", b"a", b"b")
    table.put(b"a", b"overwritten")
    table.put_keep(b"c", b"w" * 2000)
    assert table.ordered(True, False, -1) == [
        b"c", b"w" * 2000, b"a", b"overwritten", b"b", b"v"
    ]  # fmt: skip
    assert table.fetch(b"a", 0) == b"overwritten"
    table.discard(b"c")
    table.put(b"c", b"again")
    assert table.ordered(False, False, -1) == [b"a", b"b", b"c"]
    assert OrderedTable().ordered(True, False, -1) == []


def test_replies_are_in_order() -> None:
    table = filled(b"b", b"a")
    table.put(b"long", b"x" * 2000)
    writer = ReplyWriter()
    assert table.write_ordered(writer, True, False, False) == 3
    assert writer.take() == b"$1\r\nb\r\n$1\r\na\r\n$4\r\nlong\r\n"
    table.write_ordered(writer, False, True, False)
    assert writer.take() == b"$1\r\nv\r\n$1\r\nv\r\n$2000\r\n" + b"x" * 2000 + b"\r\n"


def test_expiries_come_first_and_of_equals_the_last_one_set() -> None:
    table = filled(b"a", b"b", b"c", b"d")
    for key, when in ((b"d", 20), (b"b", 20), (b"c", 10)):
        table.set_expiry(key, when)
    assert table.ordered(False, False, -1) == [b"c", b"b", b"d", b"a"]
    assert table.ordered(False, False, 10) == [b"b", b"d", b"a"]
    table.set_expiry(b"d", 20)
    table.put_keep(b"b", b"longer than it was")
    assert table.ordered(False, False, -1) == [b"c", b"d", b"b", b"a"]
    table.set_expiry(b"c", -1)
    table.put(b"d", b"w")
    assert table.ordered(False, False, -1) == [b"b", b"a", b"c", b"d"]


def test_numbers_are_sorted_by_value() -> None:
    table = OrderedTable()
    for member in (b"10", b"-3", b"9", b"9223372036854775807", b"-9223372036854775808", b"x"):
        table.add(member)
    by_value = [b"-9223372036854775808", b"-3", b"9", b"10", b"9223372036854775807", b"x"]
    assert table.ordered(False, True, -1) == by_value
    assert table.ordered(False, False, -1)[0] == b"10"
    table.rearrange(True)
    table.add(b"1")
    assert table.ordered(False, False, -1) == [*by_value, b"1"]


def test_the_order_outlives_the_numbers() -> None:
    table = filled(b"a", b"b", b"c", b"d", b"e")
    for key in (b"d", b"b"):
        table.set_expiry(key, 7)
    table.place = 0xFFFFFE
    for key in (b"f", b"g", b"h"):
        table.put(key, b"v")
    expected = [b"b", b"d", b"a", b"c", b"e", b"f", b"g", b"h"]
    assert table.ordered(False, False, -1) == expected
    assert table.place < 20
    table.place = 0xFFFFFF
    table.set_expiry(b"a", 7)
    table.place = 0xFFFFFF
    table.put(b"c", b"new", 7)
    assert table.ordered(False, False, -1) == [b"c", b"a", b"b", b"d", b"e", b"f", b"g", b"h"]
    table.check()


def test_as_a_dict() -> None:
    rng = random.Random(1)
    table, model = OrderedTable(), dict[bytes, bytes]()
    for step in range(3000):
        key, value = b"%d" % rng.randrange(300), b"%d" % step * rng.randrange(9)
        if rng.random() < 0.4:
            assert table.discard(key) == (model.pop(key, None) is not None)
        else:
            table.put(key, value)
            model[key] = value
        if step % 500 == 0:
            table.place = 0xFFFFF0
    assert table.ordered(True, False, -1) == [x for pair in model.items() for x in pair]
    table.check()
