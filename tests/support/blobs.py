"""Redis' packed blobs and RDB records, built by hand: also those that no server today writes.

Nothing here is checked, so that tests can build what is broken, too.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from isthmus.wire.crc64 import crc64

Item = int | bytes


def length(n: int) -> bytes:
    """An RDB length."""
    if n < 64:
        return bytes([n])
    if n < 1 << 14:
        return bytes([0x40 | n >> 8, n & 0xFF])
    return b"\x80" + n.to_bytes(4, "big") if n < 1 << 32 else b"\x81" + n.to_bytes(8, "big")


def string(data: bytes) -> bytes:
    """An RDB string without encoding."""
    return length(len(data)) + data


def strings(*items: bytes) -> bytes:
    return b"".join(map(string, items))


def _signed(n: int, width: int) -> bytes:
    return n.to_bytes(width, "little", signed=True)


def element(item: Item) -> bytes:
    """An element of a listpack; an int is stored as a number."""
    if isinstance(item, int):
        if 0 <= item <= 127:
            body = bytes([item])
        elif -4096 <= item <= 4095:
            body = bytes([0xC0 | (item & 0x1FFF) >> 8, item & 0xFF])
        else:
            for mark, width in ((0xF1, 2), (0xF2, 3), (0xF3, 4), (0xF4, 8)):
                if -(1 << 8 * width - 1) <= item < 1 << 8 * width - 1:
                    body = bytes([mark]) + _signed(item, width)
                    break
    elif len(item) < 64:
        body = bytes([0x80 | len(item)]) + item
    elif len(item) < 4096:
        body = bytes([0xE0 | len(item) >> 8, len(item) & 0xFF]) + item
    else:
        body = b"\xf0" + len(item).to_bytes(4, "little") + item
    size = len(body)
    back = 1
    for limit in (128, 16383, 2097151):
        back += size >= limit
    groups = [size >> 7 * (back - 1 - i) & 127 | (128 if i else 0) for i in range(back)]
    return body + bytes(groups)


def listpack(items: Sequence[Item], count: int | None = None) -> bytes:
    body = b"".join(map(element, items))
    declared = min(len(items), 0xFFFF) if count is None else count
    return struct.pack("<IH", len(body) + 7, declared) + body + b"\xff"


def _ziplist_body(item: Item) -> bytes:
    if isinstance(item, int):
        if 0 <= item <= 12:
            return bytes([0xF1 + item])
        for mark, width in ((0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8)):
            if -(1 << 8 * width - 1) <= item < 1 << 8 * width - 1:
                return bytes([mark]) + _signed(item, width)
    assert isinstance(item, bytes)
    if len(item) < 64:
        return bytes([len(item)]) + item
    if len(item) < 1 << 14:
        return bytes([0x40 | len(item) >> 8, len(item) & 0xFF]) + item
    return b"\x80" + len(item).to_bytes(4, "big") + item


def ziplist(items: Sequence[Item], count: int | None = None) -> bytes:
    out, before, last = b"", 0, 10
    for item in items:
        back = bytes([before]) if before < 254 else b"\xfe" + before.to_bytes(4, "little")
        body = back + _ziplist_body(item)
        last = 10 + len(out)
        before = len(body)
        out += body
    declared = min(len(items), 0xFFFF) if count is None else count
    return struct.pack("<IIH", len(out) + 11, last, declared) + out + b"\xff"


def intset(numbers: Sequence[int], width: int = 2) -> bytes:
    return struct.pack("<II", width, len(numbers)) + b"".join(_signed(n, width) for n in numbers)


def zipmap(pairs: Sequence[tuple[bytes, bytes]], free: int = 0) -> bytes:
    def size(n: int) -> bytes:
        return bytes([n]) if n < 254 else b"\xfe" + n.to_bytes(4, "little")

    body = b"".join(
        size(len(key)) + key + size(len(value)) + bytes([free]) + value + b"?" * free
        for key, value in pairs
    )
    return bytes([min(len(pairs), 254)]) + body + b"\xff"


def id16(ms: int, seq: int) -> bytes:
    return struct.pack(">QQ", ms, seq)


def block(
    fields: Sequence[bytes], entries: Sequence[tuple[int, int, Sequence[Item], int]]
) -> bytes:
    """A listpack of a stream: entries are (ms, seq, values, 1 if deleted), all of `fields`."""
    items: list[Item] = [
        sum(not entry[3] for entry in entries), sum(entry[3] for entry in entries),
        len(fields), *fields, 0,
    ]  # fmt: skip
    for ms, seq, values, gone in entries:
        items += [2 | gone, ms, seq, *values, 3 + len(values)]
    return listpack(items)


def payload(kind: int, body: bytes, version: int = 11) -> bytes:
    """What DUMP would answer."""
    data = bytes([kind]) + body + version.to_bytes(2, "little")
    return data + crc64(data).to_bytes(8, "little")


def file(records: bytes, version: int = 11) -> bytes:
    """A whole RDB file."""
    data = b"REDIS%04d" % version + records + b"\xff"
    return data + crc64(data).to_bytes(8, "little") if version >= 5 else data


def stream(
    blocks: Sequence[tuple[bytes, bytes]],
    size: int,
    last: tuple[int, int],
    groups: bytes = b"\0",
    version: int = 3,
    top: tuple[int, int] = (0, 0),
    added: int | None = None,
    first: tuple[int, int] = (1, 0),
) -> bytes:
    """The value of a stream of format `version`."""
    out = length(len(blocks)) + b"".join(string(key) + string(data) for key, data in blocks)
    out += length(size) + length(last[0]) + length(last[1])
    if version >= 2:
        out += length(first[0]) + length(first[1]) + length(top[0]) + length(top[1])
        out += length(size if added is None else added)
    return out + groups


def group(
    name: bytes,
    pending: Sequence[bytes],
    consumers: Sequence[tuple[bytes, Sequence[bytes]]],
    version: int = 3,
    last: tuple[int, int] = (5, 0),
) -> bytes:
    """One group of a stream."""
    out = string(name) + length(last[0]) + length(last[1])
    if version >= 2:
        out += length(2)
    out += length(len(pending))
    for id in pending:
        out += id + struct.pack("<q", 1_700_000_000_000) + length(3)
    out += length(len(consumers))
    for who, ids in consumers:
        out += string(who) + struct.pack("<q", 1_700_000_000_001)
        if version >= 3:
            out += struct.pack("<q", 1_700_000_000_002)
        out += length(len(ids)) + b"".join(ids)
    return out
