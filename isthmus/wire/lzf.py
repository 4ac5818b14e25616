"""LZF, the compression of strings in RDB (Tier C twin).

The format is a sequence of instructions, each begun by one control byte:

    000LLLLL                      L + 1 literal bytes follow
    LLLooooo [LLLLLLLL] oooooooo  copy L + 2 bytes from `offset + 1` bytes back in the output; the
                                  second length byte is there, and added, if L is 7

The output's size is known beforehand, and reaching exactly that with the last byte of the input is
the only success. Nothing is allocated for a size that the input cannot reach: three bytes make
264 at most.

Compressing finds repeats by a hash of three bytes, the latest place of each, and after a repeat
only notes its last two places. Where one is looked for and when it is given up are Redis' own, so
that compressed strings are byte for byte what Redis would write; both twins write the same.
"""

from __future__ import annotations

from typing import Any

# 264 bytes from 3 of input is the best there is.
RATIO_MAX = 88
_SLOTS = 1 << 16
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


def _slot(data: bytes, at: int) -> int:
    """Where the three bytes at `at` are looked up."""
    triple = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
    return ((triple >> 8) - triple * 5) % _SLOTS


def _literal_bytes(count: int) -> int:
    """What so many bytes take as they are."""
    return count + (count + _LITERALS_MAX - 1) // _LITERALS_MAX


def _repeated(data: bytes, before: int, at: int) -> int:
    """How many bytes at `at` are copied from `before`, where three are known to be equal."""
    longest = min(len(data) - at - 2, _MATCH_MAX)
    # The first 16 are compared without looking at the limit, if there are so many.
    longest = max(longest, 19) if longest > 16 else max(longest, 3)
    length = 3
    while length < longest and data[before + length] == data[at + length]:
        length += 1
    return length


def compress(data: bytes) -> bytes | None:
    """Data compressed, or None if it is not at least four bytes shorter then."""
    size = len(data)
    room = size - 4
    out = bytearray()
    seen: dict[int, int] = {}
    at = begun = 0
    while at + 2 < size:
        slot = _slot(data, at)
        # The first byte of all is never the beginning of a repeat.
        before = seen.get(slot, 0)
        seen[slot] = at
        offset = at - before - 1
        if before == 0 or offset >= _OFFSET_MAX or data[before : before + 3] != data[at : at + 3]:
            at += 1
            continue
        if len(out) + _literal_bytes(at - begun) + 4 >= room:
            return None
        _put_literals(data[begun:at], out)
        length = _repeated(data, before, at)
        at += length
        begun = at
        length -= 2
        if length < 7:
            out.append(length << 5 | offset >> 8)
        else:
            out += bytes((7 << 5 | offset >> 8, length - 7))
        out.append(offset & 0xFF)
        if at + 2 < size:
            seen[_slot(data, at - 2)] = at - 2
            seen[_slot(data, at - 1)] = at - 1
    count = at - begun
    if len(out) + count + count // _LITERALS_MAX + 4 > room:
        return None
    _put_literals(data[begun:], out)
    return bytes(out)


def _put_literals(data: bytes, out: bytearray) -> None:
    for at in range(0, len(data), _LITERALS_MAX):
        run = data[at : at + _LITERALS_MAX]
        out.append(len(run) - 1)
        out += run
