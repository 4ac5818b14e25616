"""LZF, the compression of strings in RDB (Tier C twin).

The format is a sequence of instructions, each begun by one control byte:

    000LLLLL                      L + 1 literal bytes follow
    LLLooooo [LLLLLLLL] oooooooo  copy L + 2 bytes from `offset + 1` bytes back in the output; the
                                  second length byte is there, and added, if L is 7

The output's size is known beforehand, and reaching exactly that with the last byte of the input is
the only success. Nothing is allocated for a size that the input cannot reach: three bytes make
264 at most.

Compressing finds repeats by the hash of three bytes, the latest place of each; both twins write the
same bytes.
"""

from __future__ import annotations

from typing import Any

# 264 bytes from 3 of input is the best there is.
RATIO_MAX = 88
_HASH_BITS = 14
_OFFSET_MAX = 8192
_MATCH_MAX = 264
_LITERALS_MAX = 32


def decompress(data: Any, size: int) -> bytes:
    """The `size` bytes that `data` stands for; ValueError if it does not."""
    source = bytes(data)
    if not 0 <= size <= RATIO_MAX * len(source):
        raise ValueError(f"{len(source)} compressed bytes cannot be {size}")
    out = bytearray()
    at, end = 0, len(source)
    while at < end:
        control = source[at]
        at += 1
        if control < 32:
            count = control + 1
            if at + count > end:
                raise ValueError("compressed data ends early")
            out += source[at : at + count]
            at += count
        else:
            count = control >> 5
            if at + (2 if count == 7 else 1) > end:
                raise ValueError("compressed data ends early")
            if count == 7:
                count += source[at]
                at += 1
            back = ((control & 31) << 8 | source[at]) + 1
            at += 1
            count += 2
            if back > len(out):
                raise ValueError("compressed data refers to what is before its beginning")
            if back >= count:
                start = len(out) - back
                out += out[start : start + count]
            else:
                piece = bytes(out[-back:])
                out += (piece * (count // back + 1))[:count]
        if len(out) > size:
            break
    if len(out) != size or at != end:
        raise ValueError(f"compressed data is not that of {size} bytes")
    return bytes(out)


def compress(data: bytes) -> bytes | None:
    """Data packed, or None if it is not at least four bytes shorter then."""
    size = len(data)
    room = size - 4
    out = bytearray()
    seen: dict[int, int] = {}
    at = begun = 0
    while at + 2 < size:
        triple = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
        slot = (triple * 2654435761 & 0xFFFFFFFF) >> (32 - _HASH_BITS)
        before = seen.get(slot, -1)
        seen[slot] = at
        offset = at - before - 1
        if before < 0 or offset >= _OFFSET_MAX or data[before : before + 3] != data[at : at + 3]:
            at += 1
            continue
        _put_literals(data[begun:at], out)
        if len(out) + 3 > room:
            return None
        longest = min(size - at, _MATCH_MAX)
        length = 3
        while length < longest and data[before + length] == data[at + length]:
            length += 1
        at += length
        length -= 2
        if length < 7:
            out.append(length << 5 | offset >> 8)
        else:
            out += bytes((7 << 5 | offset >> 8, length - 7))
        out.append(offset & 0xFF)
        begun = at
    _put_literals(data[begun:], out)
    return bytes(out) if 0 < len(out) <= room else None


def _put_literals(data: bytes, out: bytearray) -> None:
    for at in range(0, len(data), _LITERALS_MAX):
        run = data[at : at + _LITERALS_MAX]
        out.append(len(run) - 1)
        out += run
