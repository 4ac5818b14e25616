"""Payloads of every type and encoding, by name; and payloads that are well-formed lies."""

from __future__ import annotations

import struct

from tests.support.blobs import (
    Item,
    block,
    group,
    id16,
    intset,
    length,
    listpack,
    payload,
    stream,
    string,
    strings,
    ziplist,
    zipmap,
)  # fmt: skip

SOME: list[Item] = [
    b"a", b"", 5, -1, 100, 200, 4095, -4096, 5000, -40000, 1 << 22, -(1 << 23), 1 << 31, -(1 << 40),
    b"x" * 70, b"y" * 5000, b"z" * 63, b"007",
]  # fmt: skip
FIELD_PAIRS: list[Item] = [b"f", b"v", b"g", 12, b"h" * 80, b"", 13, -5]
SCORES: list[Item] = [b"e", b"-1e300", b"c", -300, b"a", 1, b"b", b"2.5", b"d", b"inf"]
MEMBERS: list[Item] = [b"a", 1, -70000, b"b" * 90]
BLOCKS = [
    (id16(1, 0), block([b"f", b"g"], [(0, 0, [b"v", 7], 0), (0, 5, [-9, b"w" * 90], 1)])),
    (id16(2, 1), block([b"f"], [(0, 0, [b"v"], 0), (3, -1, [b"v"], 0)])),
]
NOTE = struct.pack("<q", 4_000_000_000_000)


def groups(version: int) -> bytes:
    ids = [id16(1, 0), id16(2, 1), id16(4, 0)]
    consumers = [(b"one", ids[1:]), (b"two", ids[:1]), (b"nobody", [])]
    return (
        length(2) + group(b"g", ids, consumers, version) + group(b"empty", [], [], version, (0, 0))
    )


def streamed(version: int) -> bytes:
    return stream(BLOCKS, 3, (9, 9), groups(version), version, (1, 5), 4)


def metadata(*fields: tuple[int, bytes, bytes]) -> bytes:
    return length(len(fields)) + b"".join(length(ttl) + strings(f, v) for ttl, f, v in fields)


GOOD = {
    "string": payload(0, string(b"text")),
    "integers": payload(0, b"\xc1\x34\x12"),
    "compressed": payload(0, b"\xc3" + length(5) + length(34) + b"\x00a\xe0\x18\x00"),
    "list": payload(1, length(3) + strings(b"a", b"", b"b" * 100)),
    "set": payload(2, length(3) + strings(b"a", b"1", b"b" * 100)),
    "set of numbers": payload(2, length(3) + strings(b"3", b"1", b"2")),
    "zset": payload(3, length(4) + string(b"a") + b"\x031.5" + string(b"b") + b"\xfe"
                    + string(b"c") + b"\xff" + string(b"d") + b"\x18-1.7976931348623157e+308"),
    "hash": payload(4, length(2) + strings(b"f", b"v", b"g", b"")),
    "zset 2": payload(5, length(2) + string(b"a") + struct.pack("<d", -0.0) + string(b"b")
                      + struct.pack("<d", 1e300)),
    "zipmap": payload(9, string(zipmap([(b"f", b"v"), (b"g", b"w" * 300)]))),
    "zipmap with free bytes": payload(9, string(zipmap([(b"f", b"v"), (b"g", b"w")], 3))),
    "list ziplist": payload(10, string(ziplist(SOME))),
    "set intset": payload(11, string(intset([-300, 0, 7, 32000]))),
    "set intset of 4": payload(11, string(intset([-(1 << 31), 7], 4))),
    "set intset of 8": payload(11, string(intset([-(1 << 63), (1 << 63) - 1], 8))),
    "zset ziplist": payload(12, string(ziplist(SCORES))),
    "hash ziplist": payload(13, string(ziplist(FIELD_PAIRS))),
    "quicklist": payload(14, length(2) + string(ziplist(SOME)) + string(ziplist([b"end"]))),
    "quicklist of one": payload(14, length(1) + string(ziplist(SOME[:8]))),
    "stream 1": payload(15, streamed(1)),
    "stream 2": payload(19, streamed(2)),
    "stream 3": payload(21, streamed(3)),
    "stream empty": payload(21, stream([], 0, (5, 5), first=(0, 0))),
    "hash listpack": payload(16, string(listpack(FIELD_PAIRS))),
    "zset listpack": payload(17, string(listpack(SCORES))),
    "quicklist 2": payload(18, length(2) + b"\2" + string(listpack(SOME)) + b"\1" + string(b"p")),
    "quicklist 2 of one": payload(18, length(1) + b"\2" + string(listpack(SOME[:8]))),
    "quicklist 2 of one long element": payload(18, length(1) + b"\1" + string(b"p")),
    "set listpack": payload(20, string(listpack(MEMBERS))),
    "hash metadata": payload(24, NOTE + metadata((0, b"a", b"1"), (1, b"b", b"2"), (6, b"c", b"")),
                             12),
    "hash listpackex": payload(25, NOTE + string(listpack(
        [b"a", b"1", 4_000_000_000_000, b"b", 2, 4_000_000_000_007, b"c", b"3", 0])), 12),
}  # fmt: skip
# What no server has written since its format was final; no server is asked about it.
EARLY = {
    "hash metadata, early": payload(22, metadata((0, b"a", b"1"), (4_000_000_000_001, b"b", b"")),
                                    12),
    "hash listpackex, early": payload(23, string(listpack(
        [b"a", b"1", 4_000_000_000_000, b"c", b"3", 0])), 12),
}  # fmt: skip


def bad_stream(blocks: list[tuple[bytes, bytes]] = BLOCKS, size: int = 3,
               last: tuple[int, int] = (9, 9), groups: bytes = b"\0",
               top: tuple[int, int] = (0, 0), added: int | None = None) -> bytes:  # fmt: skip
    return payload(21, stream(blocks, size, last, groups, 3, top, added))


ONE = id16(1, 0)
LIES = {
    "no type": b"" + payload(0, b"")[1:],
    "unknown type": payload(99, string(b"x")),
    "type 8": payload(8, string(b"x")),
    "module": payload(7, b"\x81" + b"\x12" * 8 + b"\0"),
    "more behind it": payload(0, string(b"text") + b"x"),
    "a string that ends early": payload(0, length(9) + b"text"),
    "a string of terabytes": payload(0, b"\x81" + b"\x7f" * 8 + b"text"),
    "a negative length": payload(0, b"\x81" + b"\xff" * 8 + b"text"),
    "a compressed bomb": payload(0, b"\xc3" + length(5) + length(1 << 31) + b"\x00a\xe0\x18\x00"),
    "a compressed string longer than said": payload(0, b"\xc3\x05\x20\x00a\xe0\x18\x00"),
    "a compressed string shorter than said": payload(0, b"\xc3\x05\x30\x00a\xe0\x18\x00"),
    "a reference before the beginning": payload(0, b"\xc3\x05\x22\x00a\xe0\x18\x01"),
    "unknown encoding": payload(0, b"\xc4\x01a"),
    "empty list": payload(1, b"\0"),
    "empty set": payload(2, b"\0"),
    "empty zset": payload(5, b"\0"),
    "empty hash": payload(4, b"\0"),
    "empty listpack": payload(16, string(listpack([]))),
    "empty quicklist": payload(18, b"\0"),
    "quicklist of an empty long element": payload(18, b"\1\1\0"),
    "quicklist of nothing": payload(18, b"\1\2" + string(listpack([]))),
    "a list of billions": payload(1, b"\x80\xff\xff\xff\xff" + strings(b"a")),
    "field twice": payload(4, length(2) + strings(b"f", b"v", b"f", b"w")),
    "field twice in a listpack": payload(16, string(listpack([b"f", 1, b"f", 2]))),
    "field twice in two spellings": payload(16, string(listpack([5, 1, b"5", 2]))),
    "half a pair": payload(16, string(listpack([b"f", 1, b"g"]))),
    "member twice": payload(2, length(2) + strings(b"a", b"a")),
    "member twice in a listpack": payload(20, string(listpack([b"a", b"a"]))),
    "zset member twice": payload(17, string(listpack([b"a", 1, b"a", 2]))),
    "score that is none": payload(17, string(listpack([b"a", b"one"]))),
    "score NaN": payload(5, length(1) + string(b"a") + struct.pack("<d", float("nan"))),
    "score NaN, spelt": payload(3, length(1) + string(b"a") + b"\xfd"),
    "score nan in a listpack": payload(17, string(listpack([b"a", b"nan"]))),
    "intset out of order": payload(11, string(intset([3, 2]))),
    "intset twice": payload(11, string(intset([2, 2]))),
    "intset of odd width": payload(11, string(struct.pack("<II", 3, 1) + b"abc")),
    "intset that counts wrongly": payload(11, string(struct.pack("<II", 2, 3) + b"abcd")),
    "ziplist that counts wrongly": payload(10, string(ziplist([1, 2], 3))),
    "listpack that counts wrongly": payload(20, string(listpack([1, 2], 3))),
    "node of an unknown kind": payload(18, b"\1\3" + string(b"x")),
    "expiries out of order": payload(25, NOTE + string(listpack([b"a", 1, 5, b"b", 2, 4])), 12),
    "expiry behind none": payload(25, NOTE + string(listpack([b"a", 1, 0, b"b", 2, 4])), 12),
    "expiry beyond all": payload(25, NOTE + string(listpack([b"a", 1, 1 << 50])), 12),
    "expiry below all": payload(25, NOTE + string(listpack([b"a", 1, -4])), 12),
    "expiry that is text": payload(25, NOTE + string(listpack([b"a", 1, b"x"])), 12),
    "metadata's expiry beyond all": payload(24, NOTE + metadata((1 << 50, b"a", b"1")), 12),
    "metadata's soonest below all": payload(24, b"\xff" * 8 + metadata((1, b"a", b"1")), 12),
    "stream that counts wrongly": bad_stream(size=4),
    "stream of a block that ends early": bad_stream([(ONE, BLOCKS[0][1][:-1])], 1),
    "stream beyond its last id": bad_stream(last=(3, 0)),
    "stream with blocks out of order": bad_stream(BLOCKS[::-1]),
    "stream with a block twice": bad_stream([BLOCKS[0], BLOCKS[0]], 2),
    "stream with a short key": bad_stream([(b"key", BLOCKS[0][1])], 1),
    "stream with ids out of order": bad_stream(
        [(ONE, block([b"f"], [(5, 0, [1], 0), (4, 0, [1], 0)]))], 2),
    "stream with an id twice": bad_stream(
        [(ONE, block([b"f"], [(5, 0, [1], 0), (5, 0, [1], 0)]))], 2),
    "stream with a negative difference": bad_stream([(ONE, block([b"f"], [(-1, 0, [1], 0)]))], 1),
    "stream with too few added": bad_stream(added=2),
    "stream with a deleted id beyond the last": bad_stream(top=(10, 0)),
    "stream with wrong counts in a block": bad_stream(
        [(ONE, listpack([2, 0, 1, b"f", 0, 2, 0, 0, b"v", 4]))], 1),
    "stream with unknown flags": bad_stream(
        [(ONE, listpack([1, 0, 1, b"f", 0, 6, 0, 0, b"v", 4]))], 1),
    "stream with a wrong count behind an entry": bad_stream(
        [(ONE, listpack([1, 0, 1, b"f", 0, 2, 0, 0, b"v", 5]))], 1),
    "stream with text for a number": bad_stream(
        [(ONE, listpack([1, 0, 1, b"f", 0, 2, b"0", 0, b"v", 4]))], 1),
    "stream with fields without number": bad_stream(
        [(ONE, listpack([1, 0, 1 << 40, b"f", 0, 2, 0, 0, b"v", 4]))], 1),
    "group twice": bad_stream(groups=length(2) + group(b"g", [], []) * 2),
    "pending twice": bad_stream(groups=length(1) + group(b"g", [ONE, ONE], [(b"c", [ONE])])),
    "pending without an owner": bad_stream(groups=length(1) + group(b"g", [ONE], [(b"c", [])])),
    "pending with two owners": bad_stream(
        groups=length(1) + group(b"g", [ONE], [(b"c", [ONE]), (b"d", [ONE])])),
    "consumer has what the group has not": bad_stream(
        groups=length(1) + group(b"g", [], [(b"c", [ONE])])),
    "consumer has it twice": bad_stream(groups=length(1) + group(b"g", [ONE], [(b"c", [ONE] * 2)])),
    "consumer twice": bad_stream(groups=length(1) + group(b"g", [], [(b"c", [])] * 2)),
}  # fmt: skip
