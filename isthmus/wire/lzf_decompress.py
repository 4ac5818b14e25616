"""LZF, the way back: what Redis' compressed strings were before (Tier C twin).

The format is a sequence of instructions, each begun by one control byte:

    000LLLLL                      L + 1 literal bytes follow
    LLLooooo [LLLLLLLL] oooooooo  copy L + 2 bytes from `offset + 1` bytes back in the output; the
                                  second length byte is there, and added, if L is 7

The output's size is known beforehand, and reaching exactly that with the last byte of the input is
the only success. Nothing is allocated for a size that the input cannot reach: three bytes make
264 at most.
"""

from __future__ import annotations

from typing import Any

# 264 bytes from 3 of input is the best there is.
RATIO_MAX = 88


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
