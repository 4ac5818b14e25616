"""Values as RDB: read back equal, the same bytes in slices, and the forms that no server compares.

tests/persist/test_dump_real.py compares the bytes with those of a real server.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.node.values.hashes import HashValue
from isthmus.node.values.lists import ListValue
from isthmus.node.values.rdb_decode import read_value
from isthmus.node.values.rdb_encode import BodyWriter, dump, type_of, write_body, write_entry
from isthmus.node.values.sets import SetValue
from isthmus.node.values.stream_ids import MAX_ID, make_id
from isthmus.node.values.streams import Group, StreamValue
from isthmus.node.values.zsets import ZSetValue
from isthmus.wire.crc64 import crc64
from isthmus.wire.listpack import text_size
from isthmus.wire.rdb_reader import RdbReader
from isthmus.wire.rdb_writer import RdbWriter
from tests.support.store import plain

LONG = b"long " * 30
SOON = 4_000_000_000_000


def hash_of(count: int, value: bytes = b"v%d", timed: int = 0, first: bytes = b"f") -> HashValue:
    made = HashValue()
    made.write(first, b"")
    for i in range(count - 1):
        made.write(b"field %d" % i, value % i if b"%d" in value else value)
    for i in range(timed):
        made.set_expiry(b"field %d" % i, SOON + 3 * i)
        made.timed = True
    made.fit(512, 64)
    return made


def set_of(*members: bytes) -> SetValue:
    made = SetValue()
    for member in members:
        made.insert_member(member)
        made.fit_default()
    return made


def zset_of(count: int) -> ZSetValue:
    made = ZSetValue()
    for i, score in enumerate((0.5, -1e300, float("inf"), float("-inf"), 4e18, -7.0)[:count]):
        made.upsert(b"edge %d" % i, score)
    for i in range(count - made.count):
        made.upsert(b"member %d" % i, float(i * 7919 % count))
    made.fit(128, 64)
    return made


def list_of(*elements: bytes, outgrown: bool = False) -> ListValue:
    made = ListValue()
    for element in elements:
        made.push_tail(element)
    made.outgrown = outgrown
    return made


def stream_of(count: int, pending: int = 0) -> StreamValue:
    made = StreamValue()
    for i in range(count):
        made.append([b"f", b"%d" % i, b"g", b"x" * (i % 50)], 0, make_id(i + 1, i % 3), 4096, 100)
    for name in (b"zeta", b"alpha") if pending else ():
        group = made.groups[name] = Group(MAX_ID, -1)
        consumers = [group.add_consumer(who, SOON) for who in (b"two", b"one", b"idle")]
        consumers[1].active_ms = SOON + 1
        for i in range(pending):
            group.give(make_id(i + 1, i % 3), consumers[i % 2], SOON + i, i % 5 + 1)
    if count > 3:
        made.remove(make_id(2, 1))
    return made


VALUES: dict[str, tuple[int, Callable[[], Any]]] = {
    "string": (0, lambda: b"text"),
    "empty string": (0, lambda: b""),
    "number": (0, lambda: b"-32769"),
    "long string": (0, lambda: bytes(range(256)) * 100),
    "mutable string": (0, lambda: bytearray(b"text")),
    "small list": (18, lambda: list_of(b"a", b"", b"-5", LONG, b"12345678901")),
    "large list": (18, lambda: list_of(*(b"element %d" % i for i in range(1500)), outgrown=True)),
    "list of large": (18, lambda: list_of(b"x" * 9000, b"a", b"y" * 8192, b"b", b"z" * 8193,
                                          outgrown=True)),
    "intset": (11, lambda: set_of(b"3", b"-1", b"70000")),
    "set": (20, lambda: set_of(b"3", b"b", b"a", b"")),
    "large set": (2, lambda: set_of(*(b"member %d" % i for i in range(1000)))),
    "set of long": (2, lambda: set_of(b"a", LONG)),
    "zset": (17, lambda: zset_of(100)),
    "large zset": (5, lambda: zset_of(1200)),
    "hash": (16, lambda: hash_of(300)),
    "large hash": (4, lambda: hash_of(1200)),
    "hash of long": (4, lambda: hash_of(3, LONG * 20)),
    "timed hash": (25, lambda: hash_of(9, timed=4)),
    "large timed hash": (24, lambda: hash_of(1200, timed=600)),
    "stream": (21, lambda: stream_of(250)),
    "empty stream": (21, StreamValue),
    "stream with groups": (21, lambda: stream_of(250, 300)),
}  # fmt: skip
NAMED = pytest.mark.parametrize("name", VALUES)


def written(value: Any) -> bytes:
    out = RdbWriter()
    write_body(out, value)
    return out.take()


@NAMED
def test_what_is_written_is_read_back(name: str) -> None:
    kind, make = VALUES[name]
    value = make()
    assert type_of(value) == kind
    reader = RdbReader(written(value))
    again = read_value(reader, kind)
    assert reader.left == 0
    assert plain(again) == plain(value)
    if not isinstance(value, (bytes, bytearray)):
        again.check()
        assert again.encoding() == value.encoding()
        if isinstance(value, (HashValue, SetValue)) and kind not in (2, 4, 24):
            assert again.keys() == value.keys()


@NAMED
@pytest.mark.parametrize("limit", [1, 7, 256, 1 << 40])
def test_slices_write_the_same(name: str, limit: int) -> None:
    value = VALUES[name][1]()
    out = RdbWriter()
    body = BodyWriter(out, value, limit)
    steps = 1
    pieces = []
    while body.step():
        steps += 1
        # What was written may be taken between the slices.
        pieces.append(out.take())
    pieces.append(out.take())
    assert b"".join(pieces) == written(value)
    if name.startswith("large") or "groups" in name:
        assert steps > 4 if limit < 200 else steps < 30


def test_a_long_string_in_slices_is_not_packed() -> None:
    value, out = bytearray(b"ab" * 100_000), RdbWriter()
    body = BodyWriter(out, value, 100)
    while body.step():
        assert 0 < out.size < 66_000
        out.take()
    whole = RdbWriter()
    body = BodyWriter(whole, value, 100)
    while body.step():
        pass
    assert RdbReader(whole.take()).string() == value
    assert len(written(value)) < 3000


def test_a_payload_ends_with_version_and_checksum() -> None:
    data = dump(b"7")
    assert data[:5] == b"\0\xc0\7\x0c\0"
    assert struct.unpack("<Q", data[5:]) == (crc64(data[:5]),)


def test_an_entry() -> None:
    out = RdbWriter()
    write_entry(out, b"key", b"v", SOON, 1, 40, 50)
    assert out.take() == b"\xfc" + struct.pack("<q", SOON) + b"\xf8\x0a\0\3key\1v"
    write_entry(out, b"key", list_of(b"a"), -1, 0, 0, 0)
    assert out.take() == b"\x12\3key\1\2\x0a\x0a\0\0\0\1\0\x81a\2\xff"


@pytest.mark.slow
def test_what_the_configuration_lets_grow_is_no_listpack() -> None:
    members, numbers, zset = (
        set_of(*(b"m%d" % i for i in range(8193))),
        set_of(*(b"%d" % i for i in range(8193))),
        zset_of(8193),
    )
    members.shape, numbers.shape, zset.outgrown = 1, 0, False
    few = hash_of(9, b"x" * 300_000)
    few.outgrown = False
    for value, kind in ((members, 2), (numbers, 2), (zset, 5), (few, 4)):
        assert type_of(value) == kind
        assert plain(read_value(RdbReader(written(value)), kind)) == plain(value)
    few.timed = True
    few.set_expiry(b"field 1", SOON)
    assert type_of(few) == 24


def test_a_hash_that_had_expiries() -> None:
    small = hash_of(3, timed=1)
    small.set_expiry(b"field 0", -1)
    assert type_of(small) == 25
    data = written(small)
    assert data[:8] == bytes(8)
    assert read_value(RdbReader(data), 25).encoding() == b"listpackex"
    large = hash_of(3, LONG, timed=1)
    large.set_expiry(b"field 0", -1)
    assert type_of(large) == 4


@pytest.mark.slow
def test_a_large_hash_tells_differences_from_what_it_knows() -> None:
    value = hash_of(20_000, b"v", timed=10)
    value.discard(b"field 0")
    data = written(value)
    (soonest,) = struct.unpack("<q", data[:8])
    assert soonest == SOON  # not that of the soonest field there is
    assert read_value(RdbReader(data), 24).expiries() == value.expiries()


def test_groups_and_consumers_stand_by_name() -> None:
    data = written(stream_of(10, 4))
    places = [data.index(bytes((len(name),)) + name) for name in (b"alpha", b"zeta")]
    assert places == sorted(places)
    first = data[places[0] : places[1]]
    names = [first.index(bytes((len(name),)) + name) for name in (b"idle", b"one", b"two")]
    assert names == sorted(names)


def nodes_of(data: bytes) -> list[tuple[int, list[bytes]]]:
    """Kind and elements of the nodes of a list."""
    reader = RdbReader(data)
    found = []
    for _ in range(reader.length()):
        kind = reader.length()
        found.append((kind, [reader.string()] if kind == 1 else reader.listpack()))
    assert reader.left == 0
    return found


@settings(max_examples=25)
@given(
    sizes=st.lists(
        st.one_of(st.integers(0, 30), st.integers(3000, 4500), st.integers(8170, 8200)),
        min_size=1, max_size=12,
    ),
    limit=st.integers(1, 50),
)  # fmt: skip
def test_nodes_of_lists(sizes: list[int], limit: int) -> None:
    value = list_of(*(b"%04d" % i + b"." * (n - 4) for i, n in enumerate(sizes)), outgrown=True)
    out = RdbWriter()
    body = BodyWriter(out, value, limit)
    while body.step():
        pass
    data = out.take()
    assert data == written(value)
    nodes = nodes_of(data)
    assert [element for _, elements in nodes for element in elements] == list(value)
    room = -1
    for kind, elements in nodes:
        if kind == 1:
            assert len(elements[0]) > 8192
            room = -1
            continue
        # A node begins only where the one before had no room.
        assert len(elements[0]) + 8 > room
        used = 7 + sum(map(text_size, elements))
        assert used <= 8192 or len(elements) == 1
        room = 8192 - used
