"""Listpacks, the lists of small elements that Redis stores and saves: how they are written.

    4 bytes: size of the whole | 2 bytes: elements, 0xFFFF for that many or more | elements | 0xFF

An element is a head, its bytes, and the length of both again, in groups of 7 bits that are read
from the right, so that a listpack can be walked both ways. Numbers are little-endian; a text that
is the canonical spelling of an int64 is kept as a number:

    0xxxxxxx            a number of 0..127         10xxxxxx  a text of up to 63 bytes
    110xxxxx +1         a number of 13 bits        1110xxxx +1  a text of up to 4095 bytes
    F1 +2, F2 +3, F3 +4, F4 +8  a number           F0 +4  a longer text

listpack_write.pxd has the same for compiled code.
"""

from __future__ import annotations

from isthmus.wire.scalars import parse_int

FRAME_BYTES = 7
COUNT_UNKNOWN = 0xFFFF


def number_size(value: int) -> int:
    """What a listpack spends on a number."""
    if 0 <= value <= 127:
        return 2
    for size, bits in ((3, 12), (4, 15), (5, 23), (6, 31)):
        if -(1 << bits) <= value < 1 << bits:
            return size
    return 10


def text_size(text: bytes) -> int:
    """What a listpack spends on a text; canonical integers are stored as numbers."""
    if 0 < len(text) <= 20 and text[0] in b"-0123456789":
        try:
            return number_size(parse_int(text))
        except ValueError:
            pass
    size = len(text)
    size += 1 if size < 64 else 2 if size < 4096 else 5
    return size + back_size(size)


def packed(element: int | bytes) -> bytes:
    """An element as it stands in a listpack."""
    if isinstance(element, bytes):
        try:
            return packed(parse_int(element))
        except ValueError:
            size = len(element)
        if size < 64:
            body = bytes([0x80 | size]) + element
        elif size < 4096:
            body = bytes([0xE0 | size >> 8, size & 0xFF]) + element
        else:
            body = b"\xf0" + size.to_bytes(4, "little") + element
    elif 0 <= element <= 127:
        body = bytes([element])
    elif -4096 <= element <= 4095:
        body = bytes([0xC0 | (element & 0x1FFF) >> 8, element & 0xFF])
    else:
        width = {4: 2, 5: 3, 6: 4, 10: 8}[number_size(element)]
        mark = bytes([{2: 0xF1, 3: 0xF2, 4: 0xF3, 8: 0xF4}[width]])
        body = mark + element.to_bytes(width, "little", signed=True)
    size = len(body)
    # Its length again, in groups of 7 bits that are read from the right.
    back = back_size(size)
    groups = [size >> 7 * (back - 1 - i) & 127 | (128 if i else 0) for i in range(back)]
    return body + bytes(groups)


def back_size(size: int) -> int:
    """How many bytes the length of an element takes at its end."""
    for back, limit in ((1, 128), (2, 16383), (3, 2097151), (4, 268435455)):
        if size < limit:
            return back
    return 5


def whole(elements: list[bytes]) -> bytes:
    """A listpack of packed elements."""
    body = b"".join(elements)
    head = (len(body) + FRAME_BYTES).to_bytes(4, "little")
    return head + min(len(elements), COUNT_UNKNOWN).to_bytes(2, "little") + body + b"\xff"
