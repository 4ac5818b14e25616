"""Redis' packed blobs read into lists of elements, their structure checked (Tier C twin).

Small collections lie in RDB files and DUMP payloads as the very bytes that Redis keeps in memory.
Four formats, all numbers little-endian but where it says otherwise:

    listpack   u32 bytes in all | u16 elements (65535: not known) | element... | FF
               element: head, its bytes, and the length of both again in groups of 7 bits that are
               read from the right:
                   0xxxxxxx        a number of 0..127       10xxxxxx     a text of up to 63 bytes
                   110xxxxx +1     a number of 13 bits      1110xxxx +1  a text of up to 4095 bytes
                   F1 +2, F2 +3, F3 +4, F4 +8  a number     F0 +4        a longer text
    ziplist    u32 bytes in all | u32 offset of the last entry | u16 entries (65535: not known) |
               entry... | FF
               entry: the length of the one before (1 byte, or FE and u32), then
                   00xxxxxx        a text of up to 63 bytes 01xxxxxx +1  up to 16383, big-endian
                   80 +4           a longer one, big-endian F1..FD       a number of 0..12
                   C0 +2, D0 +4, E0 +8, F0 +3, FE +1        a number
    intset     u32 width of a number (2, 4 or 8) | u32 numbers | number..., rising
    zipmap     u8 pairs (254: not known) | key length, key, value length, u8 free, value, free... |
               FF; a length is one byte, or FE and u32

Elements come out as bytes, numbers spelt in decimal. What is asserted before anything is handed
out: the size in the head is that of the blob, no element reaches outside of it, lengths said twice
agree, the count in the head is that of the elements, the end mark is the last byte. What elements
mean (pairs, duplicates, order) is the caller's to check.

ValueError says what is wrong; nothing is ever allocated for a length that has not been checked.
"""

from __future__ import annotations

from typing import Any

_UNKNOWN = 0xFFFF


def _back_length(size: int) -> bytes:
    """The length of an element as it stands behind it."""
    back = 1
    for limit in (128, 16383, 2097151, 268435455):
        if size < limit:
            break
        back += 1
    groups = [size >> 7 * (back - 1 - i) & 127 | (128 if i else 0) for i in range(back)]
    return bytes(groups)


def _short(what: str, number: int) -> ValueError:
    return ValueError(f"{what}: element {number} is broken or ends outside")


def _element(data: bytes, at: int, end: int) -> tuple[int | bytes, int] | None:
    """The element of a listpack at `at` and its size without what is behind it; None if broken."""
    head = data[at]
    left = end - at
    if head < 0x80:
        return head, 1
    if head < 0xC0:
        size = 1 + (head & 0x3F)
        return (data[at + 1 : at + size], size) if size <= left else None
    if head < 0xE0:
        if left < 2:
            return None
        value = (head & 0x1F) << 8 | data[at + 1]
        return value - 8192 if value >= 4096 else value, 2
    if head < 0xF0:
        if left < 2:
            return None
        size = 2 + ((head & 0x0F) << 8 | data[at + 1])
        return (data[at + 2 : at + size], size) if size <= left else None
    if head == 0xF0:
        size = 5 + int.from_bytes(data[at + 1 : at + 5], "little")
        return (data[at + 5 : at + size], size) if left >= 5 and size <= left else None
    width = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}.get(head, 0)
    if width == 0 or 1 + width > left:
        return None
    return int.from_bytes(data[at + 1 : at + 1 + width], "little", signed=True), 1 + width


def read_mixed(source: Any) -> list[int | bytes]:
    """The elements of a listpack: what is stored as a number as int, what as text as bytes."""
    data = bytes(source)
    size = len(data)
    if size < 7 or int.from_bytes(data[:4], "little") != size or data[-1] != 0xFF:
        raise ValueError(f"a listpack of {size} bytes: wrong size or no end mark")
    out: list[int | bytes] = []
    at, end = 6, size - 1
    while at < end:
        found = _element(data, at, end)
        if found is None:
            raise _short("a listpack", len(out))
        element, used = found
        back = _back_length(used)
        if data[at + used : min(at + used + len(back), end)] != back:
            raise _short("a listpack", len(out))
        out.append(element)
        at += used + len(back)
    declared = int.from_bytes(data[4:6], "little")
    if declared not in (_UNKNOWN, len(out)):
        raise ValueError(f"a listpack of {len(out)} elements says that they are {declared}")
    return out


def read_listpack(source: Any) -> list[bytes]:
    """The elements of a listpack."""
    return [b"%d" % e if isinstance(e, int) else e for e in read_mixed(source)]


def _entry(data: bytes, at: int, end: int) -> tuple[bytes, int] | None:
    """The entry of a ziplist behind its back length, and its size; None if broken."""
    head = data[at]
    left = end - at
    if head < 0xC0:
        if head < 0x40:
            skip, size = 1, head
        elif head < 0x80:
            skip, size = 2, (head & 0x3F) << 8 | (data[at + 1] if left > 1 else 0)
        elif head == 0x80:
            skip, size = 5, int.from_bytes(data[at + 1 : at + 5], "big")
        else:
            return None
        if skip + size > left:
            return None
        return data[at + skip : at + skip + size], skip + size
    if 0xF1 <= head <= 0xFD:
        return b"%d" % (head - 0xF1), 1
    width = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}.get(head, 0)
    if width == 0 or 1 + width > left:
        return None
    return b"%d" % int.from_bytes(data[at + 1 : at + 1 + width], "little", signed=True), 1 + width


def read_ziplist(source: Any) -> list[bytes]:
    """The entries of a ziplist."""
    data = bytes(source)
    size = len(data)
    if size < 11 or int.from_bytes(data[:4], "little") != size or data[-1] != 0xFF:
        raise ValueError(f"a ziplist of {size} bytes: wrong size or no end mark")
    out: list[bytes] = []
    at, end, before, last = 10, size - 1, 0, 10
    while at < end:
        begin = at
        length, skip = data[at], 1
        if length == 0xFE:
            length, skip = int.from_bytes(data[at + 1 : at + 5], "little"), 5
        found = _entry(data, at + skip, end) if at + skip < end else None
        if data[at] == 0xFF or length != before or found is None:
            raise _short("a ziplist", len(out))
        out.append(found[0])
        at += skip + found[1]
        before, last = at - begin, begin
    if int.from_bytes(data[4:8], "little") != last:
        raise ValueError("a ziplist says wrongly where its last entry is")
    declared = int.from_bytes(data[8:10], "little")
    if declared not in (_UNKNOWN, len(out)):
        raise ValueError(f"a ziplist of {len(out)} elements says that they are {declared}")
    return out


def read_intset(source: Any) -> list[bytes]:
    """The numbers of an intset."""
    data = bytes(source)
    width = int.from_bytes(data[:4], "little")
    count = int.from_bytes(data[4:8], "little")
    if len(data) < 8 or width not in (2, 4, 8) or len(data) != 8 + width * count:
        raise ValueError(f"an intset of {len(data)} bytes: {count} numbers of {width} bytes")
    out: list[bytes] = []
    before: int | None = None
    for at in range(8, len(data), width):
        number = int.from_bytes(data[at : at + width], "little", signed=True)
        if before is not None and number <= before:
            raise ValueError(f"an intset: number {len(out)} does not rise")
        out.append(b"%d" % number)
        before = number
    return out


def _zipmap_length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A length and where what is behind it begins; (-1, 0) if it is broken."""
    if at < end and data[at] < 254:
        return data[at], at + 1
    if at + 5 <= end and data[at] == 254:
        return int.from_bytes(data[at + 1 : at + 5], "little"), at + 5
    return -1, 0


def read_zipmap(source: Any) -> list[bytes]:
    """The keys and values of a zipmap, alternating."""
    data = bytes(source)
    if len(data) < 2 or data[-1] != 0xFF:
        raise ValueError(f"a zipmap of {len(data)} bytes: no end mark")
    out: list[bytes] = []
    at, end = 1, len(data) - 1
    while at < end:
        length, at = _zipmap_length(data, at, end)
        if length < 0 or length > end - at:
            raise _short("a zipmap", len(out))
        out.append(data[at : at + length])
        at += length
        length, at = _zipmap_length(data, at, end)
        if length < 0 or at >= end or length + data[at] > end - at - 1:
            raise _short("a zipmap", len(out))
        out.append(data[at + 1 : at + 1 + length])
        at += 1 + length + data[at]
    if data[0] < 254 and data[0] != len(out) // 2:
        raise ValueError(f"a zipmap of {len(out) // 2} pairs says that they are {data[0]}")
    return out
